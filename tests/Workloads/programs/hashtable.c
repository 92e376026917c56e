// Open addressing: multiplications, then loads all over eight megabytes.
#include "workload.h"
#include <string.h>

enum { SLOTS = 1 << 19 };
static struct { uint64_t key, value; } table[SLOTS];

static uint32_t slot_of(uint64_t key)
{
    uint32_t slot = (uint32_t)(key * 0x9E3779B97F4A7C15u >> 45);
    while (table[slot].key && table[slot].key != key)
        slot = (slot + 1) & (SLOTS - 1);
    return slot;
}

uint64_t hashtable(void)
{
    uint64_t random = 362436069, sum = 0;
    memset(table, 0, sizeof table);
    for (int i = 0; i < 1500000; i++) {
        uint64_t key = next_random(&random) % 300000 + 1;
        uint32_t slot = slot_of(key);
        table[slot].key = key;
        table[slot].value += (uint64_t)i;
    }
    for (uint64_t key = 1; key <= 300000; key++)
        sum = sum * 3 + table[slot_of(key)].value;
    return sum;
}

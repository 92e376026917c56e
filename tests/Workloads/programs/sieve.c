// Prime numbers below four million: byte stores at growing distances.
#include "workload.h"
#include <string.h>

enum { LIMIT = 4000000 };
static uint8_t composite[LIMIT];

uint64_t sieve(void)
{
    uint64_t sum = 0;
    for (int round = 0; round < 8; round++) {
        memset(composite, 0, sizeof composite);
        for (uint32_t i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            sum += i;
            for (uint64_t j = (uint64_t)i * i; j < LIMIT; j += i)
                composite[j] = 1;
        }
    }
    return sum;
}

// The C library's qsort: a call through a pointer for every comparison.
#include "workload.h"
#include <stdlib.h>

enum { COUNT = 400000 };

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t quicksort(void)
{
    static uint32_t values[COUNT];
    uint64_t random = 2463534242u, sum = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < COUNT; i++)
            values[i] = (uint32_t)next_random(&random);
        qsort(values, COUNT, sizeof *values, compare);
        for (int i = 0; i < COUNT; i += 1000)
            sum = sum * 31 + values[i];
    }
    return sum;
}

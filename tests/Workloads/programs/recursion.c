// Calls and returns: Fibonacci, Ackermann, and queens on a board.
#include "workload.h"

static __attribute__((noinline)) uint64_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static __attribute__((noinline)) uint32_t ackermann(uint32_t m, uint32_t n)
{
    return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static __attribute__((noinline)) uint32_t queens(uint32_t all, uint32_t columns, uint32_t left, uint32_t right)
{
    uint32_t found = 0;
    if (columns == all)
        return 1;
    for (uint32_t free = all & ~(columns | left | right); free; free &= free - 1) {
        uint32_t bit = free & -free;
        found += queens(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

uint64_t recursion(void)
{
    return fibonacci(36) * 31 + ackermann(2, 3000) * 7 + queens((1u << 13) - 1, 0, 0, 0);
}

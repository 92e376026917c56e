// What the programs share. Each computes for 0.1 s or more on a processor of 2020, so that starting it and translating it weigh little, and
// returns a sum that depends on all its work.
#ifndef WORKLOAD_H
#define WORKLOAD_H
#include <stddef.h>
#include <stdint.h>

typedef uint64_t (*workload)(void);

uint64_t sieve(void);
uint64_t sha256(void);
uint64_t quicksort(void);
uint64_t strings(void);
uint64_t hashtable(void);
uint64_t recursion(void);
uint64_t list(void);
uint64_t bytecode(void);
uint64_t matrix(void);

uint64_t syscalls(void);
uint64_t fork_exec(void);
uint64_t pipe_ping_pong(void);
uint64_t page_faults(void);
uint64_t context_switches(void);

// The same numbers everywhere: xorshift.
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#endif

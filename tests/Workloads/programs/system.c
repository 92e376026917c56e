// Work for the kernel: each of these crosses into it all the time.
#define _GNU_SOURCE
#include "workload.h"
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int condition)
{
    if (!condition)
        _exit(3);
}

uint64_t syscalls(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 500000; i++)
        sum += syscall(SYS_getppid) >= 0;
    return sum;
}

uint64_t fork_exec(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 200; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", "workload", "nothing", (char *)NULL);
            _exit(1);
        }
        must(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        sum++;
    }
    return sum;
}

uint64_t pipe_ping_pong(void)
{
    enum { ROUNDS = 10000 };
    int there[2], back[2], status;
    char byte = 0;
    must(pipe(there) == 0 && pipe(back) == 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < ROUNDS; i++)
            must(read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1);
        _exit(0);
    }
    for (int i = 0; i < ROUNDS; i++)
        must(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1);
    must(waitpid(child, &status, 0) == child && status == 0);
    return ROUNDS;
}

uint64_t page_faults(void)
{
    enum { PAGES = 4096 };
    uint64_t sum = 0;
    for (int round = 0; round < 30; round++) {
        volatile char *area = mmap(NULL, (size_t)PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(area != MAP_FAILED);
        madvise((void *)area, (size_t)PAGES * 4096, MADV_NOHUGEPAGE);
        for (int page = 0; page < PAGES; page++)
            area[page * 4096] = 1;
        sum += PAGES;
        munmap((void *)area, (size_t)PAGES * 4096);
    }
    return sum;
}

// A token goes round in a ring of processes; each sleeps until it is its turn.
uint64_t context_switches(void)
{
    enum { PROCESSES = 4, TURNS = 20000 };
    volatile int *turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(turn != MAP_FAILED);
    for (int me = 0; me < PROCESSES; me++) {
        pid_t child = fork();
        must(child >= 0);
        if (child > 0)
            continue;
        while (1) {
            int seen = *turn;
            if (seen >= TURNS)
                break;
            if (seen % PROCESSES == me) {
                __atomic_store_n(turn, seen + 1, __ATOMIC_SEQ_CST);
                syscall(SYS_futex, turn, FUTEX_WAKE, PROCESSES, NULL, NULL, 0);
            } else {
                syscall(SYS_futex, turn, FUTEX_WAIT, seen, NULL, NULL, 0);
            }
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        must(wait(&status) > 0 && status == 0);
    }
    return TURNS;
}

// workload NAME...              runs built-in workloads and prints VITRO-BENCH-START name, then VITRO-BENCH name seconds s sum cpu:seconds
// workload pauses SECONDS       prints the longest time in which it did not run, and all such times, both in nanoseconds
// workload time NAME COMMAND... runs a command and prints the same lines without what follows the unit
#include "workload.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


static const struct { const char *name; workload run; } workloads[] = {
    {"sieve", sieve}, {"sha256", sha256}, {"quicksort", quicksort}, {"strings", strings}, {"hashtable", hashtable},
    {"recursion", recursion}, {"list", list}, {"bytecode", bytecode}, {"matrix", matrix}, {"syscalls", syscalls},
    {"fork-exec", fork_exec}, {"pipe-ping-pong", pipe_ping_pong}, {"page-faults", page_faults},
    {"context-switches", context_switches},
};

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double begin(const char *name)
{
    printf("VITRO-BENCH-START %s\n", name);
    fflush(stdout);
    return now(CLOCK_MONOTONIC);
}

static int time_command(const char *name, char **command)
{
    int status;
    double start = begin(name);
    pid_t child = fork();
    if (child == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        printf("VITRO-BENCH-FAILED %s: %s ended with status %x\n", name, command[0], child < 0 ? -1 : status);
        return 1;
    }
    printf("VITRO-BENCH %s %.4f s\n", name, now(CLOCK_MONOTONIC) - start);
    return 0;
}

// Times between two looks at the clock that are longer than 50 us.
static int watch_pauses(double seconds)
{
    double longest = 0, all = 0, start = now(CLOCK_MONOTONIC), last = start, time;
    while ((time = now(CLOCK_MONOTONIC)) - start < seconds) {
        double pause = time - last;
        last = time;
        if (pause < 50e-6)
            continue;
        all += pause;
        longest = pause > longest ? pause : longest;
    }
    printf("%.0f %.0f\n", longest * 1e9, all * 1e9);
    return 0;
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "nothing") == 0)
        return 0; // what fork-exec starts
    if (count == 3 && strcmp(arguments[1], "pauses") == 0)
        return watch_pauses(atof(arguments[2]));
    if (count > 3 && strcmp(arguments[1], "time") == 0)
        return time_command(arguments[2], arguments + 3);
    for (int i = 1; i < count; i++)
        for (size_t j = 0; j < sizeof workloads / sizeof *workloads; j++)
            if (strcmp(arguments[i], workloads[j].name) == 0) {
                double start = begin(workloads[j].name);
                double processor = now(CLOCK_PROCESS_CPUTIME_ID);
                uint64_t sum = workloads[j].run();
                printf("VITRO-BENCH %s %.4f s %" PRIx64 " cpu:%.4f\n", workloads[j].name, now(CLOCK_MONOTONIC) - start, sum,
                    now(CLOCK_PROCESS_CPUTIME_ID) - processor);
                fflush(stdout);
            }
    return 0;
}

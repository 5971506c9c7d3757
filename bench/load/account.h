/* What a group of processes has used so far, by the kernel's own accounting. */
#ifndef BENCH_ACCOUNT_H
#define BENCH_ACCOUNT_H

#include <stdint.h>
#include <sys/types.h>

enum { ACCOUNT_PIDS_MAX = 16 };

struct account {
    uint64_t cpu_ns;     /* on a CPU, user and system, all threads (kernel workers of a ring too) */
    uint64_t switches;   /* voluntary and involuntary */
    uint64_t busy_ns;    /* of the pinned CPU, whoever was on it, in ticks of the kernel */
    uint64_t softirq_ns; /* of that: softirq, which may be charged to nobody or to the other side */
    uint64_t rss_kb;     /* resident now, shared pages counted in each process */
};

/* Reads "PID,PID,..." into pids; returns how many. Ends the program when it is wrong. */
unsigned account_parse(const char *text, pid_t *pids);

/* Adds up every thread of the processes now, and the time of `cpu` since the machine started. */
void account_read(const pid_t *pids, unsigned count, unsigned cpu, struct account *out);

/* Counts the system calls of the processes and all their threads by `strace -c -f`, which slows
 * them down many times: for a run of its own. Returns when it has attached; the table goes to
 * `path`. */
pid_t account_trace(const pid_t *pids, unsigned count, const char *path);

/* Ends it, and waits until the table is written. */
void account_trace_end(pid_t tracer, const pid_t *pids, unsigned count);

/* Nanoseconds of the monotonic clock. */
uint64_t account_now(void);

#endif

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
};

/* Reads "PID,PID,..." into pids; returns how many. Ends the program when it is wrong. */
unsigned account_parse(const char *text, pid_t *pids);

/* Adds up every thread of the processes now, and the time of `cpu` since the machine started. */
void account_read(const pid_t *pids, unsigned count, unsigned cpu, struct account *out);

/* Nanoseconds of the monotonic clock. */
uint64_t account_now(void);

#endif

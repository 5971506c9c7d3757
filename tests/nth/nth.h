/* Failing the n-th thing: a program runs once for each n and each error that the n-th call may
 * give, until n is beyond its last call. The objects of the library are linked unchanged; the
 * linker's --wrap puts this layer between them and the C library.
 *
 * What must hold in every run: no crash, no hang, no more calls than a few times those of a clean
 * run, no memory, descriptor or mapping left; what did not work was reported with an error that has
 * a name; connections that the failing call does not concern go on; and afterwards the server
 * serves. */
#ifndef WEIR_TESTS_NTH_NTH_H
#define WEIR_TESTS_NTH_NTH_H

#include <stdbool.h>
#include <stdint.h>

enum nth_kind {
    NTH_MEMORY,     /* an allocation returns NULL */
    NTH_CALL,       /* a function of the C library fails, or does less than it was asked for */
    NTH_ENTRY,      /* an operation of the ring fails */
    NTH_COMPLETION, /* a result of the ring is another one than the kernel wrote */
    NTH_KINDS
};

/* In a list of errors: the call works, but on fewer bytes. */
#define NTH_SHORT (-1)

/* What a child process is to do, and what came of it: in memory that it shares with its parent. */
struct nth_run {
    enum nth_kind kind;
    uint64_t n;       /* which call fails, from 1; 0: none */
    unsigned variant; /* which of its errors; the last variant is the first error many times */

    uint64_t count; /* calls of that kind */
    uint64_t calls; /* of any kind, to notice who spins */
    bool fired;
    unsigned faults; /* how many calls have failed */
    int hit[32];     /* the descriptors that they were about */
    char call[40];
    int error; /* an errno, NTH_SHORT, or 0 for memory */
    int fd;
    unsigned variants; /* that this call has */
    void *caller;
    char step[64];     /* what the program was doing */
    char verdict[400]; /* what is wrong; empty: nothing */
};

/* The run of this process; set by the driver before the program runs. */
extern struct nth_run *nth_run;

/* From now on calls are counted and fail. */
void nth_arm(void);
/* No failure any more: what follows must work. */
void nth_disarm(void);
/* Whether a call failed that was about this descriptor. */
bool nth_hit(int fd);
/* Bytes that are mapped now. */
int64_t nth_mapped(void);
/* Whether this call fails: 0, an errno, or NTH_SHORT. `errors` ends in 0. */
int nth_fault(enum nth_kind kind, const char *call, int fd, const int *errors, void *caller);

/* What the program is doing, for the report. */
void nth_step(const char *step);
/* The run has shown something wrong; does not return. */
void nth_wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A program: runs once, from making its loop to freeing it, and calls nth_wrong for what must not
 * be. It runs in a process of its own. */
struct nth_program {
    const char *name;
    void (*prepare)(void); /* in the parent, once */
    void (*clean)(void);   /* in the parent, at the end */
    void (*run)(const char *backend);
};
extern const struct nth_program nth_program;

/* Calls that never fail, for the peers; see layer.h. */
int nth_tcp(void);
int nth_dial(int port);

#endif

/* Cases that every back end must pass, at the level of the table of verbs, and the rig that they
 * run on: a table of slots with generations instead of a loop. */
#ifndef WEIR_TESTS_IO_SUITE_H
#define WEIR_TESTS_IO_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "io/io.h"

enum { RIG_SLOTS = 4096, RIG_LOG = 16384 };

struct rig_slot {
    struct io_fd fd;
    uint32_t gen;
    bool used;
    bool keep;        /* received bytes are kept in `got`, not only counted */
    bool recv_on;     /* a receive is in flight */
    bool wanted;      /* it is armed again when it ends without cause: not paused */
    bool recv_rearm;  /* arm again after a final event with no cause */
    int end;          /* result of the last final receive event; 1: none yet */
    uint64_t bytes;   /* received */
    unsigned reads;   /* receive events with bytes */
    unsigned drained; /* of those with IO_DRAINED */
    uint8_t *got;
    size_t got_size, got_room;
};

struct rig_event {
    uint64_t token;
    int32_t result;
    uint16_t flags;
};

struct rig {
    struct io *io;
    struct io_pool *pool;
    struct rig_slot slot[RIG_SLOTS];
    struct rig_event log[RIG_LOG]; /* everything but received bytes */
    unsigned logged;
    uint64_t stale;                        /* finds that were refused */
    unsigned line[RIG_SLOTS], line_length; /* receivers that wait for a block, in order */
};

/* Runs all cases on a back end, and `more` of its own (or NULL). `config` may be NULL; its owner,
 * find and pool are set by the rig. The number of failed cases. */
int io_suite_run(const char *title, const struct io_ops *ops, const struct io_config *config,
                 const struct CMUnitTest *more);

/* The same with chosen lists only. */
int io_suite_run_lists(const char *title, const struct io_ops *ops, const struct io_config *config,
                       const struct CMUnitTest *const lists[], size_t count);

/* A test's *state. */
static inline struct rig *rig_of(void **state)
{
    return *state;
}

/* Opens and closes the back end around each case; closing asserts that nothing is in flight. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Opens the back end anew with another configuration; nothing is in flight. */
void rig_reopen(struct rig *rig, const struct io_config *config);

/* A slot for a descriptor (which the rig then owns), and its token for an operation. */
unsigned rig_add(struct rig *rig, int fd, bool direct);
uint64_t rig_token(struct rig *rig, unsigned slot, enum io_op op);
struct io_fd *rig_fd(struct rig *rig, unsigned slot);

/* One turn: waits at most `ms` (negative: no limit), takes all events. Returns how many. */
unsigned rig_turn(struct rig *rig, int ms);
/* Turns until the final event with this token is there, at most 5 s; its result. */
int rig_final(struct rig *rig, uint64_t token);
/* True when that event is there already; it is taken. */
bool rig_take(struct rig *rig, uint64_t token, int *result);
/* An event with IO_MORE, or the final one, with this token: its result. */
int rig_any(struct rig *rig, uint64_t token);
/* Turns until `done(rig, arg)`, at most `ms`; false: in vain. */
bool rig_until(struct rig *rig, bool (*done)(struct rig *rig, void *arg), void *arg, int ms);
/* Turns for `ms`. */
void rig_idle(struct rig *rig, int ms);

/* A connected pair: one end in a slot, the other a blocking descriptor of the test. */
unsigned rig_tcp(struct rig *rig, int *peer);
unsigned rig_unix(struct rig *rig, int *peer);
/* A TCP listener on 127.0.0.1, in a slot; its address. */
struct sockaddr_in;
unsigned rig_listener(struct rig *rig, struct sockaddr_in *address);
int rig_dial(const struct sockaddr_in *address); /* blocking; -1 on failure */
/* A socket of this family, ready to be used with io->connect. */
int rig_socket(struct rig *rig, int family);

void rig_recv(struct rig *rig, unsigned slot); /* arms; asserts */
/* Until `bytes` in all were received, or the end; false after 5 s. */
bool rig_got(struct rig *rig, unsigned slot, uint64_t bytes);
bool rig_ended(struct rig *rig, unsigned slot); /* until rig_slot.end is set */
/* Stops receiving: cancels and waits. */
void rig_pause(struct rig *rig, unsigned slot);
/* Sends everything, waiting for room as a connection does. 0 or -errno. */
int rig_send(struct rig *rig, unsigned slot, const void *data, size_t size);
/* Sends without waiting until the socket is full (`size` must be more than it takes). What it took.
 */
size_t rig_fill(struct rig *rig, unsigned slot, const uint8_t *bytes, size_t size);
/* Closes: cancels what is in flight first. */
void rig_close(struct rig *rig, unsigned slot, bool reset);

uint64_t rig_now_ns(void);
void rig_sleep_ms(int ms);

/* The cases, by file. Each list ends with a NULL name. */
extern const struct CMUnitTest io_cases_stream[], io_cases_send[], io_cases_listen[],
    io_cases_wake[], io_cases_file[], io_cases_end[], io_cases_block[];

#define IO_CASE(name)                              \
    {                                              \
#name, name, rig_setup, rig_teardown, NULL \
    }
#define IO_CASES_END                 \
    {                                \
        NULL, NULL, NULL, NULL, NULL \
    }

#endif

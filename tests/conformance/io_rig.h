/* A small owner of one io, for tests of the back ends at the level of io.h. It wraps the verbs and
 * checks on the way what every back end promises: an operation that was accepted yields exactly one
 * final event, and nothing comes for a descriptor that is gone. */
#ifndef WEIR_TESTS_CONFORMANCE_IO_RIG_H
#define WEIR_TESTS_CONFORMANCE_IO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/io.h"

enum { RIG_SLOTS = 4096, RIG_MS = 1000 * 1000 };

struct rig_slot {
    struct io_fd fd;
    uint32_t gen;
    uint16_t armed;    /* 1 << op: an operation that owes a final event */
    uint64_t received; /* bytes */
    uint64_t hash;     /* of the received bytes, in order */
};

struct rig_event {
    uint64_t token;
    int32_t result;
    uint16_t flags, block;
    uint8_t first; /* received byte */
};

struct rig {
    struct io *io;
    struct rig_slot slot[RIG_SLOTS];
    uint32_t used; /* slots ever used; 0 is not */
    bool keep;     /* blocks are not released when an event is seen */
    struct rig_event *log;
    uint32_t logged, room;
    int file_events;
};

/* Opens the back end that WEIR_BACKEND names, with WEIR_FEATURES. `tweak` may be NULL: the rest of
 * the configuration. rig_open skips the test when the back end is not to be had here. */
struct rig *rig_open(const struct io_config *tweak);
/* Also checks that nothing is in flight, after closing the slots that are open. */
void rig_end(struct rig *rig);

/* A slot for a descriptor. `direct`: as accept yielded it. */
uint32_t rig_slot(struct rig *rig, int fd, bool direct);
uint64_t rig_token(struct rig *rig, enum io_op op, uint32_t slot);

/* The verbs; each returns what the back end did. rig_send and rig_move give IO_DONE's result in
 * *result. */
void rig_accept(struct rig *rig, uint32_t slot);
void rig_recv(struct rig *rig, uint32_t slot);
int rig_send(struct rig *rig, uint32_t slot, const void *data, size_t size, unsigned flags,
             int *result);
int rig_sendv(struct rig *rig, uint32_t slot, const struct iovec *iov, unsigned count,
              unsigned flags, int *result);
int rig_move(struct rig *rig, uint32_t slot, int file, int64_t *offset, size_t size,
             unsigned flags, int *result);
int rig_connect(struct rig *rig, uint32_t slot, const struct sockaddr *address, socklen_t size,
                int *result);
void rig_poll(struct rig *rig, uint32_t slot, unsigned mask);
void rig_cancel(struct rig *rig, enum io_op op, uint32_t slot);
/* Closes and waits for the end; the slot's generation goes on. */
void rig_close(struct rig *rig, uint32_t slot, bool reset);
/* Runs a file operation to its end: the result. */
int rig_file(struct rig *rig, struct io_file *file);

/* One turn: waits, then takes every event into the log. */
void rig_turn(struct rig *rig, int64_t timeout_ns);
/* Turns until an event of this operation on this slot is in the log, at most 5 s; takes it out. */
struct rig_event rig_await(struct rig *rig, enum io_op op, uint32_t slot);
/* The same, but false when none comes within `timeout_ns`. */
bool rig_try(struct rig *rig, enum io_op op, uint32_t slot, int64_t timeout_ns,
             struct rig_event *event);
/* Sends all, however the back end cuts it; the result: 0, or the error. */
int rig_send_all(struct rig *rig, uint32_t slot, const void *data, size_t size);
/* Receives (re-arming where it ended without cause) until `bytes` have come in all. */
void rig_receive(struct rig *rig, uint32_t slot, uint64_t bytes);

/* A TCP listener on loopback in *listener, a peer connected to it (blocking, not the io's), and the
 * accepted end as a slot. */
struct rig_pair {
    uint32_t listener, slot;
    int peer;
};
struct rig_pair rig_tcp_pair(struct rig *rig);
uint32_t rig_listener(struct rig *rig, struct sockaddr_storage *address, socklen_t *size,
                      int backlog);
/* Accepts one on an armed or unarmed listener. */
uint32_t rig_accept_one(struct rig *rig, uint32_t listener);
/* A unix pair: one end as a slot. */
uint32_t rig_unix_pair(struct rig *rig, int *peer);

/* Patterned bytes and their hash, for streams too long to keep. */
void rig_pattern(uint8_t *data, size_t size, uint64_t offset);
uint64_t rig_hash(uint64_t hash, const uint8_t *data, size_t size);

bool rig_is(struct rig *rig, const char *backend);
uint64_t rig_now_ns(void);

#endif

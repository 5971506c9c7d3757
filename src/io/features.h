/* The switches of WEIR_FEATURES: what a back end would use by itself can be turned off, what it
 * leaves alone can be turned on, and sizes can be set: "-direct,+multishot_recv,cq=small,blocks=2".
 * One table for all back ends, so that one text can be handed to any of them. */
#ifndef WEIR_IO_FEATURES_H
#define WEIR_IO_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/* XX(name, used by default, what it is) */
#define IO_SWITCHES(XX)                                                                     \
    XX(single_issuer, true, "uring: the kernel is told that one thread submits")            \
    XX(defer_taskrun, true, "uring: completions run when the loop asks for them")           \
    XX(coop_taskrun, true, "uring: completions do not interrupt the loop")                  \
    XX(taskrun_flag, true, "uring: the kernel tells when completions wait to be run")       \
    XX(restrictions, true, "uring: the ring takes only the operations that weir uses")      \
    XX(ring_fd, true, "uring: the ring's descriptor is registered, enter looks up no file") \
    XX(no_iowait, true, "uring: an idle loop is not counted as waiting for a disk")         \
    XX(multishot_accept, true, "uring: one operation accepts many")                         \
    XX(multishot_recv, true, "uring: one operation receives many times")                    \
    XX(incremental, true, "uring: receive blocks are used up slice by slice")               \
    XX(recv_cap, true, "uring: the kernel cuts a receive at the event's maximum")           \
    XX(poll_first, true, "uring: a send known to find no room does not try first")          \
    XX(cancel_op, true, "uring: a missed cancel is repeated by descriptor and operation")   \
    XX(first_read, true, "epoll: a new connection is read before it is registered")         \
    XX(pwait2, true, "epoll: sleeps are told in nanoseconds")                               \
    XX(warm_move, true, "a cold file is read, by a worker or the ring, before it is sent")  \
    XX(direct, false, "uring: connections are slots of the ring's own table, not descriptors")

/* XX(name, what it is): sizes, 0 when not given. "small" is the least that works. */
#define IO_SIZES(XX)                          \
    XX(sq, "uring: submission queue entries") \
    XX(cq, "uring: completion queue entries") \
    XX(blocks, "receive blocks")              \
    XX(block, "bytes of a receive block, or of the hot block that is read into")

struct io_switch {
    const char *name;
    bool on; /* by default */
    const char *text;
};

#define IO_SWITCH_ENUM(name, on, text) IO_SWITCH_##name,
enum io_switch_id { IO_SWITCHES(IO_SWITCH_ENUM) IO_SWITCH_COUNT };
#undef IO_SWITCH_ENUM

#define IO_SIZE_ENUM(name, text) IO_SIZE_##name,
enum io_size_id { IO_SIZES(IO_SIZE_ENUM) IO_SIZE_COUNT };
#undef IO_SIZE_ENUM

enum { IO_SIZE_SMALL = UINT32_MAX };

struct io_features {
    bool on[IO_SWITCH_COUNT];     /* what is to be used where the kernel has it */
    bool named[IO_SWITCH_COUNT];  /* the text said so, not the default */
    uint32_t size[IO_SIZE_COUNT]; /* 0: not given; IO_SIZE_SMALL: "small" */
};

/* The switches with their defaults, for help texts. IO_SWITCH_COUNT rows. */
extern const struct io_switch weir__io_switches[IO_SWITCH_COUNT];

/* Reads a WEIR_FEATURES text (NULL or empty: all defaults): names with + or - before them (none: +)
 * and name=number, between commas or blanks. 0, or -EINVAL with *why set to a static text when a
 * name is unknown or a number is none. */
int weir__io_features(struct io_features *features, const char *text, const char **why);

#endif

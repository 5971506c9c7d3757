/* Bounded queue, many producers, one consumer: what crosses loops. Bounded by messages and bytes;
 * says when the consumer must be woken (once for a burst). */
#ifndef WEIR_BASE_MPSC_H
#define WEIR_BASE_MPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mpsc_node { /* intrusive; owned by the queue from push to pop */
    _Atomic(struct mpsc_node *) next;
};

struct mpsc {
    _Alignas(64) _Atomic(struct mpsc_node *) tail; /* producers' end */
    _Atomic uint32_t count;                        /* pushed (or about to be) and not popped */
    _Atomic uint32_t sleeping; /* consumer sleeps (or is about to) and wants a wake */
    _Atomic uint64_t bytes;    /* pushed (or about to be) and not counted back */
    uint32_t count_limit;      /* the limits never change, so they may lie with what does */
    uint64_t bytes_limit;
    _Alignas(64) struct mpsc_node *head; /* consumer's end */
    struct mpsc_node stub;
};

void mpsc_init(struct mpsc *queue, uint32_t count_limit, uint64_t bytes_limit);

/* Any thread. False: full by messages or bytes (`reserved`: never refused; for what must not be).
 * *wake is set when the caller must wake the consumer: exactly one producer of a burst gets it.
 * At the limit a push that is refused by its bytes may for a moment count as a message, and so have
 * another one refused. */
bool mpsc_push(struct mpsc *queue, struct mpsc_node *node, uint64_t bytes, bool reserved,
               bool *wake);

/* Consumer. NULL: empty, or a producer is halfway (it will ask for a wake, or was already seen by
 * mpsc_sleep). The caller then counts the node's bytes back with mpsc_done. */
struct mpsc_node *mpsc_pop(struct mpsc *queue);
void mpsc_done(struct mpsc *queue, uint64_t bytes);

/* Consumer, before it sleeps: true when there is nothing to pop and a later push (or the second
 * half of one) will ask for a wake; false: there is something, do not sleep. After waking:
 * mpsc_awake. */
bool mpsc_sleep(struct mpsc *queue);
void mpsc_awake(struct mpsc *queue);

#endif

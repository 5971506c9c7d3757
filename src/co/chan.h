/* Channels from inside: what sending, receiving and weir_select share.
 *
 * A verb that waits is a group with a node in the queue of each channel that it waits for. Whoever
 * completes one of them first marks the group as taken: nodes that are found later in other
 * channels are of no use any more. All of that happens under the channel's lock if it is shared
 * between loops, and one that is not needs none; so both kinds are the same code, and one select
 * may wait for both. A waiter locks each of its channels before it leaves, and so cannot be gone
 * while somebody completes it.
 *
 * Who waits on another loop is woken by a message. That lies in memory of the waiter's loop, so
 * that a waiter whose deadline passes while the message is on its way need not wait for it. */
#ifndef WEIR_CO_CHAN_H
#define WEIR_CO_CHAN_H

#include <pthread.h>
#include <stdatomic.h>

#include <weir/chan.h>

#include "co/wait.h"

/* What chan_try says when there is nothing to do yet. */
enum { CHAN_WAITS = 2 };

struct chan_mail {
    struct loop_mail mail;
    struct chan_group *group; /* NULL: it has gone; touched by the waiter's loop only */
    size_t room;
};

struct chan_group {
    struct co_wait wait;
    weir_loop *loop;
    struct chan_mail *mail; /* NULL: it has arrived, or no channel is shared */
    bool shared;            /* one of its channels is */
    _Atomic bool taken;     /* completed, or gone */
    /* Set by whoever has completed it, under the lock of that channel. */
    bool posted;
    unsigned chosen;
    int result;
};

struct chan_node {
    struct chan_node *next, *prev;
    struct chan_group *group;
    weir_chan *chan; /* NULL: this one is in no queue, and was in none */
    void *item;
    unsigned index;
    int verb;
    bool queued;
};

struct chan_queue {
    struct chan_node *first, *last;
};

struct weir_chan {
    weir_loop *loop; /* of one that is not shared */
    pthread_mutex_t lock;
    struct chan_queue waiting[2]; /* by verb */
    uint32_t item_bytes, capacity;
    uint32_t head, count;
    uint32_t nodes; /* of groups that have not left yet */
    uint32_t picks; /* lots that were drawn */
    bool shared, closed;
    _Alignas(16) uint8_t items[];
};

static inline void chan_lock(weir_chan *chan)
{
    if (chan->shared)
        pthread_mutex_lock(&chan->lock);
}

static inline void chan_unlock(weir_chan *chan)
{
    if (chan->shared)
        pthread_mutex_unlock(&chan->lock);
}

/* Whether the caller may do this at all: 0, or what the verb says. */
int chan_check(weir_chan *chan, int verb, const void *item);

/* A deadline of 0 waits not at all, and needs nobody who could: 0, or as co_wait_possible. */
static inline int chan_may_wait(weir_time deadline)
{
    return deadline == 0 ? 0 : co_wait_possible();
}

/* Does it if that needs no waiting, under the lock: the verb's result, or CHAN_WAITS. No node of
 * the caller is in the channel. */
int chan_try(weir_chan *chan, int verb, void *item);

/* The caller will wait, for a shared channel among others: 0, or WEIR_ENOMEM. */
int chan_group_open(struct chan_group *group, bool shared);
/* Queues a node for `verb` on `chan`, under its lock. */
void chan_node_queue(struct chan_node *node, struct chan_group *group, weir_chan *chan, int verb,
                     void *item, unsigned index);
/* Waits, without any lock, and takes the nodes out of their queues: 0, and group->chosen and
 * group->result tell what was done; or an error, and nothing was. */
int chan_group_wait(struct chan_group *group, struct chan_node *nodes, unsigned count,
                    weir_time deadline);

#endif

/* Channels: items of a fixed size go from coroutine to coroutine, in order, through a bounded
 * queue. Whoever sends into a full one waits, whoever receives from an empty one too; first come,
 * first served. As in Go:
 *
 *                              open              closed          NULL, in weir_select
 *     send                     waits for room    -EPIPE          never ready
 *     receive, items are left  1                 1               never ready
 *     receive, none is left    waits             0, all zeros    never ready
 *     close                    0                 WEIR_EMISUSE
 *
 * Verbs wait as those of co.h do, with their deadlines and errors; what ended with an error has
 * neither sent nor received. With deadline 0 they do not wait, and may be called in event handlers
 * too; those on a shared channel on any thread. */
#ifndef WEIR_CHAN_H
#define WEIR_CHAN_H

#include <weir/export.h>
#include <weir/loop.h>

typedef struct weir_chan weir_chan;

enum weir_chan_verb { WEIR_CHAN_SEND, WEIR_CHAN_RECV };

/* One of the things that weir_select waits for. */
typedef struct weir_case {
    weir_chan *chan; /* NULL: never ready */
    int verb;        /* enum weir_chan_verb */
    int result;      /* set for the one that is chosen: what the verb alone would have returned */
    void *item;      /* sent from here, or received here; may be NULL for a receive */
} weir_case;

WEIR_BEGIN

/* Makes a channel of the current loop, for its coroutines and event handlers. `item_bytes` may be 0
 * (what arrives is that something arrived), at most 65 536. `capacity`: items that wait in it; 0:
 * each send waits for its receive. The whole is at most 1 GiB. 0; WEIR_EINVALID, WEIR_ENOMEM,
 * WEIR_EMISUSE (no current loop). */
WEIR_API int weir_chan_new(weir_chan **out, size_t item_bytes, uint32_t capacity);

/* Makes a channel between loops, and other threads: items are copied under a lock, and who waits on
 * another loop is woken by a message. Any thread. */
WEIR_API int weir_chan_new_shared(weir_chan **out, size_t item_bytes, uint32_t capacity);

/* Frees a channel with the items that are left in it; NULL is ignored. 0; WEIR_EMISUSE, and it was
 * not freed: somebody waits for it, or has not gone on since. Of a shared one no other thread may
 * be within a verb. */
WEIR_API int weir_chan_free(weir_chan *chan);

/* Sends a copy of *item: 0, when it is in the channel or with its receiver. -EPIPE: closed. */
WEIR_API WEIR_MUST_CHECK int weir_chan_send(weir_chan *chan, const void *item, weir_time deadline);

/* Receives into *item (NULL: it is dropped): 1; 0: the channel is closed and empty, and *item is
 * zeroed. */
WEIR_API WEIR_MUST_CHECK int weir_chan_recv(weir_chan *chan, void *item, weir_time deadline);

/* Ends a channel: receivers get what is left, senders that wait have sent nothing (-EPIPE). Never
 * waits. Where verbs with deadline 0 may be called. */
WEIR_API int weir_chan_close(weir_chan *chan);

/* How many items wait in it: of a shared one, when it was looked at. */
WEIR_API uint32_t weir_chan_count(weir_chan *chan);

WEIR_API WEIR_MUST_CHECK int weir__select(weir_case *cases, unsigned count, weir_time deadline,
                                          size_t size);
/* Does the first of these (at most 64) that can be done, and only that; when several can, one of
 * them by lot. Returns its index, with its .result set. Deadline 0: does nothing when none can be
 * done (Go's default), and returns WEIR_ETIMEDOUT. WEIR_EINVALID: more cases than that, or a bad
 * one. */
static inline WEIR_MUST_CHECK int weir_select(weir_case *cases, unsigned count, weir_time deadline)
{
    return weir__select(cases, count, deadline, sizeof *cases);
}

WEIR_END
#endif

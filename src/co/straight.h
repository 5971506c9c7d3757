/* A connection whose consumer is a coroutine: what it has beside struct conn. */
#ifndef WEIR_CO_STRAIGHT_H
#define WEIR_CO_STRAIGHT_H

#include <weir/co.h>

#include "co/wait.h"
#include "net/conn.h"

struct receive; /* who receives, on its stack: receive.c */

/* Behind the session's bytes, zeroed at birth. */
struct straight {
    struct co *task;         /* of .on_conn, from its start to its return */
    struct loop_ready ready; /* starts the task; later: tells it that its connection is gone */
    struct conn *conn;
    struct receive *reader;
    struct co_wait *opening; /* weir_connect_wait */
    struct list senders;     /* struct sending, in order */
    struct list unaccepted;  /* in struct acceptance */
    /* Received bytes that a coroutine has in hand: [from, from + given) is the view that it got,
     * what follows up to `to` was received behind it. */
    struct co_left *input;
    struct co *given_to;    /* who received last, until it ends */
    struct list given_link; /* in its co_local */
    uint32_t from, to, given;
    uint32_t users;               /* coroutines within a verb on this connection */
    uint32_t left_ms;             /* when nobody received any more */
    uint32_t turn, turn_receives; /* of the loop, and receives begun in it */
    bool opened;                  /* the lists are made */
    bool peer_ended;
    bool owned;    /* a coroutine got it from weir_accept */
    bool starting; /* the task is to be started */
    bool inside;   /* the task is within a verb on this connection */
    bool told;     /* the task knows that its connection is gone */
    bool draining; /* closes as soon as somebody waits for more */
};

/* Of a service with .straight: who is to be accepted, and who accepts. */
struct acceptance {
    struct list conns, waiting;
    bool over; /* the listeners are closed: nobody can accept any more */
};

static inline struct straight *straight_of(const struct conn *c)
{
    return conn_record(c);
}

/* The connection that a handle names, if its consumer is a coroutine and it takes verbs still. */
int straight_get(weir_conn handle, weir_loop **loop, struct conn **c);

/* A verb gives WEIR_EGONE: if it is the task that calls, no other wait of it is cut short. */
void straight_heard(struct straight *s);

/* Around a wait on this connection: its record stays until the verb has left. */
void straight_enter(struct conn *c);
void straight_leave(weir_loop *loop, struct conn *c);
/* Nobody waits for its input: that it is quiet is not the peer's fault. And again. */
void straight_busy(weir_loop *loop, struct conn *c);
void straight_waits(weir_loop *loop, struct conn *c);

/* receive.c */
/* New bytes for whoever receives: how many were taken; all or nothing. */
size_t receive_input(weir_loop *loop, struct conn *c, weir_view data);
/* Whether its peer has neither finished nor said anything that nobody has received, and nobody
 * receives: a look that never waits, and takes nothing from the coroutine that calls, neither what
 * it is to be told nor its views. On its loop; false too when the handle names no such
 * connection. */
bool receive_quiet(weir_conn conn);
/* Something has changed for it: the end, room for output, the close. */
void receive_look(weir_loop *loop, struct conn *c);
/* Bytes that are charged to the loop for what coroutines have received of it. */
size_t receive_keeps(const struct conn *c);
/* The connection is being closed. */
void receive_gone(struct straight *s);
/* The connection is gone: a view that somebody holds becomes his. */
void receive_close(weir_loop *loop, struct straight *s);
/* A coroutine ends that has received: it has no view any more. */
void receive_forget(struct list *given);

/* send.c: a send has ended; who withdraws looks again. */
void sending_look(struct straight *s);

/* accept.c */
void acceptance_add(weir_loop *loop, struct conn *c);
void acceptance_end(weir_loop *loop, struct service *service);

#endif

/* Sending in a coroutine. What fits below the soft mark is copied and queued, like any send; the
 * rest is queued where it lies, and the coroutine waits until no queue and no operation refers to
 * it. So the senders of a connection stand in its queue in their order, and what was withdrawn in
 * time leaves no trace there. */
#include "co/straight.h"

#include <errno.h>

#include "loop/limits.h"

struct sending {
    struct co_wait wait;
    struct list link; /* in straight.senders */
    struct conn *conn;
    uint32_t loan, size;
    int result;    /* when it is released */
    bool released; /* nothing refers to the bytes */
    bool cut;      /* they were in the queue of a stream that is torn */
    bool asked;    /* the send in flight has been asked to end */
    weir_timer again;
};

static void released(const void *data, size_t size, void *arg)
{
    struct sending *sending = arg;
    sending->released = true;
    if (sending->cut)
        sending->result = WEIR_ETORN;
    else if (sending->conn->phase >= CONN_STOPPING)
        sending->result = WEIR_EGONE;
    co_wake(&sending->wait, 0);
}

static struct segment *segment_find(struct output *out, uint32_t loan, uint32_t *at,
                                    uint64_t *before)
{
    *before = 0;
    for (*at = 0; out != NULL && *at < out->count; (*at)++) {
        struct segment *s = &out->segments[out->head + *at];
        if (s->kind == SEGMENT_LENT && s->index == loan)
            return s;
        *before += s->size;
    }
    return NULL;
}

/* The output that was to be sent behind the tear is dropped; whose it was hears of it. */
static void tear(weir_loop *loop, struct conn *c, struct output *out)
{
    struct straight *s = straight_of(c);
    uint32_t at;
    uint64_t before;
    for (struct list *link = s->senders.next; link != &s->senders; link = link->next) {
        struct sending *other = weir_container(link, struct sending, link);
        other->cut = segment_find(out, other->loan, &at, &before) != NULL;
    }
    conn_flags(c) |= CONN_TORN;
    output_clear(loop, c, out);
    if (c->busy->out.count == 0)
        c->busy->stalling = false;
    conn_dirty(loop, c);
    if (c->phase == CONN_FLUSHING)
        conn_fail(loop, c, WEIR_WHY_CLOSED, 0);
}

static void look_again(weir_timer *timer, void *arg)
{
    struct sending *sending = arg;
    co_wake(&sending->wait, 0);
}

/* Waits until a send that may refer to the bytes has ended. */
static void flight_end(weir_loop *loop, struct conn *c, struct sending *sending)
{
    sending->wait.woken = false;
    if ((conn_flags(c) & CONN_SEND_CANCELED) == 0) {
        int result = loop->io->ops->cancel(loop->io, &c->fd, conn_token(c, IO_OP_SEND));
        if (result == -ENOMEM || result == -ENOBUFS) /* no room to ask: again */
            weir_timer_start(&sending->again, weir_after(WEIR_MS), look_again, sending);
        else
            conn_flags(c) |= CONN_SEND_CANCELED;
    }
    sending->asked = true;
    co_wait_firm(&sending->wait);
    sending->asked = false;
    weir_timer_cancel(&sending->again);
}

/* Whether the operation in flight refers to what begins `before` bytes behind the front. */
static bool in_flight(const weir_loop *loop, struct conn *c, uint64_t before)
{
    struct busy *b = c->busy;
    if ((conn_flags(c) & (CONN_SENDING | CONN_FILTERED)) != CONN_SENDING || b->inflight_move ||
        before >= b->inflight_bytes)
        return false;
    if (!loop->io->eager)
        return true;
    b->inflight_bytes = 0; /* it only waits for room, and refers to nothing */
    return false;
}

/* Nobody waits for the send any more: gives `why` when it is as if never called. */
static int withdraw(weir_loop *loop, struct sending *sending, int why)
{
    struct conn *c = sending->conn;
    while (!sending->released) {
        uint32_t at;
        uint64_t before;
        struct output *out = c->busy != NULL ? conn_output(loop, c) : NULL;
        struct segment *s = segment_find(out, sending->loan, &at, &before);
        if (c->phase > CONN_FLUSHING)
            s = NULL; /* all is being ended */
        if (s != NULL && in_flight(loop, c, before)) {
            flight_end(loop, c, sending);
        } else if (s != NULL && s->size == sending->size) {
            output_withdraw(loop, out, at);
            if (c->busy->out.count == 0)
                c->busy->stalling = false;
            conn_dirty(loop, c);
            return why;
        } else {
            if (s != NULL)
                tear(loop, c, out);
            sending->wait.woken = sending->released;
            co_wait_firm(&sending->wait); /* its release is owed */
        }
    }
    co_owe(why); /* of whom it serves: this tells of the one that it has sent to */
    return sending->result;
}

void sending_look(struct straight *s)
{
    for (struct list *link = s->senders.next; link != &s->senders; link = link->next) {
        struct sending *sending = weir_container(link, struct sending, link);
        if (sending->asked)
            co_wake(&sending->wait, 0);
    }
}

static int queue(weir_loop *loop, struct conn *c, struct sending *sending, weir_view view)
{
    struct output *out = conn_output(loop, c);
    if (out == NULL)
        return WEIR_ENOMEM;
    if (out->count >= LIMIT_SEGMENTS_MAX / 2)
        return WEIR_EFULL;
    weir_view lent = weir_own(view.data, view.size, released, sending);
    if (lent.owner >> WEIR_OWNER_SHIFT != WEIR_OWNER_LENT)
        return WEIR_ENOMEM;
    sending->loan = lent.owner & ((1u << WEIR_OWNER_SHIFT) - 1);
    int result = output_view(loop, c, out, lent, true);
    if (result < 0) {
        loan_forget(loop, sending->loan);
        return result;
    }
    conn_dirty(loop, c);
    if (out->unsent_bytes > c->service->config.soft_mark_bytes)
        conn_flags(c) |= CONN_DRAIN_OWED;
    return 0;
}

static int send_waiting(weir_loop *loop, struct conn *c, weir_view view, weir_time deadline)
{
    struct straight *s = straight_of(c);
    struct sending sending = {.conn = c, .size = view.size};
    int result = co_wait_possible();
    if (result == 0 && deadline <= loop->now_ns)
        result = WEIR_ETIMEDOUT;
    if (result == 0)
        result = queue(loop, c, &sending, view);
    if (result < 0)
        return result;
    list_push(&s->senders, &sending.link);
    straight_enter(c);
    result = co_wait(&sending.wait, deadline);
    result = sending.released ? sending.result : withdraw(loop, &sending, result);
    list_remove(&sending.link);
    if (result == WEIR_EGONE)
        straight_heard(s);
    straight_leave(loop, c);
    return result;
}

/* A copy for the queue costs less than a wait. */
static bool copied(struct conn *c, weir_view view)
{
    uint32_t mark_bytes = c->service->config.soft_mark_bytes;
    struct straight *s = straight_of(c);
    if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT)
        return true;
    return list_empty(&s->senders) && view.size <= mark_bytes &&
           conn_output_level(c) == OUTPUT_LOW && c->queued_bytes + view.size <= mark_bytes;
}

int weir_send_all(weir_conn conn, weir_view view, weir_time deadline)
{
    weir_loop *loop;
    struct conn *c;
    int result = co_current() != NULL ? straight_get(conn, &loop, &c) : WEIR_EMISUSE;
    if (result == 0 && (conn_flags(c) & CONN_TORN) != 0)
        result = WEIR_ETORN;
    if (result == 0 && view.size != 0 && (conn_flags(c) & CONN_OUTPUT_SHUT) != 0)
        result = WEIR_EMISUSE;
    if (result == 0 && view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        result = WEIR_ENOMEM;
    if (result < 0) {
        if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT && loop_current() != NULL)
            loan_done(loop_current(), view.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
        return result;
    }
    if (copied(c, view)) {
        result = weir_send(conn, view);
        return result < 0 ? result : 0;
    }
    return view.size != 0 ? send_waiting(loop, c, view, deadline) : 0;
}

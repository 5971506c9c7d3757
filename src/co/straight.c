/* The consumer that hands a connection to coroutines: input waits here until one receives it, and
 * the connection lasts until they have left it. */
#include "co/straight.h"

enum { STOP_ROUNDS = 1 << 16 };

static void *session_of(const struct conn *c)
{
    return c->service->config.conn_size != 0 ? c->session : NULL;
}

int straight_get(weir_conn handle, weir_loop **loop, struct conn **c)
{
    int result = conn_get(handle, loop, c);
    if (result < 0)
        return result;
    if ((*c)->service->consumer != &consumer_straight)
        return WEIR_EMISUSE;
    if ((*c)->phase >= CONN_FLUSHING) {
        straight_heard(straight_of(*c));
        return WEIR_EGONE;
    }
    return (*c)->phase == CONN_OPEN ? 0 : WEIR_EMISUSE;
}

void straight_heard(struct straight *s)
{
    if (s->task == NULL || co_current() != s->task)
        return;
    s->told = true;
    co_local(s->task)->told = 0; /* if it was firm when it was told */
}

void straight_enter(struct conn *c)
{
    struct straight *s = straight_of(c);
    s->users++;
    s->inside |= s->task != NULL && co_current() == s->task;
}

void straight_leave(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    s->users--;
    if (co_current() == s->task)
        s->inside = false;
    if (c->phase == CONN_CLOSED)
        conn_dirty(loop, c);
}

void straight_busy(weir_loop *loop, struct conn *c)
{
    conn_flags(c) |= CONN_WORKING;
    straight_of(c)->left_ms = loop->now_ms;
}

/* Idle time goes on from where it was when the last one had received. */
void straight_waits(weir_loop *loop, struct conn *c)
{
    if ((conn_flags(c) & CONN_WORKING) == 0)
        return;
    conn_flags(c) &= ~(uint32_t)CONN_WORKING;
    uint32_t worked_ms = loop->now_ms - straight_of(c)->left_ms;
    if (worked_ms != 0) {
        uint32_t quiet_ms = loop->now_ms - c->read_ms;
        c->read_ms += worked_ms < quiet_ms ? worked_ms : quiet_ms;
    }
    uint32_t idle_ms = c->service->config.idle_ms;
    /* The timer may have been started for something later than that. */
    if (idle_ms != WEIR_OFF &&
        (!wheel_started(&c->timer) || c->timer.due_ms - loop->now_ms > idle_ms))
        conn_deadline(loop, c);
}

/* --- the coroutine of .on_conn ---------------------------------------------------------------- */

static void task_main(void *arg)
{
    struct straight *s = arg;
    struct conn *c = s->conn;
    weir_loop *loop = loop_current();
    s->task = co_current();
    co_local(s->task)->code = (void (*)(void))c->service->config.on_conn;
    c->service->config.on_conn(conn_handle(loop, c), session_of(c));
    s->task = NULL;
    if (c->phase < CONN_FLUSHING)
        conn_close(loop, c);
    else
        conn_dirty(loop, c);
}

static void task_start(weir_loop *loop, struct straight *s)
{
    struct conn *c = s->conn;
    s->starting = false;
    if (c->phase != CONN_OPEN) {
        conn_dirty(loop, c);
        return;
    }
    struct co_pool *pool = co_pool_of(loop, NULL);
    int result = pool != NULL ? co_run(pool, task_main, s) : WEIR_ENOMEM;
    if (result < 0)
        conn_fail(loop, c, WEIR_WHY_LIMIT, result);
}

/* It may wait for something else than its connection: once it is told. */
static void task_tell(struct straight *s)
{
    if (s->inside || s->told) /* there it hears it anyway */
        return;
    s->told = true;
    co_tell(s->task, WEIR_EGONE);
}

static void task_ready(weir_loop *loop, struct loop_ready *ready)
{
    struct straight *s = weir_container(ready, struct straight, ready);
    if (s->starting)
        task_start(loop, s);
    else if (s->task == NULL) /* it has returned, and its connection waits for this alone */
        conn_dirty(loop, s->conn);
    else
        task_tell(s);
}

static bool task_over(const struct straight *s)
{
    return s->task == NULL && s->users == 0 && !s->starting &&
           (s->ready.link.next == NULL || list_empty(&s->ready.link));
}

/* The loop ends: what waits is resumed until it has left. */
static void task_stop(weir_loop *loop, struct straight *s)
{
    bool former = loop->coroutines_ending;
    loop->coroutines_ending = true;
    for (int i = 0; i < STOP_ROUNDS && !task_over(s); i++) {
        loop_ready_run(loop);
        if (s->task != NULL && co_is_firm(s->task)) { /* for a worker, or for other coroutines */
            co_cancel_loose(loop);
            break;
        }
        if (s->task == NULL || co_resume(s->task, WEIR_ECANCELED) < 0)
            break;
    }
    loop->coroutines_ending = former;
}

/* --- what the core tells ---------------------------------------------------------------------- */

static void straight_open(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    const weir_service *config = &c->service->config;
    s->conn = c;
    s->opened = true;
    list_init(&s->senders);
    list_init(&s->unaccepted);
    if (config->on_open != NULL)
        config->on_open(conn_handle(loop, c), session_of(c));
    if (config->on_conn == NULL && (conn_flags(c) & CONN_CLIENT) != 0)
        loop->net->straight_clients++;
    if (c->phase != CONN_OPEN)
        return;
    if (config->on_conn != NULL) {
        straight_busy(loop, c);
        s->starting = true;
        s->ready.run = task_ready;
        loop_ready_add(loop, &s->ready);
    } else if ((conn_flags(c) & CONN_CLIENT) == 0) {
        acceptance_add(loop, c);
    } else {
        straight_busy(loop, c);
        if (s->opening != NULL)
            co_wake(s->opening, 0);
    }
}

static void straight_end(weir_loop *loop, struct conn *c, size_t held)
{
    straight_of(c)->peer_ended = true;
    /* It is told when a coroutine receives it: until then the connection lasts. */
    conn_flags(c) &= ~(uint32_t)CONN_END_TOLD;
    receive_look(loop, c);
}

static void straight_drain(weir_loop *loop, struct conn *c)
{
    receive_look(loop, c);
}

static void straight_left(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    if (s->opening != NULL)
        co_wake(s->opening, c->error < 0 ? c->error : WEIR_EGONE);
    if (!s->opened)
        return;
    straight_heard(s); /* who ends it himself knows */
    if (!list_empty(&s->unaccepted))
        list_remove(&s->unaccepted);
    receive_gone(s);
}

static void straight_sent(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    if (s->opened)
        sending_look(s);
}

static bool straight_ended(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    if (loop->net->stopping && !task_over(s))
        task_stop(loop, s);
    if (task_over(s))
        return true;
    if (loop->net->stopping) {
        conn_list_add(loop->net, c, CONN_LIST_READY); /* looked at again, turn by turn */
    } else if (s->task != NULL && !s->told) {
        loop_ready_add(loop, &s->ready);
    }
    return false;
}

static void straight_close(weir_loop *loop, struct conn *c, weir_end end)
{
    if (c->service->config.on_close != NULL)
        c->service->config.on_close(conn_handle(loop, c), end, session_of(c));
    receive_close(loop, straight_of(c));
    if (straight_of(c)->opened && (conn_flags(c) & CONN_CLIENT) != 0 &&
        c->service->config.on_conn == NULL)
        loop->net->straight_clients--;
}

static void straight_drain_request(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    bool client = (conn_flags(c) & CONN_CLIENT) != 0 && c->service->config.on_conn == NULL;
    /* What a coroutine has connected to it needs for those that it serves. */
    if (client && loop->net->conns.used > loop->net->straight_clients) {
        loop->net->drain_again = true;
        return;
    }
    s->draining = true;
    if (c->phase != CONN_OPEN || client || (!s->owned && task_over(s)))
        conn_close(loop, c);
    else
        receive_look(loop, c); /* it closes when it waits for more, or when it is done */
}

static void straight_unlisten(weir_loop *loop, struct service *service)
{
    acceptance_end(loop, service);
}

const struct consumer consumer_straight = {
    .open = straight_open,
    .input = receive_input,
    .end = straight_end,
    .drain = straight_drain,
    .close = straight_close,
    .drain_request = straight_drain_request,
    .left = straight_left,
    .sent = straight_sent,
    .ended = straight_ended,
    .keeps = receive_keeps,
    .unlisten = straight_unlisten,
    .record_bytes = sizeof(struct straight),
    .paces_itself = true,
};

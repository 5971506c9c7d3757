/* Deadlines (K7): one timer node a connection, started for the earliest; activity only stores a
 * time, and what fires too early is started again. */
#include "net/conn.h"

struct due { /* the earliest so far */
    bool any;
    uint32_t at_ms;
    uint32_t which; /* enum weir_deadline, or one of these */
};
enum { DUE_READER_IDLE = 16, DUE_WRITER_IDLE, DUE_BOTH_IDLE, DUE_WRITE_LOOK };

/* `from_ms` was cut to the millisecond that had begun: one more, so that nothing is early. */
static void sooner(struct due *due, uint32_t from_ms, uint32_t span_ms, uint32_t which)
{
    if (span_ms == WEIR_OFF)
        return;
    uint32_t at_ms = from_ms + (span_ms < INT32_MAX ? span_ms + 1 : INT32_MAX);
    if (due->any && (int32_t)(at_ms - due->at_ms) >= 0)
        return;
    *due = (struct due){true, at_ms, which};
}

static uint32_t later(uint32_t a_ms, uint32_t b_ms)
{
    return (int32_t)(a_ms - b_ms) > 0 ? a_ms : b_ms;
}

static struct idle_told *told_of(struct conn *c)
{
    if (!c->service->idle_told)
        return NULL;
    return (struct idle_told *)(void *)((char *)c->session + c->service->told_offset);
}

void conn_idle_begin(weir_loop *loop, struct conn *c)
{
    struct idle_told *told = told_of(c);
    if (told != NULL)
        told->reader_ms = told->writer_ms = told->both_ms = loop->now_ms;
}

static void due_idle_events(struct conn *c, struct due *due)
{
    const weir_service *config = &c->service->config;
    struct idle_told *told = told_of(c);
    if (told == NULL)
        return;
    sooner(due, later(c->read_ms, told->reader_ms), config->reader_idle_ms, DUE_READER_IDLE);
    sooner(due, later(c->write_ms, told->writer_ms), config->writer_idle_ms, DUE_WRITER_IDLE);
    sooner(due, later(later(c->read_ms, c->write_ms), told->both_ms), config->both_idle_ms,
           DUE_BOTH_IDLE);
}

/* The kernel takes more of us only when a third of what it holds has gone, which may be megabytes:
 * a peer that takes them slowly is not one that takes nothing. So what it took is asked for, a
 * quarter into an interval that saw no short time, and again at its end. */
enum { WRITE_LOOK_PART = 4 };

static void write_interval(struct conn *c, uint32_t now_ms)
{
    struct busy *b = c->busy;
    b->stalling = true;
    b->looked = false;
    b->write_mark_ms = now_ms;
    b->write_mark_bytes = c->sent_bytes;
}

static void due_write(struct conn *c, struct due *due, uint32_t now_ms)
{
    struct busy *b = c->busy;
    uint32_t write_ms = c->service->config.write_ms;
    if (b == NULL || write_ms == WEIR_OFF)
        return;
    if (b->out.unsent_bytes == 0) {
        b->stalling = false;
        return;
    }
    if (!b->stalling)
        write_interval(c, now_ms);
    if (b->looked)
        sooner(due, b->write_mark_ms, write_ms, WEIR_DEADLINE_WRITE);
    else
        sooner(due, b->write_mark_ms, write_ms / WRITE_LOOK_PART, DUE_WRITE_LOOK);
}

/* Quiet for a reason that is not the peer's: it cannot be called idle. One that the budget has
 * paused with nothing to send can: a part of a frame is all that it holds, and were it kept until
 * others give memory back, as many such ones as fill the budget would stay for ever. */
static bool waits_for_others(struct conn *c)
{
    uint32_t waiting = conn_flags(c) & CONN_PAUSED_WAITING;
    return waiting != 0 && (waiting != CONN_PAUSED_BUDGET || conn_unsent(c));
}

static bool heard(const struct conn *c)
{
    return (conn_flags((struct conn *)(uintptr_t)c) & CONN_FILTERED) != 0 ? c->busy->heard
                                                                          : c->received_bytes != 0;
}

static void due_open(weir_loop *loop, struct conn *c, struct due *due)
{
    const weir_service *config = &c->service->config;
    uint32_t proto_ms;
    enum weir_deadline which;
    due_write(c, due, loop->now_ms);
    if (c->service->consumer->due != NULL && c->service->consumer->due(loop, c, &proto_ms, &which))
        sooner(due, proto_ms, 0, which);
    due_idle_events(c, due);
    bool began = heard(c) || (config->server_first && c->sent_bytes != 0) ||
                 (conn_flags(c) & CONN_CLIENT) != 0;
    /* Without a deadline for the first byte the one for idleness counts from the opening on. */
    if (!began && config->first_byte_ms != WEIR_OFF)
        sooner(due, c->opened_ms, config->first_byte_ms, WEIR_DEADLINE_FIRST_BYTE);
    else if (!waits_for_others(c))
        sooner(due, later(c->read_ms, c->write_ms), config->idle_ms, WEIR_DEADLINE_IDLE);
}

static struct due due_of(weir_loop *loop, struct conn *c)
{
    struct due due = {0};
    const weir_service *config = &c->service->config;
    switch (c->phase) {
    case CONN_CONNECTING:
        sooner(&due, c->opened_ms, config->connect_ms, WEIR_DEADLINE_CONNECT);
        break;
    case CONN_OPENING:
        if (filters_dialing(c)) /* what a proxy does is a part of connecting */
            sooner(&due, c->opened_ms, config->connect_ms, WEIR_DEADLINE_CONNECT);
        else
            sooner(&due, c->opened_ms, config->first_byte_ms, WEIR_DEADLINE_FIRST_BYTE);
        break;
    case CONN_OPEN:
        due_open(loop, c, &due);
        break;
    case CONN_FLUSHING:
        due_write(c, &due, loop->now_ms);
        if (!due.any)
            sooner(&due, c->write_ms, config->write_ms, WEIR_DEADLINE_WRITE);
        break;
    case CONN_LINGERING:
        sooner(&due, c->write_ms, config->linger_ms, WEIR_DEADLINE_LINGER);
        break;
    default:
        break;
    }
    return due;
}

void conn_deadline(weir_loop *loop, struct conn *c)
{
    struct due due = due_of(loop, c);
    if (!due.any)
        return;
    if (wheel_started(&c->timer)) {
        if ((int32_t)(c->timer.due_ms - due.at_ms) <= 0)
            return; /* it looks again then */
        wheel_cancel(&loop->wheel, &c->timer);
    }
    c->timer.tag = LOOP_OWNER_CONN;
    wheel_start(&loop->wheel, &c->timer, due.at_ms);
}

static void idle_event(weir_loop *loop, struct conn *c, uint32_t which)
{
    struct idle_told *told = told_of(c);
    enum weir_idle idle = WEIR_IDLE_BOTH;
    if (which == DUE_READER_IDLE) {
        told->reader_ms = loop->now_ms;
        idle = WEIR_IDLE_READER;
    } else if (which == DUE_WRITER_IDLE) {
        told->writer_ms = loop->now_ms;
        idle = WEIR_IDLE_WRITER;
    } else {
        told->both_ms = loop->now_ms;
    }
    if (c->service->config.on_idle != NULL)
        c->service->config.on_idle(conn_handle(loop, c), idle, c->session);
    conn_dirty(loop, c);
}

static void write_look(weir_loop *loop, struct conn *c)
{
    c->busy->looked = true;
    c->busy->write_look_bytes = conn_taken(loop, c);
}

/* The peer took enough in this interval: the next one begins. */
static bool write_progressed(weir_loop *loop, struct conn *c)
{
    struct busy *b = c->busy;
    if (b == NULL || !b->stalling)
        return false;
    bool moved = c->sent_bytes - b->write_mark_bytes >= LIMIT_WRITE_PROGRESS;
    int64_t taken = moved && !b->looked ? -1 : conn_taken(loop, c);
    if (!moved && (taken < 0 || b->write_look_bytes < 0 ||
                   taken < b->write_look_bytes + LIMIT_WRITE_PROGRESS))
        return false;
    write_interval(c, loop->now_ms);
    b->looked = taken >= 0; /* so that the next interval is seen whole */
    b->write_look_bytes = taken;
    return true;
}

static void expire(weir_loop *loop, struct conn *c, uint32_t which)
{
    const struct consumer *consumer = c->service->consumer;
    if (which == DUE_WRITE_LOOK)
        write_look(loop, c);
    else if (which >= DUE_READER_IDLE)
        idle_event(loop, c, which);
    else if (which == WEIR_DEADLINE_WRITE && write_progressed(loop, c))
        return;
    else if ((which == WEIR_DEADLINE_HEADER || which == WEIR_DEADLINE_BODY) &&
             consumer->expired != NULL && !consumer->expired(loop, c, (enum weir_deadline)which))
        conn_dirty(loop, c);
    else
        conn_fail_deadline(loop, c, (enum weir_deadline)which);
}

void conn_event_timer(weir_loop *loop, struct wheel_node *node)
{
    struct conn *c = weir_container(node, struct conn, timer);
    struct due due = due_of(loop, c);
    if (due.any && (int32_t)(due.at_ms - loop->now_ms) <= 0)
        expire(loop, c, due.which);
    loop_ready_run(loop);
    if (c->phase < CONN_STOPPING)
        conn_deadline(loop, c);
}

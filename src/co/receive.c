/* Receiving in a coroutine. What nobody receives yet is held by the connection, and reading stops;
 * what somebody waits for is copied into memory that is charged to the loop, and looked at here, so
 * that a coroutine is resumed once, when it has all that it asked for. A receive block of the
 * kernel's is never kept: coroutines may take their time. */
#include "co/straight.h"

#include <string.h>

#include "loop/limits.h"

enum { INPUT_HEAD = sizeof(struct co_left), UNTIL_END_MAX = WEIR_FRAME_END_BYTES };

enum receive_kind { RECEIVE_ANY, RECEIVE_EXACT, RECEIVE_UNTIL, RECEIVE_FRAME };

struct receive {
    struct co_wait wait;
    enum receive_kind kind;
    size_t size; /* exact, until: at most */
    const char *end;
    size_t end_size;
    const weir_frame *frame;
    size_t scanned;
    size_t offset; /* of the view in what is given */
    uint32_t view_size;
};

static uint8_t *input_at(struct straight *s)
{
    return (uint8_t *)s->input + s->from;
}

static uint32_t input_size(const struct straight *s)
{
    return s->input != NULL ? s->to - s->from : 0;
}

size_t receive_keeps(const struct conn *c)
{
    const struct straight *s = straight_of(c);
    return s->input != NULL ? s->input->room : 0;
}

static void input_give_back(weir_loop *loop, struct straight *s)
{
    if (s->input != NULL)
        memory_give(&loop->memory, s->input, s->input->room);
    s->input = NULL;
    s->from = s->to = s->given = 0;
}

/* The last view is not looked at any more. */
static void input_consume(weir_loop *loop, struct straight *s)
{
    s->from += s->given;
    s->given = 0;
    if (s->input != NULL && s->from == s->to)
        input_give_back(loop, s);
}

static int input_grow(weir_loop *loop, struct straight *s, size_t size)
{
    size_t held = input_size(s), room;
    if (s->input != NULL && INPUT_HEAD + held + size <= s->input->room && s->from > INPUT_HEAD) {
        memmove((uint8_t *)s->input + INPUT_HEAD, input_at(s), held);
    } else {
        size_t spare = s->input != NULL ? held : 0; /* it goes on growing */
        struct co_left *grown =
            memory_take(&loop->memory, INPUT_HEAD + held + size + spare, true, &room);
        if (grown == NULL)
            return WEIR_ENOMEM;
        grown->room = room;
        if (s->input != NULL) {
            memcpy((uint8_t *)grown + INPUT_HEAD, input_at(s), held);
            memory_give(&loop->memory, s->input, s->input->room);
        }
        s->input = grown;
    }
    s->from = INPUT_HEAD;
    s->to = (uint32_t)(INPUT_HEAD + held);
    return 0;
}

static int input_add(weir_loop *loop, struct straight *s, const void *data, size_t size)
{
    if (s->input == NULL || s->to + size > s->input->room) {
        int result = input_grow(loop, s, size);
        if (result < 0)
            return result;
    }
    memcpy((uint8_t *)s->input + s->to, data, size);
    s->to += (uint32_t)size;
    return 0;
}

/* --- looking for what is asked ------------------------------------------------------------------
 * 1: it is there; 0: not yet; or a negative error. */

static int found(struct straight *s, struct receive *r, size_t size, size_t offset, size_t view)
{
    s->given = (uint32_t)size;
    r->offset = offset;
    r->view_size = (uint32_t)view;
    return 1;
}

static int look_until(struct straight *s, struct receive *r)
{
    size_t size = input_size(s), most = size < r->size ? size : r->size;
    const uint8_t *bytes = input_at(s);
    const uint8_t *at = most - r->scanned >= r->end_size
                            ? memmem(bytes + r->scanned, most - r->scanned, r->end, r->end_size)
                            : NULL;
    if (at != NULL) {
        size_t all = (size_t)(at - bytes) + r->end_size;
        return found(s, r, all, 0, all);
    }
    if (size >= r->size)
        return WEIR_ETOOBIG;
    r->scanned = most >= r->end_size ? most - r->end_size + 1 : 0;
    return 0;
}

static int look_frame(struct straight *s, struct receive *r)
{
    weir_frame_found frame;
    int result = weir_frame_next(r->frame, input_at(s), input_size(s), &r->scanned, &frame);
    if (result == 1)
        return found(s, r, frame.size, frame.payload_offset, frame.payload_size);
    return result;
}

static int look(weir_loop *loop, struct straight *s, struct receive *r)
{
    size_t size = input_size(s);
    if (size == 0)
        return 0;
    switch (r->kind) {
    case RECEIVE_ANY:
        if (size > loop->io->block_size) /* an answer to it fits between the mark and the cap */
            size = loop->io->block_size;
        return found(s, r, size, 0, size);
    case RECEIVE_EXACT:
        return size >= r->size ? found(s, r, r->size, 0, r->size) : 0;
    case RECEIVE_UNTIL:
        return look_until(s, r);
    default:
        return look_frame(s, r);
    }
}

/* What the connection holds, as far as it may be read now: output above the mark comes first. */
static int held_take(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    struct busy *b = c->busy;
    if (b == NULL || b->held == NULL || (conn_flags(c) & CONN_PAUSED_INPUT) != 0)
        return 0;
    size_t size = b->held_to - b->held_from;
    if (size > loop->io->block_size)
        size = loop->io->block_size;
    int result = input_add(loop, s, b->held + b->held_from, size);
    if (result < 0)
        return result;
    b->held_from += (uint32_t)size;
    if (b->held_from == b->held_to) {
        memory_give(&loop->memory, b->held, b->held_room);
        b->held = NULL;
        b->held_from = b->held_to = 0;
    }
    conn_dirty(loop, c); /* reads on */
    return (int)(size != 0);
}

/* Decides what a receive gets: not 0 when it ends. */
static int decide(weir_loop *loop, struct conn *c, struct receive *r, int *result)
{
    struct straight *s = straight_of(c);
    *result = WEIR_EGONE;
    if (c->phase >= CONN_FLUSHING)
        return 1;
    if (conn_marked(loop, c))
        return 0;
    int more, looked;
    do {
        looked = look(loop, s, r);
        more = looked == 0 ? held_take(loop, c) : 0;
    } while (looked == 0 && more > 0);
    *result = looked != 0 ? looked : more;
    if (*result != 0)
        return 1;
    if (s->peer_ended && (c->busy == NULL || c->busy->held == NULL)) {
        conn_flags(c) |= CONN_END_TOLD;
        conn_dirty(loop, c);
        *result = input_size(s) != 0 ? WEIR_EPROTO : 0;
        return 1;
    }
    if ((conn_flags(c) & CONN_ERROR_HELD) != 0 && (c->busy == NULL || c->busy->held == NULL))
        conn_again(loop, c); /* all that came before the error is here: it is told now */
    if (!s->draining || input_size(s) != 0)
        return 0;
    conn_close(loop, c); /* the server is being stopped, and nothing is going on here */
    *result = WEIR_EGONE;
    return 1;
}

void receive_look(weir_loop *loop, struct conn *c)
{
    struct straight *s = straight_of(c);
    struct receive *r = s->reader;
    int result;
    if (r == NULL || r->wait.woken)
        return;
    if (decide(loop, c, r, &result) != 0)
        co_wake(&r->wait, result);
}

size_t receive_input(weir_loop *loop, struct conn *c, weir_view data)
{
    struct straight *s = straight_of(c);
    struct receive *r = s->reader;
    if (r == NULL || r->wait.woken)
        return 0;
    int result = input_add(loop, s, data.data, data.size);
    if (result < 0) {
        conn_fail(loop, c, WEIR_WHY_LIMIT, result);
        return data.size;
    }
    result = look(loop, s, r);
    if (result != 0)
        co_wake(&r->wait, result);
    return data.size;
}

bool receive_quiet(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    if (straight_get(conn, &loop, &c) < 0)
        return false;
    const struct straight *s = straight_of(c);
    uint32_t over = CONN_PEER_ENDED | CONN_UP_ENDED | CONN_ERROR_HELD;
    if (s->reader != NULL || s->peer_ended || (conn_flags(c) & over) != 0)
        return false;
    return input_size(s) == s->given && (c->busy == NULL || c->busy->held == NULL);
}

void receive_gone(struct straight *s)
{
    if (s->reader != NULL)
        co_wake(&s->reader->wait, WEIR_EGONE);
}

static void given_unlink(struct straight *s)
{
    if (s->given_to != NULL)
        list_remove(&s->given_link);
    s->given_to = NULL;
}

static void given_link(struct straight *s, struct co *co)
{
    struct list *given = &co_local(co)->given;
    if (s->given_to == co)
        return;
    given_unlink(s);
    if (given->next == NULL)
        list_init(given);
    list_push(given, &s->given_link);
    s->given_to = co;
    co_at_end(co);
}

void receive_forget(struct list *given)
{
    struct list *link;
    while ((link = list_pop(given)) != NULL)
        weir_container(link, struct straight, given_link)->given_to = NULL;
}

void receive_close(weir_loop *loop, struct straight *s)
{
    if (s->input != NULL && s->given != 0 && s->given_to != NULL)
        co_leave(s->given_to, s->input);
    else if (s->input != NULL)
        memory_give(&loop->memory, s->input, s->input->room);
    s->input = NULL;
    given_unlink(s);
}

/* --- the verbs -------------------------------------------------------------------------------- */

static int wait_for_it(weir_loop *loop, struct conn *c, struct receive *r, weir_time deadline)
{
    struct straight *s = straight_of(c);
    input_consume(loop, s);
    int result;
    if (decide(loop, c, r, &result) != 0)
        return result;
    result = co_wait_possible();
    if (result < 0)
        return result;
    s->reader = r;
    straight_enter(c);
    straight_waits(loop, c);
    budget_look(loop, c);
    result = co_wait(&r->wait, deadline);
    s->reader = NULL;
    if (c->phase == CONN_OPEN)
        straight_busy(loop, c);
    if (result == WEIR_EGONE)
        straight_heard(s);
    straight_leave(loop, c);
    return result;
}

static int receiver_get(weir_conn conn, weir_loop **loop, struct conn **c)
{
    int result = straight_get(conn, loop, c);
    return result == 0 && straight_of(*c)->reader != NULL ? WEIR_EMISUSE : result;
}

/* What has been received already is had without a wait, and may be thousands of messages: so many
 * a turn, or one connection starves the others (K16). */
static bool turn_spent(const weir_loop *loop, struct straight *s)
{
    uint32_t turn = (uint32_t)loop->counters.turns;
    if (s->turn != turn)
        s->turn_receives = 0;
    s->turn = turn;
    return s->turn_receives++ >= LIMIT_FRAMES_A_TURN;
}

static int receive(weir_conn conn, struct receive *r, weir_view *in, weir_time deadline)
{
    weir_loop *loop;
    struct conn *c;
    if (in == NULL)
        return WEIR_EINVALID;
    *in = weir_bytes(NULL, 0);
    if (co_current() == NULL)
        return WEIR_EMISUSE;
    if (loop_current() != NULL) /* views of connections that have ended */
        co_left_drop(loop_current(), co_current());
    int result = receiver_get(conn, &loop, &c);
    if (result == 0 && turn_spent(loop, straight_of(c))) {
        result = co_wait_turn();
        if (result == 0) /* it may be gone by now */
            result = receiver_get(conn, &loop, &c);
    }
    if (result < 0)
        return result;
    struct straight *s = straight_of(c);
    if (r->kind == RECEIVE_FRAME) {
        r->frame = &c->service->config.frame;
        if (r->frame->kind == WEIR_FRAME_NONE)
            return WEIR_EMISUSE;
    }
    result = wait_for_it(loop, c, r, deadline);
    if (result != 1)
        return result;
    given_link(s, co_current());
    *in = weir_bytes(input_at(s) + r->offset, r->view_size);
    return r->kind == RECEIVE_FRAME ? 1 : (int)r->view_size;
}

int weir_recv(weir_conn conn, weir_view *in, weir_time deadline)
{
    struct receive r = {.kind = RECEIVE_ANY};
    return receive(conn, &r, in, deadline);
}

int weir_recv_exact(weir_conn conn, weir_view *in, size_t size, weir_time deadline)
{
    struct receive r = {.kind = RECEIVE_EXACT, .size = size};
    if (size == 0)
        return WEIR_EINVALID;
    return size > LIMIT_HELD_INPUT ? WEIR_ETOOBIG : receive(conn, &r, in, deadline);
}

int weir_recv_until(weir_conn conn, weir_view *in, const char *end, size_t max, weir_time deadline)
{
    struct receive r = {.kind = RECEIVE_UNTIL, .size = max, .end = end};
    if (end == NULL || max == 0)
        return WEIR_EINVALID;
    r.end_size = strlen(end);
    if (r.end_size == 0 || r.end_size > UNTIL_END_MAX)
        return WEIR_EINVALID;
    return max > LIMIT_HELD_INPUT ? WEIR_ETOOBIG : receive(conn, &r, in, deadline);
}

int weir_recv_frame(weir_conn conn, weir_view *frame, weir_time deadline)
{
    struct receive r = {.kind = RECEIVE_FRAME};
    return receive(conn, &r, frame, deadline);
}

/* Filters on a connection: level 0 is next to the wire. Bytes from below climb at once; bytes from
 * above wait in a queue over each level and are pumped down in the flush, as far as the level below
 * has room, so that what a filter holds stays within the connection's budget. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn.h"

struct weir_filter_at {
    weir_loop *loop;
    struct conn *c;
    uint32_t index;
};

struct level {
    struct weir_filter_at at;
    const weir_filter *filter;
    void *config;
    void *state;
    struct output above; /* for this filter's output */
    uint32_t charged;    /* bytes, to the loop's memory */
    bool opened, ready;
    bool above_ended; /* the layer above finished its direction */
    bool told_end;    /* and the filter knows */
    bool blocked;     /* took less than it was given: waits for weir_filter_wake */
    bool dropped;     /* the filter takes no output any more: what comes from above is dropped */
    bool up_ended;
    bool paused; /* it wants no input now */
};

struct filter_stack {
    uint32_t count;
    bool pumping;
    bool came;          /* something, while one of them was paused */
    uint32_t paused;    /* levels */
    char *host;         /* that its URL named; NULL: an address */
    uint16_t port;      /* with .via: of its URL */
    uint32_t via_count; /* the lowest levels, which speak to proxies */
    struct level levels[];
};

static struct filter_stack *stack_of(const struct conn *c)
{
    return c->busy != NULL ? c->busy->filters : NULL;
}

static struct level *level_of(weir_filter_at *at)
{
    return weir_container(at, struct level, at);
}

struct output *filters_top(struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    return &stack->levels[stack->count - 1].above;
}

static int level_open(weir_loop *loop, struct conn *c, uint32_t index)
{
    struct level *level = &stack_of(c)->levels[index];
    level->opened = true;
    return level->filter->open(&level->at, level->state, level->config,
                               (conn_flags(c) & CONN_CLIENT) != 0);
}

int filters_aim(weir_loop *loop, struct conn *c, const struct aim *aim)
{
    struct busy *b = conn_busy(loop->net, c);
    bool named = aim->host[0] != '\0';
    if (b == NULL)
        return WEIR_ENOMEM;
    b->host = named ? weir__strdup(aim->host) : NULL;
    if (named && b->host == NULL)
        return WEIR_ENOMEM;
    b->secure = aim->secure;
    b->via = aim->via;
    b->aim_port = aim->port;
    return 0;
}

/* Which filter stands on a level: those that speak to proxies, then that of secure addresses, then
 * the service's own. */
static void level_fill(struct level *level, const weir_service *config, uint32_t index,
                       uint32_t via_count, bool secure)
{
    const weir_layer *layer = index < via_count              ? &config->via->layers[index]
                              : secure && index == via_count ? config->tls
                                                             : NULL;
    if (layer != NULL) {
        level->filter = layer->filter;
        level->config = layer->config;
        return;
    }
    index -= via_count + secure;
    level->filter = config->filters[index];
    level->config = config->filter_configs != NULL ? config->filter_configs[index] : NULL;
}

int filters_open(weir_loop *loop, struct conn *c)
{
    struct busy *b = conn_busy(loop->net, c);
    bool secure = b != NULL && b->secure;
    uint32_t via_count = b != NULL && b->via ? c->service->config.via->layer_count : 0;
    uint32_t count = c->service->filter_count + secure + via_count;
    WEIR_ASSERT(!secure || c->service->config.tls != NULL);
    struct filter_stack *stack =
        b != NULL ? weir__zalloc(sizeof *stack + count * sizeof stack->levels[0]) : NULL;
    if (stack == NULL)
        return WEIR_ENOMEM;
    b->filters = stack;
    b->secure = b->via = false;
    stack->count = count;
    stack->via_count = via_count;
    stack->port = b->aim_port;
    stack->host = b->host;
    b->host = NULL;
    conn_flags(c) |= CONN_FILTERED;
    for (uint32_t i = 0; i < count; i++)
        output_init(&stack->levels[i].above);
    for (uint32_t i = 0; i < count; i++) {
        struct level *level = &stack->levels[i];
        level_fill(level, &c->service->config, i, via_count, secure);
        level->at = (struct weir_filter_at){loop, c, i};
        level->state = weir__zalloc(level->filter->state_size + 1);
        if (level->state == NULL)
            return WEIR_ENOMEM;
    }
    return level_open(loop, c, 0);
}

void filters_input(weir_loop *loop, struct conn *c, weir_view data)
{
    struct filter_stack *stack = stack_of(c);
    struct level *level = &stack->levels[0];
    stack->came |= stack->paused != 0;
    int result = level->filter->input(&level->at, level->state, data);
    if (result < 0 && c->phase <= CONN_OPEN) /* else a handler has closed it, and that goes on */
        weir_filter_fail(&level->at, result);
}

void filters_end(weir_loop *loop, struct conn *c)
{
    struct level *level = &stack_of(c)->levels[0];
    if (level->filter->input_end == NULL) {
        weir_filter_up_end(&level->at);
        return;
    }
    int result = level->filter->input_end(&level->at, level->state);
    if (result < 0)
        conn_input_cut(loop, c, result);
}

/* A file's next part, read off the loop, for filters that must see its bytes. */
struct file_part {
    weir_conn conn;
    void *chunk;
    size_t room;
};

static void file_part_read(weir_loop *loop, int result, void *arg)
{
    struct file_part part = *(struct file_part *)arg;
    weir_loop *owner;
    struct conn *c;
    weir__free(arg);
    bool gone =
        conn_get(part.conn, &owner, &c) < 0 || c->phase > CONN_FLUSHING || stack_of(c) == NULL;
    struct segment *s = gone ? NULL : output_front(filters_top(c));
    if (s == NULL || s->kind != SEGMENT_FILE || result <= 0) {
        memory_give(&loop->memory, part.chunk, part.room);
        if (s != NULL)
            conn_fail(loop, c, WEIR_WHY_ERROR, result < 0 ? result : WEIR_ETORN);
        return;
    }
    struct output *above = filters_top(c);
    uint64_t size = (uint64_t)result;
    s->source->waits = false;
    s->source->offset += result;
    s->size -= size;
    above->unsent_bytes -= size;
    struct segment piece = {.kind = SEGMENT_COPY,
                            .data = part.chunk,
                            .size = size,
                            .index = (uint32_t)size,
                            .chunk = part.chunk,
                            .room = (uint32_t)part.room};
    if (s->size == 0)
        output_pop(loop, c, above);
    if (output_push_front(loop, c, above, &piece) < 0) {
        memory_give(&loop->memory, part.chunk, part.room);
        conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
    }
    conn_dirty(loop, c);
}

static int file_part_start(weir_loop *loop, struct conn *c, struct segment *s)
{
    struct file_part *part = weir__zalloc(sizeof *part);
    if (part == NULL)
        return WEIR_ENOMEM;
    part->conn = conn_handle(loop, c);
    size_t size = s->size < LIMIT_PULL_CHUNK ? (size_t)s->size : LIMIT_PULL_CHUNK;
    part->chunk = memory_take(&loop->memory, size, true, &part->room);
    struct io_file file = {.verb = IO_FILE_READ,
                           .fd = s->source->fd,
                           .buffer = part->chunk,
                           .size = size,
                           .offset = s->source->offset};
    int result = part->chunk != NULL ? loop_file_start(loop, &file, file_part_read, part, NULL)
                                     : WEIR_ENOMEM;
    if (result == 0) {
        s->source->waits = true;
        return 0;
    }
    if (part->chunk != NULL)
        memory_give(&loop->memory, part->chunk, part->room);
    weir__free(part);
    return result;
}

/* Turns a file or pull source at the front into bytes. True: there are some now. */
static bool source_fill(weir_loop *loop, struct conn *c, struct output *above)
{
    struct segment *s = output_front(above);
    if (s->source->waits)
        return false;
    if (s->kind == SEGMENT_FILE) {
        int result = file_part_start(loop, c, s);
        if (result == WEIR_EFULL || result == -ENOBUFS)
            conn_again(loop, c); /* the queue of the pool, or of the ring, is full: that passes */
        else if (result < 0)
            conn_fail(loop, c, WEIR_WHY_ERROR, result);
        return false;
    }
    return output_pull(loop, c, above);
}

int filters_unblock(weir_loop *loop, struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    for (uint32_t i = 0; stack != NULL && i < stack->count; i++)
        if (output_unblock(loop, &stack->levels[i].above, 0) < 0)
            return WEIR_ENOMEM;
    return 0;
}

static const struct output *level_below(const struct filter_stack *stack, const struct conn *c,
                                        uint32_t index)
{
    return index == 0 ? &c->busy->out : &stack->levels[index - 1].above;
}

static bool level_room(const struct filter_stack *stack, const struct conn *c, uint32_t index)
{
    return level_below(stack, c, index)->unsent_bytes <= c->service->config.soft_mark_bytes;
}

/* One level: gives the filter what waits above it. */
static void level_pump(weir_loop *loop, struct conn *c, uint32_t index)
{
    struct filter_stack *stack = stack_of(c);
    struct level *level = &stack->levels[index];
    struct output *above = &level->above;
    if (level->blocked && level_below(stack, c, index)->count == 0)
        level->blocked = false; /* the layer below has drained: it may take more now */
    while (above->count != 0 && !level->blocked && !level->dropped && c->phase <= CONN_FLUSHING &&
           level_room(stack, c, index)) {
        struct segment *s = output_front(above);
        if (s->kind >= SEGMENT_FILE) {
            if (!source_fill(loop, c, above))
                return;
            continue;
        }
        uint64_t size = s->size < UINT32_MAX ? s->size : UINT32_MAX;
        int64_t taken = level->filter->output(&level->at, level->state,
                                              weir_bytes(s->data, (size_t)size), above->count == 1);
        if (taken < 0 || (uint64_t)taken > size) {
            weir_filter_fail(&level->at, taken < 0 ? (int)taken : WEIR_EMISUSE);
            return;
        }
        if (level->dropped)
            break;
        level->blocked = (uint64_t)taken < size;
        output_consume(loop, c, above, (uint64_t)taken);
    }
    if (level->dropped)
        output_clear(loop, c, above);
    bool ended =
        index + 1 == stack->count ? (conn_flags(c) & CONN_OUTPUT_SHUT) != 0 : level->above_ended;
    if (above->count != 0 || !ended || level->told_end || !level->ready || c->phase > CONN_FLUSHING)
        return;
    level->told_end = true;
    if (level->filter->output_end == NULL) {
        weir_filter_down_end(&level->at);
        return;
    }
    int result = level->filter->output_end(&level->at, level->state);
    if (result < 0)
        weir_filter_fail(&level->at, result);
}

void filters_output(weir_loop *loop, struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    if (stack == NULL || stack->pumping)
        return;
    stack->pumping = true;
    for (uint32_t i = stack->count; i-- > 0;)
        level_pump(loop, c, i);
    stack->pumping = false;
}

uint32_t filters_held(struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    uint64_t held = 0;
    for (uint32_t i = 0; stack != NULL && i < stack->count; i++) {
        struct level *level = &stack->levels[i];
        held += level->above.unsent_bytes;
        if (level->filter->held != NULL)
            held += level->filter->held(&level->at, level->state);
    }
    return held < UINT32_MAX ? (uint32_t)held : UINT32_MAX;
}

bool filters_busy(const struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    if (stack == NULL || (conn_flags((struct conn *)(uintptr_t)c) & CONN_WIRE_SHUT) != 0)
        return false;
    return stack->levels[stack->count - 1].ready; /* a handshake is not waited for */
}

bool filters_paused(const struct conn *c)
{
    const struct filter_stack *stack = stack_of(c);
    return stack != NULL && stack->paused != 0 && stack->came;
}

bool filters_dialing(const struct conn *c)
{
    const struct filter_stack *stack = stack_of(c);
    return stack != NULL && stack->via_count != 0 && !stack->levels[stack->via_count - 1].ready;
}

void filters_drop(weir_loop *loop, struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    for (uint32_t i = 0; stack != NULL && i < stack->count; i++)
        output_clear(loop, c, &stack->levels[i].above);
}

void filters_close(weir_loop *loop, struct conn *c)
{
    struct filter_stack *stack = stack_of(c);
    if (stack == NULL)
        return;
    for (uint32_t i = stack->count; i-- > 0;) {
        struct level *level = &stack->levels[i];
        if (level->opened && level->filter->close != NULL)
            level->filter->close(&level->at, level->state);
        output_clear(loop, c, &level->above);
        output_end(loop, &level->above);
        memory_charge(&loop->memory, level->charged, 0);
        weir__free(level->state);
    }
    c->busy->filters = NULL;
    conn_flags(c) &= ~(uint32_t)CONN_FILTERED;
    weir__free(stack->host);
    weir__free(stack);
}

void *weir_filter_state(weir_filter_at *at)
{
    return level_of(at)->state;
}

uint64_t weir_filter_conn(weir_filter_at *at)
{
    return conn_handle(at->loop, at->c).id;
}

void weir_filter_ready(weir_filter_at *at)
{
    struct filter_stack *stack = stack_of(at->c);
    struct level *level = level_of(at);
    if (level->ready || at->c->phase != CONN_OPENING)
        return;
    level->ready = true;
    if (at->index + 1 == stack->via_count) { /* the handshakes above have a time of their own */
        at->c->opened_ms = at->loop->now_ms;
        conn_deadline(at->loop, at->c);
    }
    if (at->index + 1 == stack->count) {
        conn_opened(at->loop, at->c);
        conn_dirty(at->loop, at->c);
        return;
    }
    int result = level_open(at->loop, at->c, at->index + 1);
    if (result < 0)
        weir_filter_fail(&stack->levels[at->index + 1].at, result);
}

int weir_filter_up(weir_filter_at *at, weir_view data)
{
    struct filter_stack *stack = stack_of(at->c);
    if (at->c->phase > CONN_OPEN)
        return WEIR_EGONE;
    if (at->index + 1 == stack->count) {
        conn_consume(at->loop, at->c, data);
        return 0;
    }
    struct level *next = &stack->levels[at->index + 1];
    int result = next->filter->input(&next->at, next->state, data);
    if (result < 0 && at->c->phase <= CONN_OPEN)
        weir_filter_fail(&next->at, result);
    return result;
}

void weir_filter_up_end(weir_filter_at *at)
{
    struct filter_stack *stack = stack_of(at->c);
    struct level *level = level_of(at);
    if (level->up_ended || at->c->phase > CONN_OPEN)
        return;
    level->up_ended = true;
    if (at->c->phase == CONN_OPENING) { /* the peer left in the middle of a handshake */
        conn_fail(at->loop, at->c, WEIR_WHY_PEER_FINISHED, 0);
        return;
    }
    if (at->index + 1 == stack->count) {
        conn_consume_end(at->loop, at->c);
        return;
    }
    struct level *next = &stack->levels[at->index + 1];
    if (next->filter->input_end == NULL) {
        weir_filter_up_end(&next->at);
        return;
    }
    int result = next->filter->input_end(&next->at, next->state);
    if (result < 0)
        conn_input_cut(at->loop, at->c, result);
}

/* What a filter sends of itself (alerts, answers to its peer) is bounded too, by twice the hard
 * cap: once by itself, once by what it held of the output above. While it is pumped it has been
 * given what it passes down, and no more than there is room for. */
static bool level_full(const struct filter_stack *stack, const struct conn *c,
                       const struct output *below)
{
    return !stack->pumping && below->unsent_bytes / 2 > c->service->config.hard_cap_bytes;
}

int weir_filter_down(weir_filter_at *at, weir_view data)
{
    struct conn *c = at->c;
    if (c->phase > CONN_FLUSHING)
        return WEIR_EGONE;
    struct filter_stack *stack = stack_of(c);
    struct output *below = at->index == 0 ? &c->busy->out : &stack->levels[at->index - 1].above;
    if (level_full(stack, c, below)) {
        conn_fail(at->loop, c, WEIR_WHY_LIMIT, WEIR_EFULL);
        return WEIR_EFULL;
    }
    int result = output_view(at->loop, c, below, data, true);
    if (result < 0)
        weir_filter_fail(at, result);
    conn_dirty(at->loop, c);
    return result;
}

void weir_filter_down_end(weir_filter_at *at)
{
    if (at->index == 0)
        conn_flags(at->c) |= CONN_WIRE_SHUT;
    else
        stack_of(at->c)->levels[at->index - 1].above_ended = true;
    conn_dirty(at->loop, at->c);
}

void weir_filter_wake(weir_filter_at *at)
{
    level_of(at)->blocked = false;
    conn_dirty(at->loop, at->c);
}

void weir_filter_pause(weir_filter_at *at, bool pause)
{
    struct filter_stack *stack = stack_of(at->c);
    struct level *level = level_of(at);
    if (level->paused == pause)
        return;
    level->paused = pause;
    stack->paused = pause ? stack->paused + 1 : stack->paused - 1;
    if (stack->paused != 0)
        return;
    stack->came = false;
    conn_dirty(at->loop, at->c); /* arms the receive */
}

void weir_filter_charge(weir_filter_at *at, uint32_t bytes)
{
    struct level *level = level_of(at);
    memory_charge(&at->loop->memory, level->charged, bytes);
    level->charged = bytes;
}

static enum weir_why why_of(int error)
{
    return error == WEIR_ETOOBIG || error == WEIR_EREFUSED ? WEIR_WHY_LIMIT : WEIR_WHY_ERROR;
}

void weir_filter_fail(weir_filter_at *at, int error)
{
    conn_fail(at->loop, at->c, why_of(error), error);
}

void weir_filter_cut(weir_filter_at *at, int error)
{
    if (at->c->phase <= CONN_OPEN)
        conn_input_cut(at->loop, at->c, error);
}

void weir_filter_close(weir_filter_at *at, int error)
{
    struct filter_stack *stack = stack_of(at->c);
    for (uint32_t i = at->index; i < stack->count; i++)
        stack->levels[i].dropped = true;
    conn_dirty(at->loop, at->c);
    conn_close_why(at->loop, at->c, why_of(error), error);
}

int weir_filter_host(weir_filter_at *at, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN];
    const char *host = stack_of(at->c)->host;
    weir_address peer;
    if ((conn_flags(at->c) & CONN_CLIENT) == 0)
        return WEIR_EINVALID;
    if (host == NULL) {
        int result = weir_conn_peer(conn_handle(at->loop, at->c), &peer);
        if (result < 0)
            return result;
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)&peer.socket;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer.socket;
        bool is4 = peer.socket.ss_family == AF_INET;
        if (peer.transport != WEIR_TRANSPORT_TCP ||
            inet_ntop(peer.socket.ss_family, is4 ? (const void *)&in4->sin_addr : &in6->sin6_addr,
                      text, sizeof text) == NULL)
            return WEIR_EINVALID;
        host = text;
    }
    size_t length = strlen(host);
    if (length >= size)
        return WEIR_ETOOBIG;
    memcpy(out, host, length + 1);
    return (int)length;
}

int weir_filter_port(weir_filter_at *at)
{
    weir_address peer;
    if ((conn_flags(at->c) & CONN_CLIENT) == 0)
        return WEIR_EINVALID;
    if (stack_of(at->c)->via_count != 0)
        return stack_of(at->c)->port;
    int result = weir_conn_peer(conn_handle(at->loop, at->c), &peer);
    if (result < 0)
        return result;
    return peer.transport == WEIR_TRANSPORT_TCP ? weir_address_port(&peer) : WEIR_EINVALID;
}

void *weir_filter_find(weir_conn conn, const weir_filter *filter)
{
    weir_loop *loop;
    struct conn *c;
    struct filter_stack *stack = conn_get(conn, &loop, &c) == 0 ? stack_of(c) : NULL;
    for (uint32_t i = 0; stack != NULL && i < stack->count; i++)
        if (stack->levels[i].filter == filter && stack->levels[i].opened)
            return stack->levels[i].state;
    return NULL;
}

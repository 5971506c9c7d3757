/* A connection's output: one ordered queue of typed segments. Borrowed bytes are copied into
 * chunks, small ones behind one another; views of receive blocks stay where they are until the
 * flush. */
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/conn.h"

void output_init(struct output *out)
{
    out->segments = out->first;
    out->room = 0;
    out->head = out->count = 0;
    out->max = OUTPUT_FIRST;
    out->unsent_bytes = 0;
}

void output_end(weir_loop *loop, struct output *out)
{
    if (out->segments != out->first)
        memory_give(&loop->memory, out->segments, out->room);
    out->segments = out->first;
}

static struct segment *output_back(struct output *out)
{
    return out->count != 0 ? &out->segments[out->head + out->count - 1] : NULL;
}

/* Makes room for one more segment: by moving to the front, or into a larger chunk. */
static int output_grow(weir_loop *loop, struct output *out)
{
    if (out->head != 0 && out->head >= out->max / 2) {
        memmove(out->segments, out->segments + out->head, out->count * sizeof *out->segments);
        out->head = 0;
        return 0;
    }
    if (out->count >= LIMIT_SEGMENTS_MAX)
        return WEIR_EFULL;
    size_t room;
    struct segment *grown =
        memory_take(&loop->memory, (out->count + 1) * 2 * sizeof *grown, true, &room);
    if (grown == NULL)
        return WEIR_ENOMEM;
    memcpy(grown, out->segments + out->head, out->count * sizeof *grown);
    if (out->segments != out->first)
        memory_give(&loop->memory, out->segments, out->room);
    out->segments = grown;
    out->room = room;
    out->head = 0;
    out->max = (uint32_t)(room / sizeof *grown);
    return 0;
}

struct segment *output_add(weir_loop *loop, struct output *out)
{
    if (out->head + out->count == out->max && output_grow(loop, out) < 0)
        return NULL;
    struct segment *s = &out->segments[out->head + out->count++];
    *s = (struct segment){0};
    return s;
}

/* In front of a pull source: what it gave. */
int output_push_front(weir_loop *loop, struct conn *c, struct output *out,
                      const struct segment *segment)
{
    struct segment *added = output_add(loop, out);
    if (added == NULL)
        return WEIR_EFULL;
    struct segment *front = &out->segments[out->head];
    memmove(front + 1, front, (out->count - 1) * sizeof *front);
    *front = *segment;
    out->unsent_bytes += segment->size;
    if (segment->kind == SEGMENT_COPY)
        c->queued_bytes += (uint32_t)segment->size;
    return 0;
}

static void segment_free(weir_loop *loop, struct segment *s)
{
    struct source *source = s->source; /* a pull source may send: then the segments move */
    switch (s->kind) {
    case SEGMENT_COPY:
        memory_give(&loop->memory, s->chunk, s->room);
        break;
    case SEGMENT_BLOCK:
        if (!loop->io->hot_block)
            loop->io->ops->release(loop->io, s->block);
        break;
    case SEGMENT_LENT:
        loan_done(loop, s->index);
        break;
    case SEGMENT_FILE:
        if (source->own_fd)
            close(source->fd);
        object_give(&loop->net->sources, source);
        break;
    case SEGMENT_PULL:
        source->ended = true;
        source->pull((weir_conn){0}, NULL, 0, source->arg);
        object_give(&loop->net->sources, source);
        break;
    case SEGMENT_FDS:
        for (unsigned i = 0; i < source->fd_count; i++)
            close(source->fds[i]);
        object_give(&loop->net->sources, source);
        break;
    default:
        break;
    }
}

void output_pop(weir_loop *loop, struct conn *c, struct output *out)
{
    struct segment *s = &out->segments[out->head];
    if (s->kind != SEGMENT_PULL && s->kind != SEGMENT_FDS)
        out->unsent_bytes -= s->size;
    if (s->kind == SEGMENT_COPY || s->kind == SEGMENT_BLOCK)
        c->queued_bytes -= (uint32_t)s->size;
    segment_free(loop, s);
    out->count--;
    out->head = out->count == 0 ? 0 : out->head + 1;
}

/* `size` bytes from the front were sent. */
void output_consume(weir_loop *loop, struct conn *c, struct output *out, uint64_t size)
{
    while (size != 0) {
        struct segment *s = output_front(out);
        WEIR_ASSERT(s != NULL);
        uint64_t part = size < s->size ? size : s->size;
        if (s->kind != SEGMENT_FILE) /* which has no data here */
            s->data += part;
        s->size -= part;
        out->unsent_bytes -= part;
        if (s->kind == SEGMENT_COPY || s->kind == SEGMENT_BLOCK)
            c->queued_bytes -= (uint32_t)part;
        size -= part;
        if (s->size == 0)
            output_pop(loop, c, out);
    }
}

enum output_level conn_output_level(struct conn *c)
{
    const struct busy *b = c->busy;
    if (b == NULL)
        return OUTPUT_LOW;
    uint32_t mark_bytes = c->service->config.soft_mark_bytes;
    uint64_t bytes = b->out.unsent_bytes;
    uint32_t count = b->out.count;
    if ((conn_flags(c) & CONN_FILTERED) != 0) {
        bytes += filters_held(c);
        count += filters_top(c)->count;
    }
    if (c->service->consumer->paces_itself)
        bytes = c->queued_bytes;
    if (bytes > mark_bytes || count > LIMIT_SEGMENTS_MAX / 2)
        return OUTPUT_HIGH;
    return bytes > mark_bytes / 2 || count > LIMIT_SEGMENTS_MAX / 4 ? OUTPUT_BETWEEN : OUTPUT_LOW;
}

struct output_end output_end_now(struct output *out)
{
    const struct segment *tail = output_back(out);
    struct output_end end = {.count = out->count};
    if (tail != NULL && tail->kind == SEGMENT_COPY) {
        end.tail_index = tail->index;
        end.tail_size = tail->size;
    }
    return end;
}

void output_take_back(weir_loop *loop, struct conn *c, struct output *out, struct output_end end)
{
    while (out->count > end.count) {
        struct segment *s = output_back(out);
        out->unsent_bytes -= s->size;
        if (s->kind == SEGMENT_COPY || s->kind == SEGMENT_BLOCK)
            c->queued_bytes -= (uint32_t)s->size;
        out->count--;
        segment_free(loop, s);
    }
    struct segment *tail = output_back(out);
    if (tail == NULL || tail->kind != SEGMENT_COPY)
        return;
    uint64_t added = tail->size - end.tail_size;
    tail->index = end.tail_index;
    tail->size = end.tail_size;
    out->unsent_bytes -= added;
    c->queued_bytes -= (uint32_t)added;
}

void output_clear(weir_loop *loop, struct conn *c, struct output *out)
{
    while (out->count != 0)
        output_pop(loop, c, out);
}

void output_withdraw(weir_loop *loop, struct output *out, uint32_t at)
{
    struct segment *s = &out->segments[out->head + at];
    WEIR_ASSERT(at < out->count && s->kind == SEGMENT_LENT);
    loan_forget(loop, s->index);
    out->unsent_bytes -= s->size;
    out->count--;
    memmove(s, s + 1, (out->count - at) * sizeof *s);
    if (out->count == 0)
        out->head = 0;
}

/* The place for `size` more bytes behind the last chunk's, or NULL when they do not fit there. */
static uint8_t *tail_room(struct output *out, size_t size)
{
    struct segment *s = output_back(out);
    if (s == NULL || s->kind != SEGMENT_COPY || s->flags != 0 || s->room - s->index < size)
        return NULL;
    return s->chunk + s->index;
}

/* A chunk for the queue's tail: the first one small, those behind it large, for an output that
 * grows is one that goes on growing. */
static uint8_t *tail_chunk(weir_loop *loop, const struct output *out, size_t size, bool forced,
                           size_t *room)
{
    enum { CHUNK_FIRST = 4096, CHUNK_NEXT = 16384 };
    size_t wanted = out->count == 0 ? CHUNK_FIRST : CHUNK_NEXT;
    return memory_take(&loop->memory, size > wanted ? size : wanted, forced, room);
}

uint8_t *output_room(weir_loop *loop, struct conn *c, struct output *out, size_t size)
{
    uint8_t *place = tail_room(out, size);
    if (place != NULL)
        return place;
    size_t room;
    bool forced = c->queued_bytes < c->service->config.soft_mark_bytes;
    uint8_t *chunk = tail_chunk(loop, out, size, forced, &room);
    if (chunk == NULL)
        return NULL;
    struct segment *s = output_add(loop, out);
    if (s == NULL) {
        memory_give(&loop->memory, chunk, room);
        return NULL;
    }
    s->kind = SEGMENT_COPY;
    s->data = s->chunk = chunk;
    s->room = (uint32_t)room;
    return chunk;
}

void output_wrote(struct conn *c, struct output *out, size_t size)
{
    struct segment *s = output_back(out);
    s->index += (uint32_t)size;
    s->size += size;
    out->unsent_bytes += size;
    c->queued_bytes += (uint32_t)size;
}

int output_copy(weir_loop *loop, struct conn *c, struct output *out, const void *data, size_t size,
                bool forced)
{
    const uint8_t *bytes = data;
    /* Fill what is left of the last chunk, then take one for the rest: at most two pieces. */
    struct segment *s = output_back(out);
    size_t spare = s != NULL && s->kind == SEGMENT_COPY && s->flags == 0 ? s->room - s->index : 0;
    size_t first = size < spare ? size : spare, rest = size - first;
    size_t room = 0;
    uint8_t *chunk = NULL;
    if (rest != 0) {
        chunk = tail_chunk(loop, out, rest, forced, &room);
        if (chunk == NULL)
            return WEIR_ENOMEM;
        s = output_add(loop, out);
        if (s == NULL) {
            memory_give(&loop->memory, chunk, room);
            return WEIR_EFULL;
        }
        s->kind = SEGMENT_COPY;
        s->data = s->chunk = chunk;
        s->room = (uint32_t)room;
        memcpy(chunk, bytes + first, rest);
        s->index = (uint32_t)rest;
        s->size = rest;
        s--; /* the former last one, if `first` is not zero */
    }
    if (first != 0) {
        memcpy(s->chunk + s->index, bytes, first);
        s->index += (uint32_t)first;
        s->size += first;
    }
    out->unsent_bytes += size;
    c->queued_bytes += (uint32_t)size;
    return 0;
}

static int output_reference(weir_loop *loop, struct conn *c, struct output *out, weir_view view,
                            unsigned owner)
{
    struct segment *s = output_add(loop, out);
    if (s == NULL)
        return WEIR_EFULL;
    uint32_t index = view.owner & ((1u << WEIR_OWNER_SHIFT) - 1);
    s->data = view.data;
    s->size = view.size;
    s->index = index;
    out->unsent_bytes += view.size;
    switch (owner) {
    case WEIR_OWNER_STATIC:
        s->kind = SEGMENT_STATIC;
        break;
    case WEIR_OWNER_LENT:
        s->kind = SEGMENT_LENT;
        break;
    default:
        s->kind = SEGMENT_BLOCK;
        s->block = (uint16_t)index;
        c->queued_bytes += view.size;
        if (!loop->io->hot_block)
            loop->io->ops->hold(loop->io, index);
        break;
    }
    return 0;
}

int output_view(weir_loop *loop, struct conn *c, struct output *out, weir_view view, bool forced)
{
    unsigned owner = view.owner >> WEIR_OWNER_SHIFT;
    if (owner == WEIR_OWNER_NONE)
        return WEIR_ENOMEM;
    if (view.size == 0) {
        if (owner == WEIR_OWNER_LENT)
            loan_done(loop, view.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
        return 0;
    }
    /* A long queue takes no more references: copies share a segment. */
    bool copied = owner == WEIR_OWNER_CALLER || owner == WEIR_OWNER_KEPT ||
                  (owner == WEIR_OWNER_STATIC && view.size < OUTPUT_COPY_BELOW) ||
                  (owner == WEIR_OWNER_BLOCK &&
                   (view.size < OUTPUT_COPY_BELOW || out->count > LIMIT_SEGMENTS_MAX / 2));
    if (copied)
        return output_copy(loop, c, out, view.data, view.size, forced);
    return output_reference(loop, c, out, view, owner);
}

/* Copies what still refers to receive blocks into chunks of its own size, so that a peer that does
 * not read never pins a block. */
int output_unblock(weir_loop *loop, struct output *out, uint64_t skip)
{
    for (uint32_t i = 0; i < out->count; i++) {
        struct segment *s = &out->segments[out->head + i];
        if (skip != 0) {
            skip -= s->size < skip ? s->size : skip;
            continue;
        }
        if (s->kind != SEGMENT_BLOCK)
            continue;
        size_t room;
        uint8_t *chunk = memory_take(&loop->memory, s->size, true, &room);
        if (chunk == NULL)
            return WEIR_ENOMEM;
        memcpy(chunk, s->data, s->size);
        loop->net->counters.copied_bytes += s->size;
        uint64_t size = s->size;
        segment_free(loop, s);
        *s = (struct segment){.kind = SEGMENT_COPY,
                              .data = chunk,
                              .size = size,
                              .index = (uint32_t)size,
                              .chunk = chunk,
                              .room = (uint32_t)room};
    }
    return 0;
}

/* The strainer: a filter that counts, splits, and delays. */
#include "conformance/harness_filter.h"

#include <stdlib.h>

struct held {
    uint8_t *data;
    size_t size, room;
    bool end; /* behind all of it */
};

struct strain { /* of one connection */
    weir_filter_at *at;
    struct strainer *how;
    bool client, shaken, closed, in_ended;
    weir_timer timer;
    bool waits;
    struct held in, out; /* above's side of both directions, not yet passed on */
    uint8_t record[2 + 65535];
    size_t record_size;
    uint64_t in_bytes, out_bytes;
};

static void held_add(struct held *h, const void *data, size_t size)
{
    if (h->size + size > h->room) {
        h->room = (h->size + size) * 2;
        h->data = realloc(h->data, h->room);
    }
    if (size != 0)
        memcpy(h->data + h->size, data, size);
    h->size += size;
}

static size_t piece_of(const struct strain *s, size_t size)
{
    size_t most = s->how->piece != 0 ? s->how->piece : 60000;
    return size < most ? size : most;
}

static void down(struct strain *s, const uint8_t *data, size_t size)
{
    uint8_t head[2] = {(uint8_t)(size >> 8), (uint8_t)size};
    if (s->how->records)
        (void)weir_filter_down(s->at, weir_bytes(head, sizeof head));
    if (size != 0)
        (void)weir_filter_down(s->at, weir_bytes(data, size));
}

static void pass_out(struct strain *s)
{
    size_t at = 0, part;
    for (; at < s->out.size && !s->closed; at += part) {
        part = piece_of(s, s->out.size - at);
        down(s, s->out.data + at, part);
    }
    s->out.size = 0;
    if (!s->out.end)
        return;
    s->out.end = false;
    if (s->how->records)
        down(s, NULL, 0);
    weir_filter_down_end(s->at);
}

/* What is passed up may end the connection, and with it this very state's usefulness; the state
 * itself lives on until `close`, which never comes within this. What a handler makes come meanwhile
 * waits behind. */
static void pass_in(struct strain *s)
{
    struct held in = s->in;
    bool end = in.end;
    s->in = (struct held){0};
    for (size_t at = 0, part; at < in.size && !s->closed; at += part) {
        part = piece_of(s, in.size - at);
        if (weir_filter_up(s->at, weir_bytes(in.data + at, part)) < 0)
            break;
    }
    free(in.data);
    if (end && !s->closed)
        weir_filter_up_end(s->at);
}

static void time_came(weir_timer *timer, void *arg)
{
    struct strain *s = arg;
    s->waits = false;
    pass_out(s);
    weir_filter_wake(s->at);
    pass_in(s);
}

static void soon(struct strain *s)
{
    if (s->how->delay_ms == 0 || s->waits)
        return;
    s->waits = true;
    (void)weir_timer_start(&s->timer, weir_after(s->how->delay_ms * WEIR_MS), time_came, s);
}

static int strainer_open(weir_filter_at *at, void *state, void *config, bool client)
{
    struct strain *s = state;
    s->at = at;
    s->how = config;
    s->client = client;
    s->how->opens++;
    if (s->how->refuse_open < 0)
        return s->how->refuse_open;
    s->shaken = !s->how->handshake;
    if (s->shaken)
        weir_filter_ready(at);
    else if (client)
        return weir_filter_down(at, weir_str("hello?"));
    return 0;
}

/* The handshake's six bytes; how many of `data` were theirs. */
static size_t shake(struct strain *s, weir_view data)
{
    const char *wanted = s->client ? "hello!" : "hello?";
    size_t part = 6 - s->record_size;
    if (part > data.size)
        part = data.size;
    memcpy(s->record + s->record_size, data.data, part);
    s->record_size += part;
    if (s->record_size < 6)
        return part;
    if (memcmp(s->record, wanted, 6) != 0) {
        weir_filter_fail(s->at, WEIR_EPROTO);
        return data.size;
    }
    s->record_size = 0;
    s->shaken = true;
    if (!s->client)
        (void)weir_filter_down(s->at, weir_str("hello!"));
    weir_filter_ready(s->at);
    return part;
}

static void in_end(struct strain *s)
{
    s->in_ended = true;
    s->how->in_ends++;
    s->in.end = true;
    if (s->how->delay_ms == 0)
        pass_in(s);
    else
        soon(s);
}

static void unpack(struct strain *s, weir_view data)
{
    const uint8_t *bytes = data.data;
    for (size_t i = 0; i < data.size; i++) { /* a test may be slow */
        s->record[s->record_size++] = bytes[i];
        size_t wanted = s->record_size < 2 ? 2 : 2 + (size_t)(s->record[0] << 8 | s->record[1]);
        if (s->record_size < 2 || s->record_size < wanted)
            continue;
        s->record_size = 0;
        s->in_bytes += wanted - 2;
        if (wanted == 2)
            in_end(s);
        else
            held_add(&s->in, s->record + 2, wanted - 2);
    }
}

static int strainer_input(weir_filter_at *at, void *state, weir_view data)
{
    struct strain *s = state;
    s->how->misused |= s->closed || data.size == 0;
    if (!s->shaken)
        data = weir_slice(data, shake(s, data), data.size);
    uint64_t before = s->in_bytes;
    if (s->how->records) {
        unpack(s, data);
    } else {
        held_add(&s->in, data.data, data.size);
        s->in_bytes += data.size;
    }
    s->how->in_bytes += s->in_bytes - before;
    if (s->how->fail_in < 0 && s->in_bytes > 1000)
        return s->how->fail_in;
    if (s->how->delay_ms == 0 || s->in.size > STRAINER_HOLDS) /* what it holds is bounded */
        pass_in(s);
    else
        soon(s);
    return 0;
}

static int strainer_input_end(weir_filter_at *at, void *state)
{
    struct strain *s = state;
    s->how->misused |= s->closed;
    if (!s->how->records)
        in_end(s);
    else if (!s->in_ended)
        return WEIR_EPROTO; /* the stream was cut */
    return 0;
}

static int64_t strainer_output(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    struct strain *s = state;
    s->how->misused |= s->closed || s->out.end || data.size == 0;
    size_t part = STRAINER_HOLDS - s->out.size;
    if (part > data.size)
        part = data.size;
    held_add(&s->out, data.data, part);
    s->out_bytes += part;
    s->how->out_bytes += part;
    if (s->out.size > s->how->held_most)
        s->how->held_most = s->out.size;
    if (s->how->fail_out < 0 && s->out_bytes > 1000)
        return s->how->fail_out;
    if (s->how->delay_ms != 0)
        soon(s);
    else
        pass_out(s);
    return (int64_t)part;
}

static int strainer_output_end(weir_filter_at *at, void *state)
{
    struct strain *s = state;
    s->how->misused |= s->closed || s->out.end;
    s->how->out_ends++;
    s->out.end = true;
    if (s->how->delay_ms != 0)
        soon(s);
    else
        pass_out(s);
    return 0;
}

static void strainer_close(weir_filter_at *at, void *state)
{
    struct strain *s = state;
    s->how->misused |= s->closed;
    s->how->closes++;
    s->closed = true;
    (void)weir_timer_cancel(&s->timer);
    free(s->in.data);
    free(s->out.data);
}

static uint32_t strainer_held(const weir_filter_at *at, const void *state)
{
    const struct strain *s = state;
    return (uint32_t)s->out.size;
}

const weir_filter strainer_filter = {.name = "strainer",
                                     .state_size = sizeof(struct strain),
                                     .open = strainer_open,
                                     .input = strainer_input,
                                     .input_end = strainer_input_end,
                                     .output = strainer_output,
                                     .output_end = strainer_output_end,
                                     .close = strainer_close,
                                     .held = strainer_held};

void side_strain(struct side *s, struct strainer *wire, struct strainer *top)
{
    static const weir_filter *const two[] = {&strainer_filter, &strainer_filter, NULL};
    static void *configs[8][2];
    static unsigned used;
    void **own = configs[used++ % 8]; /* two sides of a test have theirs at the same time */
    own[0] = wire;
    own[1] = top;
    s->service.filters = two;
    s->service.filter_configs = own;
    s->early_close_fine = true;
}

#include "sim/check/filter.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

enum { HELD_MOST = 3000, GREETING = 5 };

struct state {
    uint64_t in, out; /* bytes of the program so far: the mask depends on it */
    unsigned greeted; /* bytes of the peer's greeting that have come */
    uint32_t held;
    bool ready;
    weir_timer timer;
    uint8_t bytes[HELD_MOST];
};

static uint8_t mask(uint64_t at)
{
    return (uint8_t)(0x5a + at % 251);
}

/* Each end greets the other; it is open when the other's greeting is there. */
static int open_at(weir_filter_at *at, void *memory, void *config, bool client)
{
    return weir_filter_down(at, weir_str("hello"));
}

static int input(weir_filter_at *at, void *memory, weir_view data)
{
    struct state *s = memory;
    uint8_t piece[700];
    const uint8_t *bytes = data.data;
    size_t left = data.size;
    while (left != 0 && s->greeted < GREETING) {
        if (*bytes != "hello"[s->greeted])
            return WEIR_EPROTO;
        s->greeted++;
        bytes++;
        left--;
    }
    if (s->greeted == GREETING && !s->ready) {
        s->ready = true;
        weir_filter_ready(at);
    }
    while (left != 0) {
        size_t part = 1 + (size_t)sim_random(left < sizeof piece ? left : sizeof piece);
        for (size_t i = 0; i < part; i++)
            piece[i] = bytes[i] ^ mask(s->in++);
        int result = weir_filter_up(at, weir_bytes(piece, part));
        memset(piece, 0xee, part);
        if (result < 0)
            return result == WEIR_EGONE ? 0 : result; /* closed meanwhile */
        bytes += part;
        left -= part;
    }
    return 0;
}

static int let_go(weir_filter_at *at, struct state *s)
{
    uint32_t held = s->held;
    weir_timer_cancel(&s->timer);
    s->held = 0;
    return held != 0 ? weir_filter_down(at, weir_bytes(s->bytes, held)) : 0;
}

static void timer_fired(weir_timer *timer, void *arg)
{
    weir_filter_at *at = arg;
    if (let_go(at, weir_filter_state(at)) == 0)
        weir_filter_wake(at);
}

static int64_t output(weir_filter_at *at, void *memory, weir_view data, bool flush)
{
    struct state *s = memory;
    const uint8_t *bytes = data.data;
    uint32_t room = HELD_MOST - s->held, take = data.size < room ? data.size : room;
    for (uint32_t i = 0; i < take; i++)
        s->bytes[s->held++] = bytes[i] ^ mask(s->out++);
    if (s->held == HELD_MOST || sim_chance(2, 3)) {
        int result = let_go(at, s);
        return result < 0 && result != WEIR_EGONE ? result : (int64_t)take;
    }
    int result = weir_timer_start(&s->timer, weir_after(sim_random(20) * WEIR_MS), timer_fired, at);
    return result < 0 ? result : (int64_t)take;
}

static int output_end(weir_filter_at *at, void *memory)
{
    int result = let_go(at, memory);
    weir_filter_down_end(at);
    return result == WEIR_EGONE ? 0 : result;
}

static void close_at(weir_filter_at *at, void *memory)
{
    struct state *s = memory;
    weir_timer_cancel(&s->timer);
}

static uint32_t held(const weir_filter_at *at, const void *memory)
{
    const struct state *s = memory;
    return s->held;
}

void check_filter_use(weir_service *service)
{
    static const weir_filter mix = {
        .name = "mix",
        .state_size = sizeof(struct state),
        .open = open_at,
        .input = input,
        .output = output,
        .output_end = output_end,
        .close = close_at,
        .held = held,
    };
    static const weir_filter *const filters[] = {&mix, NULL};
    service->filters = filters;
}

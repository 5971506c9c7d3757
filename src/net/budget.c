/* The loop's memory budget (K6): beyond it reading pauses on the largest holders first, then
 * accepting stops; below three quarters of it everybody goes on. What filters keep elsewhere stops
 * accepting too, and pauses nobody: it is there for as long as idle connections are, and a pause
 * gives nothing of it back. */
#include "base/log.h"
#include "net/conn.h"

enum { BUDGET_CHECK_MS = 10, BUDGET_LARGEST = 16 };

struct largest {
    struct conn *conns[BUDGET_LARGEST];
    uint64_t sizes[BUDGET_LARGEST];
    unsigned count;
};

static uint64_t holding(const struct conn *c)
{
    const struct consumer *consumer = c->service->consumer;
    return c->queued_bytes + (c->busy != NULL ? c->busy->held_room : 0) +
           (consumer->keeps != NULL ? consumer->keeps(c) : 0);
}

static void consider(weir_loop *loop, struct conn *c, void *arg)
{
    struct largest *largest = arg;
    uint64_t size = holding(c);
    if (size == 0 || c->phase != CONN_OPEN || (conn_flags(c) & CONN_PAUSED_BUDGET) != 0)
        return;
    unsigned at = largest->count;
    while (at > 0 && largest->sizes[at - 1] < size)
        at--;
    if (at == BUDGET_LARGEST)
        return;
    if (largest->count < BUDGET_LARGEST)
        largest->count++;
    for (unsigned i = largest->count - 1; i > at; i--) {
        largest->conns[i] = largest->conns[i - 1];
        largest->sizes[i] = largest->sizes[i - 1];
    }
    largest->conns[at] = c;
    largest->sizes[at] = size;
}

/* What a pause could keep from growing. */
static uint64_t own_bytes(const weir_loop *loop)
{
    return loop->memory.used_bytes - loop->memory.charged_bytes;
}

static void pause_one(weir_loop *loop, struct conn *c)
{
    loop->net->budget_pauses = true;
    loop->net->counters.budget_pauses++;
    conn_pause(loop, c, CONN_PAUSED_BUDGET);
}

static void pause_largest(weir_loop *loop)
{
    struct largest largest = {.count = 0};
    conn_each(loop->net, consider, &largest);
    for (unsigned i = 0; i < largest.count; i++)
        pause_one(loop, largest.conns[i]);
}

static void go_over(weir_loop *loop)
{
    static struct log_site site;
    struct net *net = loop->net;
    if (net->over_budget)
        return;
    net->over_budget = true;
    weir__log_limited(&site, WEIR_LOG_WARN, WEIR_EFULL, 0,
                      "loop %u holds %llu bytes for its connections, over its budget of %llu: "
                      "reading pauses on the largest, accepting stops",
                      loop->id, (unsigned long long)loop->memory.used_bytes,
                      (unsigned long long)loop->memory.limit_bytes);
    listeners_hold(loop);
}

/* After bytes have come in: a loop over its budget pauses whoever holds something and receives
 * more, and does not wait for its next look at all of them. */
void budget_received(weir_loop *loop, struct conn *c)
{
    go_over(loop);
    if (own_bytes(loop) <= loop->memory.limit_bytes || c->phase != CONN_OPEN || holding(c) == 0 ||
        (conn_flags(c) & CONN_PAUSED_BUDGET) != 0)
        return;
    pause_one(loop, c);
}

/* Whoever holds nothing any more goes on. A part of a message stays where it is: were it read on,
 * as many such parts as there are connections would grow to their full sizes. It is idle,
 * meanwhile. */
void budget_look(weir_loop *loop, struct conn *c)
{
    if ((conn_flags(c) & CONN_PAUSED_BUDGET) != 0 && holding(c) == 0)
        conn_unpause(loop, c, CONN_PAUSED_BUDGET);
}

static void resume_one(weir_loop *loop, struct conn *c, void *arg)
{
    conn_unpause(loop, c, CONN_PAUSED_BUDGET);
}

static void resume_all(weir_loop *loop)
{
    loop->net->budget_pauses = false;
    conn_each(loop->net, resume_one, NULL);
}

void budget_check(weir_loop *loop)
{
    struct net *net = loop->net;
    uint64_t used = loop->memory.used_bytes, limit = loop->memory.limit_bytes;
    if (!net->over_budget && used <= limit)
        return;
    if (net->budget_pauses && own_bytes(loop) < limit / 4 * 3)
        resume_all(loop);
    if (net->over_budget && used < limit / 4 * 3) {
        net->over_budget = false;
        listeners_room(loop, NULL);
        return;
    }
    if (used <= limit || loop->now_ms - net->budget_checked_ms < BUDGET_CHECK_MS)
        return;
    net->budget_checked_ms = loop->now_ms;
    go_over(loop);
    if (own_bytes(loop) > limit)
        pause_largest(loop);
}

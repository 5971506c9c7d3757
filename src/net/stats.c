/* What a loop counts, gathered from the floors that count it. */
#include <stddef.h>
#include <string.h>

#include <weir/stats.h>

#include "net/conn.h"

#define STAT_ROW(field, metric, unit, kind, what) \
    {#field, metric, unit, what, WEIR_STAT_##kind, offsetof(weir_loop_stats, field)},
static const weir_stat table[] = {WEIR_LOOP_STATS(STAT_ROW)};
#undef STAT_ROW
enum { STATS = sizeof table / sizeof *table };

const weir_stat *weir_loop_stats_table(unsigned *count)
{
    if (count != NULL)
        *count = STATS;
    return table;
}

static void take_loop(weir_loop *loop, weir_loop_stats *out)
{
    const struct loop_counters *counters = &loop->counters;
    out->memory_bytes = loop->memory.used_bytes;
    out->memory_held_bytes = loop->memory.held_bytes;
    out->memory_limit_bytes = loop->memory.limit_bytes;
    out->memory_refused = loop->memory.refused;
    out->turns = counters->turns;
    out->waited_ns = counters->waited_ns;
    out->handled_ns = counters->handled_ns;
    out->stalls = counters->stalls;
    out->posts = counters->posts;
    out->posts_refused = atomic_load_explicit(&counters->posts_refused, memory_order_relaxed);
    out->posts_waiting = atomic_load_explicit(&loop->posts.count, memory_order_relaxed);
    out->timers_fired = counters->timers_fired;
    out->timer_slip_max_ns = counters->timer_slip_max_ns;
    if (loop->coroutines_stats != NULL)
        loop->coroutines_stats(loop, out);
}

static void take_io(const struct io_stats *io, weir_loop_stats *out)
{
    out->io_waits = io->waits;
    out->io_sleeps = io->sleeps;
    out->io_events = io->events;
    out->io_syscalls = io->syscalls;
    out->io_short_sends = io->short_sends;
    out->io_spurious = io->spurious;
    out->io_buffer_outages = io->buffer_outages;
    out->io_cq_overflows = io->cq_overflows;
    out->io_sq_fulls = io->sq_fulls;
}

static void take_net(const struct net *net, weir_loop_stats *out)
{
    const struct net_counters *counters = &net->counters;
    out->conns = net->conns.used;
    out->conns_active = net->busy.used;
    out->listeners = net->listeners.used;
    out->accepted = counters->accepted;
    out->connected = counters->connected;
    out->closed = counters->closed;
    out->refused_limit = counters->refused_limit;
    out->rate_pauses = counters->rate_pauses;
    out->accept_errors = counters->accept_errors;
    out->ended_reset = counters->resets;
    out->ended_limit = counters->limits;
    out->deadline_connect = counters->deadlines[WEIR_DEADLINE_CONNECT];
    out->deadline_first_byte = counters->deadlines[WEIR_DEADLINE_FIRST_BYTE];
    out->deadline_idle = counters->deadlines[WEIR_DEADLINE_IDLE];
    out->deadline_header = counters->deadlines[WEIR_DEADLINE_HEADER];
    out->deadline_body = counters->deadlines[WEIR_DEADLINE_BODY];
    out->deadline_write = counters->deadlines[WEIR_DEADLINE_WRITE];
    out->deadline_linger = counters->deadlines[WEIR_DEADLINE_LINGER];
    out->received_bytes = counters->received_bytes;
    out->sent_bytes = counters->sent_bytes;
    out->receives = counters->receives;
    out->sends = counters->sends;
    out->copied_bytes = counters->copied_bytes;
    out->sends_refused = counters->refused_full;
    out->mails_dropped = counters->mails_dropped;
    out->block_waits = counters->block_waits;
    out->budget_pauses = counters->budget_pauses;
    const struct dgram_counters *datagrams = &net->dgram_counters;
    out->dgrams = net->dgrams.used;
    out->datagrams_received = datagrams->received;
    out->datagrams_sent = datagrams->sent;
    out->datagram_received_bytes = datagrams->received_bytes;
    out->datagram_sent_bytes = datagrams->sent_bytes;
    out->datagrams_truncated = datagrams->truncated;
    out->datagrams_refused = datagrams->refused;
    out->datagrams_dropped = datagrams->dropped;
    out->datagram_errors = datagrams->errors;
}

int weir__loop_stats_get(weir_loop *loop, weir_loop_stats *out, size_t size)
{
    weir_loop_stats stats = {0};
    if (loop == NULL || out == NULL)
        return WEIR_EINVALID;
    if (loop_foreign(loop))
        return WEIR_EMISUSE;
    take_loop(loop, &stats);
    take_io(&loop->io->stats, &stats);
    if (loop->net != NULL)
        take_net(loop->net, &stats);
    memset(out, 0, size);
    memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
    return 0;
}

void stats_add(void *sum, const void *stats, const weir_stat *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t total, one;
        memcpy(&total, (char *)sum + rows[i].offset, sizeof total);
        memcpy(&one, (const char *)stats + rows[i].offset, sizeof one);
        if (rows[i].kind != WEIR_STAT_MAX)
            total += one;
        else if (one > total)
            total = one;
        memcpy((char *)sum + rows[i].offset, &total, sizeof total);
    }
}

void weir_loop_stats_add(weir_loop_stats *sum, const weir_loop_stats *stats)
{
    stats_add(sum, stats, table, STATS);
}

/* Slots in their order: a handle says by its slot where to go on. */
unsigned weir_conn_list(weir_conn after, weir_conn *out, unsigned capacity)
{
    weir_loop *loop = loop_current();
    if (loop == NULL || loop->net == NULL || out == NULL)
        return 0;
    const struct slab *conns = &loop->net->conns;
    uint32_t slots = conns->chunk_count << conns->chunk_records_log2;
    uint32_t slot = after.id != 0 ? ((uint32_t)(after.id >> 30) & 0xffffffu) + 1 : 0;
    unsigned count = 0;
    for (; slot < slots && count < capacity; slot++)
        if (slab_living(conns, slot))
            out[count++] = conn_handle(loop, conn_at(loop->net, slot));
    return count;
}

enum weir_conn_state weir_conn_state(weir_conn conn)
{
    static const enum weir_conn_state states[] = {
        [CONN_FREE] = WEIR_CONN_GONE,         [CONN_CONNECTING] = WEIR_CONN_CONNECTING,
        [CONN_OPENING] = WEIR_CONN_OPENING,   [CONN_OPEN] = WEIR_CONN_OPEN,
        [CONN_FLUSHING] = WEIR_CONN_FLUSHING, [CONN_LINGERING] = WEIR_CONN_LINGERING,
        [CONN_STOPPING] = WEIR_CONN_CLOSING,  [CONN_CLOSING] = WEIR_CONN_CLOSING,
        [CONN_CLOSED] = WEIR_CONN_CLOSING,
    };
    weir_loop *loop;
    struct conn *c;
    if (conn_get(conn, &loop, &c) < 0)
        return WEIR_CONN_GONE;
    if (c->phase == CONN_OPEN && (conn_flags(c) & CONN_PAUSED) != 0)
        return WEIR_CONN_PAUSED;
    return states[c->phase];
}

const char *weir_conn_state_name(enum weir_conn_state state)
{
#define STATE_NAME(name, text) text,
    static const char *const names[] = {WEIR_CONN_STATES(STATE_NAME)};
#undef STATE_NAME
    return (unsigned)state < WEIR_CONN_STATE_COUNT ? names[state] : "unknown";
}

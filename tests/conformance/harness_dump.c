/* What a test that waited in vain says about the connections of its loop. */
#include "conformance/harness.h"
#include "net/conn.h"

static void dump(weir_loop *loop, struct conn *c, void *arg)
{
    static const struct busy none;
    const struct busy *b = c->busy != NULL ? c->busy : &none;
    print_error(
        "slot %u: phase %d, flags %08x, list %d, why %d, error %d; received %llu, sent %llu; "
        "unsent %llu in %u pieces, %u in flight; held %u of %zu; io flags %04x\n",
        c->slot, c->phase, conn_flags(c), c->list, c->why, c->error,
        (unsigned long long)c->received_bytes, (unsigned long long)c->sent_bytes,
        (unsigned long long)b->out.unsent_bytes, b->out.count, b->inflight_bytes,
        b->held_to - b->held_from, b->held_room, c->fd.flags);
}

void world_vain(struct world *w, const char *condition)
{
    struct net *net = w->loop->net;
    const struct io_stats *stats = &w->loop->io->stats;
    print_error("%llu turns, %llu events, %llu sleeps, %llu system calls, %llu receive outages\n",
                (unsigned long long)w->turns, (unsigned long long)stats->events,
                (unsigned long long)stats->sleeps, (unsigned long long)stats->syscalls,
                (unsigned long long)stats->buffer_outages);
    if (net != NULL) {
        print_error("%u connections; %llu bytes held%s; %u ready, %u wait for blocks\n",
                    net->conns.used, (unsigned long long)w->loop->memory.used_bytes,
                    net->over_budget ? ", over the budget" : "", net->lists[CONN_LIST_READY].count,
                    net->lists[CONN_LIST_BLOCKS].count);
        conn_each(net, dump, NULL);
    }
    fail_msg("waited in vain for: %s", condition);
}

/* The loads that weir bench serve has answered. */
#include "cmd/bench/served.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "cmd/bench/bench.h"

enum { LOADS_MAX = 256 };
#define AWAY_NS          (300 * WEIR_MS)
#define AWAY_DATAGRAM_NS (800 * WEIR_MS) /* their sums come a few times a second */

/* The connections, or sockets, with the same number in what they say of themselves. */
struct served {
    uint64_t id, conns, open;
    struct served_part sum;
    weir_time first, last;
    char peer[WEIR_ADDRESS_TEXT_MAX];
    bool silent; /* sockets that come and go without a word */
};

static struct {
    pthread_mutex_t mutex;
    struct served rows[LOADS_MAX];
    bool quiet;
} all_served = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void served_init(bool quiet)
{
    all_served.quiet = quiet;
}

/* The row of a load; a new one where it had none; NULL: there are too many. */
static struct served *row_of(uint64_t id, const weir_address *peer)
{
    struct served *row = NULL;
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        struct served *at = &all_served.rows[i];
        if (at->conns != 0 && at->id == id)
            return at;
        if (at->conns == 0 && row == NULL)
            row = at;
    }
    if (row == NULL)
        return NULL;
    *row = (struct served){.id = id, .first = weir_now()};
    if (peer != NULL)
        weir_address_format(peer, row->peer, sizeof row->peer);
    return row;
}

static void add(struct served *row, const struct served_part *part)
{
    struct served_part *sum = &row->sum;
    sum->taken_bytes += part->taken_bytes;
    sum->sent_bytes += part->sent_bytes;
    sum->answers += part->answers;
    sum->taken_datagrams += part->taken_datagrams;
    sum->sent_datagrams += part->sent_datagrams;
    sum->lost += part->lost;
    sum->reordered += part->reordered;
    sum->duplicates += part->duplicates;
    if (part->jitter_ns > sum->jitter_ns)
        sum->jitter_ns = part->jitter_ns;
    row->last = part->last != 0 ? part->last : weir_now();
}

void served_begin(uint64_t id, const weir_address *peer)
{
    pthread_mutex_lock(&all_served.mutex);
    struct served *row = row_of(id, peer);
    if (row != NULL) {
        row->conns++;
        row->open++;
    }
    pthread_mutex_unlock(&all_served.mutex);
}

void served_end(uint64_t id, const struct served_part *part)
{
    pthread_mutex_lock(&all_served.mutex);
    struct served *row = row_of(id, NULL);
    if (row != NULL && row->conns != 0) {
        row->open -= row->open != 0;
        add(row, part);
    }
    pthread_mutex_unlock(&all_served.mutex);
}

void served_add(uint64_t id, const struct served_part *part, const weir_address *peer,
                uint64_t sockets)
{
    pthread_mutex_lock(&all_served.mutex);
    struct served *row = row_of(id, peer);
    if (row != NULL) {
        row->silent |= row->conns == 0;
        if (row->conns == 0 && part->first != 0)
            row->first = part->first;
        if (row->silent && sockets > row->conns)
            row->conns = sockets;
        add(row, part);
    }
    pthread_mutex_unlock(&all_served.mutex);
}

static void print(const struct served *row)
{
    const struct served_part *sum = &row->sum;
    double seconds = row->last > row->first ? (double)(row->last - row->first) / 1e9 : 0;
    bool datagrams = sum->taken_datagrams + sum->sent_datagrams != 0;
    char taken[16], sent[16], jitter[16];
    printf("%s  %" PRIu64 " %s%s  %.2f s", row->peer, row->conns,
           datagrams ? "socket" : "connection", row->conns == 1 ? "" : "s", seconds);
    if (sum->answers != 0)
        printf("  %" PRIu64 " answers", sum->answers);
    printf("  received %s  sent %s", show_size((double)sum->taken_bytes, taken),
           show_size((double)sum->sent_bytes, sent));
    if (sum->answers == 0 && seconds > 0)
        printf("  %.3f Gbit/s", (double)(sum->taken_bytes + sum->sent_bytes) * 8 / seconds / 1e9);
    if (datagrams)
        printf("  datagrams %" PRIu64 " in, %" PRIu64 " out", sum->taken_datagrams,
               sum->sent_datagrams);
    if (datagrams && sum->answers == 0 && sum->taken_datagrams != 0)
        printf("  lost %" PRIu64 "  reordered %" PRIu64 "  twice %" PRIu64 "  jitter %s", sum->lost,
               sum->reordered, sum->duplicates, show_time(sum->jitter_ns, jitter));
    putchar('\n');
    fflush(stdout);
}

void served_tell(weir_time now, bool all)
{
    pthread_mutex_lock(&all_served.mutex);
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        struct served *row = &all_served.rows[i];
        uint64_t away_ns = row->silent ? AWAY_DATAGRAM_NS : AWAY_NS;
        if (row->conns == 0 ||
            (!all && (row->open != 0 || now < row->last || now - row->last < away_ns)))
            continue;
        if (!all_served.quiet)
            print(row);
        row->conns = 0;
    }
    pthread_mutex_unlock(&all_served.mutex);
}

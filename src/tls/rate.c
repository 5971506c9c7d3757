/* How many handshakes of a server begin in a second. Each takes the next place in time, which all
 * loops hand out together; what comes before its place waits with the bytes it has, so that
 * established connections, which need a hundredth of the work, go first. Whoever's place is too far
 * off is refused at once, while its client still has the patience to ask somebody else. */
#include <string.h>

#include "tls/tls.h"

static const weir_time wait_ns = 3 * WEIR_S;    /* for its place, at most */
static const weir_time early_ns = 10 * WEIR_MS; /* so many may begin together */

/* What came before a handshake may begin. */
struct tls_wait {
    weir_timer turn;
    struct tls_state *s;
    uint8_t *bytes;
    uint32_t size;
};

static weir_time interval(const weir_tls *tls)
{
    return WEIR_S / tls->config.handshake_rate;
}

/* When this one may begin; WEIR_NEVER: it is refused. */
static weir_time place_take(weir_tls *tls, weir_time now)
{
    weir_time next = atomic_load(&tls->handshake_next), from, begins;
    do {
        from = next > now ? next : now;
        begins = from - now > early_ns ? from - early_ns : now;
        if (begins - now > wait_ns)
            return WEIR_NEVER;
    } while (!atomic_compare_exchange_weak(&tls->handshake_next, &next, from + interval(tls)));
    return begins;
}

static void count(weir_tls *tls, enum tls_count which, int64_t by)
{
    atomic_fetch_add_explicit(&tls->counts[which], (uint64_t)by, memory_order_relaxed);
}

static void refuse(struct tls_state *s)
{
    weir_tls *tls = s->tls;
    weir_time now = weir_now(), last = atomic_load(&tls->refusal_told);
    s->failed = true;
    count(tls, TLS_COUNT_REFUSED, 1);
    if ((last == 0 || now - last >= WEIR_S) &&
        atomic_compare_exchange_strong(&tls->refusal_told, &last, now))
        weir__log(
            WEIR_LOG_WARN, WEIR_EREFUSED, weir_filter_conn(s->at),
            "TLS: more handshakes than .handshake_rate (%u a second) for %u seconds: %llu were "
            "refused so far",
            tls->config.handshake_rate, (unsigned)(wait_ns / WEIR_S),
            (unsigned long long)atomic_load(&tls->counts[TLS_COUNT_REFUSED]));
    weir_filter_fail(s->at, WEIR_EREFUSED);
}

static void wait_free(struct tls_state *s)
{
    struct tls_wait *wait = s->wait;
    s->wait = NULL;
    count(s->tls, TLS_COUNT_WAITING, -1);
    OPENSSL_free(wait->bytes);
    OPENSSL_free(wait);
}

static void on_turn(weir_timer *timer, void *arg)
{
    struct tls_state *s = arg;
    struct tls_wait *wait = s->wait;
    uint8_t *bytes = wait->bytes;
    uint32_t size = wait->size;
    wait->bytes = NULL;
    wait_free(s);
    s->admitted = true;
    count(s->tls, TLS_COUNT_BEGUN, 1);
    tls_take(s, bytes, size);
    OPENSSL_free(bytes);
}

/* False: there is no room for that. */
static bool append(struct tls_state *s, weir_view data)
{
    struct tls_wait *wait = s->wait;
    if (data.size > s->loaded->config->handshake_max_bytes - wait->size) {
        s->failed = true;
        weir_filter_close(s->at, WEIR_ETOOBIG);
        return false;
    }
    uint8_t *bytes = OPENSSL_realloc(wait->bytes, wait->size + data.size);
    if (bytes == NULL) {
        s->failed = true;
        weir_filter_fail(s->at, WEIR_ENOMEM);
        return false;
    }
    wait->bytes = bytes;
    memcpy(bytes + wait->size, data.data, data.size);
    wait->size += data.size;
    return true;
}

static bool wait_begin(struct tls_state *s, weir_time until)
{
    s->wait = OPENSSL_zalloc(sizeof *s->wait);
    if (s->wait == NULL) {
        s->failed = true;
        weir_filter_fail(s->at, WEIR_ENOMEM);
        return false;
    }
    count(s->tls, TLS_COUNT_WAITED, 1);
    count(s->tls, TLS_COUNT_WAITING, 1);
    weir_timer_start(&s->wait->turn, until, on_turn, s);
    return true;
}

bool tls_rate_admits(struct tls_state *s, weir_view data)
{
    weir_time now = weir_now();
    if (s->wait != NULL) {
        append(s, data);
        return false;
    }
    weir_time begins = s->tls->config.handshake_rate != 0 ? place_take(s->tls, now) : now;
    if (begins == WEIR_NEVER) {
        refuse(s);
        return false;
    }
    s->admitted = begins <= now;
    if (!s->admitted) {
        if (wait_begin(s, begins))
            append(s, data);
        return false;
    }
    count(s->tls, TLS_COUNT_BEGUN, 1);
    return true;
}

void tls_rate_leave(struct tls_state *s)
{
    if (s->wait == NULL)
        return;
    /* Its place is in time to come: the last one in line moves up instead of it, which is later. */
    weir_timer_cancel(&s->wait->turn);
    atomic_fetch_sub(&s->tls->handshake_next, interval(s->tls));
    wait_free(s);
}

/* --- what was counted --------------------------------------------------------------------------*/

#define ROW(field, metric, unit, kind, what) \
    {#field, metric, unit, what, WEIR_STAT_##kind, offsetof(weir_tls_stats, field)},
static const weir_stat table[] = {WEIR_TLS_STATS(ROW)};
#undef ROW

const weir_stat *weir_tls_stats_table(unsigned *rows)
{
    *rows = sizeof table / sizeof *table;
    return table;
}

int weir__tls_stats_get(weir_tls *tls, weir_tls_stats *out, size_t size)
{
    weir_tls_stats stats;
    uint64_t all[TLS_COUNTS];
    if (tls == NULL || out == NULL)
        return WEIR_EINVALID;
    for (unsigned i = 0; i < TLS_COUNTS; i++)
        all[i] = atomic_load_explicit(&tls->counts[i], memory_order_relaxed);
    _Static_assert(sizeof all == sizeof stats, "a counter for each field, in its order");
    memcpy(&stats, all, sizeof stats);
    memset(out, 0, size);
    memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
    return 0;
}

void tls_count(struct tls_state *s, enum tls_count which)
{
    count(s->tls, which, 1);
}

/* How many handshakes of a server begin in a second. Each takes the next place in time, which all
 * loops hand out together; what comes before its place waits with the bytes it has, so that
 * established connections, which need a hundredth of the work, go first. Whoever's place is too far
 * off is refused at once, while its client still has the patience to ask somebody else. A place is
 * for a hello that has come in full: else places could be saved up, by a byte each. */
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
    bool placed; /* else it waits for the rest of its hello */
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
    if (wait->placed)
        count(s->tls, TLS_COUNT_WAITING, -1);
    OPENSSL_free(wait->bytes);
    OPENSSL_free(wait);
}

static void go_on(struct tls_state *s)
{
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

static void on_turn(weir_timer *timer, void *arg)
{
    struct tls_state *s = arg;
    const weir_conn conn = {weir_filter_conn(s->at)};
    if (s->failed || s->peer_ended || !weir_conn_alive(conn))
        wait_free(s); /* it is closing, and begins no handshake any more */
    else
        go_on(s);
}

/* Whether the first message has come in full (RFC 8446 sections 4 and 5.1), or is none: that is
 * OpenSSL's to refuse. */
static bool hello_is_whole(const uint8_t *bytes, size_t size)
{
    enum { RECORD_HEADER = 5, MESSAGE_HEADER = 4 };
    uint8_t header[MESSAGE_HEADER];
    size_t have = 0, want = MESSAGE_HEADER;
    for (; size >= RECORD_HEADER; bytes += RECORD_HEADER, size -= RECORD_HEADER) {
        size_t length = (size_t)bytes[3] << 8 | bytes[4], left = size - RECORD_HEADER;
        size_t part = length < left ? length : left;
        if (bytes[0] != SSL3_RT_HANDSHAKE || length == 0 || length > SSL3_RT_MAX_PLAIN_LENGTH)
            return true;
        for (size_t i = 0; i < part && have + i < MESSAGE_HEADER; i++)
            header[have + i] = bytes[RECORD_HEADER + i];
        have += part;
        if (have >= MESSAGE_HEADER)
            want = MESSAGE_HEADER +
                   ((size_t)header[1] << 16 | (size_t)header[2] << 8 | (size_t)header[3]);
        if (have >= want)
            return true;
        bytes += part;
        size -= part;
        if (part < length)
            return false;
    }
    return size != 0 && bytes[0] != SSL3_RT_HANDSHAKE;
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

static bool wait_make(struct tls_state *s)
{
    if (s->wait == NULL)
        s->wait = OPENSSL_zalloc(sizeof *s->wait);
    if (s->wait == NULL) {
        s->failed = true;
        weir_filter_fail(s->at, WEIR_ENOMEM);
    }
    return s->wait != NULL;
}

/* All of its hello is there. */
static void place_find(struct tls_state *s)
{
    weir_time now = weir_now(), begins = place_take(s->tls, now);
    if (begins == WEIR_NEVER) {
        refuse(s);
    } else if (begins <= now) {
        go_on(s);
    } else {
        s->wait->placed = true;
        count(s->tls, TLS_COUNT_WAITED, 1);
        count(s->tls, TLS_COUNT_WAITING, 1);
        weir_timer_start(&s->wait->turn, begins, on_turn, s);
        tls_cost_tell(s);
    }
}

bool tls_rate_admits(struct tls_state *s, weir_view data)
{
    s->admitted = s->tls->config.handshake_rate == 0;
    if (s->admitted) {
        count(s->tls, TLS_COUNT_BEGUN, 1);
        return true;
    }
    if (!wait_make(s) || !append(s, data))
        return false;
    if (!s->wait->placed && hello_is_whole(s->wait->bytes, s->wait->size))
        place_find(s);
    else
        tls_cost_tell(s);
    return false;
}

uint32_t tls_rate_held(const struct tls_state *s)
{
    return s->wait != NULL ? s->wait->size : 0;
}

void tls_rate_leave(struct tls_state *s)
{
    if (s->wait == NULL)
        return;
    /* Its place is in time to come: the last one in line moves up instead of it, which is later. */
    if (s->wait->placed) {
        weir_timer_cancel(&s->wait->turn);
        atomic_fetch_sub(&s->tls->handshake_next, interval(s->tls));
    }
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

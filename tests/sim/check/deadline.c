/* Deadlines: none is early, none is lost. Times are those of the loop, taken once a turn. A
 * deadline counts in whole milliseconds, of which the first had begun: it may be two late. */
#include "sim/check/check_in.h"

enum {
    LATE_MS = 4,
    FIRST_BYTE_MS = 10000,
    CONNECT_MS = 10000,
    IDLE_MS = 60000,
    WRITE_MS = 30000,
    LINGER_MS = 2000
};

static uint64_t span_ns(uint32_t ms, uint32_t otherwise)
{
    if (ms == WEIR_OFF)
        return WEIR_NEVER / 4;
    return (uint64_t)(ms != 0 ? ms : otherwise) * WEIR_MS;
}

static weir_time later(weir_time a, weir_time b)
{
    return a > b ? a : b;
}

/* What the other end's kernel has taken, which puts the write deadline off as well as room for more
 * does. 0: not known. */
static uint64_t taken_by_peer(struct check_conn *cc)
{
    weir_address local, peer;
    if (cc->sock == NULL && sim_net_find != NULL && weir_conn_local(cc->conn, &local) == 0 &&
        weir_conn_peer(cc->conn, &peer) == 0 && local.transport == WEIR_TRANSPORT_TCP)
        cc->sock = sim_net_find((const struct sockaddr *)&local.socket,
                                (const struct sockaddr *)&peer.socket);
    return cc->sock != NULL ? sim_net_taken(cc->sock) : 0;
}

void conn_activity(struct check_conn *cc, weir_time now)
{
    weir_conn_stats s;
    if (weir_conn_stats_get(cc->conn, &s) != 0)
        return;
    if (!cc->frozen && weir_conn_state(cc->conn) > WEIR_CONN_PAUSED) {
        cc->frozen = true; /* what is still sent and received does not count any more */
        cc->active_ns = later(cc->read_ns, cc->write_ns);
    }
    if (weir_conn_state(cc->conn) == WEIR_CONN_CLOSING) { /* its output has been dropped */
        cc->seen_sent = s.sent_bytes;
        return;
    }
    if (s.received_bytes != cc->seen_received)
        cc->read_ns = now;
    if (s.sent_bytes != cc->seen_sent)
        cc->write_ns = now;
    uint64_t taken = s.unsent_bytes != 0 ? taken_by_peer(cc) : 0;
    bool progress = s.sent_bytes >= cc->stuck_bytes + cc->side->cl->progress_bytes;
    bool steady = taken != 0 && taken >= cc->taken_bytes + cc->side->cl->progress_bytes;
    /* Within a turn a source may give the rest at once. */
    bool empty = s.unsent_bytes == 0 && (cc->pulls == 0 || cc->side->cl->in_handler == 0);
    if (empty || cc->unsent_ns == 0 || progress || steady) {
        if (progress) /* what is taken before weir has looked does not count */
            cc->progress_ns = cc->stuck_ns;
        else if (!steady)
            cc->progress_ns = now;
        cc->stuck_ns = now;
        cc->stuck_held_ns = sim_held();
        cc->stuck_bytes = s.sent_bytes;
        cc->taken_bytes = taken;
    }
    if (empty)
        cc->unsent_ns = 0;
    else if (cc->unsent_ns == 0)
        cc->unsent_ns = now;
    cc->seen_received = s.received_bytes;
    cc->seen_sent = s.sent_bytes;
}

/* Whether the first byte has come, so that idle time counts. */
static bool began(const struct check_conn *cc)
{
    return cc->client || cc->seen_received != 0 ||
           (cc->side->service.server_first && cc->seen_sent != 0);
}

static void not_lost(const struct check_conn *cc, weir_time from, uint64_t span, weir_time now,
                     const char *which)
{
    weir_time due = from + span + LATE_MS * WEIR_MS + cc->side->cl->slack_ns;
    check_that(span >= WEIR_NEVER / 4 || now < due, "K7.late",
               "%s: ended by its %s deadline, %llu ms after its cause; it lives after %llu",
               check_name(cc), which, (unsigned long long)(span / WEIR_MS),
               (unsigned long long)((now - from) / WEIR_MS));
}

void conn_deadlines(struct check_conn *cc, weir_time now)
{
    const weir_service *s = &cc->side->service;
    /* A loop that was held or slept too long handles what is due in its next turns, one thing of a
     * connection (the events of on_idle come first) in each. */
    weir_time then = cc->side->cl->judged_ns;
    uint64_t write_ns = span_ns(s->write_ms, WRITE_MS);
    if (now > then)
        now = then;
    if (weir_conn_state(cc->conn) == WEIR_CONN_CLOSING)
        return; /* its operations are being ended */
    if (cc->opens == 0) {
        if (cc->client && s->filters == NULL && !cc->close_called && !cc->abort_called)
            not_lost(cc, cc->made_ns, span_ns(s->connect_ms, CONNECT_MS), now, "connect");
        return;
    }
    if (cc->stats.unsent_bytes != 0 && !cc->abort_called && cc->sock != NULL) {
        /* Intervals of progress end when the loop looks: as late as it was held. */
        uint64_t held_ns = sim_held() - cc->stuck_held_ns;
        not_lost(cc, later(cc->stuck_ns, cc->opened_ns), 2 * write_ns + held_ns, now, "write");
    }
    if (cc->close_called || cc->refused || cc->abort_called) {
        if (cc->stats.unsent_bytes == 0 && cc->pulls == 0)
            not_lost(cc, later(cc->closing_ns, cc->write_ns),
                     write_ns + span_ns(s->linger_ms, LINGER_MS), now, "linger");
        return;
    }
    if (weir_conn_state(cc->conn) > WEIR_CONN_PAUSED)
        return; /* weir is closing it */
    uint64_t first_ns = span_ns(s->first_byte_ms, FIRST_BYTE_MS);
    uint64_t idle_ns = span_ns(s->idle_ms, IDLE_MS);
    bool paced = cc->piped || cc->side->cl->stats.budget_pauses != 0;
    if (s->filters != NULL) { /* whether they have passed anything up is not seen here */
        if (!paced)
            not_lost(cc, later(cc->read_ns, cc->write_ns), first_ns > idle_ns ? first_ns : idle_ns,
                     now, "idle");
    } else if (!began(cc)) {
        not_lost(cc, cc->opened_ns, first_ns, now, "first byte");
    } else if (!paced) {
        not_lost(cc, later(cc->read_ns, cc->write_ns), idle_ns, now, "idle");
    }
}

static void not_early(const struct check_conn *cc, weir_time from, uint64_t span, weir_time now,
                      const char *which)
{
    check_that(span < WEIR_NEVER / 4, "K7.off", "%s: no %s deadline, which is off; it ended by it",
               check_name(cc), which);
    check_that(now >= from + span, "K7.early",
               "%s: its %s deadline not before %llu us; it passed after %llu", check_name(cc),
               which, (unsigned long long)(span / WEIR_US),
               (unsigned long long)((now - from) / WEIR_US));
}

void conn_deadline_end(struct check_conn *cc, weir_time now)
{
    const weir_service *s = &cc->side->service;
    weir_time active = cc->frozen ? cc->active_ns : later(cc->read_ns, cc->write_ns);
    switch (cc->closing_why) {
    case WEIR_DEADLINE_CONNECT:
        check_that(cc->opens == 0, "K7.which", "%s: connecting took too long before on_open; after",
                   check_name(cc));
        not_early(cc, cc->made_ns, span_ns(s->connect_ms, CONNECT_MS), now, "connect");
        break;
    case WEIR_DEADLINE_FIRST_BYTE:
        if (s->filters != NULL) /* counts from before a handshake that nobody was told of */
            break;
        not_early(cc, cc->made_ns, span_ns(s->first_byte_ms, FIRST_BYTE_MS), now, "first byte");
        break;
    case WEIR_DEADLINE_IDLE:
        /* Wire bytes of which filters pass nothing up do not count. */
        not_early(cc, s->filters != NULL ? cc->opened_ns : active, span_ns(s->idle_ms, IDLE_MS),
                  now, "idle");
        break;
    case WEIR_DEADLINE_WRITE:
        cc->side->cl->check->gave_up = true;
        not_early(cc, cc->unsent_ns != 0 ? cc->unsent_ns : cc->opened_ns,
                  span_ns(s->write_ms, WRITE_MS), now, "write");
        /* Twice enough within the time means enough after the interval began. */
        check_that(cc->unsent_ns == 0 || cc->progress_ns + span_ns(s->write_ms, WRITE_MS) <= now,
                   "K7.progress", "%s: no write deadline while the peer takes enough; one",
                   check_name(cc));
        break;
    case WEIR_DEADLINE_LINGER:
        not_early(cc, cc->opened_ns, span_ns(s->linger_ms, LINGER_MS), now, "linger");
        break;
    default:
        check_broke("K7.which", "%s: a deadline of its own; %d", check_name(cc), cc->closing_why);
    }
}

void conn_idle_event(struct check_conn *cc, enum weir_idle which, weir_time now)
{
    const weir_service *s = &cc->side->service;
    uint32_t ms = which == WEIR_IDLE_READER   ? s->reader_idle_ms
                  : which == WEIR_IDLE_WRITER ? s->writer_idle_ms
                                              : s->both_idle_ms;
    weir_time from = s->filters != NULL          ? cc->opened_ns
                     : which == WEIR_IDLE_READER ? cc->read_ns
                     : which == WEIR_IDLE_WRITER ? cc->write_ns
                                                 : later(cc->read_ns, cc->write_ns);
    if (s->filters == NULL || cc->told_ns[which] != cc->opened_ns)
        not_early(cc, later(from, cc->told_ns[which]), span_ns(ms, WEIR_OFF), now, "on_idle");
    cc->told_ns[which] = now;
}

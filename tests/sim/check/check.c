/* The run, its loops, and what must hold of a loop at every turn. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <weir/limits.h>

#include "sim/check/check_in.h"

uint64_t check_random(struct check *check, uint64_t bound)
{
    check->state += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = check->state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return bound != 0 ? z % bound : 0;
}

static uint32_t limit_named(const char *name)
{
    enum { ROWS = 128 };
    weir_limit_row rows[ROWS];
    unsigned count = weir_limits(rows, ROWS);
    for (unsigned i = 0; i < count && i < ROWS; i++)
        if (strcmp(rows[i].group, "core") == 0 && strcasecmp(rows[i].name, name) == 0)
            return rows[i].value < UINT32_MAX ? (uint32_t)rows[i].value : UINT32_MAX;
    sim_fail("check: no limit is called %s", name);
}

struct check *check_new(uint64_t seed)
{
    struct check *check = calloc(1, sizeof *check);
    if (check == NULL)
        abort();
    check->state = seed;
    return check;
}

void check_broke(const char *invariant, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sim_fail("%s: %s", invariant, text);
}

bool check_gave_up(const struct check *check)
{
    return check->gave_up;
}

bool check_may_break(const struct check *check)
{
    return sim_can_break() || sim_fault_on(SIM_FAULT_NO_MEMORY) || check->scarce;
}

void check_counts(const struct check *check, uint64_t *conns, uint64_t *bytes)
{
    *conns = check->conn_count;
    *bytes = check->bytes;
}

/* A reset has a cause: what the other end did, which is known only when that has ended too. */
static void reset_check(const struct check_conn *cc)
{
    const struct check_conn *peer = cc->peer;
    if (cc->killed || cc->end.why != WEIR_WHY_PEER_RESET || peer == NULL || cc->side->loose ||
        cc->piped || cc->side->piped || cc->beyond || peer->killed ||
        check_may_break(cc->side->cl->check))
        return;
    /* One that closed in order, but could not get rid of all that it had to send, resets too. */
    bool torn = peer->pull_failed || peer->torn || peer->seen_sent < stream_total(&peer->out);
    check_that(peer->end.why != WEIR_WHY_PEER_RESET &&
                   (peer->end.why != WEIR_WHY_PEER_FINISHED || torn || peer->abort_called),
               "K10.reset", "%s: no reset (%s) without a cause; %s ended by reason %d",
               check_name(cc), weir_error_name(cc->end.error), check_name(peer), peer->end.why);
    /* Closed in order, and sooner than it would have stopped waiting for our end. */
    const weir_service *service = &peer->side->service;
    uint64_t linger_ns = (service->linger_ms != 0 ? service->linger_ms : 2000) * WEIR_MS;
    check_that(!peer->close_called || peer->abort_called || torn || peer->side->cl->freed_early ||
                   service->filters != NULL || peer->end.why != WEIR_WHY_CLOSED ||
                   peer->closed_ns - peer->closing_ns >= linger_ns,
               "K9.linger", "%s: no reset from %s, which closed in order %llu ms before its end",
               check_name(cc), check_name(peer),
               (unsigned long long)((peer->closed_ns - peer->closing_ns) / WEIR_MS));
}

void check_end(struct check *check)
{
    for (uint32_t i = 0; i < check->conn_count; i++) {
        const struct check_conn *cc = check->conns[i];
        check_that(cc->closes == 1 || cc->killed, "K4.one_close",
                   "%s: one on_close expected; %d seen", check_name(cc), cc->closes);
        reset_check(cc);
    }
    conns_free(check);
    struct check_loop *next;
    for (struct check_loop *cl = check->loops; cl != NULL; cl = next) {
        next = cl->next;
        struct check_side *side_next;
        for (struct check_side *side = cl->sides; side != NULL; side = side_next) {
            side_next = side->next;
            free(side);
        }
        free(cl->conns);
        free(cl);
    }
    free(check);
}

struct check_loop *check_loop_new(struct check *check, weir_loop *loop,
                                  const weir_loop_options *options)
{
    struct check_loop *cl = calloc(1, sizeof *cl);
    if (cl == NULL)
        abort();
    cl->check = check;
    cl->loop = loop;
    cl->host = sim_host_self();
    cl->segments_max = limit_named("segments_max");
    cl->progress_bytes = limit_named("write_progress");
    if (options != NULL)
        cl->options = *options;
    cl->turned_ns = weir_now();
    cl->number = check->loops != NULL ? check->loops->number + 1 : 0;
    check_that(cl->number < CHECK_LOOPS, "check", "at most %d loops in a run; more", CHECK_LOOPS);
    cl->next = check->loops;
    check->loops = cl;
    return cl;
}

weir_loop *check_loop_of(const struct check_loop *cl)
{
    return cl->loop;
}

struct check_loop *check_loop_named(const struct check *check, const weir_loop *loop)
{
    for (struct check_loop *cl = check->loops; cl != NULL; cl = cl->next)
        if (cl->loop == loop && !cl->ended && cl->host == sim_host_self())
            return cl;
    return NULL;
}

weir_watch *check_watch(struct check_loop *cl)
{
    return &cl->watch;
}

struct check *check_of(const struct check_loop *cl)
{
    return cl->check;
}

void verb_begin(struct check_loop *cl)
{
    cl->in_verb++;
}

void verb_end(struct check_loop *cl)
{
    cl->in_verb--;
}

void handler_begin(struct check_loop *cl, const char *what)
{
    check_that(!cl->ended, "K4.after_end", "no handler after its loop was freed; %s ran", what);
    check_that(cl->in_verb == 0, "K3.in_verb", "no handler inside a verb; %s ran", what);
    check_that(cl->in_handler == 0, "K3.nested", "no handler inside a handler; %s ran", what);
    check_that(weir_loop_current() == cl->loop, "K1.current",
               "the loop is current in %s; it is not", what);
    cl->in_handler++;
}

void handler_end(struct check_loop *cl)
{
    cl->in_handler--;
}

/* Any verb on a handle of the past says so, whatever its slot is now. */
static void stale_check(struct check_loop *cl)
{
    if (cl->stale_count == 0)
        return;
    unsigned room = cl->stale_count < CHECK_STALE ? cl->stale_count : CHECK_STALE;
    weir_conn conn = cl->stale[check_random(cl->check, room)];
    weir_conn_stats stats;
    weir_address address;
    int result = WEIR_EGONE;
    unsigned which = (unsigned)check_random(cl->check, 12);
    verb_begin(cl);
    switch (which) {
    case 0:
        result = weir_send(conn, weir_str("stale"));
        break;
    case 1:
        result = weir_close(conn);
        break;
    case 2:
        result = weir_abort(conn);
        break;
    case 3:
        result = weir_pause(conn);
        break;
    case 4:
        result = weir_resume(conn);
        break;
    case 5:
        result = weir_finish(conn);
        break;
    case 6:
        result = weir_conn_stats_get(conn, &stats);
        break;
    case 7:
        result = weir_conn_peer(conn, &address);
        break;
    case 8:
        result = weir_pull_ready(conn);
        break;
    case 9:
        result = weir_flush(conn);
        break;
    case 10:
        result = weir_conn_user(conn) == NULL ? WEIR_EGONE : 0;
        break;
    default:
        result = weir_conn_alive(conn) ? 0 : WEIR_EGONE;
        break;
    }
    verb_end(cl);
    check_that(result == WEIR_EGONE, "K2.stale", "verb %u on a closed handle gives WEIR_EGONE; %s",
               which, weir_error_name(result));
}

/* Lent buffers come home soon after the end of what they were sent on. */
static void lent_check(struct check_loop *cl)
{
    const struct check *check = cl->check;
    if (cl->lent_out == 0 || check_random(cl->check, 16) != 0)
        return;
    for (uint32_t i = 0; i < check->conn_count; i++) {
        const struct check_conn *cc = check->conns[i];
        check_that(cc->side->cl != cl || cc->closes == 0 || cc->lent == 0 ||
                       cl->judged_ns <= cc->closed_ns,
                   "K4.lent_home", "%s: its lent buffers come home when it has ended; %u are out",
                   check_name(cc), cc->lent);
    }
}

static void loop_limits(struct check_loop *cl)
{
    const weir_loop_stats *s = &cl->stats;
    uint64_t most = cl->options.conns_max != 0 ? cl->options.conns_max : 1u << 20;
    check_that(s->conns <= most, "K6.conns_max", "at most %llu connections; %llu are there",
               (unsigned long long)most, (unsigned long long)s->conns);
    check_that(s->conns >= cl->conn_count && (cl->others || s->conns == cl->conn_count), "K4.known",
               "%u connections had their first event and not their last; the loop counts %llu",
               cl->conn_count, (unsigned long long)s->conns);
    if (cl->options.memory_max_bytes != 0) {
        /* Beyond the limit each established one may still take what lies within its soft mark, and
         * what was on its way when reading was paused. */
        uint64_t slack = 1 << 20;
        for (uint32_t i = 0; i < cl->conn_count; i++) {
            const weir_service *service = &cl->conns[i]->side->service;
            slack += service->hard_cap_bytes != 0 ? service->hard_cap_bytes : 1u << 20;
        }
        check_that(s->memory_bytes <= cl->options.memory_max_bytes + slack, "K6.memory",
                   "at most %llu bytes and %llu; %llu are used",
                   (unsigned long long)cl->options.memory_max_bytes, (unsigned long long)slack,
                   (unsigned long long)s->memory_bytes);
    }
}

void check_turn(struct check_loop *cl)
{
    weir_loop *former = NULL;
    bool entered = weir_loop_current() != cl->loop;
    if (entered)
        former = weir_loop_enter(cl->loop);
    check_that(cl->in_handler == 0 && cl->in_verb == 0, "K3.nested",
               "no turn within a handler; one began");
    /* Entered from outside, the loop's time is later than that of the turn that has been. */
    weir_time now = weir_now(), turn = entered ? cl->turned_ns : now;
    cl->slack_ns = entered ? 500 * WEIR_MS : 0;
    int result = weir_loop_stats_get(cl->loop, &cl->stats);
    check_that(result == 0, "K1.stats", "stats in its own thread; %s", weir_error_name(result));
    for (uint32_t i = 0; i < cl->conn_count; i++) {
        conn_look(cl->conns[i]);
        conn_activity(cl->conns[i], turn);
        conn_deadlines(cl->conns[i], now);
    }
    loop_limits(cl);
    if (!cl->freeing) /* then no timer fires any more */
        timers_check(cl, now);
    if (!cl->freeing) {
        lent_check(cl);
        foreigns_check(cl);
    }
    if (check_random(cl->check, 4) == 0)
        stale_check(cl);
    cl->turned_ns = now;
    cl->turns_ns[cl->turn++ % CHECK_TURNS] = now;
    cl->judged_ns = cl->turn < CHECK_TURNS ? 0 : cl->turns_ns[cl->turn % CHECK_TURNS];
    if (entered)
        weir_loop_enter(former);
}

void check_loop_free(struct check_loop *cl)
{
    cl->freeing = true;
    cl->freed_early = cl->conn_count != 0;
    weir_loop_free(cl->loop);
    for (uint32_t i = 0; i < cl->conn_count; i++)
        check_that(cl->conns[i]->killed, "K4.one_close",
                   "%s: on_close before the loop is freed; none came", check_name(cl->conns[i]));
    check_that(cl->lent_out == 0, "K4.lent_home", "every lent buffer released; %u are not",
               cl->lent_out);
    check_that(cl->pulls_out == 0, "K4.pull_end", "every pull source told its end; %u are not",
               cl->pulls_out);
    cl->ended = true;
    timers_forget(cl);
    foreigns_end(cl);
    cl->conn_count = 0;
}

void check_others(struct check_loop *cl)
{
    cl->others = true;
}

void check_killed(struct check *check, sim_host *host)
{
    for (struct check_loop *cl = check->loops; cl != NULL; cl = cl->next) {
        if (cl->host != host || cl->ended)
            continue;
        for (uint32_t i = 0; i < cl->conn_count; i++)
            cl->conns[i]->killed = true;
        cl->ended = true;
        cl->conn_count = 0;
        timers_forget(cl);
    }
}

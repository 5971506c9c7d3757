/* The verbs that send and close, each compared with what it promises. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/check/check_in.h"

enum { SOFT_MARK = 64 << 10, HARD_CAP = 1 << 20, STATIC_COPIED = 256, PULL_CHUNK = 16384 };

static uint32_t soft_mark(const struct check_conn *cc)
{
    uint32_t bytes = cc->side->service.soft_mark_bytes;
    return bytes != 0 ? bytes : SOFT_MARK;
}

static uint32_t hard_cap(const struct check_conn *cc)
{
    uint32_t bytes = cc->side->service.hard_cap_bytes;
    return bytes != 0 ? bytes : HARD_CAP;
}

const uint8_t *noise_table(void)
{
    static uint8_t table[CHECK_NOISE];
    static bool filled;
    uint32_t state = 0x2545f491;
    for (int i = 0; !filled && i < CHECK_NOISE; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        table[i] = (uint8_t)(state >> 24);
    }
    filled = true;
    return table;
}

void check_noise(struct check *check, void *data, size_t size)
{
    uint8_t *at = data;
    while (size != 0) {
        size_t from = (size_t)check_random(check, CHECK_NOISE), part = CHECK_NOISE - from;
        part = part < size ? part : size;
        memcpy(at, noise_table() + from, part);
        at += part;
        size -= part;
    }
}

bool check_living(const struct check_conn *cc)
{
    return cc->opens == 1 && cc->closes == 0 && !cc->close_called && !cc->abort_called &&
           !cc->refused && !cc->killed && !cc->gone_seen;
}

static void closing(struct check_conn *cc)
{
    if (cc->closing_ns == 0)
        cc->closing_ns = weir_now();
}

/* --- the model of one send -------------------------------------------------------------------- */

struct asked {
    uint64_t bytes;   /* in all */
    uint64_t counted; /* of these: what weir holds for the caller */
    unsigned pieces;
    weir_conn_stats before;
    int state; /* of the handle before */
};

/* Whether this end has output that is not in the numbers of weir_conn_stats. */
static bool opaque(const struct check_conn *cc)
{
    return cc->side->service.filters != NULL;
}

static struct asked ask(struct check_conn *cc, const weir_view *views, unsigned count)
{
    struct asked a = {.pieces = count};
    for (unsigned i = 0; i < count; i++) {
        unsigned owner = views[i].owner >> WEIR_OWNER_SHIFT;
        a.bytes += views[i].size;
        bool copied = owner == WEIR_OWNER_STATIC && views[i].size < STATIC_COPIED;
        if (copied || (owner != WEIR_OWNER_STATIC && owner != WEIR_OWNER_LENT))
            a.counted += views[i].size;
    }
    a.state = weir_conn_stats_get(cc->conn, &a.before);
    return a;
}

static void sent(struct check_conn *cc, const struct asked *a, int result)
{
    weir_conn_stats after;
    check_that(cc->opens == 1 && cc->closes == 0 && !cc->finish_called && !cc->close_called &&
                   !cc->abort_called && !cc->refused && !cc->gone_seen,
               "K2.send", "%s: a send on what is closed or finished fails; it gave %d",
               check_name(cc), result);
    check_that(a->state == 0 && weir_conn_stats_get(cc->conn, &after) == 0, "K2.send",
               "%s: a send on a living handle; it is stale", check_name(cc));
    cc->pieces = a->before.unsent_bytes == 0 && cc->pulls == 0 ? a->pieces : cc->pieces + a->pieces;
    if (cc->pieces > cc->side->cl->segments_max / 4)
        cc->drain_may = true;
    if (result == WEIR_SEND_WAIT)
        cc->drain_owed = true;
    if (opaque(cc))
        return;
    check_that(after.queued_bytes <= hard_cap(cc), "K6.cap",
               "%s: at most %u bytes held; %llu after a send", check_name(cc), hard_cap(cc),
               (unsigned long long)after.queued_bytes);
    check_that(after.unsent_bytes == a->before.unsent_bytes + a->bytes, "K3.queued",
               "%s: %llu unsent and %llu more; %llu", check_name(cc),
               (unsigned long long)a->before.unsent_bytes, (unsigned long long)a->bytes,
               (unsigned long long)after.unsent_bytes);
    check_that(after.sent_bytes == a->before.sent_bytes, "K3.kernel",
               "%s: a send does not enter the kernel; %llu bytes left", check_name(cc),
               (unsigned long long)(after.sent_bytes - a->before.sent_bytes));
    check_that(after.queued_bytes == a->before.queued_bytes + a->counted, "K6.counted",
               "%s: %llu held and %llu more; %llu", check_name(cc),
               (unsigned long long)a->before.queued_bytes, (unsigned long long)a->counted,
               (unsigned long long)after.queued_bytes);
    check_that((result == WEIR_SEND_WAIT) == (after.unsent_bytes > soft_mark(cc)), "K6.wait",
               "%s: told to wait above the mark of %u; %d with %llu", check_name(cc), soft_mark(cc),
               result, (unsigned long long)after.unsent_bytes);
}

static void refused_full(struct check_conn *cc, const struct asked *a)
{
    weir_conn_stats after = {0};
    bool memory = sim_fault_on(SIM_FAULT_NO_MEMORY) || cc->side->cl->options.memory_max_bytes != 0;
    check_that(opaque(cc) || a->before.queued_bytes + a->counted > hard_cap(cc) ||
                   cc->pieces + a->pieces >= cc->side->cl->segments_max / 2 || memory,
               "K6.refused", "%s: a send within the cap of %u is taken; refused with %llu and %llu",
               check_name(cc), hard_cap(cc), (unsigned long long)a->before.queued_bytes,
               (unsigned long long)a->counted);
    if (cc->side->service.full == WEIR_FULL_REFUSE) {
        check_that(weir_conn_stats_get(cc->conn, &after) == 0 &&
                       (opaque(cc) || (after.unsent_bytes == a->before.unsent_bytes &&
                                       after.queued_bytes == a->before.queued_bytes)),
                   "K6.refused_whole", "%s: nothing queued of a send that is refused; %llu, %llu",
                   check_name(cc), (unsigned long long)after.unsent_bytes,
                   (unsigned long long)after.queued_bytes);
        return;
    }
    if (memory && weir_conn_alive(cc->conn))
        return;
    check_that(!weir_conn_alive(cc->conn), "K6.refused_close",
               "%s: closed by a send beyond the cap; it lives", check_name(cc));
    cc->refused = true;
    closing(cc);
}

static void refused(struct check_conn *cc, const struct asked *a, int result)
{
    bool memory = sim_fault_on(SIM_FAULT_NO_MEMORY) || cc->side->cl->options.memory_max_bytes != 0;
    switch (result) {
    case WEIR_EFULL:
        refused_full(cc, a);
        break;
    case WEIR_EGONE: /* that on_close follows is seen at the end */
        check_that(!weir_conn_alive(cc->conn), "K2.gone",
                   "%s: WEIR_EGONE of what is gone; it lives", check_name(cc));
        cc->gone_seen = true;
        break;
    case WEIR_EMISUSE:
        check_that(cc->opens == 0 || cc->finish_called || cc->piped, "K4.misuse",
                   "%s: WEIR_EMISUSE before on_open or after weir_finish; otherwise",
                   check_name(cc));
        break;
    case WEIR_ENOMEM:
        check_that(memory, "K6.memory", "%s: memory while there is some; WEIR_ENOMEM",
                   check_name(cc));
        break;
    default:
        check_broke("K6.refused", "%s: an error that a send may give; %s", check_name(cc),
                    weir_error_name(result));
    }
}

static void judge(struct check_conn *cc, const struct asked *a, int result)
{
    if (result >= 0)
        sent(cc, a, result);
    else
        refused(cc, a, result);
}

/* --- the verbs -------------------------------------------------------------------------------- */

int check_sendv(struct check_conn *cc, const weir_view *views, unsigned count)
{
    struct check_loop *cl = cc->side->cl;
    struct asked a = ask(cc, views, count);
    uint64_t total = stream_total(&cc->out);
    for (unsigned i = 0; i < count; i++) {
        stream_put(&cc->out, views[i].data, views[i].size);
        if (views[i].owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_BLOCK)
            cl->view_used = true;
    }
    verb_begin(cl);
    int result = count == 1 ? weir_send(cc->conn, views[0]) : weir_sendv(cc->conn, views, count);
    verb_end(cl);
    if (result < 0)
        stream_cut(&cc->out, total);
    judge(cc, &a, result);
    return result;
}

int check_send(struct check_conn *cc, weir_view view)
{
    return check_sendv(cc, &view, 1);
}

int check_send_bytes(struct check_conn *cc, const void *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    int result = check_send(cc, weir_bytes(copy, size));
    memset(copy, 0xcc, size);
    free(copy);
    return result;
}

int check_send_static(struct check_conn *cc, size_t size)
{
    weir_view views[8];
    unsigned count = 0;
    if (size > (size_t)CHECK_NOISE * 4)
        size = (size_t)CHECK_NOISE * 4;
    for (; size != 0 && count < 8; count++) {
        size_t from = (size_t)check_random(cc->side->cl->check, CHECK_NOISE / 2);
        size_t part = CHECK_NOISE - from < size ? CHECK_NOISE - from : size;
        views[count] = weir_static(noise_table() + from, part);
        size -= part;
    }
    return check_sendv(cc, views, count);
}

/* What finish, close and the like say of a handle, living or not. */
static int judge_plain(struct check_conn *cc, int result, const char *verb)
{
    if (result == WEIR_EGONE) {
        check_that(cc->closes != 0 || !weir_conn_alive(cc->conn), "K2.gone",
                   "%s: WEIR_EGONE of what is gone; it lives (%s)", check_name(cc), verb);
        cc->gone_seen = true;
        return result;
    }
    check_that(result == 0 || (result == WEIR_EMISUSE && cc->opens == 0), "K9.verb",
               "%s: %s gives 0; %s", check_name(cc), verb, weir_error_name(result));
    check_that(cc->closes == 0, "K2.stale", "%s: %s on a closed handle gives WEIR_EGONE; %s",
               check_name(cc), verb, weir_error_name(result));
    return result;
}

int check_finish(struct check_conn *cc)
{
    verb_begin(cc->side->cl);
    int result = judge_plain(cc, weir_finish(cc->conn), "weir_finish");
    verb_end(cc->side->cl);
    cc->finish_called |= result == 0;
    return result;
}

int check_close(struct check_conn *cc)
{
    verb_begin(cc->side->cl);
    int result = judge_plain(cc, weir_close(cc->conn), "weir_close");
    check_that(!weir_conn_alive(cc->conn), "K9.alive", "%s: not alive after weir_close; it is",
               check_name(cc));
    verb_end(cc->side->cl);
    cc->close_called |= result == 0;
    closing(cc);
    return result;
}

int check_abort(struct check_conn *cc)
{
    verb_begin(cc->side->cl);
    bool was = weir_conn_alive(cc->conn); /* or weir is closing it already, in order */
    int result = judge_plain(cc, weir_abort(cc->conn), "weir_abort");
    check_that(!weir_conn_alive(cc->conn), "K9.alive", "%s: not alive after weir_abort; it is",
               check_name(cc));
    verb_end(cc->side->cl);
    cc->abort_called |= result == 0;
    cc->close_called |= !was;
    closing(cc);
    return result;
}

int check_pause(struct check_conn *cc)
{
    verb_begin(cc->side->cl);
    int result = judge_plain(cc, weir_pause(cc->conn), "weir_pause");
    verb_end(cc->side->cl);
    cc->paused |= result == 0;
    return result;
}

int check_resume(struct check_conn *cc)
{
    verb_begin(cc->side->cl);
    int result = judge_plain(cc, weir_resume(cc->conn), "weir_resume");
    verb_end(cc->side->cl);
    cc->paused = false;
    return result;
}

int check_flush(struct check_conn *cc)
{
    verb_begin(cc->side->cl);
    int result = judge_plain(cc, weir_flush(cc->conn), "weir_flush");
    verb_end(cc->side->cl);
    return result;
}

int check_pipe(struct check_conn *a, struct check_conn *b)
{
    verb_begin(a->side->cl);
    int result = weir_pipe(a->conn, b->conn);
    verb_end(a->side->cl);
    if (result == 0) {
        a->piped = b->piped = true;
        a->paused = b->paused = false;
        if (a->peer != NULL && b->peer != NULL) {
            a->coupled = b;
            b->coupled = a;
            a->peer->beyond = b->peer->beyond = true;
        }
    }
    return result;
}

/* --- at every turn ---------------------------------------------------------------------------- */

void conn_look(struct check_conn *cc)
{
    weir_conn_stats s;
    int result = weir_conn_stats_get(cc->conn, &s);
    check_that(result == 0, "K4.one_close", "%s: a handle until on_close; %s", check_name(cc),
               weir_error_name(result));
    /* A pull source at the front is asked for a chunk, whatever is queued behind it. */
    uint64_t most = (uint64_t)hard_cap(cc) + (cc->pulled ? PULL_CHUNK : 0);
    check_that(opaque(cc) || cc->piped || s.queued_bytes <= most, "K6.cap",
               "%s: at most %u bytes held; %llu", check_name(cc), hard_cap(cc),
               (unsigned long long)s.queued_bytes);
    check_that(s.queued_bytes <= s.unsent_bytes || opaque(cc) || cc->pulls != 0, "K6.counted",
               "%s: no more held than unsent, %llu; %llu", check_name(cc),
               (unsigned long long)s.unsent_bytes, (unsigned long long)s.queued_bytes);
    check_that(s.received_bytes >= cc->stats.received_bytes && s.sent_bytes >= cc->stats.sent_bytes,
               "K5.counts", "%s: counts only grow; one fell", check_name(cc));
    check_that(opaque(cc) || s.sent_bytes <= stream_total(&cc->out) || cc->piped, "K5.sent",
               "%s: at most %llu bytes sent; %llu", check_name(cc),
               (unsigned long long)stream_total(&cc->out), (unsigned long long)s.sent_bytes);
    bool open = weir_conn_state(cc->conn) == WEIR_CONN_OPEN;
    check_that(!(cc->drain_owed && open && s.unsent_bytes == 0 && cc->pulls == 0) || opaque(cc) ||
                   cc->piped || cc->finish_called,
               "K6.drain", "%s: on_drain once its output has gone; none", check_name(cc));
    cc->stats = s;
}

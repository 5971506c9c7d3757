/* Mail: bytes for a connection from anywhere: its own loop, another one of its host, or a thread
 * that has none. The model puts them where they are queued, which is on arrival: a task posted
 * before the mail and one behind it tell when that is, for what one thread sends a loop arrives in
 * its order. One is on its way to a loop at a time. What became of it is told on the sender's loop,
 * before the second task there or after it, but soon. */
#include <stdlib.h>

#include "sim/check/check_in.h"

struct check_mail {
    weir_task before, after;
    struct check_conn *cc;
    bool posted, put, full_fine, taken;
    bool over, told;         /* the second task has run; the sender has been told */
    int error;               /* as it was told */
    uint64_t over_ns;        /* of the world */
    weir_loop *home;         /* the sender's loop, or NULL: nobody is told */
    uint64_t dropped, total; /* by the loop, and the stream's size, before it */
    size_t size;
    uint8_t bytes[];
};

static void arrives(weir_task *task, void *arg)
{
    struct check_mail *m = arg;
    struct check_conn *cc = m->cc;
    struct check_loop *cl = cc->side->cl;
    weir_loop_stats loop_stats;
    weir_conn_stats stats;
    handler_begin(cl, "a task");
    weir_loop_stats_get(cl->loop, &loop_stats);
    m->dropped = loop_stats.mails_dropped;
    if (check_living(cc) && weir_conn_stats_get(cc->conn, &stats) == 0) {
        uint32_t cap = cc->side->service.hard_cap_bytes;
        m->put = true;
        cc->drain_may = true;
        m->total = cc->before_mail = stream_total(&cc->out);
        stream_put(&cc->out, m->bytes, m->size);
        m->full_fine = stats.queued_bytes + m->size > (cap != 0 ? cap : 1u << 20) / 2 ||
                       cc->pieces > cl->segments_max / 4;
    }
    handler_end(cl);
}

/* A send that was refused: for a reason, and with what that does to the connection. */
static void dropped(struct check_mail *m)
{
    struct check_conn *cc = m->cc;
    const struct check_loop *cl = cc->side->cl;
    bool memory = sim_fault_on(SIM_FAULT_NO_MEMORY) || cl->options.memory_max_bytes != 0;
    if (!m->put)
        return;
    stream_cut(&cc->out, m->total);
    bool lives = weir_conn_alive(cc->conn);
    check_that(!m->posted || !lives || cc->finish_called || cc->piped || m->full_fine || memory ||
                   cc->side->service.filters != NULL || cc->pull_failed || cc->torn,
               "K1.mail", "%s: mail for a living connection with room is queued; it was dropped",
               check_name(cc));
    if (!lives && !cc->close_called && !cc->abort_called && m->posted) {
        cc->refused = true;
        if (cc->closing_ns == 0)
            cc->closing_ns = weir_now();
    }
}

/* Both have come. */
static void judge(struct check_mail *m)
{
    struct check_loop *cl = m->cc->side->cl;
    check_that(!m->told || (m->error == 0) == m->taken, "K1.mail_done",
               "%s: mail that was %s; told %s", check_name(m->cc), m->taken ? "queued" : "dropped",
               weir_error_name(m->error));
    if (cl->untold == m)
        cl->untold = NULL;
    free(m);
}

static void arrived(weir_task *task, void *arg)
{
    struct check_mail *m = arg;
    struct check_conn *cc = m->cc;
    struct check_loop *cl = cc->side->cl;
    weir_loop_stats stats;
    handler_begin(cl, "a task");
    weir_loop_stats_get(cl->loop, &stats);
    m->taken = m->posted && stats.mails_dropped == m->dropped;
    cl->mailing = cc->mailed = false;
    if (m->taken) {
        check_that(m->put && !cc->finish_called, "K2.mail",
                   "%s: mail for what is closed or finished is dropped; it was queued",
                   check_name(cc));
        cc->pieces++;
        cc->drain_may = true;
    } else {
        dropped(m);
    }
    m->over = true;
    m->over_ns = sim_now();
    if (!m->posted || m->home == NULL || m->told)
        judge(m);
    handler_end(cl);
}

static void done(weir_conn conn, int error, void *arg)
{
    struct check_mail *m = arg;
    struct check_loop *cl = m->cc->side->cl;
    bool own = weir_loop_current() == cl->loop;
    if (own)
        handler_begin(cl, "the end of a mail");
    check_that(weir_loop_current() == m->home, "K1.mail_done",
               "%s: the sender is told on its own loop; on another", check_name(m->cc));
    check_that(weir_conn_is(conn, m->cc->conn), "K1.mail_done", "%s: its own handle; another",
               check_name(m->cc));
    check_that(m->posted && !m->told, "K1.mail_done", "%s: one answer to a mail; another",
               check_name(m->cc));
    m->told = true;
    m->error = error;
    if (m->over)
        judge(m);
    if (own)
        handler_end(cl);
}

/* Whoever sends again has been told of what was over long before its turn began. */
static void told_in_time(struct check_loop *cl)
{
    enum { LATE_NS = 100 * 1000000 };
    const struct check_mail *m = cl->untold;
    check_that(m == NULL || m->home != weir_loop_current() || !m->over ||
                   m->over_ns + LATE_NS > sim_now() || cl->slack_ns != 0,
               "K1.mail_done", "%s: its sender is told of a mail; it was not", check_name(m->cc));
}

void check_mail(struct check_conn *cc, size_t size)
{
    struct check_loop *cl = cc->side->cl;
    if (cl->mailing || cl->ended || cc->closes != 0)
        return;
    struct check_mail *m = calloc(1, sizeof *m + size);
    if (m == NULL)
        abort();
    told_in_time(cl);
    cl->mailing = cc->mailed = true;
    cc->before_mail = UINT64_MAX;
    m->cc = cc;
    m->size = size;
    m->home = weir_loop_current();
    check_noise(cl->check, m->bytes, size);
    int result = weir_post(cl->loop, &m->before, arrives, m);
    check_that(result == 0, "K1.post", "a task is taken; %s", weir_error_name(result));
    result = weir_mail(cc->conn, m->bytes, size, m->home != NULL ? done : NULL, m);
    check_that(result == 0 || sim_fault_on(SIM_FAULT_NO_MEMORY), "K1.mail", "%s: mail is taken; %s",
               check_name(cc), weir_error_name(result));
    m->posted = result == 0;
    cl->untold = m->posted && m->home != NULL ? m : NULL;
    result = weir_post(cl->loop, &m->after, arrived, m);
    check_that(result == 0, "K1.post", "a task is taken; %s", weir_error_name(result));
}

/* The open loop: requests are due at times that the server has no part in. */
#include "app/load/load.h"

#include "base/clock.h"

enum { PARTS_MAX = 1 << 16 };

#define LATE_NS WEIR_MS /* what a timer of the loop may be late */

/* -ln of a number from 0 (not itself) to 1; the library is not linked with that of mathematics. */
static double minus_log(double number)
{
    static const double ln2 = 0.693147180559945309;
    int halvings = 0;
    while (number < 0.5) {
        number *= 2;
        halvings++;
    }
    /* ln x = 2 (t + t^3/3 + t^5/5 + ...), t = (x - 1) / (x + 1): at most 1/3 here. */
    double t = (number - 1) / (number + 1), power = t, sum = 0;
    for (int i = 1; i < 40; i += 2) {
        sum += power / i;
        power *= t * t;
    }
    return halvings * ln2 - 2 * sum;
}

/* Nanoseconds to the next request. */
static double step_of(struct load_loop *loop)
{
    if (!loop->load->options.poisson)
        return loop->step_ns;
    double part = ((double)(random_next(&loop->random) >> 11) + 1) / 9007199254740992.0; /* 2^53 */
    return minus_log(part) * loop->step_ns;
}

static void conn_push(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    conn->lined_up = true;
    conn->next = NULL;
    if (loop->free_first == NULL) {
        loop->free_first = conn;
        loop->free_since_ns = now_ns;
    } else {
        loop->free_last->next = conn;
    }
    loop->free_last = conn;
}

/* Whether it can take a request now; with a connection for each request it must have none. */
static bool is_free(const struct load_conn *conn)
{
    const weir_load_options *options = &conn->loop->load->options;
    if (options->close)
        return conn->state == LOAD_NONE;
    return conn->state == LOAD_OPEN && conn->in_flight < options->pipeline;
}

/* The one that has waited longest; NULL: all are busy. */
static struct load_conn *conn_pop(struct load_loop *loop)
{
    struct load_conn *conn;
    while ((conn = loop->free_first) != NULL) {
        loop->free_first = conn->next;
        conn->lined_up = false;
        if (is_free(conn))
            return conn;
    }
    return NULL;
}

static void send_due(struct load_conn *conn, uint64_t due_ns, uint64_t now_ns)
{
    if (!conn->loop->load->options.close) {
        load_conn_send(conn, 1, due_ns, now_ns);
        return;
    }
    conn->owes = true;
    conn->due_ns = due_ns;
    load_conn_connect(conn);
}

/* A request leaves behind its time: by our fault, when somebody could have sent it. */
static void count_late(struct load_loop *loop, uint64_t due_ns, uint64_t free_ns, uint64_t now_ns)
{
    if (due_ns < loop->measure_ns || loop->measure_ns == 0)
        return;
    if (due_ns < free_ns)
        loop->counts.waited++;
    else if (now_ns - due_ns > LATE_NS)
        loop->counts.late++;
}

static void due_next(struct load_loop *loop)
{
    loop->due_part += step_of(loop);
    loop->due_ns = loop->start_ns + (uint64_t)loop->due_part;
}

static void on_pace(weir_timer *timer, void *arg)
{
    struct load_loop *loop = arg;
    loop->armed_ns = 0;
    load_pace(loop, weir__clock_now_ns());
}

void load_pace(struct load_loop *loop, uint64_t now_ns)
{
    while (loop->running && loop->due_ns <= now_ns && loop->quota != 0) {
        uint64_t free_ns = loop->free_since_ns;
        struct load_conn *conn = conn_pop(loop);
        if (conn == NULL)
            return; /* the next answer brings us back */
        count_late(loop, loop->due_ns, free_ns, now_ns);
        send_due(conn, loop->due_ns, now_ns);
        if (!conn->lined_up && is_free(conn)) {
            conn_push(conn, now_ns);
            loop->free_since_ns = free_ns; /* the line was never empty but for us */
        }
        due_next(loop);
    }
    if (!loop->running || loop->quota == 0 || loop->armed_ns == loop->due_ns)
        return;
    loop->armed_ns = loop->due_ns;
    weir_timer_start_precise(&loop->pace, loop->due_ns, on_pace, loop);
}

void load_pace_free(struct load_conn *conn, uint64_t now_ns)
{
    if (!conn->lined_up && is_free(conn))
        conn_push(conn, now_ns);
    load_pace(conn->loop, now_ns);
}

/* ---- a rate for each connection ---- */

static void on_pace_conn(weir_timer *timer, void *arg)
{
    load_pace_conn(arg, weir__clock_now_ns());
}

static void conn_due_next(struct load_conn *conn)
{
    conn->due_part += step_of(conn->loop);
    conn->due_ns = conn->loop->start_ns + (uint64_t)conn->due_part;
}

void load_pace_conn(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    uint32_t pipeline = loop->load->options.pipeline;

    while (loop->running && conn->state == LOAD_OPEN && conn->due_ns <= now_ns &&
           conn->in_flight < pipeline && loop->quota != 0) {
        count_late(loop, conn->due_ns, conn->free_ns, now_ns);
        load_conn_send(conn, 1, conn->due_ns, now_ns);
        conn_due_next(conn);
    }
    if (loop->running && conn->state == LOAD_OPEN && conn->in_flight < pipeline && loop->quota != 0)
        weir_timer_start_precise(&conn->timer, conn->due_ns, on_pace_conn, conn);
}

/* ---- beginning and end ---- */

void load_pace_begin(struct load_loop *loop)
{
    const weir_load_options *options = &loop->load->options;
    double rate = options->rate_per_conn > 0 ? options->rate_per_conn
                                             : options->rate * loop->conn_count / options->conns;
    loop->step_ns = (double)WEIR_S / rate;
    /* The loops, or the connections, do not all send at the same moment. */
    loop->due_part = loop->step_ns * loop->index / loop->load->loop_count;
    loop->due_ns = loop->start_ns + (uint64_t)loop->due_part;
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        struct load_conn *conn = &loop->conns[i];
        if (options->rate_per_conn <= 0)
            continue;
        conn->due_part = loop->step_ns * i / loop->conn_count;
        conn->due_ns = loop->start_ns + (uint64_t)conn->due_part;
    }
}

/* Counts what was due from `due_ns` to the end. Many are recorded in equal parts with the time of
 * the middle of each, or a rate that nobody can keep would hold us up for long. */
static void missed(struct load_loop *loop, uint64_t due_ns, uint64_t end_ns)
{
    if (due_ns < loop->measure_ns)
        due_ns = loop->measure_ns;
    if (due_ns >= end_ns)
        return;
    uint64_t count = (uint64_t)((double)(end_ns - due_ns) / loop->step_ns);
    if ((double)due_ns + (double)count * loop->step_ns < (double)end_ns)
        count++;
    count = count < loop->quota ? count : loop->quota;
    uint64_t parts = count < PARTS_MAX ? count : PARTS_MAX;
    loop->counts.missed += count;
    for (uint64_t part = 0; part < parts; part++) {
        uint64_t from = count * part / parts, to = count * (part + 1) / parts;
        double middle = ((double)from + (double)(to - 1)) / 2 * loop->step_ns;
        histogram_add_many(&loop->now->response, end_ns - due_ns - (uint64_t)middle, to - from);
    }
}

void load_pace_missed(struct load_loop *loop, uint64_t end_ns)
{
    if (loop->load->options.rate_per_conn <= 0) {
        missed(loop, loop->due_ns, end_ns);
        return;
    }
    for (uint32_t i = 0; i < loop->conn_count; i++)
        missed(loop, loop->conns[i].due_ns, end_ns);
}

/* Of the test server: handlers that answer later, that read bodies, that wait, and what they count.
 */
#ifndef WEIR_TESTS_HTTPSERVER_BODIES_H
#define WEIR_TESTS_HTTPSERVER_BODIES_H

#include <stdlib.h>

#include <weir/http.h>
#include <weir/weir.h>

#define PLAIN "text/plain"

static struct {
    _Atomic unsigned lent, released, pulls, pulls_over, aborted, finished, body_calls, body_over,
        gone;
    _Atomic int last; /* what the last verb gave whose result is of interest */
} seen;
static uint64_t number(weir_exchange x, const char *name)
{
    return strtoull(weir_http_param(x, name), NULL, 10);
}

static weir_time soon(void)
{
    return weir_after(20 * WEIR_S);
}

/* ---- plain handlers ---- */

struct later {
    weir_timer timer;
    weir_exchange x;
    uint64_t bytes;
    struct later *next, **place;
};
static _Thread_local struct later
    *laters; /* those whose timer the end of the loop may have overtaken */

static struct later *later_new(weir_exchange x)
{
    struct later *l = calloc(1, sizeof *l);
    l->x = x;
    l->next = laters;
    l->place = &laters;
    if (laters != NULL)
        laters->place = &l->next;
    return laters = l;
}

static void later_free(struct later *l)
{
    *l->place = l->next;
    if (l->next != NULL)
        l->next->place = l->place;
    free(l);
}

static void later_answer(weir_timer *timer, void *arg)
{
    struct later *l = arg;
    if (weir_http_aborted(l->x))
        seen.aborted++;
    weir_view target = weir_http_target(l->x);
    seen.last = weir_http_text(l->x, 200, "later %.*s\n", (int)target.size,
                               target.size != 0 ? (const char *)target.data : "");
    later_free(l);
}

static void later(weir_exchange x, void *user)
{
    struct later *l = later_new(x);
    weir_timer_start(&l->timer, weir_after(number(x, "ms") * WEIR_MS), later_answer, l);
}

static void count_plain_piece(weir_exchange x, weir_view data, int error, void *arg)
{
    struct later *l = arg;
    seen.body_calls++;
    l->bytes += data.size;
    if (data.size != 0)
        return;
    seen.body_over++;
    seen.last = error;
    if (error == WEIR_ETIMEDOUT)
        weir_http_text(x, 408, "too slow\n");
    else if (error == 0)
        weir_http_text(x, 200, "%llu bytes\n", (unsigned long long)l->bytes);
    later_free(l);
}

static void early_piece(weir_exchange x, weir_view data, int error, void *arg)
{
    if (data.size == 0) {
        seen.body_over++;
        seen.last = error;
    } else if (weir_http_text(x, 200, "early\n") < 0) {
        abort(); /* called once only: what follows is read away */
    }
}

/* An answer before the body has come. */
static void early(weir_exchange x, void *user)
{
    weir_http_on_body(x, early_piece, NULL);
}

static void count_plain(weir_exchange x, void *user)
{
    struct later *l = later_new(x);
    unsigned calls = seen.body_calls;
    if (weir_http_on_body(x, count_plain_piece, l) < 0 || seen.body_calls != calls)
        abort(); /* no handler runs inside a verb */
}

static void later_body(weir_timer *timer, void *arg)
{
    struct later *l = arg;
    unsigned calls = seen.body_calls;
    if (weir_http_on_body(l->x, count_plain_piece, l) < 0)
        later_free(l);
    else if (seen.body_calls != calls)
        abort();
}

static void count_later(weir_exchange x, void *user)
{
    struct later *l = later_new(x);
    weir_timer_start(&l->timer, weir_after(50 * WEIR_MS), later_body, l);
}

static void echo_plain_piece(weir_exchange x, weir_view data, int error, void *arg)
{
    if (data.size != 0)
        seen.last = weir_http_write(x, data, WEIR_NEVER);
    else if (error == 0)
        seen.last = weir_http_end(x);
}

static void echo_plain(weir_exchange x, void *user)
{
    weir_http_begin(x, 200, PLAIN, -1);
    seen.last = weir_http_on_body(x, echo_plain_piece, NULL);
}

static void echo_begin(weir_timer *timer, void *arg)
{
    struct later *l = arg;
    echo_plain(l->x, NULL);
    later_free(l);
}

static void echo_late(weir_exchange x, void *user)
{
    struct later *l = later_new(x);
    weir_timer_start(&l->timer, weir_after(300 * WEIR_MS), echo_begin, l);
}

/* Fields for an answer that is never given. */
static void fields_only(weir_exchange x, void *user)
{
    weir_http_set(x, "Content-Encoding", "gzip");
}

static void misuse(weir_exchange x, void *user)
{
    weir_view view;
    bool ok = weir_http_read(x, &view, WEIR_NEVER) == WEIR_EMISUSE &&
              weir_sleep(weir_after(WEIR_MS)) == WEIR_EMISUSE;
    weir_http_text(x, ok ? 200 : 500, "misuse\n");
}

/* ---- handlers that read bodies, or wait ---- */

static const char unread[8 << 20];

static void count(weir_exchange x, void *user)
{
    uint64_t total = 0, ms = number(x, "ms");
    weir_view piece;
    int result;
    while ((result = weir_http_read(x, &piece, soon())) > 0) {
        total += piece.size;
        if (ms != 0)
            weir_sleep(weir_after(ms * WEIR_MS));
    }
    seen.last = result;
    seen.body_over++;
    if (result == 0)
        weir_http_text(x, 200, "%llu bytes\n", (unsigned long long)total);
}

/* The body back as it comes. */
static void echo(weir_exchange x, void *user)
{
    weir_view piece;
    int result;
    weir_http_begin(x, 200, PLAIN, -1);
    while ((result = weir_http_read(x, &piece, soon())) > 0) {
        if (weir_http_write(x, piece, soon()) < 0)
            return;
    }
    seen.last = result < 0 ? result : weir_http_end(x);
}

/* Some of the body, then an answer; and then it asks for more. */
static void read_some(weir_exchange x, void *user)
{
    uint64_t wanted = number(x, "n"), total = 0;
    weir_view piece;
    int result = 1;
    while (total < wanted && (result = weir_http_read(x, &piece, soon())) > 0)
        total += piece.size;
    if (result < 0)
        return;
    weir_http_text(x, 200, "some\n");
    seen.last = weir_http_read(x, &piece, soon());
}

static void read_deadline(weir_exchange x, void *user)
{
    weir_view piece;
    int result = weir_http_read(x, &piece, weir_after(50 * WEIR_MS));
    int first = result;
    if (result == WEIR_ETIMEDOUT) /* the wait ended, not the stream */
        result = weir_http_read(x, &piece, soon());
    weir_http_text(x, 200, "%s %d\n", weir_error_name(first), result);
}

static void sleeper(weir_exchange x, void *user)
{
    int result = weir_sleep(weir_after(number(x, "ms") * WEIR_MS));
    if (result < 0 || weir_http_aborted(x))
        seen.aborted++;
    seen.gone += result == WEIR_EGONE;
    seen.finished++;
    weir_http_text(x, 200, "slept\n");
}

/* Its client leaves during the first wait; the second one lasts as long as it should. */
static void naps(weir_exchange x, void *user)
{
    int first = weir_sleep(weir_after(60 * WEIR_S));
    weir_time until = weir_after(number(x, "ms") * WEIR_MS);
    int second = weir_sleep(until);
    if (first == WEIR_EGONE && second == 0 && weir_now() >= until && weir_http_aborted(x) &&
        weir_http_text(x, 200, "slept\n") == WEIR_EGONE)
        seen.finished++;
}

/* Sleeps behind an answer that its client does not read. */
static void begin_and_sleep(weir_exchange x, void *user)
{
    weir_http_begin(x, 200, PLAIN, -1);
    weir_http_write(x, weir_static(unread, sizeof unread), weir_after(WEIR_MS));
    sleeper(x, user);
}

static void nothing(weir_exchange x, void *user)
{
}

static void twice(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "first\n");
    seen.last = weir_http_text(x, 200, "second\n");
}

static void closes(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "closing\n");
    weir_close(weir_http_conn(x));
}

static void aborts(weir_exchange x, void *user)
{
    weir_abort(weir_http_conn(x));
}

static void deep(weir_exchange x, void *user)
{
    volatile char room[40 * 1024];
    for (size_t i = 0; i < sizeof room; i += 512)
        room[i] = (char)i;
    weir_http_text(x, 200, "deep %d\n", room[0]);
}

static void figures(weir_exchange x, void *user)
{
    weir_http_text(x, 200,
                   "lent=%u released=%u pulls=%u pulls_over=%u aborted=%u finished=%u "
                   "body_over=%u gone=%u last=%s\n",
                   seen.lent, seen.released, seen.pulls, seen.pulls_over, seen.aborted,
                   seen.finished, seen.body_over, seen.gone, weir_error_name(seen.last));
}

#endif

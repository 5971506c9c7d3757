/* Server-sent events: an answer that goes on for as long as its client listens, made by a pull
 * source. It is asked only when the client has taken what there was, so a slow client costs no
 * memory.
 *
 *     ./events [URL]                       default http://127.0.0.1:8080
 *     curl -N http://127.0.0.1:8080/events             an event a second
 *     curl -N 'http://127.0.0.1:8080/events?ms=100&count=5'
 */
#include <stdio.h>
#include <stdlib.h>

#include <weir/http.h>
#include <weir/weir.h>

struct events {
    weir_timer timer;
    weir_conn conn;
    uint64_t ms, left, number;
    bool due;
};

static void event_due(weir_timer *timer, void *arg)
{
    struct events *events = arg;
    events->due = true;
    weir_pull_ready(events->conn); /* it has something: ask it again */
}

static ssize_t events_pull(weir_conn conn, void *data, size_t size, void *arg)
{
    struct events *events = arg;
    if (data == NULL) { /* the last call, whatever happened */
        weir_timer_cancel(&events->timer);
        free(events);
        return 0;
    }
    if (events->left == 0)
        return 0; /* the end of the answer */
    if (!events->due) {
        events->conn = conn;
        weir_timer_start(&events->timer, weir_after(events->ms * WEIR_MS), event_due, events);
        return WEIR_PULL_WAIT;
    }
    events->due = false;
    events->left--;
    return snprintf(data, size, "id: %llu\ndata: tick\n\n", (unsigned long long)++events->number);
}

static uint64_t number(weir_exchange x, const char *name, uint64_t otherwise)
{
    const char *text = weir_http_query_value(x, name);
    uint64_t value = text != NULL ? strtoull(text, NULL, 10) : 0;
    return value != 0 && value <= INT32_MAX ? value : otherwise;
}

static void events(weir_exchange x, void *user)
{
    struct events *events = calloc(1, sizeof *events);
    if (events == NULL) {
        weir_http_text(x, 503, "out of memory\n");
        return;
    }
    events->ms = number(x, "ms", 1000);
    events->left = number(x, "count", UINT64_MAX);
    weir_http_set(x, "Cache-Control", "no-store");
    if (weir_http_pull(x, 200, "text/event-stream", -1, events_pull, events) < 0)
        free(events); /* it was told nothing */
}

int main(int argc, char **argv)
{
    weir_http_app *app = weir_http_app_new(NULL);
    if (app == NULL || weir_http_get(app, "/events", events, NULL) < 0)
        return 1;
    int result = weir_http_serve(app, argc > 1 ? argv[1] : "http://127.0.0.1:8080");
    weir_http_app_free(app);
    return result < 0;
}

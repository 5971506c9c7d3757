/* A server for tests of HTTP/1.1: one route for each way of answering, of reading a body, and of
 * getting it wrong. Prints its port, serves until TERM, and says at its end what was given back.
 *
 *     httpserver [name=value...]
 *
 * listen header body idle first line head fields body_max requests no_keep_alive stack handlers
 * conns linger drain loops write_ms file (of which /file answers) quiet */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/weir.h>

#include "httpserver_bodies.h"

static char pattern[1 << 20];
static const char *file_name;
static weir_http_app *app;

/* ---- whole answers ---- */

static void memory(weir_exchange x, void *user)
{
    seen.last = weir_http_respond(x, 200, PLAIN, weir_str("memory\n"));
}

static void missing(weir_exchange x, void *user)
{
    weir_http_text(x, 404, "nothing here\n");
}

static void bytes(weir_exchange x, void *user)
{
    seen.last = weir_http_respond(x, 200, PLAIN, weir_bytes(pattern, number(x, "n")));
}

static void fixed(weir_exchange x, void *user)
{
    seen.last = weir_http_respond(x, 200, PLAIN, weir_static(pattern, number(x, "n")));
}

static void released(const void *data, size_t size, void *arg)
{
    seen.released++;
    free((void *)(uintptr_t)data);
}

static weir_view lent(size_t size)
{
    char *copy = malloc(size + 1);
    memcpy(copy, pattern, size);
    seen.lent++;
    return weir_own(copy, size, released, NULL);
}

static void own(weir_exchange x, void *user)
{
    seen.last = weir_http_respond(x, 200, PLAIN, lent(number(x, "n")));
}

/* Every way in which a lent view is refused: it comes back each time. */
static void own_refused(weir_exchange x, void *user)
{
    int a = weir_http_respond(x, 99, PLAIN, lent(100));
    int b = weir_http_respond(x, 200, "text/plain\r\nX: y", lent(100));
    int c = weir_http_write(x, lent(100), WEIR_NEVER);
    weir_http_begin(x, 200, PLAIN, 3);
    int d = weir_http_respond(x, 200, PLAIN, lent(100));
    int e = weir_http_write(x, lent(100), WEIR_NEVER);
    int f = weir_http_write(x, lent(3), WEIR_NEVER);
    weir_http_end(x);
    int g = weir_http_write(x, lent(100), WEIR_NEVER);
    seen.last = (a < 0) + (b < 0) + (c < 0) + (d < 0) + (e < 0) + (f == 0) + (g < 0);
}

static void hello(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "Hello, %s!\n", weir_http_param(x, "name"));
}

static void params(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "a=%s b=%s rest=%s none=%s\n", weir_http_param(x, "a"),
                   weir_http_param(x, "b"), weir_http_param(x, "rest"), weir_http_param(x, "c"));
}

static void query(weir_exchange x, void *user)
{
    const char *q = weir_http_query_value(x, "q"), *r = weir_http_query_value(x, "r");
    weir_view raw = weir_http_query(x);
    weir_http_text(x, 200, "q=%s r=%s raw=%.*s\n", q != NULL ? q : "(none)",
                   r != NULL ? r : "(none)", (int)raw.size, (const char *)raw.data);
}

static void request(weir_exchange x, void *user)
{
    weir_view method = weir_http_method(x), target = weir_http_target(x), path = weir_http_path(x);
    weir_view agent = weir_http_header(x, "user-agent");
    if (user != NULL) /* they last over a wait */
        weir_sleep(weir_after(20 * WEIR_MS));
    weir_http_text(x, 200, "%.*s %.*s %.*s %.*s\n", (int)method.size, (const char *)method.data,
                   (int)target.size, (const char *)target.data, (int)path.size,
                   (const char *)path.data, (int)agent.size,
                   agent.data != NULL ? (const char *)agent.data : "");
}

static void status(weir_exchange x, void *user)
{
    seen.last = weir_http_respond(x, (unsigned)number(x, "n"), PLAIN, weir_str("body\n"));
}

static void text(weir_exchange x, void *user)
{
    seen.last = weir_http_text(x, 200, "%*d", (int)number(x, "n"), 7);
    if (seen.last < 0)
        weir_http_text(x, 500, "too long\n");
}

/* Fields: good ones of `n` bytes in all, and those that are refused. */
static void fields(weir_exchange x, void *user)
{
    static const char *const refused[][2] = {
        {"Content-Length", "5"},
        {"connection", "close"},
        {"Date", "now"},
        {"keep-alive", "x"},
        {"Transfer-Encoding", "chunked"},
        {"A B", "x"},
        {"", "x"},
        {"X", "a\r\nY: b"},
        {"X", " a"},
        {"X", "a\t"},
        {"X:", "a"},
        {"X", "a\x7f"},
    };
    char value[257];
    int wrong = 0;
    memset(value, 'v', 256);
    value[256] = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        wrong += weir_http_set(x, refused[i][0], refused[i][1]) != WEIR_EINVALID;
    int result = 0;
    for (uint64_t left = number(x, "n"); left != 0 && result == 0; left--)
        result = weir_http_set(x, "X-Field", value);
    seen.last = result;
    weir_http_text(x, wrong == 0 ? 200 : 500, "%s\n", weir_error_name(result));
}

/* ---- streamed answers ---- */

static void stream(weir_exchange x, void *user)
{
    uint64_t count = number(x, "count"), size = number(x, "size");
    int result = weir_http_begin(x, 200, PLAIN, user != NULL ? (int64_t)(count * size) : -1);
    for (; count != 0 && result >= 0; count--)
        result = weir_http_write(x, weir_bytes(pattern, size), soon());
    if (result >= 0)
        result = weir_http_end(x);
    seen.last = result;
}

static void trailers(weir_exchange x, void *user)
{
    weir_http_set(x, "Trailer", "X-Sum");
    weir_http_begin(x, 200, PLAIN, -1);
    seen.last = weir_http_write(x, weir_str("with trailers\n"), soon());
    weir_http_trailer(x, "X-Sum", "14");
    int refused = weir_http_trailer(x, "Content-Length", "14");
    weir_http_trailer(x, "X-Refused", refused == WEIR_EINVALID ? "yes" : "no");
    weir_http_end(x);
}

/* Fewer bytes than were promised. */
static void short_stream(weir_exchange x, void *user)
{
    weir_http_begin(x, 200, PLAIN, 100);
    seen.last = weir_http_write(x, weir_str("short"), soon());
}

static void long_stream(weir_exchange x, void *user)
{
    weir_http_begin(x, 200, PLAIN, 4);
    seen.last = weir_http_write(x, weir_str("long"), soon());
    seen.last = weir_http_write(x, weir_str("er"), soon());
}

static void begin_only(weir_exchange x, void *user)
{
    seen.last = weir_http_begin(x, 200, PLAIN, -1);
    seen.last = weir_http_write(x, weir_str("begun\n"), soon());
}

static void ticks(weir_exchange x, void *user)
{
    int result = weir_http_begin(x, 200, PLAIN, -1);
    for (uint64_t count = number(x, "count"); count != 0 && result >= 0; count--) {
        result = weir_sleep(weir_after(number(x, "ms") * WEIR_MS));
        if (result == 0)
            result = weir_http_write(x, weir_str("tick\n"), soon());
    }
    if (result >= 0)
        result = weir_http_end(x);
    if (result < 0)
        seen.aborted++;
    seen.last = result;
}

/* ---- files and pull sources ---- */

static void file(weir_exchange x, void *user)
{
    struct stat stat;
    int fd = open(file_name != NULL ? file_name : "/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0) {
        weir_http_text(x, 500, "no file\n");
        return;
    }
    uint64_t size = (uint64_t)stat.st_size + (user != NULL ? 1000 : 0);
    seen.last = weir_http_file(x, 200, PLAIN, fd, 0, size, true);
}

enum pull_kind { PULL_GOOD, PULL_FAILS, PULL_SHORT, PULL_WAITS };

struct pull {
    weir_timer timer;
    weir_conn conn;
    enum pull_kind kind;
    uint64_t left, wait_ms;
    size_t at;
    bool ready;
};

static void pull_wake(weir_timer *timer, void *arg)
{
    struct pull *p = arg;
    p->ready = true;
    weir_pull_ready(p->conn);
}

static ssize_t pull(weir_conn conn, void *data, size_t size, void *arg)
{
    struct pull *p = arg;
    if (data == NULL) {
        seen.pulls_over++;
        weir_timer_cancel(&p->timer);
        free(p);
        return 0;
    }
    if (p->left == 0)
        return p->kind == PULL_FAILS ? WEIR_EPROTO : 0;
    if (p->kind == PULL_WAITS && !p->ready) {
        p->conn = conn;
        weir_timer_start(&p->timer, weir_after(p->wait_ms * WEIR_MS), pull_wake, p);
        return WEIR_PULL_WAIT;
    }
    size_t most = p->kind == PULL_WAITS ? 10 : 7000;
    p->ready = false;
    if (size > p->left)
        size = p->left;
    if (size > most)
        size = most;
    memcpy(data, pattern + p->at % sizeof pattern / 2, size);
    p->at += size;
    p->left -= size;
    return (ssize_t)size;
}

static void pull_begin(weir_exchange x, enum pull_kind kind, bool length)
{
    struct pull *p = calloc(1, sizeof *p);
    uint64_t size = number(x, "n");
    p->kind = kind;
    p->left = size;
    p->wait_ms = number(x, "ms");
    seen.pulls++;
    seen.last =
        weir_http_pull(x, 200, PLAIN, length ? (int64_t)size + (kind == PULL_SHORT) : -1, pull, p);
    if (seen.last < 0) {
        seen.pulls--;
        free(p);
    }
}

static void pull_chunked(weir_exchange x, void *user)
{
    pull_begin(x, PULL_GOOD, false);
}

static void pull_length(weir_exchange x, void *user)
{
    pull_begin(x, PULL_GOOD, true);
}

static void pull_waits(weir_exchange x, void *user)
{
    pull_begin(x, PULL_WAITS, false);
}

static void pull_fails(weir_exchange x, void *user)
{
    pull_begin(x, PULL_FAILS, false);
}

static void pull_short(weir_exchange x, void *user)
{
    pull_begin(x, PULL_SHORT, true);
}

/* ---- the program ---- */

static const struct {
    const char *method, *pattern;
    weir_http_fn *fn;
    void *user;
    unsigned flags;
} routes[] = {
    {"GET", "/", memory, NULL, 0},
    {"GET", "/{rest...}", missing, NULL, 0},
    {"GET", "/plain", memory, NULL, WEIR_HTTP_PLAIN},
    {"GET", "/bytes/{n}", bytes, NULL, 0},
    {"GET", "/static/{n}", fixed, NULL, 0},
    {"GET", "/own/{n}", own, NULL, 0},
    {"GET", "/own-refused", own_refused, NULL, 0},
    {"GET", "/hello", memory, NULL, 0},
    {"GET", "/hello/{name}", hello, NULL, 0},
    {"GET", "/params/{a}/{b}/x/{rest...}", params, NULL, 0},
    {"GET", "/query", query, NULL, 0},
    {"GET", "/request", request, NULL, 0},
    {"GET", "/request-late", request, pattern, 0},
    {"PURGE", "/request", request, NULL, 0},
    {"GET", "/status/{n}", status, NULL, 0},
    {"GET", "/text/{n}", text, NULL, 0},
    {"GET", "/fields/{n}", fields, NULL, 0},
    {"GET", "/stream/{count}/{size}", stream, NULL, 0},
    {"GET", "/stream-length/{count}/{size}", stream, pattern, 0},
    {"GET", "/trailers", trailers, NULL, 0},
    {"GET", "/stream-short", short_stream, NULL, 0},
    {"GET", "/stream-long", long_stream, NULL, 0},
    {"GET", "/begin-only", begin_only, NULL, 0},
    {"GET", "/ticks/{count}/{ms}", ticks, NULL, 0},
    {"GET", "/file", file, NULL, 0},
    {"GET", "/file-short", file, pattern, 0},
    {"GET", "/pull/{n}", pull_chunked, NULL, 0},
    {"GET", "/pull-length/{n}", pull_length, NULL, 0},
    {"GET", "/pull-wait/{n}/{ms}", pull_waits, NULL, WEIR_HTTP_PLAIN},
    {"GET", "/pull-fail/{n}", pull_fails, NULL, 0},
    {"GET", "/pull-short/{n}", pull_short, NULL, 0},
    {"GET", "/later/{ms}", later, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/count-plain", count_plain, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/count-later", count_later, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/misuse", misuse, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/count", count, NULL, 0},
    {"POST", "/count-slow/{ms}", count, NULL, 0},
    {"POST", "/echo", echo, NULL, 0},
    {"POST", "/echo-plain", echo_plain, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/early", early, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/echo-late", echo_late, NULL, WEIR_HTTP_PLAIN},
    {"GET", "/fields-only", fields_only, NULL, 0},
    {"POST", "/read-some/{n}", read_some, NULL, 0},
    {"POST", "/read-deadline", read_deadline, NULL, 0},
    {"POST", "/ignore", memory, NULL, 0},
    {"POST", "/ignore-plain", memory, NULL, WEIR_HTTP_PLAIN},
    {"POST", "/ignore-slow/{ms}", sleeper, NULL, 0},
    {"GET", "/sleep/{ms}", sleeper, NULL, 0},
    {"GET", "/naps/{ms}", naps, NULL, 0},
    {"GET", "/begin-and-sleep/{ms}", begin_and_sleep, NULL, 0},
    {"GET", "/none", nothing, NULL, 0},
    {"GET", "/none-plain", nothing, NULL, WEIR_HTTP_PLAIN},
    {"GET", "/twice", twice, NULL, 0},
    {"GET", "/closes", closes, NULL, 0},
    {"GET", "/aborts", aborts, NULL, 0},
    {"GET", "/deep", deep, NULL, 0},
    {"GET", "/figures", figures, NULL, WEIR_HTTP_PLAIN},
};

static void on_started(void *user)
{
    weir_address address;
    if (weir_run_address(0, &address) == 0)
        printf("port %d\n", weir_address_port(&address));
    fflush(stdout);
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
    size_t size = strlen(name);
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], name, size) == 0 && argv[i][size] == '=')
            return argv[i] + size + 1;
    }
    return otherwise;
}

#define NUMBER(name) (uint32_t) strtoul(option(argc, argv, name, "0"), NULL, 0)

int main(int argc, char **argv)
{
    static const char *const headers[] = {"X-Server: test", NULL};
    weir_http_options options = {
        .header_ms = NUMBER("header"),
        .body_ms = NUMBER("body"),
        .idle_ms = NUMBER("idle"),
        .line_max_bytes = NUMBER("line"),
        .head_max_bytes = NUMBER("head"),
        .fields_max = NUMBER("fields"),
        .body_max_bytes = strtoull(option(argc, argv, "body_max", "0"), NULL, 0),
        .requests_max = NUMBER("requests"),
        .no_keep_alive = NUMBER("no_keep_alive") != 0,
        .stack_bytes = NUMBER("stack"),
        .handlers_max = NUMBER("handlers"),
        .headers = headers,
    };
    file_name = option(argc, argv, "file", NULL);
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)('a' + i % 23);
    weir_log_set(weir_log_to_fd, (void *)2, WEIR_LOG_WARN);
    app = weir_http_app_new(&options);
    int result = app == NULL ? WEIR_ENOMEM : 0;
    for (size_t i = 0; i < sizeof routes / sizeof *routes && result == 0; i++)
        result = weir_http_route(app, routes[i].method, routes[i].pattern, routes[i].fn,
                                 routes[i].user, routes[i].flags);
    if (result < 0)
        return 1;
    weir_service service[2];
    weir_http_service(app, option(argc, argv, "listen", "http://127.0.0.1:0"), &service[0]);
    service[0].conns_max = NUMBER("conns");
    service[0].first_byte_ms = NUMBER("first");
    service[0].linger_ms = NUMBER("linger");
    service[0].write_ms = NUMBER("write");
    const char *second = option(argc, argv, "second", NULL);
    if (second != NULL) /* another server of the same loop */
        weir_http_service(app, second, &service[1]);
    weir_run_options run = {
        .shape = NUMBER("loops") > 1 ? WEIR_SHAPE_THREADS : WEIR_SHAPE_SINGLE,
        .loops = NUMBER("loops"),
        .drain_ms = NUMBER("drain"),
        .on_started = on_started,
        .loop.stall_ms = 20000, /* ten thousand handlers at once on a busy machine */
    };
    result = weir_run(service, second != NULL ? 2 : 1, &run);
    weir_http_app_free(app);
    while (laters != NULL)
        later_free(laters);
    printf("lent=%u released=%u pulls=%u pulls_over=%u aborted=%u finished=%u\n", seen.lent,
           seen.released, seen.pulls, seen.pulls_over, seen.aborted, seen.finished);
    return result < 0 || seen.lent != seen.released || seen.pulls != seen.pulls_over;
}

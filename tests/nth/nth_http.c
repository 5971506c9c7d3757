/* A server for files with an access log and a handler that reads bodies: requests over kept
 * connections for a small file (kept in memory), a large one (sent without reading it), a range of
 * it, a listing, and with bodies. An answer is the right one, or an error, or is cut short; never
 * another file's bytes. */
#include "layer.h"
#include "nth.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/weir.h>

enum { SMALL = 20000, LARGE = 1500000, BODY = 30000, STEP_MS = 4000, ANSWER_MAX = LARGE + 4096 };

static char root[40];
static uint8_t pattern[LARGE];
static char answer[ANSWER_MAX + 1];
static weir_loop *loop;
static int port;

/* --- files ------------------------------------------------------------------------------------ */

static const char *path_of(const char *name)
{
    static char path[80];

    snprintf(path, sizeof(path), "%s/%s", root, name);
    return path;
}

static void put_file(const char *name, size_t size)
{
    FILE *file = fopen(path_of(name), "wb");

    if (file == NULL || fwrite(pattern, 1, size, file) != size || fclose(file) != 0) {
        perror(path_of(name));
        exit(2);
    }
}

static void prepare(void)
{
    for (uint32_t i = 0; i < LARGE; i++)
        pattern[i] = (uint8_t)(i * 13 ^ i >> 9);
    strcpy(root, "/tmp/weir-nth-XXXXXX");
    if (mkdtemp(root) == NULL || mkdir(path_of("served"), 0755) < 0 ||
        mkdir(path_of("served/listed"), 0755) < 0) {
        perror(root);
        exit(2);
    }
    put_file("served/small", SMALL);
    put_file("served/large", LARGE);
    put_file("served/listed/a", 1);
}

static void clean(void)
{
    static const char *const names[] = {"served/small",  "served/large", "served/listed/a",
                                        "served/listed", "served",       "log"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        remove(path_of(names[i]));
    remove(root);
}

/* --- the server ------------------------------------------------------------------------------- */

/* Answers with the number of bytes of the body. */
static void count_body(weir_exchange x, void *user)
{
    weir_view piece;
    uint64_t size = 0;
    int got;

    while ((got = weir_http_read(x, &piece, weir_after(5 * WEIR_S))) > 0) {
        if (size + (uint64_t)got > BODY || memcmp(piece.data, pattern + size, piece.size) != 0)
            nth_wrong("a body is not what was sent, at byte %llu", (unsigned long long)size);
        size += (uint64_t)got;
    }
    if (got == 0 && weir_http_text(x, 200, "%llu", (unsigned long long)size) < 0 &&
        !weir_http_aborted(x))
        (void)weir_http_respond(x, 503, NULL, weir_str(""));
}

/* --- a client --------------------------------------------------------------------------------- */

struct client {
    int fd, other;
    bool open;
    unsigned faults; /* before it was opened */
};

struct request {
    const char *name, *head;
    size_t body; /* bytes of the pattern behind the head */
    bool chunked;
    int status;          /* the right one */
    size_t offset, size; /* the right body: bytes of the pattern; size 0: `text`, or any */
    const char *text;
};

#define AUTHORITY " HTTP/1.1\r\nHost: t\r\n"
static const struct request requests[] = {
    {"GET small", "GET /small" AUTHORITY "\r\n", .status = 200, .size = SMALL},
    {"GET large", "GET /large" AUTHORITY "\r\n", .status = 200, .size = LARGE},
    {"GET a range", "GET /large" AUTHORITY "Range: bytes=700000-900999\r\n\r\n", .status = 206,
     .offset = 700000, .size = 201000},
    {"GET a listing", "GET /listed/" AUTHORITY "\r\n", .status = 200},
    {"GET nothing", "GET /none" AUTHORITY "\r\n", .status = 404},
    {"POST a body", "POST /count" AUTHORITY "Content-Length: 30000\r\n\r\n", .body = BODY,
     .status = 200, .text = "30000"},
    {"POST chunks", "POST /count" AUTHORITY "Transfer-Encoding: chunked\r\n\r\n", .body = BODY,
     .chunked = true, .status = 200, .text = "30000"},
    {"GET small again", "GET /small" AUTHORITY "\r\n", .status = 200, .size = SMALL},
};
enum { REQUESTS = sizeof(requests) / sizeof(*requests) };

static size_t build(const struct request *request, char *out)
{
    size_t size = (size_t)sprintf(out, "%s", request->head);

    if (request->chunked)
        size += (size_t)sprintf(out + size, "%zx\r\n", request->body);
    memcpy(out + size, pattern, request->body);
    size += request->body;
    if (request->chunked)
        size += (size_t)sprintf(out + size, "\r\n0\r\n\r\n");
    return size;
}

/* Head and body bytes of the answer; false: it is not whole yet. */
static bool whole(size_t size, size_t *head, size_t *body)
{
    const char *end, *length;

    answer[size] = '\0';
    end = memmem(answer, size, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    *head = (size_t)(end - answer) + 4;
    length = strcasestr(answer, "\r\nContent-Length: ");
    if (length == NULL || length > end)
        nth_wrong("an answer without a length");
    *body = strtoul(length + 18, NULL, 10);
    if (size > *head + *body)
        nth_wrong("more than one answer");
    return size == *head + *body;
}

/* Sends and takes until the answer is whole or the connection is over. The status, or 0. */
static int exchange(struct client *c, const struct request *request, size_t *head, size_t *body)
{
    static char out[BODY + 1024];
    size_t size = build(request, out), sent = 0, got = 0;
    weir_time until = weir_now() + STEP_MS * WEIR_MS;

    for (;;) {
        ssize_t n = sent < size ? __real_send(c->fd, out + sent, size - sent, MSG_NOSIGNAL) : 0;

        sent += n > 0 ? (size_t)n : 0;
        n = __real_recv(c->fd, answer + got, ANSWER_MAX - got, 0);
        got += n > 0 ? (size_t)n : 0;
        if (whole(got, head, body))
            return atoi(answer + 9);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != ENOTCONN))
            return 0;
        if (n > 0)
            continue;
        if (weir_now() > until)
            nth_wrong("%s: neither an answer nor an end, %zu bytes came", request->name, got);
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    }
}

static bool right_body(const struct request *request, size_t head, size_t body)
{
    if (request->text != NULL)
        return body == strlen(request->text) && memcmp(answer + head, request->text, body) == 0;
    return request->size == 0 ||
           (body == request->size && memcmp(answer + head, pattern + request->offset, body) == 0);
}

/* Whether the kernel has said that a file is not there, or not for us. */
static bool denied(void)
{
    return nth_run->faults != 0 &&
           (nth_run->error == ENOENT || nth_run->error == EACCES || nth_run->error == ELOOP);
}

/* A file that is there is not said to be missing because something ran short. */
static bool error_fits(int status)
{
    return status >= 500 || (denied() && (status == 404 || status == 403));
}

/* One request; without a fault during it the answer must be right. True when it was. */
static bool ask(struct client *c, const struct request *request, bool forgive)
{
    unsigned faults = nth_run->faults;
    size_t head = 0, body = 0;
    int status;

    if (!c->open) {
        c->fd = nth_dial(port);
        c->open = true;
        c->faults = nth_run->faults;
    }
    nth_step(request->name);
    status = exchange(c, request, &head, &body);
    if (status == 0 && faults == nth_run->faults && c->faults != faults)
        forgive = true; /* it was lost between two requests */
    if (status == 0 || strcasestr(answer, "\r\nConnection: close") != NULL) {
        __real_close(c->fd);
        c->open = false;
    }
    if (status == request->status && right_body(request, head, body))
        return true;
    if (status == request->status)
        nth_wrong("%s: a whole answer %d with a wrong body", request->name, status);
    if (status != 0 && !error_fits(status))
        nth_wrong("%s: answered %d", request->name, status);
    if (faults == nth_run->faults && !forgive && !(denied() && status < 500)) /* remembered */
        nth_wrong("%s: answered %d without a fault", request->name, status);
    return false;
}

/* A missing file is remembered for a second, also when the kernel told a lie about it. */
static void must_serve(struct client *c, const struct request *request)
{
    weir_time until = weir_now() + 1500 * WEIR_MS;

    while (!ask(c, request, weir_now() < until))
        weir_loop_turn(loop, weir_now() + 20 * WEIR_MS);
}

/* The loop's descriptor of this client's connection. */
static int other_end(int fd)
{
    struct sockaddr_in mine = {0}, theirs = {0};
    socklen_t size = sizeof(mine);

    __real_getsockname(fd, (struct sockaddr *)&mine, &size);
    for (int other = 0; other < 256; other++) {
        size = sizeof(theirs);
        if (__real_getpeername(other, (struct sockaddr *)&theirs, &size) == 0 &&
            theirs.sin_family == AF_INET && theirs.sin_port == mine.sin_port)
            return other;
    }
    return -1;
}

/* --- the program ------------------------------------------------------------------------------ */

static void serve(void)
{
    struct client old = {0}, other = {0};
    bool stands = ask(&old, &requests[0], false) && old.open;
    unsigned faults;

    old.other = stands ? other_end(old.fd) : -1;
    for (unsigned i = 0; i < REQUESTS; i++) {
        ask(&other, &requests[i], false);
        if (!other.open)
            ask(&other, &requests[i], false);
    }
    faults = nth_run->faults;
    if (old.other >= 0 && !ask(&old, &requests[0], true) && !nth_hit(old.other) &&
        faults == nth_run->faults)
        nth_wrong("a connection that the fault did not concern broke");
    nth_disarm();
    must_serve(&other, &requests[0]);
    must_serve(&other, &requests[1]);
    must_serve(&other, &requests[5]);
    if (other.open)
        __real_close(other.fd);
    if (old.open)
        __real_close(old.fd);
    nth_arm();
}

static void refused(const char *what, int result)
{
    if (!nth_run->fired)
        nth_wrong("%s says %s without a fault", what, weir_error_name(result));
    if (strcmp(weir_error_name(result), "unknown") == 0)
        nth_wrong("%s says %d, which has no name", what, result);
}

static int begin(weir_http_app *app)
{
    weir_http_files files = {.listing = true};
    weir_listener listener;
    weir_address address;
    weir_service service;
    weir_loop *former;
    int result = weir_http_route(app, "POST", "/count", count_body, NULL, 0);

    if (result == 0)
        result = weir_http_serve_files(app, "/", path_of("served"), &files);
    if (result < 0)
        return result;
    weir_http_service(app, "http://127.0.0.1:0", &service);
    service.linger_ms = 200;
    former = weir_loop_enter(loop);
    result = weir_listen(&listener, &service);
    if (result == 0)
        result = weir_listener_address(listener, &address);
    weir_loop_enter(former);
    if (result == 0)
        port = weir_address_port(&address);
    return result;
}

static void run(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    weir_http_options http = {0};
    weir_http_app *app;
    char log[80];
    int result;

    nth_step("the loop begins");
    result = weir_loop_new(&loop, &options);
    if (result < 0) {
        refused("weir_loop_new", result);
        return;
    }
    nth_step("the server begins");
    strcpy(log, path_of("log"));
    http.access_log = log;
    app = weir_http_app_new(&http);
    if (app != NULL) {
        result = begin(app);
        if (result == 0)
            serve();
        else
            refused("weir_listen", result);
    } else if (!nth_run->fired) {
        nth_wrong("no application without a fault");
    }
    nth_step("the loop ends");
    weir_loop_free(loop);
    weir_http_app_free(app);
}

const struct nth_program nth_program = {
    .name = "http", .prepare = prepare, .clean = clean, .run = run};

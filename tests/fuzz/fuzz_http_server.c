/* The HTTP server itself on a loop of its own: a client sends any bytes in pieces and finishes.
 * Every answer it gets is well-formed, the connection ends, and nothing of it stays. Input: a byte
 * for the size of the pieces, then the stream. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/weir.h>

#include "proto/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWER_MAX = 1 << 20, TURNS = 3000, INPUT_MAX = 1 << 15 };

static weir_loop *loop;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size;

/* The pools' free pieces are poisoned, and each holds the pointer to the next. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "use_poisoned=1";
}

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void no_log(const weir_log_line *line, void *arg)
{
}

/* --- the server ------------------------------------------------------------------------------- */

static void text(weir_exchange x, void *user)
{
    weir_view agent = weir_http_header(x, "User-Agent");
    const char *value = weir_http_query_value(x, "q");

    (void)weir_http_set(x, "X-Name", weir_http_param(x, "name"));
    (void)weir_http_text(x, 200, "%s %.*s %s", weir_http_param(x, "name"), (int)agent.size,
                         (const char *)agent.data, value != NULL ? value : "");
}

static void count(weir_exchange x, void *user)
{
    weir_view piece;
    uint64_t size = 0;
    int got;

    while ((got = weir_http_read(x, &piece, weir_after(5 * WEIR_S))) > 0)
        size += (uint64_t)got;
    if (got == 0)
        (void)weir_http_text(x, 200, "%llu", (unsigned long long)size);
}

static void stream(weir_exchange x, void *user)
{
    weir_view piece;

    if (weir_http_begin(x, 200, "application/octet-stream", -1) < 0)
        return;
    while (weir_http_read(x, &piece, weir_after(5 * WEIR_S)) > 0)
        if (weir_http_write(x, piece, weir_after(5 * WEIR_S)) < 0)
            return;
    (void)weir_http_trailer(x, "X-End", "yes");
    (void)weir_http_end(x);
}

static void ignore(weir_exchange x, void *user)
{
    (void)weir_http_respond(x, 204, NULL, weir_str(""));
}

static int begin(void)
{
    static const weir_http_options http = {
        .body_max_bytes = 8192, .head_max_bytes = 4096, .line_max_bytes = 1024};
    weir_loop_options options = {.backend = "epoll"};
    weir_http_app *app = weir_http_app_new(&http);
    weir_service service;
    char url[sizeof address.sun_path + 8];

    weir_log_set(no_log, NULL, WEIR_LOG_ERROR);
    expect(app != NULL && weir_loop_new(&loop, &options) == 0);
    expect(weir_http_route(app, "GET", "/text/{name}", text, NULL, WEIR_HTTP_PLAIN) == 0);
    expect(weir_http_post(app, "/count", count, NULL) == 0);
    expect(weir_http_post(app, "/stream", stream, NULL) == 0);
    expect(weir_http_route(app, "PUT", "/any/{rest...}", ignore, NULL, WEIR_HTTP_PLAIN) == 0);
    address_size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 +
                   (socklen_t)snprintf(address.sun_path + 1, sizeof address.sun_path - 1,
                                       "weir-fuzz-%d", (int)getpid());
    snprintf(url, sizeof url, "unix:@%s", address.sun_path + 1);
    weir_http_service(app, url, &service);
    weir_loop_enter(loop);
    expect(weir_listen(NULL, &service) == 0);
    weir_loop_enter(NULL);
    return 0;
}

/* --- the client ------------------------------------------------------------------------------- */

static char answer[ANSWER_MAX];
static size_t got;

/* True when the connection is over. */
static bool take(int fd)
{
    ssize_t n;

    while ((n = recv(fd, answer + got, sizeof answer - got, 0)) > 0)
        got += (size_t)n;
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* The head that the answer begins with. */
static void check_answer(void)
{
    static struct http1_field rows[HTTP1_FIELDS];
    struct http1_response response = {.fields = {.row = rows, .capacity = HTTP1_FIELDS}};
    struct http1_resume resume = {0, 0, 0};
    size_t size = got < (1 << 16) ? got : 1 << 16;

    if (got == 0)
        return;
    expect(http1_parse_response((const uint8_t *)answer, size, &resume, NULL, HTTP_GET, &response) >
           0);
    expect(response.status >= 100 && response.status < 600 && response.minor == 1);
}

static weir_loop_stats stats(void)
{
    weir_loop_stats out;

    expect(weir_loop_stats_get(loop, &out) == 0);
    return out;
}

static void run(const uint8_t *data, size_t size, size_t step, bool resets)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    uint64_t accepted = stats().accepted;
    bool over = false, finished = false;
    size_t sent = 0;

    expect(fd >= 0 && connect(fd, (struct sockaddr *)&address, address_size) == 0);
    got = 0;
    for (unsigned i = 0; !over; i++) {
        expect(i < TURNS && got < sizeof answer);
        if (sent < size) {
            size_t piece = size - sent < step ? size - sent : step;
            ssize_t n = send(fd, data + sent, piece, MSG_NOSIGNAL);

            if (n < 0 && errno != EAGAIN)
                sent = size;
            sent += n > 0 ? (size_t)n : 0;
        }
        if (sent == size && !finished && !resets)
            finished = shutdown(fd, SHUT_WR) == 0;
        weir_loop_turn(loop, sent < size ? 0 : weir_now() + WEIR_MS);
        over = take(fd) || (resets && sent == size);
    }
    close(fd);
    check_answer();
    for (unsigned i = 0; stats().accepted == accepted || stats().conns_active != 0; i++) {
        expect(i < TURNS); /* else it stays */
        weir_loop_turn(loop, weir_now() + WEIR_MS);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;

    if (!begun)
        begun = begin() == 0;
    if (size < 1 || size > INPUT_MAX)
        return 0;
    run(data + 1, size - 1, data[0] & 0x40 ? 1u + data[0] % 64 : INPUT_MAX, data[0] & 0x80);
    return 0;
}

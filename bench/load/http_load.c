/* The HTTP client for every candidate: closed loop, `depth` GETs in flight on each connection, or
 * with -k a connection for each. Options: client.h.
 *
 * It does less for each answer than wrk does, so that on one CPU the server is what is measured:
 * the first answer's length is learnt, and every other one must begin with its status line and have
 * the same length. A server that waits for its client sleeps and wakes more often, the faster the
 * more, and that is charged to it: with wrk the fastest servers look alike. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum { EVENTS = 512, BUFFER = 256 * 1024 };

static const char status_line[] = "HTTP/1.1 200 ";

struct conn {
    int fd;
    uint64_t got; /* bytes of this batch of answers */
    uint64_t sent_at;
};

static struct client_options option;
static char *requests;
static size_t requests_size;
static uint64_t answer_size, batch;
static int epoll;

static noreturn void wrong(const char *what)
{
    fprintf(stderr, "http_load: %s\n", what);
    exit(1);
}

static void open_conn(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

    conn->fd = client_connect(option.port);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0)
        client_die("http_load: epoll_ctl");
}

static void start_batch(struct conn *conn, uint64_t now)
{
    conn->got = 0;
    conn->sent_at = now;
    if (write(conn->fd, requests, requests_size) != (ssize_t)requests_size)
        client_die("http_load: write");
}

/* Each answer that begins in these bytes of a batch begins as it should. */
static void check_starts(const char *data, uint64_t from, size_t size)
{
    uint64_t next = (from + answer_size - 1) / answer_size * answer_size;

    for (; next < from + size; next += answer_size) {
        size_t room = (size_t)(from + size - next), length = sizeof(status_line) - 1;

        if (memcmp(data + (next - from), status_line, room < length ? room : length) != 0)
            wrong("an answer is not 200, or not as long as the first one");
    }
}

/* True when the batch is there whole; with -k, when the server has closed behind it. */
static bool read_some(struct conn *conn)
{
    static char buffer[BUFFER];
    ssize_t n = recv(conn->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n < 0)
        client_die("http_load: read");
    if (n == 0) {
        if (!option.close || conn->got != batch)
            wrong("the server closed a connection too early");
        return true;
    }
    check_starts(buffer, conn->got, (size_t)n);
    conn->got += (uint64_t)n;
    if (conn->got > batch)
        wrong("an answer is longer than the first one");
    return conn->got == batch && !option.close;
}

static void run(uint64_t end_ns)
{
    struct epoll_event events[EVENTS];
    uint64_t now = account_now();

    while (now < end_ns) {
        int count = epoll_wait(epoll, events, EVENTS, 5000);

        if (count == 0)
            wrong("no answer for 5 s");
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;

            if (!read_some(conn))
                continue;
            now = account_now();
            client_done(now - conn->sent_at);
            if (option.close) {
                close(conn->fd);
                open_conn(conn);
            }
            start_batch(conn, now);
        }
        now = account_now();
    }
}

static void make_requests(void)
{
    char one[1024];
    int size = snprintf(one, sizeof(one), "GET %.800s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s\r\n",
                        option.path, option.port, option.close ? "Connection: close\r\n" : "");

    requests_size = (size_t)size * option.depth;
    requests = malloc(requests_size);
    if (requests == NULL)
        client_die("http_load: malloc");
    for (unsigned i = 0; i < option.depth; i++)
        memcpy(requests + (size_t)size * i, one, (size_t)size);
}

/* How long an answer is: its head and what Content-Length says. */
static void learn_answer(void)
{
    static char text[8192];
    const char *end = NULL, *length;
    int fd = client_connect(option.port);
    size_t had = 0;

    if (write(fd, requests, requests_size / option.depth) < 0)
        client_die("http_load: write");
    while (end == NULL) {
        ssize_t n = read(fd, text + had, sizeof(text) - 1 - had);

        if (n <= 0)
            wrong("no whole head came back");
        had += (size_t)n;
        text[had] = '\0';
        end = strstr(text, "\r\n\r\n");
    }
    length = strcasestr(text, "\r\nContent-Length:");
    if (length == NULL || length > end || strncmp(text, status_line, sizeof(status_line) - 1) != 0)
        wrong("the first answer is not 200, or has no Content-Length");
    answer_size = (uint64_t)(end + 4 - text) + strtoull(length + 17, NULL, 10);
    batch = answer_size * option.depth;
    close(fd);
}

int main(int argc, char **argv)
{
    struct conn *conns;

    client_parse(argc, argv, &option);
    if (option.close && option.depth != 1)
        wrong("-k and -d do not go together");
    make_requests();
    learn_answer();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(option.conns, sizeof(*conns));
    if (epoll < 0 || conns == NULL)
        client_die("http_load");
    for (unsigned i = 0; i < option.conns; i++)
        open_conn(&conns[i]);
    for (unsigned i = 0; i < option.conns; i++)
        start_batch(&conns[i], account_now());
    client_measure(&option, run);
    return 0;
}

/* The echo client for every candidate: closed loop, `depth` messages in flight on each connection,
 * every byte that comes back is compared with what was sent. Options: client.h. Pipelined messages
 * go out in one write and the next ones when all came back, as wrk's pipelining does. With -k each
 * message has a connection of its own, which the server closes behind its answer; with -f messages
 * are frames, a length and the rest. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum { EVENTS = 512, PATTERN = 4099 };

struct conn {
    int fd;
    uint32_t got, start; /* bytes of this batch that are back; where in the pattern it begins */
    uint64_t sent_at;
};

static struct client_options option;
static unsigned char
    *pattern; /* PATTERN bytes, then a batch more, so that every start has a batch */
static uint32_t batch;
static int epoll;

static void open_conn(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

    conn->fd = client_connect(option.port);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0)
        client_die("echo_load: epoll_ctl");
}

static void start_batch(struct conn *conn, uint64_t now)
{
    conn->got = 0;
    conn->start = option.frames ? 0 : (conn->start + 61) % PATTERN;
    conn->sent_at = now;
    if (write(conn->fd, pattern + conn->start, batch) != (ssize_t)batch)
        client_die("echo_load: write");
}

/* True when a batch is back whole; with -k, when the server has closed behind it. */
static bool read_some(struct conn *conn)
{
    static unsigned char buffer[256 * 1024];
    uint32_t want = batch - conn->got + option.close;
    ssize_t n = recv(conn->fd, buffer, want < sizeof(buffer) ? want : sizeof(buffer), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n == 0 && option.close && conn->got == batch)
        return true;
    if (n <= 0 || (uint32_t)n > batch - conn->got) {
        fprintf(stderr, "echo_load: the server closed a connection, or did not\n");
        exit(1);
    }
    if (memcmp(buffer, pattern + conn->start + conn->got, (size_t)n) != 0) {
        fprintf(stderr, "echo_load: other bytes came back than were sent\n");
        exit(1);
    }
    conn->got += (uint32_t)n;
    return conn->got == batch && !option.close;
}

static void run(uint64_t end_ns)
{
    struct epoll_event events[EVENTS];
    uint64_t now = account_now();

    while (now < end_ns) {
        int count = epoll_wait(epoll, events, EVENTS, 5000);

        if (count == 0) {
            fprintf(stderr, "echo_load: nothing came back for 5 s\n");
            exit(1);
        }
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

static void make_pattern(void)
{
    uint32_t seed = 1;

    pattern = malloc(PATTERN + (size_t)batch);
    if (pattern == NULL)
        client_die("echo_load: malloc");
    for (size_t i = 0; i < PATTERN + (size_t)batch; i++) {
        seed = seed * 1664525u + 1013904223u;
        pattern[i] = (unsigned char)(seed >> 24);
    }
    for (size_t i = 0; option.frames && i < batch; i += option.size) {
        uint32_t length = htonl(option.size - 4);

        memcpy(pattern + i, &length, sizeof(length));
    }
}

int main(int argc, char **argv)
{
    struct conn *conns;

    client_parse(argc, argv, &option);
    batch = option.size * option.depth;
    make_pattern();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(option.conns, sizeof(*conns));
    if (epoll < 0 || conns == NULL)
        client_die("echo_load");
    for (unsigned i = 0; i < option.conns; i++)
        open_conn(&conns[i]);
    for (unsigned i = 0; i < option.conns; i++) {
        conns[i].start = i * 7 % PATTERN;
        start_batch(&conns[i], account_now());
    }
    client_measure(&option, run);
    return 0;
}

/* The echo client for every candidate: closed loop, `depth` messages in flight on each connection,
 * every byte that comes back is compared with what was sent.
 *
 *     echo_load -a PORT -c CONNS -s SIZE -d DEPTH -t SECONDS -w WARM_UP_SECONDS -p PID,PID
 *
 * Prints one JSON object. The processes of -p are the server's: what they used is read at both ends
 * of the measured time, so that connecting and warming up are not in it. Pipelined messages go out
 * in one write and the next ones when all came back, as wrk's pipelining does. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "account.h"

enum { EVENTS = 512, PATTERN = 4099, STEPS = 64, RANGES = 48 };

struct conn {
    int fd;
    uint32_t got, start; /* bytes of this batch that are back; where in the pattern it begins */
    uint64_t sent_at;
};

static struct {
    unsigned port, conns, size, depth;
    double seconds, warm;
    pid_t pids[ACCOUNT_PIDS_MAX];
    unsigned pid_count;
} option = {.conns = 64, .size = 64, .depth = 1, .seconds = 1, .warm = 0.2};

static unsigned char
    *pattern; /* PATTERN bytes, then a batch more, so that every start has a batch */
static uint32_t batch;
static uint64_t batches;
static uint64_t histogram[RANGES * STEPS]; /* log-linear, 64 steps an octave: 1.6 % */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void record(uint64_t ns)
{
    unsigned octave = ns < STEPS ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 5u;
    unsigned at = octave == 0 ? (unsigned)ns
                              : octave * STEPS + (unsigned)((ns >> (octave - 1)) & (STEPS - 1));

    histogram[at < RANGES * STEPS ? at : RANGES * STEPS - 1]++;
}

static double quantile_us(double part)
{
    uint64_t all = 0, seen = 0;

    for (unsigned i = 0; i < RANGES * STEPS; i++)
        all += histogram[i];
    for (unsigned i = 0; i < RANGES * STEPS; i++) {
        unsigned octave = i / STEPS;

        seen += histogram[i];
        if (all > 0 && (double)seen >= part * (double)all)
            return (octave == 0 ? (double)i
                                : (double)((uint64_t)(STEPS + i % STEPS) << (octave - 1))) /
                   1000;
    }
    return 0;
}

static void open_conn(struct conn *conn, int epoll)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)option.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    int one = 1;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("echo_load: connect");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0)
        die("echo_load: epoll_ctl");
}

static void start_batch(struct conn *conn, uint64_t now)
{
    conn->got = 0;
    conn->start = (conn->start + 61) % PATTERN;
    conn->sent_at = now;
    if (write(conn->fd, pattern + conn->start, batch) != (ssize_t)batch)
        die("echo_load: write");
}

/* True when a batch is back whole. */
static bool read_some(struct conn *conn)
{
    static unsigned char buffer[256 * 1024];
    uint32_t want = batch - conn->got;
    ssize_t n = recv(conn->fd, buffer, want < sizeof(buffer) ? want : sizeof(buffer), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        fprintf(stderr, "echo_load: the server closed a connection\n");
        exit(1);
    }
    if (memcmp(buffer, pattern + conn->start + conn->got, (size_t)n) != 0) {
        fprintf(stderr, "echo_load: other bytes came back than were sent\n");
        exit(1);
    }
    conn->got += (uint32_t)n;
    return conn->got == batch;
}

static void run(int epoll, double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t now = account_now(), end = now + (uint64_t)(seconds * 1e9);

    while (now < end) {
        int count = epoll_wait(epoll, events, EVENTS, 2000);

        if (count == 0) {
            fprintf(stderr, "echo_load: nothing came back for 2 s\n");
            exit(1);
        }
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;

            if (!read_some(conn))
                continue;
            now = account_now();
            record(now - conn->sent_at);
            batches++;
            start_batch(conn, now);
        }
        now = account_now();
    }
}

static void parse(int argc, char **argv)
{
    int letter;

    while ((letter = getopt(argc, argv, "a:c:s:d:t:w:p:")) != -1) {
        switch (letter) {
        case 'a':
            option.port = (unsigned)atoi(optarg);
            break;
        case 'c':
            option.conns = (unsigned)atoi(optarg);
            break;
        case 's':
            option.size = (unsigned)atoi(optarg);
            break;
        case 'd':
            option.depth = (unsigned)atoi(optarg);
            break;
        case 't':
            option.seconds = atof(optarg);
            break;
        case 'w':
            option.warm = atof(optarg);
            break;
        case 'p':
            option.pid_count = account_parse(optarg, option.pids);
            break;
        default:
            exit(64);
        }
    }
    if (option.port == 0 || option.conns == 0 || option.size == 0 || option.depth == 0) {
        fprintf(stderr, "usage: echo_load -a PORT [-c CONNS] [-s SIZE] [-d DEPTH] [-t SECONDS]"
                        " [-w WARM_UP_SECONDS] [-p PID,PID]\n");
        exit(64);
    }
    batch = option.size * option.depth;
}

static void make_pattern(void)
{
    uint32_t seed = 1;

    pattern = malloc(PATTERN + (size_t)batch);
    if (pattern == NULL)
        die("echo_load: malloc");
    for (size_t i = 0; i < PATTERN + (size_t)batch; i++) {
        seed = seed * 1664525u + 1013904223u;
        pattern[i] = (unsigned char)(seed >> 24);
    }
}

static void report(const struct account *from, const struct account *to, uint64_t wall,
                   uint64_t own)
{
    printf("{\"requests\": %lu, \"wall_ns\": %lu, \"cpu_ns\": %lu, \"load_cpu_ns\": %lu,"
           " \"switches\": %lu, \"busy_ns\": %lu, \"softirq_ns\": %lu, \"p50_us\": %.1f,"
           " \"p99_us\": %.1f}\n",
           batches * option.depth, wall, to->cpu_ns - from->cpu_ns, own,
           to->switches - from->switches, to->busy_ns - from->busy_ns,
           to->softirq_ns - from->softirq_ns, quantile_us(0.5), quantile_us(0.99));
}

static uint64_t own_cpu(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    struct account from, to;
    struct rlimit limit;
    struct conn *conns;
    uint64_t start, own;
    int epoll;

    parse(argc, argv);
    make_pattern();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(option.conns, sizeof(*conns));
    if (epoll < 0 || conns == NULL)
        die("echo_load");
    for (unsigned i = 0; i < option.conns; i++)
        open_conn(&conns[i], epoll);
    for (unsigned i = 0; i < option.conns; i++) {
        conns[i].start = i * 7 % PATTERN;
        start_batch(&conns[i], account_now());
    }
    run(epoll, option.warm);
    memset(histogram, 0, sizeof(histogram));
    batches = 0;
    account_read(option.pids, option.pid_count, 0, &from);
    start = account_now();
    own = own_cpu();
    run(epoll, option.seconds);
    account_read(option.pids, option.pid_count, 0, &to);
    report(&from, &to, account_now() - start, own_cpu() - own);
    return 0;
}

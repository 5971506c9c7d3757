/* The load for server models, which may serve only some of their clients: opens connections, sends
 * a message on each and sees which are answered, then measures a closed loop on the active ones of
 * those while the others idle.
 *
 *     model_load PORT CONNS ACTIVE SECONDS
 *
 * It says "ready SERVED" and waits for a line; measures, says the result as a JSON object, and
 * holds the connections until its standard input ends: so the server's account can be taken at both
 * ends of the measured time, while nothing is asked of it. */
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
#include <unistd.h>

#include "account.h"

enum { SIZE = 64, EVENTS = 512, LATENCIES = 1 << 20, QUIET_MS = 1500, GREET_MS = 12000 };

struct conn {
    int fd;
    unsigned got;
    bool served, lost;
    uint64_t sent_at;
};

static int epoll;
static unsigned port, conns_max, served, lost;
static struct conn *conns;
static uint64_t messages;
static uint32_t latencies[LATENCIES]; /* of the first so many, in microseconds */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void lose(struct conn *conn)
{
    if (!conn->lost)
        lost++;
    conn->lost = true;
    close(conn->fd);
}

static bool ask(struct conn *conn)
{
    static const char message[SIZE] = "a message of sixty-four bytes, of which most are nothing";

    conn->got = 0;
    conn->sent_at = account_now();
    if (send(conn->fd, message, SIZE, MSG_NOSIGNAL) == SIZE)
        return true;
    lose(conn);
    return false;
}

/* The handshake may have to wait for room in the server's queue, so nobody waits for it here; the
 * first message goes when it is done. */
static void open_conn(struct conn *conn)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = conn};
    int on = 1;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        die("model_load: socket");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(conn->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        die("model_load: connect");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0)
        die("model_load: epoll_ctl");
}

static void opened(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

    if (epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event) < 0)
        die("model_load: epoll_ctl");
    ask(conn);
}

/* True when a message is back whole. */
static bool answered(struct conn *conn)
{
    char data[SIZE];
    ssize_t n = recv(conn->fd, data, SIZE - conn->got, 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        lose(conn);
        return false;
    }
    conn->got += (unsigned)n;
    return conn->got == SIZE;
}

/* Opens all, in groups so that the server's queue is not the thing measured; until each has its
 * answer, or none has got one for a while, or it takes too long. */
static void greet(void)
{
    struct epoll_event events[EVENTS];
    unsigned begun = 0;
    uint64_t last = account_now(), first = last;

    while (served + lost < conns_max && account_now() - last < QUIET_MS * 1000000ull &&
           account_now() - first < GREET_MS * 1000000ull) {
        while (begun < conns_max && begun < served + lost + 1000)
            open_conn(&conns[begun++]);

        int count = epoll_wait(epoll, events, EVENTS, 200);
        if (count == 0 && begun < conns_max) /* those who wait may wait for ever: the next ones */
            for (unsigned i = 0; i < 500 && begun < conns_max; i++)
                open_conn(&conns[begun++]);
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;

            if (conn->sent_at == 0) {
                opened(conn);
            } else if (answered(conn)) {
                conn->served = true;
                served++;
                last = account_now();
            }
        }
    }
}

/* The closed loop on `active` of those that are served, spread evenly over them. */
static void measure(unsigned active, uint64_t end)
{
    struct epoll_event events[EVENTS];
    unsigned seen = 0, chosen = 0;
    uint64_t now = account_now();

    for (unsigned i = 0; i < conns_max && chosen < active; i++)
        if (conns[i].served && !conns[i].lost && seen++ * (uint64_t)active / served >= chosen)
            chosen += ask(&conns[i]);
    while (now < end && lost < conns_max) {
        int count = epoll_wait(epoll, events, EVENTS, 100);

        now = account_now();
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;

            if (conn->sent_at == 0 || !answered(conn))
                continue;
            if (!conn->served) { /* its turn came late; it stays as idle as it was */
                conn->served = true;
                continue;
            }
            if (messages < LATENCIES)
                latencies[messages] = (uint32_t)((account_now() - conn->sent_at) / 1000);
            messages++;
            ask(conn);
        }
    }
}

static int ascending(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    char line[16];

    if (argc != 5) {
        fprintf(stderr, "usage: model_load PORT CONNS ACTIVE SECONDS\n");
        return 64;
    }
    port = (unsigned)atoi(argv[1]);
    conns_max = (unsigned)atoi(argv[2]);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    conns = calloc(conns_max, sizeof(*conns));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (conns == NULL || epoll < 0 || conns_max == 0)
        die("model_load");
    greet();
    printf("ready %u\n", served);
    fflush(stdout);
    if (fgets(line, sizeof(line), stdin) == NULL)
        return 1;

    unsigned active = (unsigned)atoi(argv[3]) < served ? (unsigned)atoi(argv[3]) : served;
    unsigned lost_before = lost;
    uint64_t begin = account_now();
    measure(active, begin + (uint64_t)(atof(argv[4]) * 1e9));
    uint64_t wall = account_now() - begin;
    size_t kept = messages < LATENCIES ? (size_t)messages : LATENCIES;

    qsort(latencies, kept, sizeof(*latencies), ascending);
    printf("{\"messages\": %llu, \"wall_ns\": %llu, \"served\": %u, \"active\": %u, \"lost\": %u, "
           "\"p50_us\": %u, \"p99_us\": %u}\n",
           (unsigned long long)messages, (unsigned long long)wall, served, active,
           lost - lost_before, kept > 0 ? latencies[kept / 2] : 0,
           kept > 0 ? latencies[kept - 1 - kept / 100] : 0);
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL)
        ;
    return 0;
}

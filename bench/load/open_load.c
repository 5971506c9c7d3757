/* An open loop: requests come at a rate of their own, whatever became of those before, as they do
 * from many users who know nothing of each other. Each takes an idle connection, or a new one when
 * there is none (with -k always a new one), and is given up after the patience of its user, who
 * closes the connection. What counts is the goodput: answers of status 200, whole and in time. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum { EVENTS = 512, CONNS_MAX = 19000, ANSWER_MAX = 8192 };

enum state { FREE, CONNECTING, ASKED, IDLE };

struct conn {
    int fd;
    enum state state;
    unsigned got;
    uint64_t came; /* the request, ns */
    struct conn *prev, *next;
    char head[16];
};

struct list {
    struct conn *first, *last;
};

static struct client_options option;
static double rate, patience_s = 1;
static struct conn conns[CONNS_MAX];
static struct list free_conns, idle_conns, asked_conns;
static char request[1024];
static size_t request_size;
static unsigned answer_size;
static int epoll;
static uint64_t next_ns, drawn = 88172645463325252u;
static bool arriving = true;
static struct {
    uint64_t came, good, late, refused, failed, unsent;
} count;

static void list_add(struct list *list, struct conn *c)
{
    c->prev = list->last;
    c->next = NULL;
    *(list->last != NULL ? &list->last->next : &list->first) = c;
    list->last = c;
}

static void list_leave(struct list *list, struct conn *c)
{
    *(c->prev != NULL ? &c->prev->next : &list->first) = c->next;
    *(c->next != NULL ? &c->next->prev : &list->last) = c->prev;
}

static void move(struct conn *c, enum state state)
{
    struct list *lists[] = {&free_conns, &asked_conns, &asked_conns, &idle_conns};

    if (lists[c->state] != lists[state]) {
        list_leave(lists[c->state], c);
        list_add(lists[state], c);
    }
    c->state = state;
}

static void drop(struct conn *c)
{
    close(c->fd);
    move(c, FREE);
}

/* Poisson: the time to the next request. */
static uint64_t gap_ns(void)
{
    drawn ^= drawn << 13;
    drawn ^= drawn >> 7;
    drawn ^= drawn << 17;
    return (uint64_t)(-log((double)((drawn >> 11) + 1) / 9007199254740993.0) / rate * 1e9);
}

static void ask(struct conn *c)
{
    c->got = 0;
    move(c, ASKED);
    if (send(c->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) {
        count.failed++;
        drop(c);
    }
}

static void connect_new(struct conn *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)option.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        client_die("open_load: socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        client_die("open_load: epoll_ctl");
    move(c, CONNECTING);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS) {
        count.failed++;
        drop(c);
    }
}

static void arrive(uint64_t now)
{
    while (next_ns <= now) {
        struct conn *c = option.close ? NULL : idle_conns.last; /* the warmest */

        count.came++;
        if (c == NULL)
            c = free_conns.first;
        if (c == NULL) {
            count.unsent++; /* this program's own limit: said, for it flatters nobody */
        } else {
            c->came = next_ns;
            if (c->state == IDLE)
                ask(c);
            else
                connect_new(c);
        }
        next_ns += gap_ns();
    }
}

static void expire(uint64_t now)
{
    uint64_t patience_ns = (uint64_t)(patience_s * 1e9);

    for (struct conn *c; (c = asked_conns.first) != NULL && now - c->came > patience_ns;) {
        count.late++;
        drop(c);
    }
}

/* An answer is there, or the connection has ended. A refusal is short: all of it has come. */
static void answered(struct conn *c, uint64_t now, bool ended)
{
    bool good = memcmp(c->head, "HTTP/1.1 200", 12) == 0 && c->got == answer_size;
    bool refused = memcmp(c->head, "HTTP/1.1 503", 12) == 0;

    count.good += good;
    count.refused += refused;
    count.failed += !good && !refused;
    if (good)
        client_done(now - c->came);
    if ((good || refused) && !option.close && !ended)
        move(c, IDLE);
    else
        drop(c);
}

static void take(struct conn *c, uint64_t now)
{
    char buffer[ANSWER_MAX];
    ssize_t n;

    while ((n = recv(c->fd, buffer, sizeof(buffer), 0)) > 0) {
        for (unsigned i = 0; i < n && c->got + i < sizeof(c->head); i++)
            c->head[c->got + i] = buffer[i];
        c->got += (unsigned)n;
    }
    bool ended = n == 0 || errno != EAGAIN;
    if (c->state == IDLE) { /* the server may close one that is idle */
        if (ended)
            drop(c);
    } else if (ended || c->got >= answer_size) {
        answered(c, now, ended);
    }
}

static void run(uint64_t end_ns)
{
    struct epoll_event events[EVENTS];
    uint64_t now = account_now();

    if (next_ns == 0 || next_ns < now)
        next_ns = now;
    while (now < end_ns) {
        uint64_t wait_ns = next_ns > now ? next_ns - now : 0;
        int found = epoll_wait(epoll, events, EVENTS, wait_ns > 2000000 ? 1 : 0);

        now = account_now();
        for (int i = 0; i < found; i++) {
            struct conn *c = events[i].data.ptr;

            if (c->state == CONNECTING && (events[i].events & EPOLLOUT) != 0)
                ask(c);
            else if (c->state != FREE && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
                take(c, now);
        }
        expire(now);
        if (arriving)
            arrive(now);
    }
}

static void learn_answer(void)
{
    static char text[ANSWER_MAX];
    const char *end = NULL, *length;
    int fd = client_connect(option.port);
    size_t had = 0;

    request_size = (size_t)snprintf(
        request, sizeof(request), "GET %.800s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s\r\n",
        option.path, option.port, option.close ? "Connection: close\r\n" : "");
    if (write(fd, request, request_size) < 0)
        client_die("open_load: write");
    while (end == NULL) {
        ssize_t n = read(fd, text + had, sizeof(text) - 1 - had);

        if (n <= 0)
            client_die("open_load: no whole head came back");
        had += (size_t)n;
        text[had] = '\0';
        end = strstr(text, "\r\n\r\n");
    }
    length = strcasestr(text, "\r\nContent-Length:");
    if (length == NULL)
        client_die("open_load: no Content-Length");
    answer_size = (unsigned)(end + 4 - text) + (unsigned)strtoul(length + 17, NULL, 10);
    close(fd);
}

int main(int argc, char **argv)
{
    const char *text = getenv("OPEN_LOAD_RATE"), *patience = getenv("OPEN_LOAD_PATIENCE_S");

    client_parse(argc, argv, &option);
    rate = text != NULL ? atof(text) : 0;
    patience_s = patience != NULL ? atof(patience) : patience_s;
    if (rate <= 0 || patience_s <= 0) {
        fprintf(stderr, "open_load: OPEN_LOAD_RATE, requests a second, is not set\n");
        return 64;
    }
    learn_answer();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        client_die("open_load: epoll_create1");
    for (unsigned i = 0; i < CONNS_MAX; i++)
        list_add(&free_conns, &conns[i]);
    run(account_now() + (uint64_t)(option.warm * 1e9));
    memset(&count, 0, sizeof(count));
    option.warm = 0;
    client_measure(&option, run);
    printf("{\"came\": %lu, \"good\": %lu, \"late\": %lu, \"refused\": %lu, \"failed\": %lu,"
           " \"unsent\": %lu}\n",
           count.came, count.good, count.late, count.refused, count.failed, count.unsent);
    return 0;
}

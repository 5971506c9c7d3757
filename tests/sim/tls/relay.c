#include "sim/tls/relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim/sim.h"

enum { PIECE = 4096 };

struct way;
struct lane {
    int from, to;
    uint64_t passed;
    bool ended, stalled;
    struct way *way;
};

struct way {
    struct relay_plan plan;
    struct lane lanes[2];
    unsigned living;
    bool over;
};

static bool put(struct way *way, int fd, const uint8_t *bytes, size_t size)
{
    while (size != 0 && !way->over) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        way->over |= sent <= 0;
        bytes += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
    }
    return !way->over;
}

static void reset(int fd)
{
    const struct linger none = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

/* Neither end hears anything more of the other. */
static void cut(struct way *way)
{
    for (unsigned i = 0; i < 2; i++) {
        shutdown(way->lanes[i].to, SHUT_WR);
        way->lanes[i].stalled = true;
    }
}

/* `bytes` begin with the one that the plan names. How many of them are used up. */
static size_t act(struct way *way, struct lane *lane, uint8_t *bytes)
{
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40}; /* fatal: handshake failure */
    static const uint8_t noise[] = {23,  3,   3,   0,   24,  'n', 'o', ' ', 'o', 'n',
                                    'e', ' ', 's', 'a', 'i', 'd', ' ', 't', 'h', 'a',
                                    't', '.', '.', '.', '.', '.', '.', '.', '.'};
    enum deed deed = way->plan.deed;
    way->plan.deed = DEED_NONE;
    sim_note("the relay does %d to lane %u at byte %llu", (int)deed, way->plan.lane,
             (unsigned long long)lane->passed);
    switch (deed) {
    case DEED_CUT:
        cut(way);
        return 0;
    case DEED_RESET:
        reset(lane->from);
        reset(lane->to);
        way->over = true;
        return 0;
    case DEED_CHANGE:
        bytes[0] ^= (uint8_t)(1u << sim_random(8));
        return 0;
    case DEED_ALERT:
        put(way, lane->to, alert, sizeof alert);
        return 0;
    case DEED_NOISE:
        put(way, lane->to, noise, sizeof noise);
        return 0;
    case DEED_AGAIN:
        put(way, lane->to, bytes, 1);
        return 0;
    case DEED_STALL:
        lane->stalled = true;
        return 0;
    default:
        return 1; /* lost */
    }
}

static void pass(struct way *way, struct lane *lane)
{
    uint8_t bytes[PIECE];
    ssize_t got = recv(lane->from, bytes, sim_size(PIECE), 0);
    size_t at = 0, size = got > 0 ? (size_t)got : 0;
    if (got < 0) {
        way->over = true;
        return;
    }
    if (got == 0) {
        lane->ended = true;
        if (lane->stalled) /* nobody hears this end: the way is of no use */
            way->over = true;
        else
            shutdown(lane->to, SHUT_WR);
        return;
    }
    bool mine = lane == &way->lanes[way->plan.lane] && way->plan.deed != DEED_NONE &&
                way->plan.at - lane->passed < size;
    if (mine) {
        at = (size_t)(way->plan.at - lane->passed);
        if (!put(way, lane->to, bytes, at))
            return;
        at += act(way, lane, bytes + at);
    }
    lane->passed += size;
    if (!lane->stalled && !way->over)
        put(way, lane->to, bytes + at, size - at);
}

/* A thread each: one that cannot send must not keep the other direction waiting. */
static void *serve(void *arg)
{
    struct lane *lane = arg;
    struct way *way = lane->way;
    while (!way->over && !lane->ended)
        pass(way, lane);
    if (way->over)
        for (unsigned i = 0; i < 2; i++)
            shutdown(way->lanes[i].from, SHUT_RDWR); /* the other one wakes */
    if (--way->living == 0) {
        close(way->lanes[0].from);
        close(way->lanes[1].from);
        free(way);
    }
    return NULL;
}

static struct sockaddr_in address_of(const char *text, unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, text, &address.sin_addr);
    return address;
}

static void take(struct relay *relay, int fd)
{
    struct sockaddr_in to = address_of(relay->to, relay->port);
    struct way *way = calloc(1, sizeof *way);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t thread;
    if (other < 0 || connect(other, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        if (other >= 0)
            close(other);
        free(way);
        return;
    }
    way->lanes[0] = (struct lane){.from = fd, .to = other, .way = way};
    way->lanes[1] = (struct lane){.from = other, .to = fd, .way = way};
    way->living = 2;
    relay->plan(&way->plan, relay->arg);
    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&thread, NULL, serve, &way->lanes[i]) != 0) {
            way->over = true; /* the first one, if there is one, ends both */
            serve(&way->lanes[i]);
        }
}

int relay_main(void *arg)
{
    struct relay *relay = arg;
    struct sockaddr_in at = address_of(relay->from, relay->port);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    sim_check(listener >= 0 && bind(listener, (struct sockaddr *)&at, sizeof at) == 0 &&
                  listen(listener, 64) == 0,
              "the relay listens");
    relay->ready = true;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            take(relay, fd);
        else
            sim_sleep(WEIR_MS);
    }
}

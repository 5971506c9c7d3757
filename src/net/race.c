/* Connecting to a name: Happy Eyeballs, version 2 (RFC 8305). Its addresses are tried one after
 * another, the families in turn, each a little after the one before, and the first that answers
 * wins. The loop's connect deadline is for all of it, the name too. Attempts are sockets of their
 * own, which the loop polls, so that the connection's record has one descriptor ever. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/module.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/socket.h"

/* RFC 8305 section 8, in milliseconds. */
enum { RESOLUTION_DELAY_MS = 50, ATTEMPT_DELAY_MS = 250 };

struct attempt {
    struct list link;
    struct race *race;
    int fd;
    weir_watch watch;
};

struct race {
    struct list link; /* of net->races */
    weir_loop *loop;
    struct conn *conn; /* ends with it: race_end */
    void *lookup;      /* while the name is asked for */
    weir_timer timer;  /* the next attempt is due */
    bool begun;        /* an attempt was made */
    uint16_t port, last_family;
    bool has_source;
    weir_address source;
    int error; /* what is told when all have failed */
    weir_time last_attempt;
    struct list attempts;
    unsigned count; /* of addresses that wait, in the order of preference */
    weir_address waiting[PREFER_MAX];
};

static void race_step(struct race *race);

/* An error that says something of the other end stays before one that says only that there is no
 * way. */
static void failed(struct race *race, int error)
{
    bool no_way = error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EADDRNOTAVAIL ||
                  error == -EAFNOSUPPORT;
    if (race->error == 0 || !no_way)
        race->error = error;
}

static void attempt_end(struct attempt *attempt)
{
    weir_watch_cancel(&attempt->watch);
    if (attempt->fd >= 0)
        close(attempt->fd);
    list_remove(&attempt->link);
    weir__free(attempt);
}

void race_end(weir_loop *loop, struct conn *c)
{
    struct race *race = c->busy->race;
    c->busy->race = NULL;
    weir_timer_cancel(&race->timer);
    if (race->lookup != NULL && loop->net->names != NULL)
        loop->net->names->cancel(race->lookup);
    while (!list_empty(&race->attempts))
        attempt_end(weir_container(race->attempts.next, struct attempt, link));
    list_remove(&race->link);
    weir__free(race);
}

/* The connection takes the descriptor over, as it takes one that was accepted. */
static void won(struct attempt *attempt)
{
    struct race *race = attempt->race;
    weir_loop *loop = race->loop;
    struct conn *c = race->conn;
    int fd = attempt->fd;

    attempt->fd = -1;
    if (!loop->io->hot_block) /* the ring waits by itself */
        fcntl(fd, F_SETFL, 0);
    c->fd = (struct io_fd){.fd = fd, .flags = loop->io->eager ? 0 : IO_FD_ONCE};
    race_end(loop, c);
    conn_dirty(loop, c); /* its busy half is not needed any more */
    loop->net->counters.connected++;
    conn_established(loop, c);
}

static void attempt_event(weir_watch *watch, int events, void *arg)
{
    struct attempt *attempt = arg;
    struct race *race = attempt->race;
    struct sockaddr_storage peer;
    socklen_t size = sizeof(int), peer_size = sizeof peer;
    int error = 0;

    if (events < 0)
        error = -events;
    else if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0 && getpeername(attempt->fd, (struct sockaddr *)&peer, &peer_size) < 0)
        error = errno == ENOTCONN ? ECONNREFUSED : errno;
    if (error == 0) {
        won(attempt);
        return;
    }
    failed(race, -error);
    attempt_end(attempt);
    race->last_attempt = 0; /* the next one need not wait */
    race_step(race);
}

/* Begins one attempt: 0, or an error of it. */
static int attempt_begin(struct race *race, const weir_address *address)
{
    struct weir__socket_error error;
    struct weir__socket_how how = {.local = race->has_source ? &race->source : NULL};
    weir_loop *loop = race->loop;
    int fd = weir__socket_for_connect(address, &race->conn->service->config.socket, &how, &error);

    if (fd < 0) {
        weir__log(WEIR_LOG_DEBUG, fd, 0, "connecting: %s", error.text);
        return fd;
    }
    struct attempt *attempt = weir__zalloc(sizeof *attempt);
    int result = attempt == NULL ? WEIR_ENOMEM : 0;
    if (result == 0 &&
        connect(fd, (const struct sockaddr *)&address->socket, address->socket_size) < 0 &&
        errno != EINPROGRESS && errno != EINTR)
        result = -errno;
    if (result == 0) /* also when it is established already: told in the next turn */
        result = weir_poll(&attempt->watch, fd, POLLOUT, attempt_event, attempt);
    if (result < 0) {
        close(fd);
        weir__free(attempt);
        return result;
    }
    attempt->race = race;
    attempt->fd = fd;
    list_push(&race->attempts, &attempt->link);
    race->last_attempt = loop->now_ns;
    return 0;
}

/* The next address: of the other family than the last one, if there is any. */
static weir_address take_address(struct race *race)
{
    unsigned at = 0;
    while (at < race->count && race->waiting[at].socket.ss_family == race->last_family)
        at++;
    if (at == race->count)
        at = 0;
    weir_address address = race->waiting[at];
    race->count--;
    memmove(&race->waiting[at], &race->waiting[at + 1],
            (race->count - at) * sizeof race->waiting[0]);
    race->last_family = address.socket.ss_family;
    return address;
}

static void timer_event(weir_timer *timer, void *arg)
{
    struct race *race = arg;
    race->begun = true; /* the other family has had its time */
    race->last_attempt = 0;
    race_step(race);
}

/* From a port of its own one attempt can be made at a time: the others would find it in use. */
static bool one_port(const struct race *race)
{
    return race->has_source && weir_address_port(&race->source) > 0;
}

/* Whatever has changed: makes the attempts that are due, waits for the next one, or gives up. */
static void race_step(struct race *race)
{
    weir_loop *loop = race->loop;
    weir_time due = race->last_attempt + ATTEMPT_DELAY_MS * WEIR_MS;

    race->begun |= race->lookup == NULL;
    while (race->count > 0 && race->begun &&
           (list_empty(&race->attempts) || (due <= loop->now_ns && !one_port(race)))) {
        weir_address address = take_address(race);
        int result = attempt_begin(race, &address);
        if (result < 0)
            failed(race, result);
        else
            due = race->last_attempt + ATTEMPT_DELAY_MS * WEIR_MS;
    }
    if (race->count > 0) {
        if (race->begun && !one_port(race))
            weir_timer_start(&race->timer, due, timer_event, race);
    } else if (list_empty(&race->attempts) && race->lookup == NULL) {
        conn_fail(loop, race->conn, WEIR_WHY_ERROR, race->error != 0 ? race->error : WEIR_ENODATA);
    }
}

static void names_event(void *arg, int error, const weir_address *addresses, unsigned count,
                        bool more)
{
    struct race *race = arg;
    bool first = !race->begun;

    if (!more)
        race->lookup = NULL;
    if (error < 0 && race->error == 0) /* what an attempt met tells more */
        failed(race, error);
    for (unsigned i = 0; i < count && race->count < PREFER_MAX; i++) {
        weir_address *next = &race->waiting[race->count];
        *next = addresses[i];
        weir_address_set_port(next, race->port);
        bool fits = !race->has_source || race->source.socket.ss_family == next->socket.ss_family;
        race->count += fits;
        if (!fits)
            failed(race, -EAFNOSUPPORT);
    }
    addresses_prefer(race->waiting, race->count);
    if (first && more && race->count > 0) {
        if (race->waiting[0].socket.ss_family == AF_INET6)
            race->begun = true;
        else
            weir_timer_start(&race->timer, weir_after(RESOLUTION_DELAY_MS * WEIR_MS), timer_event,
                             race);
    }
    race_step(race);
}

int race_begin(weir_loop *loop, struct conn *c, const char *name, uint16_t port,
               const weir_address *source)
{
    struct net *net = loop->net;
    struct race *race = weir__zalloc(sizeof *race);
    struct busy *b = race != NULL ? conn_busy(net, c) : NULL;

    if (b == NULL) {
        weir__free(race);
        return WEIR_ENOMEM;
    }
    race->loop = loop;
    race->conn = c;
    race->port = port;
    race->has_source = source != NULL;
    if (source != NULL)
        race->source = *source;
    list_init(&race->attempts);
    list_push(&net->races, &race->link);
    b->race = race;
    return net->names->begin(net->names_self, name, names_event, race, &race->lookup);
}

void races_forked(struct net *net)
{
    for (struct list *link = net->races.next; link != &net->races; link = link->next) {
        struct race *race = weir_container(link, struct race, link);
        for (struct list *a = race->attempts.next; a != &race->attempts; a = a->next)
            close(weir_container(a, struct attempt, link)->fd);
    }
}

/* --- who looks names up ----------------------------------------------------------------------- */

int weir__names_set(const weir__names *names, void *self)
{
    struct net *net;
    weir_loop *loop = loop_current();
    int result = loop == NULL ? loop_none() : net_of(loop, &net);
    if (result < 0)
        return result;
    if (net->names != NULL)
        return WEIR_EMISUSE;
    net->names = names;
    net->names_self = self;
    return 0;
}

/* A race that waits for nothing but its name; its lookup is forgotten, as all others' are. */
static struct race *forget_lookups(struct net *net)
{
    for (struct list *link = net->races.next; link != &net->races; link = link->next) {
        struct race *race = weir_container(link, struct race, link);
        bool waits = race->lookup != NULL && race->count == 0 && list_empty(&race->attempts);
        race->lookup = NULL;
        if (waits)
            return race;
    }
    return NULL;
}

void weir__names_unset(weir_loop *loop, void *self)
{
    struct net *net = loop->net;
    struct race *race;
    if (net == NULL || net->names_self != self)
        return;
    net->names = NULL;
    net->names_self = NULL;
    while ((race = forget_lookups(net)) != NULL)
        conn_fail(loop, race->conn, WEIR_WHY_ERROR, WEIR_ECANCELED);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

int address_parse_name(const char *text, char name[NAME_TEXT_BYTES], weir_address *out)
{
    const char *host = strstr(text, "://");
    size_t size = 0, last = 0;

    if (host == NULL)
        return WEIR_EADDRESS;
    host += 3;
    for (; name_char(host[size]); size++) /* the last label, dots at the end aside */
        if (host[size] == '.' && name_char(host[size + 1]) && host[size + 1] != '.')
            last = size + 1;
    /* What ends in a number was meant to be an address, and is none. */
    if (size == 0 || size >= NAME_TEXT_BYTES ||
        (host[last] >= '0' && host[last] <= '9' &&
         strspn(host + last, "0123456789xXabcdefABCDEF.") >= size - last))
        return WEIR_EADDRESS;
    size_t head = (size_t)(host - text), tail = strlen(host + size);
    char *numeric = weir__alloc(head + tail + 8);
    if (numeric == NULL)
        return WEIR_ENOMEM;
    memcpy(numeric, text, head);
    memcpy(numeric + head, "0.0.0.0", 7);
    memcpy(numeric + head + 7, host + size, tail + 1);
    memcpy(name, host, size);
    name[size] = '\0';
    int result = weir_address_parse(numeric, out, NULL);
    weir__free(numeric);
    return result;
}

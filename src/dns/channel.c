/* c-ares on a loop: its sockets are foreign descriptors, its time-outs the loop's timer. It sends
 * questions, tries again and elsewhere, goes over to TCP, and matches answers to questions; which
 * files it would read, and what it makes of answers, is not used. */
#define CARES_NO_DEPRECATED /* newer ones have other names for what is used here */
#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/module.h>

#include "dns/resolver.h"

/* What an answer by UDP may have: it crosses every path unfragmented (DNS flag day 2020). */
enum { EDNS_BYTES = 1232 };

/* What is read for one event: a flood of false answers must not hold the turn. */
enum { READS_MAX = 64 };

struct channel {
    weir_resolver *resolver;
    ares_channel ares;
    weir_timer timer;
    struct list sockets;
    unsigned reads_left; /* of this event */
    bool ending;
};

struct channel_socket {
    struct list link;
    struct channel *channel;
    int fd;
    int wanted, waited; /* events that c-ares waits for, and those that the loop does */
    weir_watch watch;
};

static void channel_settle(struct channel *c);

static void socket_event(weir_watch *watch, int events, void *arg)
{
    struct channel_socket *s = arg;
    struct channel *c = s->channel;
    int fd = s->fd, wanted = s->wanted;
    bool broken = events < 0 || (events & (POLLERR | POLLHUP)) != 0;
    bool in = (events > 0 && (events & POLLIN) != 0) || broken;
    bool out = (events > 0 && (events & POLLOUT) != 0) || (broken && (wanted & POLLOUT) != 0);

    s->waited = 0;
    c->reads_left = READS_MAX;
    /* The socket's record may be gone afterwards. */
    ares_process_fd(c->ares, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
    channel_settle(c);
}

static void timer_event(weir_timer *timer, void *arg)
{
    struct channel *c = arg;
    ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    channel_settle(c);
}

/* Waits for what c-ares waits for now. A socket that the loop has no room for is left to the time
 * that c-ares gives it. */
static void channel_settle(struct channel *c)
{
    struct timeval left;

    if (c->ending)
        return;
    for (struct list *link = c->sockets.next; link != &c->sockets; link = link->next) {
        struct channel_socket *s = weir_container(link, struct channel_socket, link);
        if (s->waited == s->wanted)
            continue;
        weir_watch_cancel(&s->watch);
        int result = weir_poll(&s->watch, s->fd, s->wanted, socket_event, s);
        s->waited = result < 0 ? 0 : s->wanted;
        if (result < 0)
            weir__log(WEIR_LOG_WARN, result, 0, "resolver: the loop cannot wait for a socket: %s",
                      weir_error_text(result));
    }
    if (ares_timeout(c->ares, NULL, &left) == NULL) {
        weir_timer_cancel(&c->timer);
        return;
    }
    weir_time ns = (uint64_t)left.tv_sec * WEIR_S + (uint64_t)left.tv_usec * WEIR_US;
    weir_timer_start(&c->timer, weir_after(ns), timer_event, c);
}

/* c-ares tells what it waits for; nothing: it closes the socket next. */
static void socket_state(void *arg, ares_socket_t fd, int in, int out)
{
    struct channel *c = arg;
    struct channel_socket *s = NULL;

    for (struct list *link = c->sockets.next; link != &c->sockets; link = link->next) {
        struct channel_socket *other = weir_container(link, struct channel_socket, link);
        if (other->fd == fd)
            s = other;
    }
    if (in == 0 && out == 0) {
        if (s != NULL) {
            weir_watch_cancel(&s->watch);
            list_remove(&s->link);
            weir__free(s);
        }
        return;
    }
    if (s == NULL)
        s = weir__zalloc(sizeof *s);
    if (s == NULL)
        return; /* its question ends by its time-out */
    if (s->channel == NULL) {
        s->channel = c;
        s->fd = fd;
        list_push(&c->sockets, &s->link);
    }
    s->wanted = (in != 0 ? POLLIN : 0) | (out != 0 ? POLLOUT : 0);
}

/* Servers that fail, refuse, or are not there are one to c-ares 1.18: it says that the connection
 * was refused when it has gone through all of them. */
static int error_of(int status)
{
    switch (status) {
    case ARES_ETIMEOUT:
        return -ETIMEDOUT;
    case ARES_ENOMEM:
        return WEIR_ENOMEM;
    case ARES_EBADRESP:
        return WEIR_EPROTO;
    default:
        return WEIR_ENAMESERVER;
    }
}

static void answered(void *arg, int status, int timeouts, unsigned char *message, int size)
{
    struct question *q = arg;

    if (status == ARES_EDESTRUCTION)
        return; /* it is asked again, or nobody is there any more: channel_free */
    if (message != NULL && size > 0)
        question_answer(q, 0, message, (size_t)size);
    else
        question_answer(q, error_of(status), NULL, 0);
}

void channel_send(struct channel *c, struct question *q)
{
    char text[NAME_PLAIN_MAX + 2];
    size_t at = 0;

    /* As it is: c-ares 1.18 knows no \DDD, and whatever needs it was refused (name_from_text). */
    for (unsigned i = 1; i < q->name.size; at++, i++)
        text[at] = (char)q->name.wire[i];
    for (unsigned i = q->name.wire[0]; i + 1 < at; i += 1u + q->name.wire[i + 1])
        text[i] = '.';
    text[at - 1] = '\0';
    ares_query(c->ares, text, 1 /* IN */, (int)q->type, answered, q);
    channel_settle(c);
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* c-ares 1.18 writes with write(2) and writev(2): a server that resets its connection would end the
 * process by SIGPIPE. And it reads a UDP socket until that is empty. What it would have set on its
 * own sockets is set here. */

static ares_socket_t hook_socket(int family, int type, int protocol, void *arg)
{
    int one = 1;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd >= 0 && type == SOCK_STREAM) /* a failure costs time only */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int hook_close(ares_socket_t fd, void *arg)
{
    return close(fd);
}

static int hook_connect(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t size, void *arg)
{
    return connect(fd, to, size);
}

static ares_ssize_t hook_receive(ares_socket_t fd, void *data, size_t size, int flags,
                                 struct sockaddr *from, ares_socklen_t *from_size, void *arg)
{
    struct channel *c = arg;
    if (c->reads_left == 0) { /* the rest is there at the next turn */
        errno = EAGAIN;
        return -1;
    }
    c->reads_left--;
    return recvfrom(fd, data, size, flags, from, from_size);
}

static ares_ssize_t hook_send(ares_socket_t fd, const struct iovec *parts, int count, void *arg)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                             .msg_iovlen = (size_t)count};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static const struct ares_socket_functions hooks = {
    .asocket = hook_socket,
    .aclose = hook_close,
    .aconnect = hook_connect,
    .arecvfrom = hook_receive,
    .asendv = hook_send,
};

/* --- birth and end ---------------------------------------------------------------------------- */

/* The version that runs may be newer than the one that this was compiled with. */
static bool older_than(int version)
{
    int own;
    ares_version(&own);
    return own < version;
}

/* Up to 1.19.0, c-ares numbers its questions with rand() when it cannot open this file, and then
 * anybody can answer them. 0 or -errno. */
static int random_check(void)
{
    char byte;

    if (!older_than(0x011301))
        return 0;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, &byte, 1);
    int result = got == 1 ? 0 : got < 0 ? -errno : -EIO;
    close(fd);
    return result;
}

/* Older ones take one server's dislike of EDNS for that of all, fail the other questions that are
 * under way, and may use memory after it was freed: they do without. 1.27 is the oldest one that
 * is known to ask again for each question by itself. */
static int edns_flag(void)
{
    return older_than(0x011b00) ? 0 : ARES_FLAG_EDNS;
}

static void *hook_alloc(size_t size)
{
    return weir__alloc(size);
}

static void *hook_realloc(void *memory, size_t size)
{
    return weir__realloc(memory, size);
}

static void library_init(void)
{
    ares_library_init_mem(ARES_LIB_INIT_ALL, hook_alloc, weir__free, hook_realloc);
}

static int servers_set(struct channel *c, const weir_address *servers, unsigned count)
{
    struct ares_addr_port_node nodes[CONFIG_SERVERS_MAX] = {0};
    unsigned used = 0;

    for (unsigned i = 0; i < count; i++) {
        struct ares_addr_port_node *node = &nodes[used];
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&servers[i].socket;
        if (servers[i].socket.ss_family == AF_INET6 && in6->sin6_scope_id != 0) {
            weir__log(WEIR_LOG_WARN, WEIR_ENOTSUP, 0,
                      "resolver: a name server of one link (fe80::) is passed over");
            continue;
        }
        node->family = servers[i].socket.ss_family;
        node->udp_port = node->tcp_port = weir_address_port(&servers[i]);
        if (node->family == AF_INET)
            node->addr.addr4 = ((const struct sockaddr_in *)&servers[i].socket)->sin_addr;
        else
            memcpy(&node->addr.addr6, &in6->sin6_addr, 16);
        if (used > 0)
            nodes[used - 1].next = node;
        used++;
    }
    return ares_set_servers_ports(c->ares, used > 0 ? nodes : NULL);
}

/* Newer versions have a memory of their own, which would keep answers twice. */
static int without_memory(struct ares_options *options)
{
#ifdef ARES_OPT_QUERY_CACHE
    options->qcache_max_ttl = 0;
    return ARES_OPT_QUERY_CACHE;
#else
    return 0;
#endif
}

int channel_new(struct channel **out, weir_resolver *r)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static char no_file[] = "/dev/null", no_lookups[] = "b";
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | edns_flag(),
        .ednspsz = EDNS_BYTES,
        .ndots = 1,
        .lookups = no_lookups,
        .resolvconf_path = no_file,
        .sock_state_cb = socket_state,
    };
    int which = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_NDOTS | ARES_OPT_LOOKUPS |
                ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                ARES_OPT_DOMAINS | (r->resolv.rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);

    which |= without_memory(&options);
    int result = random_check();
    if (result < 0)
        return result;
    pthread_once(&once, library_init);
    struct channel *c = weir__zalloc(sizeof *c);
    if (c == NULL)
        return WEIR_ENOMEM;
    c->resolver = r;
    list_init(&c->sockets);
    options.sock_state_cb_data = c;
    options.flags |= r->resolv.tcp ? ARES_FLAG_USEVC : 0;
    options.timeout =
        r->options.timeout_ms != 0 ? (int)r->options.timeout_ms : (int)r->resolv.timeout_s * 1000;
    options.tries = r->options.attempts != 0 ? (int)r->options.attempts : (int)r->resolv.attempts;
    int status = ares_init_options(&c->ares, &options, which);
    if (status == ARES_SUCCESS) {
        ares_set_socket_functions(c->ares, &hooks, c);
        bool own = r->servers_given;
        status = servers_set(c, own ? r->servers : r->resolv.servers,
                             own ? r->server_count : r->resolv.server_count);
        if (status != ARES_SUCCESS)
            ares_destroy(c->ares);
    }
    if (status != ARES_SUCCESS) {
        weir__free(c);
        return WEIR_ENOMEM;
    }
    *out = c;
    return 0;
}

void channel_free(struct channel *c)
{
    if (c == NULL)
        return;
    c->ending = true;
    ares_destroy(c->ares);
    weir_timer_cancel(&c->timer);
    while (!list_empty(&c->sockets)) { /* c-ares has told of their end: there should be none */
        struct channel_socket *s = weir_container(c->sockets.next, struct channel_socket, link);
        weir_watch_cancel(&s->watch);
        list_remove(&s->link);
        weir__free(s);
    }
    weir__free(c);
}

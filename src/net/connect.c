/* Outgoing connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/socket.h"

/* One copy of a service serves all connections made with it while any lives. */
static struct service *service_shared(struct net *net, const weir_service *config, size_t size,
                                      int *error)
{
    for (struct list *link = net->services.next; link != &net->services; link = link->next) {
        struct service *service = weir_container(link, struct service, link);
        if (service->source_key == (uintptr_t)config) {
            service_ref(service);
            return service;
        }
    }
    struct service *service = service_new(net, config, size, error);
    if (service != NULL)
        service->source_key = (uintptr_t)config;
    return service;
}

static int connect_start(weir_loop *loop, struct conn *c, const weir_address *address)
{
    int result = 0;
    int how = loop->io->ops->connect(loop->io, &c->fd, (const struct sockaddr *)&address->socket,
                                     address->socket_size, conn_token(c, IO_OP_CONNECT), &result);
    if (how < 0)
        return how;
    if (how == IO_DONE && result < 0)
        return result;
    conn_flags(c) |= CONN_SENDING | CONN_CONNECT_SENT;
    if (how == IO_DONE) { /* established at once (unix): told in the next turn (K3) */
        conn_flags(c) &= ~(uint32_t)(CONN_SENDING | CONN_CONNECT_SENT);
        conn_flags(c) |= CONN_CONNECT_DONE;
        conn_again(loop, c);
    }
    conn_deadline(loop, c);
    return 0;
}

/* localhost stands for two addresses. ::1 comes first, and 127.0.0.1 when that fails; one connect
 * deadline is for both. */
static unsigned candidates(const weir_address *parsed, const weir_address *source,
                           weir_address out[2])
{
    unsigned count = weir_address_expand(parsed, out, 2);
    if (count != 2)
        return count;
    weir_address ipv4 = out[0];
    out[0] = out[1];
    out[1] = ipv4;
    if (source == NULL)
        return 2;
    if (source->socket.ss_family == AF_INET) /* it fits one of them only */
        out[0] = ipv4;
    return 1;
}

static int socket_open(const weir_loop *loop, const struct service *service,
                       const weir_address *address, const weir_address *source)
{
    struct weir__socket_error error;
    struct weir__socket_how how = {.blocking = !loop->io->hot_block, .local = source};
    int fd = weir__socket_for_connect(address, &service->config.socket, &how, &error);
    if (fd < 0)
        weir__log(WEIR_LOG_DEBUG, fd, 0, "connecting: %s", error.text);
    return fd;
}

int connect_next(weir_loop *loop, struct conn *c, int error)
{
    int ignored;
    weir_address next;
    if (c->busy == NULL || c->busy->next_port == 0 ||
        weir_address_parse("tcp://127.0.0.1:1", &next, NULL) < 0)
        return error;
    weir_address_set_port(&next, c->busy->next_port);
    c->busy->next_port = 0;
    loop->io->ops->close_fd(loop->io, &c->fd, false, IO_TOKEN(IO_OP_CLOSE, 0, 0, 0), &ignored);
    int fd = socket_open(loop, c->service, &next, NULL);
    c->fd = (struct io_fd){.fd = fd, .flags = loop->io->eager ? 0 : IO_FD_ONCE};
    return fd < 0 ? fd : connect_start(loop, c, &next);
}

/* --- a unix listener whose queue is full ------------------------------------------------------ */

/* The kernel says EAGAIN then, begins nothing, and tells nobody when there is room (connect(2)):
 * the only way is to try again, more seldom each time, until the connect deadline. */
struct connect_wait {
    struct list link; /* of net->connect_waits */
    weir_timer timer;
    weir_conn conn;
    uint32_t wait_ms;
    weir_address address;
};
enum { AGAIN_FIRST_MS = 1, AGAIN_MOST_MS = 50 };

static void wait_end(struct connect_wait *wait)
{
    weir_timer_cancel(&wait->timer);
    list_remove(&wait->link);
    weir__free(wait);
}

static void connect_again(weir_timer *timer, void *arg)
{
    struct connect_wait *wait = arg;
    weir_loop *loop;
    struct conn *c;
    if (conn_get(wait->conn, &loop, &c) < 0 || c->phase != CONN_CONNECTING) {
        wait_end(wait); /* closed, or its deadline has passed */
        return;
    }
    int result = connect_start(loop, c, &wait->address);
    if (result == -EAGAIN) {
        wait->wait_ms = wait->wait_ms < AGAIN_MOST_MS / 2 ? wait->wait_ms * 2 : AGAIN_MOST_MS;
        weir_timer_start(timer, weir_after(wait->wait_ms * WEIR_MS), connect_again, wait);
        return;
    }
    if (result < 0)
        conn_fail(loop, c, WEIR_WHY_ERROR, result);
    wait_end(wait);
}

/* 0, or WEIR_ENOMEM. */
static int connect_later(weir_loop *loop, struct conn *c, const weir_address *address)
{
    struct connect_wait *wait = weir__zalloc(sizeof *wait);
    if (wait == NULL)
        return WEIR_ENOMEM;
    wait->conn = conn_handle(loop, c);
    wait->wait_ms = AGAIN_FIRST_MS;
    wait->address = *address;
    list_push(&loop->net->connect_waits, &wait->link);
    weir_timer_start(&wait->timer, weir_after(wait->wait_ms * WEIR_MS), connect_again, wait);
    conn_deadline(loop, c);
    return 0;
}

void connect_waits_end(struct net *net)
{
    while (!list_empty(&net->connect_waits))
        wait_end(weir_container(net->connect_waits.next, struct connect_wait, link));
}

static int connect_begin(weir_loop *loop, struct conn *c, const weir_address *address)
{
    int result = connect_start(loop, c, address);
    return result < 0 ? connect_next(loop, c, result) : result;
}

/* Whoever asked for TLS gets no connection without it. */
static int secure_check(const char *url, const weir_service *config, size_t size)
{
    if (size >= offsetof(weir_service, tls) + sizeof config->tls && config->tls != NULL)
        return 0;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "cannot connect to %s: its service has no .tls, which says whom to trust (see "
              "weir_tls_client_new in <weir/tls.h>)",
              url);
    return WEIR_EINVALID;
}

int weir__connect(weir_conn *out, const char *url, const weir_service *config, size_t size,
                  void *user)
{
    return weir__connect_from(out, url, NULL, config, size, user);
}

/* A name without the dot that may end it. */
static void aim_name(struct aim *aim, const char *name)
{
    size_t size = strlen(name);
    memcpy(aim->host, name, size + 1);
    if (aim->host[size - 1] == '.')
        aim->host[size - 1] = '\0';
}

/* What is asked of a proxy: a name as it stands, which is the proxy's to look up; or an address. */
static int aim_via(struct aim *aim, const char *url)
{
    char name[NAME_TEXT_BYTES] = "";
    weir_address parsed;
    int result = weir_address_parse(url, &parsed, NULL);
    if (result == WEIR_EADDRESS)
        result = address_parse_name(url, name, &parsed);
    if (result < 0)
        return result;
    if (parsed.transport != WEIR_TRANSPORT_TCP || (parsed.flags & WEIR_ADDRESS_ANY) != 0)
        return WEIR_ENOTSUP;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&parsed.socket;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&parsed.socket;
    bool is4 = parsed.socket.ss_family == AF_INET;
    if (!is4 && in6->sin6_scope_id != 0) /* it names a link of ours */
        return WEIR_ENOTSUP;
    aim->via = true;
    aim->secure = weir__scheme_is_secure(parsed.scheme);
    aim->port = (uint16_t)weir_address_port(&parsed);
    if (name[0] != '\0')
        aim_name(aim, name);
    else if ((parsed.flags & WEIR_ADDRESS_LOCALHOST) != 0)
        aim_name(aim, "localhost");
    else
        inet_ntop(parsed.socket.ss_family,
                  is4 ? (const void *)&in4->sin_addr : (const void *)&in6->sin6_addr, aim->host,
                  sizeof aim->host);
    return 0;
}

static const weir_via *via_of(const weir_service *config, size_t size)
{
    return size >= offsetof(weir_service, via) + sizeof config->via ? config->via : NULL;
}

/* To a name, where somebody looks names up on this loop. */
static int connect_name(struct net *net, weir_conn *out, const char *url,
                        const weir_address *source, struct aim *aim, const weir_service *config,
                        size_t size, void *user)
{
    char name[NAME_TEXT_BYTES];
    weir_address parsed;
    int result = address_parse_name(url, name, &parsed);
    if (result < 0 || net->names == NULL)
        return result == WEIR_ENOMEM ? result : WEIR_EADDRESS;
    if (parsed.transport != WEIR_TRANSPORT_TCP)
        return WEIR_ENOTSUP;
    aim->secure |= weir__scheme_is_secure(parsed.scheme);
    result = aim->secure ? secure_check(url, config, size) : 0;
    if (result < 0)
        return result;
    struct service *service = service_shared(net, config, size, &result);
    if (service == NULL)
        return result;
    struct conn *c = conn_new(net, service, -1, false, true);
    service_unref(net->loop, service);
    if (c == NULL)
        return WEIR_EFULL;
    c->phase = CONN_CONNECTING;
    if (user != NULL)
        c->user = user;
    /* Whom the certificate must name is what was asked for, not what somebody's answer led to. */
    if (!aim->via)
        aim_name(aim, name);
    if (aim->via || aim->secure || c->service->filter_count != 0)
        result = filters_aim(net->loop, c, aim);
    if (result == 0)
        result = race_begin(net->loop, c, name, (uint16_t)weir_address_port(&parsed), source);
    if (result < 0) /* told by on_close, like every connect that fails */
        conn_fail(net->loop, c, WEIR_WHY_ERROR, result);
    else
        conn_deadline(net->loop, c);
    if (out != NULL)
        *out = conn_handle(net->loop, c);
    return 0;
}

/* To an address in numbers, or localhost. */
static int connect_address(struct net *net, weir_conn *out, const weir_address *parsed,
                           const weir_address *source, struct aim *aim, const weir_service *config,
                           size_t size, void *user)
{
    weir_loop *loop = net->loop;
    weir_address address[2];
    int result;
    unsigned count = candidates(parsed, source, address);
    struct service *service = service_shared(net, config, size, &result);
    if (service == NULL)
        return result;
    int fd = socket_open(loop, service, &address[0], source);
    if (fd < 0 && count == 2) { /* no IPv6 here */
        address[0] = address[--count];
        fd = socket_open(loop, service, &address[0], source);
    }
    struct conn *c = fd >= 0 ? conn_new(net, service, fd, false, true) : NULL;
    service_unref(loop, service);
    if (fd < 0)
        return fd;
    if (c == NULL) {
        close(fd);
        return WEIR_EFULL;
    }
    if (address[0].transport == WEIR_TRANSPORT_UNIX && !loop->io->eager)
        c->fd.flags |= IO_FD_MAYBE_UNIX;
    c->phase = CONN_CONNECTING;
    if (user != NULL)
        c->user = user;
    struct busy *b = count == 2 ? conn_busy(net, c) : NULL;
    if (b != NULL)
        b->next_port = (uint16_t)weir_address_port(&address[1]);
    if (!aim->via && (parsed->flags & WEIR_ADDRESS_LOCALHOST) != 0)
        aim_name(aim, "localhost");
    result = aim->via || aim->secure ? filters_aim(loop, c, aim) : 0;
    if (result == 0)
        result = connect_begin(loop, c, &address[0]);
    if (result == -EAGAIN && address[0].transport == WEIR_TRANSPORT_UNIX)
        result = connect_later(loop, c, &address[0]);
    if (result < 0) /* told by on_close, like every connect that fails */
        conn_fail(loop, c, WEIR_WHY_ERROR, result);
    if (out != NULL)
        *out = conn_handle(loop, c);
    return 0;
}

int weir__connect_from(weir_conn *out, const char *url, const weir_address *source,
                       const weir_service *config, size_t size, void *user)
{
    weir_loop *loop = loop_current();
    struct net *net;
    struct aim aim = {0};
    weir_address parsed;
    if (loop == NULL)
        return loop_none();
    if (url == NULL || config == NULL)
        return WEIR_EINVALID;
    int result = net_of(loop, &net);
    const weir_via *via = via_of(config, size);
    const char *wire = via != NULL ? via->url : url;
    if (result == 0 && via != NULL)
        result = aim_via(&aim, url);
    if (result == 0 && aim.secure)
        result = secure_check(url, config, size);
    if (result == 0)
        result = weir_address_parse(wire, &parsed, NULL);
    else
        return result;
    if (result == WEIR_EADDRESS)
        return connect_name(net, out, wire, source, &aim, config, size, user);
    if (result < 0)
        return result;
    if (parsed.transport != WEIR_TRANSPORT_TCP && parsed.transport != WEIR_TRANSPORT_UNIX)
        return WEIR_ENOTSUP;
    if (!aim.via && weir__scheme_is_secure(parsed.scheme)) {
        aim.secure = true;
        result = secure_check(url, config, size);
        if (result < 0)
            return result;
    }
    return connect_address(net, out, &parsed, source, &aim, config, size, user);
}

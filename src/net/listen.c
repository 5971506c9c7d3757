/* Listening from a program's own loop: weir_listen, and what URLs of a service stand for. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"
#include "net/inherit.h"
#include "net/listener.h"

static int one_address(const char *url, listen_fn *fn, void *arg)
{
    weir_address parsed, expanded[2];
    struct weir_address_error error;
    if (inherit_is(url))
        return inherit_addresses(url, fn, arg);
    int result = weir_address_parse(url, &parsed, &error);
    if (result < 0) {
        char text[512];
        if (weir_address_explain(url, &error, text, sizeof text) < 0)
            strcpy(text, "the address could not be read");
        weir__log(WEIR_LOG_ERROR, result, 0, "cannot listen on %s:\n%s", url, text);
        return result;
    }
    unsigned count = weir_address_expand(&parsed, expanded, 2);
    int opened = 0;
    for (unsigned i = 0; i < count; i++) {
        result = fn(&expanded[i], -1, arg);
        if (result < 0 && !(count == 2 && (opened != 0 || i == 0) && result == -EADDRNOTAVAIL))
            return result;
        opened += result >= 0;
    }
    return opened != 0 ? opened : result;
}

int listen_addresses(const char *urls, listen_fn *fn, void *arg)
{
    enum { URL_MAX = 1024 };
    char url[URL_MAX];
    int count = 0;
    while (urls != NULL && *urls != 0) {
        size_t size = strcspn(urls, " ");
        if (size >= sizeof url)
            return WEIR_ETOOBIG;
        if (size != 0) {
            memcpy(url, urls, size);
            url[size] = 0;
            int result = one_address(url, fn, arg);
            if (result < 0)
                return result;
            count += result;
        }
        urls += size + (urls[size] == ' ');
    }
    if (count == 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EADDRESS, 0, "a service has no address to listen on");
    return count != 0 ? count : WEIR_EADDRESS;
}

int listen_inherited(int fd, const weir_socket_options *options, struct weir__socket_error *error)
{
    static const weir_socket_options none;
    if (memcmp(options, &none, sizeof none) == 0)
        return 0;
    int result = weir__socket_apply(fd, options, error);
    if (result < 0)
        weir__log(WEIR_LOG_ERROR, result, 0, "an inherited socket: %s", error->text);
    return result;
}

struct opening {
    struct net *net;
    struct service *service;
    uint32_t first; /* slot + 1 */
    void (*opened)(struct listener *l, void *arg);
    void *arg;
};

int listen_streams_only(const weir_address *address, const char *fix)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    if (address->transport == WEIR_TRANSPORT_TCP || address->transport == WEIR_TRANSPORT_UNIX)
        return 0;
    weir_address_format(address, text, sizeof text);
    weir__log(WEIR_LOG_ERROR, WEIR_ENOTSUP, 0, "cannot listen on %s: %s", text, fix);
    return WEIR_ENOTSUP;
}

int listen_secure_check(const weir_address *address, const weir_service *service)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    if (!weir__scheme_is_secure(address->scheme) || service->tls != NULL)
        return 0;
    if (weir_address_format(address, text, sizeof text) < 0)
        text[0] = 0;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "cannot listen on %s: its service has no .tls, which gives the certificate (see "
              "weir_tls_server_new in <weir/tls.h>)",
              text);
    return WEIR_EINVALID;
}

/* A descriptor that was handed over is ours now, and closed if it cannot be used. */
static int inherited_prepare(const struct opening *opening, const weir_address *address, int fd)
{
    struct weir__socket_error error;
    int result = listen_inherited(fd, &opening->service->config.socket, &error);
    int flags = fcntl(fd, F_GETFL);
    bool blocks = !opening->net->loop->io->hot_block;
    if (result == 0 && fcntl(fd, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) != 0)
        result = -errno;
    return result;
}

static int open_one(const weir_address *address, int fd, void *arg)
{
    struct opening *opening = arg;
    int error = listen_streams_only(address, "for datagrams there is weir_dgram_open");
    if (error == 0)
        error = listen_secure_check(address, &opening->service->config);
    if (error == 0 && fd >= 0)
        error = inherited_prepare(opening, address, fd);
    struct listener *l = NULL;
    if (error == 0)
        l = listener_new(opening->net, opening->service, address, fd, &error);
    if (l == NULL) {
        if (fd >= 0)
            close(fd);
        return error;
    }
    l->inherited = fd >= 0;
    l->next = opening->first;
    opening->first = l->slot + 1;
    if (opening->opened != NULL)
        opening->opened(l, opening->arg);
    return 0;
}

static struct listener *listener_next(struct net *net, uint32_t next)
{
    return next != 0 ? slab_at(&net->listeners, next - 1) : NULL;
}

int listeners_open(struct net *net, struct service *service, uint32_t *first,
                   void (*opened)(struct listener *l, void *arg), void *arg)
{
    struct opening opening = {net, service, 0, opened, arg};
    int result = listen_addresses(service->config.listen, open_one, &opening);
    struct listener *l = listener_next(net, opening.first);
    while (l != NULL) {
        struct listener *next = listener_next(net, l->next);
        if (result < 0)
            listener_stop(net->loop, l);
        else
            listener_start(net->loop, l);
        l = next;
    }
    *first = opening.first;
    return result < 0 ? result : 0;
}

/* A weir_listener's id: loop, slot + 1 of the last opened, generation. */
static struct listener *listener_get(weir_listener handle, weir_loop **out)
{
    weir_loop *loop = loop_current();
    if (loop == NULL || loop->net == NULL || handle.id >> 54 != loop->id)
        return NULL;
    struct listener *l = slab_at(&loop->net->listeners, (uint32_t)(handle.id >> 30) & 0xffffffu);
    if (l == NULL || l->head.generation != (handle.id & 0x3fffffffu))
        return NULL;
    *out = loop;
    return l;
}

int weir__listen(weir_listener *out, const weir_service *config, size_t size)
{
    weir_loop *loop = loop_current();
    struct net *net;
    if (loop == NULL)
        return loop_none();
    if (config == NULL)
        return WEIR_EINVALID;
    int result = net_of(loop, &net);
    if (result < 0)
        return result;
    struct service *service = service_new(net, config, size, &result);
    if (service == NULL)
        return result;
    uint32_t first;
    result = listeners_open(net, service, &first, NULL, NULL);
    struct listener *l = result == 0 ? listener_next(net, first) : NULL;
    while (l != NULL && l->next != 0)
        l = listener_next(net, l->next); /* the first of the text is the last of the chain */
    if (out != NULL && l != NULL)
        out->id = (uint64_t)loop->id << 54 | (uint64_t)l->slot << 30 | l->head.generation;
    service_unref(loop, service); /* its listeners refer to it */
    return result;
}

struct service *listener_service(weir_listener handle, weir_loop **loop)
{
    struct listener *l = listener_get(handle, loop);
    return l != NULL && !l->stopping ? l->service : NULL;
}

int weir_listener_address(weir_listener handle, weir_address *out)
{
    weir_loop *loop;
    struct listener *l = listener_get(handle, &loop);
    if (l == NULL)
        return WEIR_EGONE;
    *out = l->address;
    return 0;
}

static void stop_same(weir_loop *loop, struct listener *l, void *service)
{
    if (l->service == service)
        listener_stop(loop, l);
}

int weir_listener_close(weir_listener handle)
{
    weir_loop *loop;
    struct listener *l = listener_get(handle, &loop);
    if (l == NULL)
        return WEIR_EGONE;
    listeners_each(loop->net, stop_same, l->service);
    return 0;
}

/* The sockets of weir_run: opened before any loop, one for each listening loop (SO_REUSEPORT), so
 * that nothing starts unless everything can. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/datagram.h"
#include "net/run.h"

struct opening {
    struct run *run;
    unsigned service;
};

static int socket_fail(const struct weir__socket_error *error)
{
    weir__log(WEIR_LOG_ERROR, error->code, 0, "%s", error->text);
    return error->code;
}

/* A port that is shared among our loops can be taken by another process of the same user as well,
 * and then half of the clients meet the other server: so it is first taken for us alone. Whoever
 * asked for SO_REUSEPORT wants just that. */
static int port_check(const struct run *run, const struct run_socket *socket)
{
    struct weir__socket_error error;
    const weir_socket_options *options = &run->services[socket->service].socket;
    if (run->listening_loops == 1 || options->reuseport == WEIR_SWITCH_ON ||
        socket->address.transport != WEIR_TRANSPORT_TCP || weir_address_port(&socket->address) == 0)
        return 0;
    int fd = weir__socket_listen(&socket->address, options, NULL, &error);
    if (fd < 0)
        return socket_fail(&error);
    close(fd);
    return 0;
}

/* One descriptor for each listening loop. TCP: sockets of their own on a shared port; a unix socket
 * is one, shared. */
static int open_all(struct run *run, struct run_socket *socket)
{
    struct weir__socket_error error;
    weir_socket_options options = run->services[socket->service].socket;
    struct weir__socket_how how = {.file = &socket->file};
    bool shared = socket->address.transport == WEIR_TRANSPORT_UNIX || run->options.one_listener;
    socket->shared = shared;
    int result = shared ? 0 : port_check(run, socket);
    if (result < 0)
        return result;
    if (run->listening_loops > 1 && !shared)
        options.reuseport = WEIR_SWITCH_ON;
    for (unsigned i = 0; i < run->listening_loops; i++) {
        int fd = i > 0 && shared ? fcntl(socket->fds[0], F_DUPFD_CLOEXEC, 0)
                                 : weir__socket_listen(&socket->address, &options, &how, &error);
        if (fd < 0)
            return i > 0 && shared ? -errno : socket_fail(&error);
        socket->fds[i] = fd;
        if (i > 0)
            continue;
        if (error.warnings != 0)
            weir__log(WEIR_LOG_WARN, 0, 0, "%s", error.warning);
        result = weir__socket_bound(fd, &socket->address); /* the other loops' port */
        if (result < 0)
            return result;
    }
    return 0;
}

/* Taken for us alone first, as in port_check: the port that is then shared. */
static int port_check_datagrams(const struct run_socket *socket, const weir_dgram_service *service)
{
    weir_address address = socket->address;
    struct weir__socket_file file;
    if (service->socket.reuseport == WEIR_SWITCH_ON || address.transport != WEIR_TRANSPORT_UDP ||
        weir_address_port(&address) == 0)
        return 0;
    int fd = dgram_socket_bind(&address, service, false, &file);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

/* Every loop that serves has a socket of its own on a UDP port; a unix name has one, and the first
 * of them has it. */
static int open_datagrams(struct run *run, struct run_socket *socket)
{
    const weir_dgram_service *service = run->services[socket->service].datagram;
    unsigned first = run->options.shape == WEIR_SHAPE_ACCEPTOR;
    unsigned loops = run->workers != 0 ? run->workers : run->loop_count - first;
    unsigned count = socket->address.transport == WEIR_TRANSPORT_UDP ? loops : 1;
    int result;
    if (service == NULL)
        return listen_streams_only(&socket->address, "its service has no .datagram");
    result = count > 1 ? port_check_datagrams(socket, service) : 0;
    for (unsigned i = first; i < first + count && result >= 0; i++)
        result = socket->fds[i] =
            dgram_socket_bind(&socket->address, service, count > 1, &socket->file);
    if (result >= 0 && count > 1 && service->steer != WEIR_STEER_FLOW)
        result = dgram_socket_steer(socket->fds[first], socket->address.socket.ss_family,
                                    service->steer, count);
    return result < 0 ? result : 0;
}

/* One that somebody else has opened is shared by all loops. */
static int open_inherited(struct run *run, struct run_socket *socket, int fd)
{
    struct weir__socket_error error;
    socket->shared = socket->inherited = true;
    socket->fds[0] = fd;
    int result = listen_inherited(fd, &run->services[socket->service].socket, &error);
    for (unsigned i = 1; i < run->listening_loops && result == 0; i++) {
        socket->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (socket->fds[i] < 0)
            result = -errno;
    }
    return result;
}

static struct run_socket *socket_add(struct run *run)
{
    struct run_socket *sockets =
        weir__realloc(run->sockets, (run->socket_count + 1) * sizeof *sockets);
    if (sockets == NULL)
        return NULL;
    run->sockets = sockets;
    struct run_socket *socket = &sockets[run->socket_count];
    memset(socket, 0, sizeof *socket);
    for (unsigned i = 0; i < RUN_LOOPS_MAX; i++)
        socket->fds[i] = -1;
    run->socket_count++;
    return socket;
}

/* A number that is given again, or that a socket of our own has got. */
static bool is_taken(const struct run *run, int fd)
{
    for (unsigned s = 0; s < run->socket_count; s++)
        for (unsigned i = 0; i < RUN_LOOPS_MAX; i++)
            if (fd >= 0 && run->sockets[s].fds[i] == fd)
                return true;
    return false;
}

static int open_one(const weir_address *address, int fd, void *arg)
{
    struct opening *opening = arg;
    struct run *run = opening->run;
    if (is_taken(run, fd)) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "cannot listen on descriptor %d: it is listened on twice", fd);
        return WEIR_EINVALID;
    }
    int result = run->socket_count < LIMIT_LISTENERS_MAX ? 0 : WEIR_EFULL;
    struct run_socket *socket = result == 0 ? socket_add(run) : NULL;
    if (socket == NULL) {
        if (fd >= 0)
            close(fd);
        return result < 0 ? result : WEIR_ENOMEM;
    }
    socket->service = opening->service;
    socket->address = *address;
    socket->fds[0] = fd; /* closed with the others, whatever comes of it */
    if (address_is_datagram(address))
        return open_datagrams(run, socket);
    result = listen_streams_only(address, "a service takes streams, or datagrams");
    if (result == 0)
        result = listen_secure_check(address, &run->services[opening->service]);
    if (result < 0)
        return result;
    return fd >= 0 ? open_inherited(run, socket, fd) : open_all(run, socket);
}

int run_sockets_open_late(struct run *run, const weir_service *services, size_t service_size)
{
    size_t part = service_size < sizeof *services ? service_size : sizeof *services;
    for (unsigned i = 0; i < run->service_count; i++) {
        struct opening opening = {run, i};
        if (run->services[i].listen != NULL)
            continue;
        memcpy(&run->services[i], (const char *)services + i * service_size, part);
        if (run->services[i].listen == NULL && run->options.on_opened != NULL)
            continue; /* it has found that it needs none */
        int result = listen_addresses(run->services[i].listen, open_one, &opening);
        if (result < 0)
            return result;
    }
    return 0;
}

int run_sockets_open(struct run *run)
{
    for (unsigned i = 0; i < run->service_count; i++) {
        struct opening opening = {run, i};
        if (run->services[i].listen == NULL && run->options.on_opened != NULL)
            continue;
        int result = listen_addresses(run->services[i].listen, open_one, &opening);
        if (result < 0)
            return result;
    }
    return 0;
}

void run_sockets_close(struct run *run, bool unlinks)
{
    for (unsigned s = 0; s < run->socket_count; s++) {
        struct run_socket *socket = &run->sockets[s];
        if (unlinks)
            weir__socket_unlink(&socket->address, &socket->file);
        for (unsigned i = 0; i < RUN_LOOPS_MAX; i++) {
            if (socket->fds[i] >= 0) /* not handed to a listener */
                close(socket->fds[i]);
        }
    }
    weir__free(run->sockets);
}

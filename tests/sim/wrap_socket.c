/* The calls on sockets that net/ makes itself, and plain peers, on the simulated network. The
 * linker gives these in place of the C library's (--wrap); descriptors below SIM_FD are real ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sock.h"
#include "wrap.h"

static int answer(int64_t result)
{
    if (result >= 0)
        return (int)result;
    errno = (int)-result;
    return -1;
}

static struct sim_sock *sock_of(int fd)
{
    struct sim_file *file = file_of(fd);
    if (file != NULL && file->sock == NULL)
        errno = ENOTSOCK;
    return file != NULL ? file->sock : NULL;
}

static bool blocks(int fd, int flags)
{
    return !world.host_now->files[fd - SIM_FD]->nonblock && !(flags & MSG_DONTWAIT);
}

void sock_sleeper_add(struct sim_sock *sock)
{
    for (int i = 0; i < SOCK_SLEEPERS; i++)
        if (sock->sleepers[i] == NULL) {
            sock->sleepers[i] = actor_now;
            return;
        }
    sim_fail("more threads wait for one socket than the simulator has room for");
}

void sock_sleeper_remove(struct sim_sock *sock)
{
    for (int i = 0; i < SOCK_SLEEPERS; i++)
        if (sock->sleepers[i] == actor_now) {
            sock->sleepers[i] = NULL;
            return;
        }
}

void sock_sleep(struct sim_sock *sock, uint64_t until_ns)
{
    sock_sleeper_add(sock);
    actor_wait(until_ns, "a socket");
    sock_sleeper_remove(sock);
}

/* A call of the library's own, which is prepared for everything: plain peers block. */
static bool interrupted(int fd, int flags, enum sim_operation operation)
{
    return !blocks(fd, flags) && fault(SIM_FAULT_EINTR, operation);
}

int __wrap_socket(int family, int type, int protocol)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};
    struct sim_file *file;
    int fd;
    if (fault(SIM_FAULT_SOCKET_ERROR, OP_SOCKET))
        return answer(-errors[chance(sizeof(errors) / sizeof(*errors))]);
    file = file_new(FILE_SOCKET);
    file->nonblock = (type & SOCK_NONBLOCK) != 0;
    fd = file_install(file);
    if (fd >= 0)
        file->sock = sock_new(family, type & 15);
    return answer(fd);
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -1;
    if (fault(SIM_FAULT_SOCKET_ERROR, OP_LISTEN))
        return answer(-EADDRINUSE); /* a predecessor's connections, which go away */
    return answer(sock_bind(sock, address, size));
}

int __wrap_listen(int fd, int backlog)
{
    struct sim_sock *sock = sock_of(fd);
    return sock != NULL ? answer(sock_listen(sock, backlog)) : -1;
}

static int accept_error(struct sim_sock *listener)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED};
    int error = errors[chance(sizeof(errors) / sizeof(*errors))];
    record("accept fails", listener->id, error, 0);
    if (error == ECONNABORTED) {
        struct sim_sock *child = sock_accept(listener);
        child->linger_reset = true;
        sock_close(child);
    }
    return -error;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    struct sim_sock *sock = sock_of(fd), *child;
    struct sim_file *file;
    int number;
    if (sock == NULL)
        return -1;
    if (interrupted(fd, 0, OP_ACCEPT))
        return answer(-EINTR);
    while (sock->queue_first == NULL) {
        if (!blocks(fd, 0))
            return answer(-EAGAIN);
        sock_sleep(sock, SIM_FOREVER);
    }
    if (!blocks(fd, 0) && fault(SIM_FAULT_ACCEPT_ERROR, OP_ACCEPT))
        return answer(accept_error(sock));
    file = file_new(FILE_SOCKET);
    file->nonblock = (flags & SOCK_NONBLOCK) != 0;
    number = file_install(file);
    if (number < 0)
        return answer(number);
    child = sock_accept(sock);
    file->sock = child;
    record("accepted", child->id, number, sock->id);
    if (address != NULL && size != NULL) {
        memcpy(address, &child->remote, *size < child->remote_size ? *size : child->remote_size);
        *size = child->remote_size;
    }
    return number;
}

int __wrap_accept(int fd, struct sockaddr *address, socklen_t *size)
{
    return __wrap_accept4(fd, address, size, 0);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sim_sock *sock = sock_of(fd);
    int result;
    if (sock == NULL)
        return -1;
    result = sock_connect(sock, address, size);
    while (result == -EINPROGRESS && blocks(fd, 0) && sock->state == SOCK_CONNECTS)
        sock_sleep(sock, SIM_FOREVER);
    if (result == -EINPROGRESS && sock->state != SOCK_CONNECTS)
        result = -sock_take_error(sock);
    return answer(result);
}

static ssize_t send_one(int fd, struct sim_sock *sock, const uint8_t *bytes, size_t size, int flags)
{
    size_t sent = 0;
    int64_t one = 0;
    if (interrupted(fd, flags, OP_SEND))
        return answer(-EINTR);
    if (!blocks(fd, flags) && size > 1 && fault(SIM_FAULT_SHORT_WRITE, OP_SEND)) {
        /* For want of memory, not of room: that there is some again is told of. */
        size = chance_size(size);
        sock_room_later(sock);
    }
    do {
        one = sock_send(sock, bytes + sent, size - sent);
        if (one > 0)
            sent += (size_t)one;
        if (sent == size || !blocks(fd, flags) || (one < 0 && one != -EAGAIN))
            break;
        sock_sleep(sock, SIM_FOREVER);
    } while (true);
    if (sent != 0)
        record("sent", sock->id, (int64_t)sent, (int64_t)sock->out->sent);
    return sent != 0 || one >= 0 ? (ssize_t)sent : answer(one);
}

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
    struct sim_sock *sock = sock_of(fd);
    return sock != NULL ? send_one(fd, sock, bytes, size, flags) : -1;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct sim_sock *sock = sock_of(fd);
    size_t sent = 0;
    if (sock == NULL)
        return -1;
    if (sock->state == SOCK_DATAGRAM)
        return interrupted(fd, flags, OP_SEND) ? answer(-EINTR) : answer(udp_send(sock, message));
    if (message->msg_controllen != 0)
        return answer(-EOPNOTSUPP); /* descriptors do not travel here */
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        const struct iovec *piece = &message->msg_iov[i];
        ssize_t one = send_one(fd, sock, piece->iov_base, piece->iov_len, flags);
        if (one < 0 && sent == 0)
            return -1;
        if (one < 0 && errno == EINTR)
            sock_room_later(sock); /* short, as for want of memory: that is told of */
        if (one < 0)
            break;
        sent += (size_t)one;
        if ((size_t)one < piece->iov_len)
            break;
    }
    return (ssize_t)sent;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t size, int flags)
{
    struct sim_sock *sock = sock_of(fd);
    int64_t got;
    if (sock == NULL)
        return -1;
    if (interrupted(fd, flags, OP_RECV))
        return answer(-EINTR);
    if (!blocks(fd, flags) && sock->state == SOCK_OPEN && !sock->dead &&
        fault(SIM_FAULT_RECV_ERROR, OP_RECV))
        sock_break(sock, ETIMEDOUT);
    while ((got = sock_recv(sock, bytes, size)) == -EAGAIN && blocks(fd, flags))
        sock_sleep(sock, SIM_FOREVER);
    if (got >= 0)
        record("received", sock->id, got, sock->in != NULL ? (int64_t)sock->in->read : 0);
    return answer(got);
}

/* --- datagrams, without waiting --------------------------------------------------------------- */

static void put_in(const struct dgram_in *in, struct msghdr *message)
{
    size_t at = 0;
    message->msg_flags = 0;
    for (size_t i = 0; i < message->msg_iovlen && at < in->size; i++) {
        size_t size = in->size - at < message->msg_iov[i].iov_len ? in->size - at
                                                                  : message->msg_iov[i].iov_len;
        memcpy(message->msg_iov[i].iov_base, in->bytes + at, size);
        at += size;
    }
    if (at < in->size)
        message->msg_flags |= MSG_TRUNC;
    if (message->msg_name != NULL)
        memcpy(message->msg_name, &in->name,
               in->name_size < message->msg_namelen ? in->name_size : message->msg_namelen);
    message->msg_namelen = message->msg_name != NULL ? in->name_size : 0;
    if (in->control_size > message->msg_controllen)
        message->msg_flags |= MSG_CTRUNC;
    else
        memcpy(message->msg_control, in->control, in->control_size);
    message->msg_controllen = message->msg_flags & MSG_CTRUNC ? 0 : in->control_size;
}

static int receive_one(struct sim_sock *sock, struct msghdr *message, int flags)
{
    struct dgram_in *in;
    int result = flags & MSG_ERRQUEUE ? udp_take_error(sock, &in) : udp_take(sock, &in);
    if (result < 0)
        return result;
    put_in(in, message);
    if (flags & MSG_ERRQUEUE)
        message->msg_flags |= MSG_ERRQUEUE;
    result = (int)in->size;
    if (!(flags & MSG_TRUNC) && message->msg_flags & MSG_TRUNC)
        result = (int)message->msg_iov[0].iov_len;
    free(in);
    return result;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -1;
    return answer(sock->state == SOCK_DATAGRAM ? receive_one(sock, message, flags) : -EOPNOTSUPP);
}

int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout)
{
    struct sim_sock *sock = sock_of(fd);
    int got = 0;
    if (sock == NULL)
        return -1;
    if (sock->state != SOCK_DATAGRAM)
        return answer(-EOPNOTSUPP);
    if (interrupted(fd, flags, OP_RECV))
        return answer(-EINTR);
    for (; got < (int)count; got++) {
        int result = receive_one(sock, &messages[got].msg_hdr, flags);
        if (result < 0 && got == 0)
            return answer(result);
        if (result < 0) {
            if (result != -EAGAIN)
                sock->error = -result; /* told by the next call, as of recvmmsg(2) */
            break;
        }
        messages[got].msg_len = (unsigned)result;
    }
    return got;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -1;
    if (sock->state != SOCK_DATAGRAM)
        return answer(-EOPNOTSUPP);
    if (interrupted(fd, flags, OP_SEND))
        return answer(-EINTR);
    return answer(udp_send_all(sock, messages, count));
}

int __wrap_shutdown(int fd, int how)
{
    struct sim_sock *sock = sock_of(fd);
    return sock != NULL ? answer(sock_shutdown(sock, how)) : -1;
}

int __wrap_close(int fd)
{
    return fd_is_sim(fd) ? answer(file_close(fd)) : __real_close(fd);
}

static ssize_t event_read(struct sim_sock *sock, void *bytes, size_t size)
{
    if (size < sizeof(uint64_t))
        return answer(-EINVAL);
    if (sock->event_count == 0)
        return answer(-EAGAIN);
    memcpy(bytes, &sock->event_count, sizeof(uint64_t));
    sock->event_count = 0;
    return sizeof(uint64_t);
}

static ssize_t event_write(struct sim_sock *sock, const void *bytes, size_t size)
{
    uint64_t count;
    if (size < sizeof(count))
        return answer(-EINVAL);
    memcpy(&count, bytes, sizeof(count));
    sock->event_count += count;
    sock_changed(sock, POLLIN);
    actor_point();
    return sizeof(count);
}

static struct sim_sock *event_of(int fd)
{
    struct sim_file *file = fd_is_sim(fd) ? file_of(fd) : NULL;
    return file != NULL && file->sock != NULL && file->sock->state == SOCK_EVENT ? file->sock
                                                                                 : NULL;
}

ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
    struct sim_sock *event = event_of(fd);
    if (event != NULL)
        return event_read(event, bytes, size);
    return fd_is_sim(fd) ? __wrap_recv(fd, bytes, size, 0) : __real_read(fd, bytes, size);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    struct sim_sock *event = event_of(fd);
    if (event != NULL)
        return event_write(event, bytes, size);
    return fd_is_sim(fd) ? __wrap_send(fd, bytes, size, 0) : __real_write(fd, bytes, size);
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    long value = va_arg(args, long);
    va_end(args);
    if (!fd_is_sim(fd))
        return __real_fcntl(fd, command, value);
    struct sim_file *file = file_of(fd);
    if (file == NULL)
        return -1;
    switch (command) {
    case F_GETFL:
        return O_RDWR | (file->nonblock ? O_NONBLOCK : 0);
    case F_SETFL:
        file->nonblock = (value & O_NONBLOCK) != 0;
        return 0;
    case F_DUPFD_CLOEXEC:
    case F_DUPFD:
        if (fault(SIM_FAULT_SOCKET_ERROR, OP_SOCKET))
            return answer(-EMFILE);
        file->references++;
        int copy = file_install(file);
        if (copy < 0)
            file->references--;
        return answer(copy);
    default:
        return 0;
    }
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *value = va_arg(args, void *);
    va_end(args);
    if (!fd_is_sim(fd))
        return __real_ioctl(fd, request, value);
    struct sim_file *file = file_of(fd);
    if (file == NULL)
        return -1;
    switch (request) {
    case FIONBIO:
        file->nonblock = *(int *)value != 0;
        return 0;
    case SIOCOUTQ:
        if (file->sock == NULL || file->sock->state == SOCK_LISTENS)
            return answer(file->sock == NULL ? -ENOTTY : -EINVAL);
        *(int *)value = (int)sock_unacknowledged(file->sock);
        return 0;
    default:
        return answer(-ENOTTY);
    }
}

/* --- options ---------------------------------------------------------------------------------- */

static void set_socket_option(struct sim_sock *sock, int option, const void *value)
{
    enum { LEAST_ROOM = 1 };
    int number = *(const int *)value;
    const struct linger *linger = value;
    switch (option) {
    case SO_LINGER:
        sock->linger_reset = linger->l_onoff != 0 && linger->l_linger == 0;
        break;
    case SO_REUSEADDR:
        sock->reuseaddr = number != 0;
        break;
    case SO_REUSEPORT:
        sock->reuseport = number != 0;
        break;
    case SO_KEEPALIVE:
        sock->keepalive = number != 0;
        if (sock->state == SOCK_OPEN)
            keep_start(sock);
        break;
    case SO_SNDBUF:
        sock->send_room = number > LEAST_ROOM ? (uint32_t)number * 2 : 2;
        break;
    case SO_RCVBUF:
        sock->receive_room = number > LEAST_ROOM ? (uint32_t)number * 2 : 2;
        break;
    case SO_ATTACH_FILTER:
        sock->filter_refuses = true;
        record("refuses", sock->id, 0, 0);
        break;
    default:
        break;
    }
}

static void set_tcp_option(struct sim_sock *sock, int option, uint32_t number)
{
    switch (option) {
    case TCP_USER_TIMEOUT:
        sock->user_timeout_ms = number;
        break;
    case TCP_KEEPIDLE:
        sock->keep_idle_s = number;
        break;
    case TCP_KEEPINTVL:
        sock->keep_interval_s = number;
        break;
    case TCP_KEEPCNT:
        sock->keep_count = number;
        break;
    default:
        break;
    }
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -1;
    if (level == SOL_SOCKET && size >= sizeof(int))
        set_socket_option(sock, option, value);
    else if (level == IPPROTO_TCP && size >= sizeof(int))
        set_tcp_option(sock, option, *(const uint32_t *)value);
    else if (sock->state == SOCK_DATAGRAM && size >= sizeof(int))
        udp_option(sock, level, option, *(const int *)value);
    return 0;
}

static int get_number(struct sim_sock *sock, int option)
{
    switch (option) {
    case SO_ERROR:
        return sock_take_error(sock);
    case SO_TYPE:
        return sock->type;
    case SO_DOMAIN:
        return sock->family;
    case SO_PROTOCOL:
        return sock->family == AF_UNIX        ? 0
               : sock->state == SOCK_DATAGRAM ? IPPROTO_UDP
                                              : IPPROTO_TCP;
    case SO_ACCEPTCONN:
        return sock->state == SOCK_LISTENS;
    case SO_SNDBUF:
        return (int)sock->send_room;
    case SO_RCVBUF:
        return (int)sock->receive_room;
    default:
        return 0;
    }
}

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
    struct sim_sock *sock = sock_of(fd);
    int number = 0;
    if (sock == NULL)
        return -1;
    if (level == IPPROTO_TCP && option == TCP_INFO) {
        memset(value, 0, *size);
        ((struct tcp_info *)value)->tcpi_state = sock->state == SOCK_OPEN ? 1 : 7;
        return 0;
    }
    if (level == SOL_SOCKET && option == SO_MEMINFO) {
        memset(value, 0, *size);
        if (sock->state == SOCK_DATAGRAM && *size > SK_MEMINFO_DROPS * sizeof(uint32_t))
            ((uint32_t *)value)[SK_MEMINFO_DROPS] = udp_drops(sock);
        return 0;
    }
    if (level == SOL_SOCKET)
        number = get_number(sock, option);
    memset(value, 0, *size);
    memcpy(value, &number, *size < sizeof(number) ? *size : sizeof(number));
    return 0;
}

static int give_name(const union sock_address *name, socklen_t name_size, int family,
                     struct sockaddr *address, socklen_t *size)
{
    union sock_address none = {.any.sa_family = (sa_family_t)family};
    if (name_size == 0) {
        name = &none;
        name_size = family == AF_INET    ? sizeof(struct sockaddr_in)
                    : family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                         : sizeof(sa_family_t);
    }
    memcpy(address, name, *size < name_size ? *size : name_size);
    *size = name_size;
    return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -1;
    return give_name(&sock->local, sock->local_size, sock->family, address, size);
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -1;
    if ((sock->state != SOCK_OPEN && sock->state != SOCK_DATAGRAM) || sock->dead ||
        sock->remote_size == 0)
        return answer(-ENOTCONN);
    return give_name(&sock->remote, sock->remote_size, sock->family, address, size);
}

#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/address.h"
#include "net/option.h"
#include "net/proc.h"
#include "net/unix_path.h"

#define BIND_PAUSE_FIRST_NS 5000000u
#define BIND_PAUSE_LAST_NS  50000000u

static const weir_socket_options no_options;
static const struct weir__socket_how no_how;

/* One try to make a socket, with what the error texts need. */
struct making {
    const weir_address *address;
    const weir_socket_options *options;
    const struct weir__socket_how *how;
    struct weir__socket_error *error;
    struct option_target target;
    char shown[WEIR_ADDRESS_TEXT_MAX];
    bool client;
};

static int fail(struct making *making, int code, const char *what, const char *fix)
{
    return weir__socket_fail(making->error, code, what, "cannot %s %s: %s (%s): %s",
                             making->client ? "connect to" : "listen on", making->shown,
                             weir_error_text(code), weir_error_name(code), fix);
}

/* Checks what is the same in every try. */
static int begin(struct making *making)
{
    static const uint8_t kinds[] = {[WEIR_TRANSPORT_TCP] = OPTION_TCP,
                                    [WEIR_TRANSPORT_UDP] = OPTION_UDP,
                                    [WEIR_TRANSPORT_UNIX] = OPTION_UNIX,
                                    [WEIR_TRANSPORT_UNIX_DGRAM] = OPTION_UNIX,
                                    [WEIR_TRANSPORT_UNIX_SEQPACKET] = OPTION_UNIX,
                                    [WEIR_TRANSPORT_ICMP] = OPTION_UDP,
                                    [WEIR_TRANSPORT_RAW] = OPTION_UDP};
    int result;

    memset(making->error, 0, sizeof *making->error);
    if (making->options == NULL)
        making->options = &no_options;
    if (making->how == NULL)
        making->how = &no_how;
    if (making->address->transport == WEIR_TRANSPORT_NONE ||
        making->address->transport >= sizeof kinds ||
        weir_address_format(making->address, making->shown, sizeof making->shown) < 0)
        return weir__socket_fail(making->error, WEIR_EINVALID, "address",
                                 "no address: read one with weir_address_parse first");
    making->target.kind = kinds[making->address->transport];
    making->target.one_family = making->address->transport == WEIR_TRANSPORT_ICMP ||
                                making->address->transport == WEIR_TRANSPORT_RAW;
    result = weir__options_check(making->options, making->error);
    if (result == 0 && making->target.kind == OPTION_UNIX && !making->client &&
        !weir__unix_is_path(making->address) &&
        (making->options->unix_mode != 0 || making->options->unix_owner != 0 ||
         making->options->unix_group != 0))
        result = weir__socket_fail(making->error, WEIR_EINVALID, "unix_mode",
                                   "%s has no mode and no owner: everybody in this network "
                                   "namespace can connect; use a path, or leave unix_mode, "
                                   "unix_owner and unix_group out",
                                   making->shown);
    return result;
}

static int type_of(const weir_address *address)
{
    switch (address->transport) {
    case WEIR_TRANSPORT_UDP:
    case WEIR_TRANSPORT_UNIX_DGRAM:
    case WEIR_TRANSPORT_ICMP: /* a ping socket; or a raw one, where those are not allowed */
        return SOCK_DGRAM;
    case WEIR_TRANSPORT_RAW:
        return SOCK_RAW;
    case WEIR_TRANSPORT_UNIX_SEQPACKET:
        return SOCK_SEQPACKET;
    default:
        return SOCK_STREAM;
    }
}

static int protocol_of(const weir_address *address, int family)
{
    if (address->transport == WEIR_TRANSPORT_RAW)
        return weir_address_port(address);
    if (address->transport == WEIR_TRANSPORT_ICMP)
        return family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    return 0;
}

/* Who may not have a raw socket is told what would help. */
static int explain_raw(struct making *making)
{
    if (making->address->transport == WEIR_TRANSPORT_ICMP)
        return fail(making, -EPERM, "socket",
                    "no group of this process is in net.ipv4.ping_group_range, and a raw socket "
                    "needs CAP_NET_RAW: setcap cap_net_raw=+ep PROGRAM, or sysctl -w "
                    "net.ipv4.ping_group_range=\"0 2147483647\"");
    return fail(making, -EPERM, "socket",
                "a raw socket needs CAP_NET_RAW: setcap cap_net_raw=+ep PROGRAM");
}

/* Makes the bare socket. */
static int open_socket(struct making *making, int family)
{
    int flags = SOCK_CLOEXEC | (making->how->blocking ? 0 : SOCK_NONBLOCK);
    int protocol = protocol_of(making->address, family);
    int fd = socket(family, type_of(making->address) | flags, protocol), code = -errno;

    /* icmp(7): ping sockets are for the groups of a sysctl, which by default is none. */
    if (fd < 0 && making->address->transport == WEIR_TRANSPORT_ICMP && code != -EAFNOSUPPORT) {
        fd = socket(family, SOCK_RAW | flags, protocol);
        code = -errno;
    }
    if (fd >= 0) {
        making->target.fd = fd;
        making->target.family = family;
        return fd;
    }
    if (code == -EMFILE)
        return fail(making, code, "socket",
                    "raise the limit of open files (ulimit -n, LimitNOFILE= of systemd)");
    if (code == -ENFILE)
        return fail(making, code, "socket", "raise the sysctl fs.file-max");
    if (code == -EAFNOSUPPORT && family == AF_INET6)
        return fail(making, code, "socket", "this kernel has no IPv6: use an IPv4 address");
    if (code == -EPERM && protocol != 0)
        return explain_raw(making);
    return fail(making, code, "socket", "the kernel, or a filter of system calls, refused it");
}

/* A port that is taken: by whom, and what to do. */
static int explain_taken(struct making *making)
{
    bool reuseport = making->options->reuseport == WEIR_SWITCH_ON;
    struct weir__port_holder holder;
    char who[96];
    const char *more = "";

    if (!weir__port_holder(making->address, &holder))
        return fail(making, -EADDRINUSE, "bind",
                    "no listener is to be seen there, so an outgoing connection may have the port "
                    "(see: ss -tuanp), or it was free again just now: choose another port, or "
                    "try again");
    if (holder.pid == getpid())
        snprintf(who, sizeof who, "this process itself (pid %d)", (int)holder.pid);
    else if (holder.pid != 0)
        snprintf(who, sizeof who, "%s (pid %d)", holder.name, (int)holder.pid);
    else
        snprintf(who, sizeof who, "a process of user %u", holder.uid);
    if (reuseport)
        more = "; to share the port, each of its listeners must set reuseport and belong to one "
               "user";
    else if (holder.other_family && making->target.family == AF_INET6)
        more = "; or set v6only, since it listens on IPv4";
    return weir__socket_fail(
        making->error, -EADDRINUSE, "bind",
        "cannot listen on %s: the port is taken (EADDRINUSE): %s has it: stop that, or choose "
        "another port%s%s",
        making->shown, who, more,
        holder.pid != 0 || geteuid() == 0 ? "" : " (as root, its name could be told)");
}

static int explain_bind(struct making *making, int code)
{
    long first = weir__sysctl_number("net/ipv4/ip_unprivileged_port_start", 1024);
    int port = weir_address_port(making->address);

    if (code == -EACCES && port > 0 && port < first)
        return weir__socket_fail(
            making->error, code, "bind",
            "cannot listen on %s: Permission denied (EACCES): ports below %ld need "
            "CAP_NET_BIND_SERVICE: setcap cap_net_bind_service=+ep PROGRAM, or sysctl -w "
            "net.ipv4.ip_unprivileged_port_start=%d, or choose a port from %ld on",
            making->shown, first, port, first);
    if (code == -EADDRNOTAVAIL)
        return fail(making, code, "bind",
                    "no interface of this host has the address (see: ip address); the option "
                    "freebind allows it all the same");
    if (code == -EINVAL && making->target.family == AF_INET6)
        return fail(making, code, "bind",
                    "a link-local address needs its interface: [fe80::1%eth0]");
    if (code == -ENODEV)
        return fail(making, code, "bind", "the interface after % is gone (see: ip link)");
    return fail(making, code, "bind", "the kernel, or its security module, refused it");
}

/* Binds and listens; the options are set. A bound unix path is removed again when it fails. */
static int bind_and_listen(struct making *making, const weir_address *address,
                           struct weir__socket_file *file)
{
    uint32_t backlog =
        making->options->backlog != 0 ? making->options->backlog : WEIR__SOCKET_BACKLOG;
    int fd = making->target.fd, code;

    if (weir__unix_is_path(address)) {
        code = weir__unix_bind(fd, address, making->options, file, making->error);
        if (code < 0)
            return code;
    } else if (bind(fd, (const struct sockaddr *)&address->socket, address->socket_size) < 0) {
        code = -errno;
        return code == -EADDRINUSE ? code : explain_bind(making, code);
    }
    if (type_of(address) == SOCK_DGRAM || type_of(address) == SOCK_RAW ||
        listen(fd, (int)backlog) == 0)
        return 0;
    code = -errno;
    weir__socket_unlink(address, file);
    /* With SO_REUSEADDR two sockets may bind to a port, but only one of them may listen. */
    return code == -EADDRINUSE ? code : fail(making, code, "listen", "the kernel refused it");
}

/* One try. Returns the descriptor, or an error; for -EADDRINUSE the text may still be empty. */
static int listen_once(struct making *making, struct weir__socket_file *file)
{
    weir_address address = *making->address;
    struct unix_lock lock = {-1};
    int fd, result;

    memset(making->error, 0, sizeof *making->error);
    fd = open_socket(making, address.socket.ss_family);
    if (fd == -EAFNOSUPPORT && (address.flags & WEIR_ADDRESS_ANY) &&
        making->options->v6only != WEIR_SWITCH_ON) {
        int port = weir_address_port(&address);

        memset(making->error, 0, sizeof *making->error);
        weir__address_set_ip4(&address, (struct in_addr){INADDR_ANY});
        weir_address_set_port(&address, (unsigned)port);
        fd = open_socket(making, AF_INET);
    }
    if (fd < 0)
        return fd;
    result = weir__options_set(&making->target, making->options, making->error);
    if (result == 0) {
        if (weir__unix_is_path(&address))
            weir__unix_lock(&address, &lock);
        result = bind_and_listen(making, &address, file);
        weir__unix_unlock(&lock);
    }
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

static void warn_of_backlog(struct making *making)
{
    uint32_t asked =
        making->options->backlog != 0 ? making->options->backlog : WEIR__SOCKET_BACKLOG;
    long most = weir__sysctl_number("net/core/somaxconn", asked);

    if (type_of(making->address) != SOCK_DGRAM && type_of(making->address) != SOCK_RAW &&
        most >= 0 && most < (long)asked)
        weir__socket_warn(making->error,
                          "backlog %u is cut to %ld by net.core.somaxconn: connections beyond it "
                          "are dropped in a burst: sysctl -w net.core.somaxconn=%u, or set backlog "
                          "to %ld",
                          asked, most, asked, most);
}

int weir__socket_listen(const weir_address *address, const weir_socket_options *options,
                        const struct weir__socket_how *how, struct weir__socket_error *error)
{
    struct making making = {.address = address, .options = options, .how = how, .error = error};
    struct weir__socket_file unused, *file;
    uint64_t now_ns, end_ns, pause_ns = BIND_PAUSE_FIRST_NS;
    int32_t wait_ms;
    int result = begin(&making);

    if (result < 0)
        return result;
    making.target.moment = OPTION_NEW_LISTENER;
    file = making.how->file != NULL ? making.how->file : &unused;
    wait_ms = making.how->bind_wait_ms;
    if (wait_ms == 0)
        wait_ms = WEIR__SOCKET_BIND_WAIT_MS;
    now_ns = weir__clock_now_ns();
    end_ns = now_ns + (wait_ms > 0 ? (uint64_t)wait_ms * 1000000u : 0);
    for (;;) {
        memset(file, 0, sizeof *file);
        result = listen_once(&making, file);
        if (result != -EADDRINUSE)
            break;
        now_ns = weir__clock_now_ns();
        if (now_ns >= end_ns)
            break;
        weir__clock_sleep_ns(pause_ns < end_ns - now_ns ? pause_ns : end_ns - now_ns);
        pause_ns = pause_ns * 2 < BIND_PAUSE_LAST_NS ? pause_ns * 2 : BIND_PAUSE_LAST_NS;
    }
    if (result == -EADDRINUSE && address->transport == WEIR_TRANSPORT_ICMP)
        return fail(&making, result, "bind",
                    "another socket has the identifier: leave it out, and the kernel chooses");
    if (result == -EADDRINUSE && error->text[0] == '\0')
        return making.target.kind == OPTION_UNIX
                   ? fail(&making, result, "bind", "another process has the name: choose another")
                   : explain_taken(&making);
    if (result >= 0) {
        weir__options_warn(&making.target, making.options, error);
        warn_of_backlog(&making);
    }
    return result;
}

/* Binds the near end of an outgoing connection. */
static int bind_local(struct making *making)
{
    weir_address local = *making->how->local;
    int one = 1, code;

    if (local.transport != making->address->transport || making->target.kind == OPTION_UNIX)
        return weir__socket_fail(making->error, WEIR_EINVALID, "local",
                                 "cannot connect to %s from a local address of another kind, or "
                                 "of a unix socket: leave it out",
                                 making->shown);
    if ((local.flags & WEIR_ADDRESS_ANY) && making->target.family == AF_INET) {
        weir__address_set_ip4(&local, (struct in_addr){INADDR_ANY});
        weir_address_set_port(&local, (unsigned)weir_address_port(making->how->local));
    }
    if (local.socket.ss_family != making->target.family)
        return weir__socket_fail(making->error, WEIR_EINVALID, "local",
                                 "cannot connect to %s from an address of the other family: give "
                                 "both as IPv4 or both as IPv6",
                                 making->shown);
    /* The port is then chosen by connect, for this peer: otherwise a local address would have only
     * as many connections as there are ports (ip(7), kernel 4.2). */
    if (weir_address_port(&local) == 0)
        setsockopt(making->target.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(making->target.fd, (const struct sockaddr *)&local.socket, local.socket_size) == 0)
        return 0;
    code = -errno;
    if (code == -EADDRINUSE)
        return fail(making, code, "bind", "the local port is taken: leave the port 0");
    if (code == -EADDRNOTAVAIL)
        return fail(making, code, "bind",
                    "no interface of this host has the local address (see: ip address)");
    return fail(making, code, "bind", "the local address cannot be used");
}

int weir__socket_for_connect(const weir_address *remote, const weir_socket_options *options,
                             const struct weir__socket_how *how, struct weir__socket_error *error)
{
    struct making making = {
        .address = remote, .options = options, .how = how, .error = error, .client = true};
    int fd, result = begin(&making);

    if (result < 0)
        return result;
    making.target.moment = OPTION_NEW_CLIENT;
    fd = open_socket(&making, remote->socket.ss_family);
    if (fd < 0)
        return fd;
    result = weir__options_set(&making.target, making.options, error);
    if (result == 0 && making.how->local != NULL)
        result = bind_local(&making);
    if (result < 0) {
        close(fd);
        return result;
    }
    weir__options_warn(&making.target, making.options, error);
    return fd;
}

static int get_number(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -errno : value;
}

int weir__socket_apply(int fd, const weir_socket_options *options, struct weir__socket_error *error)
{
    struct option_target target = {.fd = fd};
    int protocol = get_number(fd, SO_PROTOCOL), listening = get_number(fd, SO_ACCEPTCONN);
    int type = get_number(fd, SO_TYPE), result;

    memset(error, 0, sizeof *error);
    if (options == NULL)
        options = &no_options;
    target.family = get_number(fd, SO_DOMAIN);
    if (target.family < 0)
        return weir__socket_fail(error, target.family, "socket", "options cannot be set: %s",
                                 weir_error_text(target.family));
    if (target.family == AF_UNIX && type == SOCK_STREAM)
        target.kind = OPTION_UNIX;
    else if (protocol == IPPROTO_TCP)
        target.kind = OPTION_TCP;
    else if (protocol == IPPROTO_UDP)
        target.kind = OPTION_UDP;
    else
        return weir__socket_fail(error, WEIR_ENOTSUP, "socket",
                                 "options cannot be set: the socket is not TCP, UDP or a unix "
                                 "stream");
    target.moment = listening > 0 ? OPTION_OLD_LISTENER : OPTION_OLD_CONN;
    result = weir__options_check(options, error);
    if (result == 0)
        result = weir__options_set(&target, options, error);
    if (result == 0)
        weir__options_warn(&target, options, error);
    return result;
}

bool weir__socket_inherits(const weir_address *listener)
{
    return listener->transport == WEIR_TRANSPORT_TCP;
}

/* Turns what getsockname or getpeername gave into an address. */
static int address_of(int fd, const struct sockaddr_storage *socket, socklen_t size,
                      weir_address *out)
{
    int type = get_number(fd, SO_TYPE);
    enum weir_transport transport = WEIR_TRANSPORT_NONE;

    if (type < 0)
        return type;
    if (socket->ss_family == AF_UNIX)
        transport = type == SOCK_STREAM  ? WEIR_TRANSPORT_UNIX
                    : type == SOCK_DGRAM ? WEIR_TRANSPORT_UNIX_DGRAM
                                         : WEIR_TRANSPORT_UNIX_SEQPACKET;
    else if (socket->ss_family != AF_UNIX && type == SOCK_STREAM)
        transport = WEIR_TRANSPORT_TCP;
    else if (socket->ss_family != AF_UNIX && type == SOCK_DGRAM)
        transport =
            get_number(fd, SO_PROTOCOL) == IPPROTO_UDP ? WEIR_TRANSPORT_UDP : WEIR_TRANSPORT_ICMP;
    else if (socket->ss_family != AF_UNIX && type == SOCK_RAW)
        transport = WEIR_TRANSPORT_RAW;
    if (weir_address_from_sockaddr((const struct sockaddr *)socket, size, transport, out) < 0)
        return WEIR_ENOTSUP;
    return 0;
}

int weir__socket_local(int fd, weir_address *out)
{
    struct sockaddr_storage socket = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof socket;

    memset(out, 0, sizeof *out);
    if (getsockname(fd, (struct sockaddr *)&socket, &size) < 0)
        return -errno;
    return address_of(fd, &socket, size, out);
}

int weir__socket_bound(int fd, weir_address *address)
{
    weir_address bound;
    int result = weir__socket_local(fd, &bound);

    if (result == 0) {
        bound.scheme = address->scheme;
        *address = bound;
        return 0;
    }
    if (address->transport != WEIR_TRANSPORT_TCP || weir_address_port(address) != 0)
        return 0;
    weir__log(WEIR_LOG_ERROR, result, 0, "the kernel does not tell which port it chose: %s",
              weir_error_text(result));
    return result;
}

int weir__socket_peer(int fd, weir_address *out)
{
    struct sockaddr_storage socket = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof socket;

    memset(out, 0, sizeof *out);
    if (getpeername(fd, (struct sockaddr *)&socket, &size) < 0)
        return -errno;
    return address_of(fd, &socket, size, out);
}

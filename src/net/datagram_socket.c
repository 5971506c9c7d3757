/* Datagram sockets without a loop: made, bound or connected, given the options of theirs. */
#include "net/datagram.h"

#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"
#include "net/ip.h"

enum { UDP_GRO_OPTION = 104, TEXT_MOST = 128 };

/* --- groups ----------------------------------------------------------------------------------- */

static int read_host(const char *at, size_t size, struct sockaddr_storage *out)
{
    struct ip_fault fault;
    struct sockaddr_in *in4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (weir__ip4_parse(at, at + size, &in4->sin_addr, &fault)) {
        out->ss_family = AF_INET;
        return 0;
    }
    memset(out, 0, sizeof *out);
    if (!weir__ip6_parse(at, at + size, &in6->sin6_addr, &fault))
        return WEIR_EADDRESS;
    out->ss_family = AF_INET6;
    return 0;
}

/* "source@group%interface", of which the first and the last may be left out. */
static int read_group(const char *text, struct group_source_req *out, bool *has_source)
{
    const char *at = strchr(text, '@'), *percent = strchr(text, '%');
    const char *group = at != NULL ? at + 1 : text;
    size_t size = percent != NULL ? (size_t)(percent - group) : strlen(group);
    int result = 0;
    memset(out, 0, sizeof *out);
    *has_source = at != NULL;
    if (strlen(text) >= TEXT_MOST || (percent != NULL && percent < group))
        return WEIR_EADDRESS;
    if (at != NULL)
        result = read_host(text, (size_t)(at - text), &out->gsr_source);
    if (result == 0)
        result = read_host(group, size, &out->gsr_group);
    if (result == 0 && at != NULL && out->gsr_source.ss_family != out->gsr_group.ss_family)
        result = WEIR_EADDRESS;
    if (result == 0 && percent != NULL) {
        out->gsr_interface = if_nametoindex(percent + 1);
        if (out->gsr_interface == 0)
            return -ENODEV;
    }
    return result;
}

int dgram_group(int fd, int family, const char *text, bool join)
{
    struct group_source_req request;
    struct group_req any;
    bool has_source;
    int result = read_group(text, &request, &has_source);
    if (result < 0)
        return result;
    int level = request.gsr_group.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    if (family == AF_INET && level == IPPROTO_IPV6)
        return WEIR_EADDRESS;
    any = (struct group_req){.gr_interface = request.gsr_interface, .gr_group = request.gsr_group};
    if (has_source)
        result = setsockopt(fd, level, join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP,
                            &request, sizeof request);
    else
        result =
            setsockopt(fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &any, sizeof any);
    return result < 0 ? -errno : 0;
}

static int join_all(int fd, int family, const char *groups)
{
    char text[TEXT_MOST];
    while (groups != NULL && *groups != 0) {
        size_t size = strcspn(groups, " ");
        if (size >= sizeof text)
            return WEIR_EADDRESS;
        memcpy(text, groups, size);
        text[size] = 0;
        int result = size != 0 ? dgram_group(fd, family, text, true) : 0;
        if (result < 0) {
            weir__log(WEIR_LOG_ERROR, result, 0, "cannot join the group %s: %s (%s)%s", text,
                      weir_error_text(result), weir_error_name(result),
                      result == -ENODEV ? ": name an interface, as in 239.1.1.1%eth0" : "");
            return result;
        }
        groups += size + (groups[size] == ' ');
    }
    return 0;
}

/* --- options ---------------------------------------------------------------------------------- */

static int refused(const char *name, int code)
{
    weir__log(WEIR_LOG_ERROR, code, 0, "datagrams: option %s was refused: %s (%s): %s", name,
              weir_error_text(code), weir_error_name(code),
              code == -ENOPROTOOPT ? "this kernel does not have it: leave it out"
                                   : "leave it out, or give another value");
    return code;
}

struct setting {
    const char *name;
    bool wanted, optional; /* optional: a default, which old kernels may lack */
    int level, option, value;
};

static int apply(int fd, const struct setting *settings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct setting *s = &settings[i];
        if (!s->wanted || setsockopt(fd, s->level, s->option, &s->value, sizeof s->value) == 0)
            continue;
        if (!s->optional)
            return refused(s->name, -errno);
    }
    return 0;
}

/* A socket of IPv6 that takes IPv4 too tells what is known of that by the options of IPv4. */
static int set_meta(int fd, int family, const weir_dgram_service *s, bool any, bool both)
{
    uint32_t meta = s->meta | (any ? (uint32_t)WEIR_DATAGRAM_LOCAL : 0);
    bool ip4 = family == AF_INET, ip6 = family == AF_INET6;
    bool local = meta & WEIR_DATAGRAM_LOCAL, ecn = meta & WEIR_DATAGRAM_ECN;
    bool hops = meta & WEIR_DATAGRAM_HOPS, errors = s->on_error != NULL;
    const struct setting settings[] = {
        {"meta (IP_PKTINFO)", ip4 && local, false, IPPROTO_IP, IP_PKTINFO, 1},
        {"meta (IPV6_RECVPKTINFO)", ip6 && local, false, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1},
        {"meta (IP_RECVTOS)", (ip4 || both) && ecn, false, IPPROTO_IP, IP_RECVTOS, 1},
        {"meta (IPV6_RECVTCLASS)", ip6 && ecn, false, IPPROTO_IPV6, IPV6_RECVTCLASS, 1},
        {"meta (IP_RECVTTL)", (ip4 || both) && hops, false, IPPROTO_IP, IP_RECVTTL, 1},
        {"meta (IPV6_RECVHOPLIMIT)", ip6 && hops, false, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1},
        {"on_error (IP_RECVERR)", (ip4 || both) && errors, false, IPPROTO_IP, IP_RECVERR, 1},
        {"on_error (IPV6_RECVERR)", ip6 && errors, false, IPPROTO_IPV6, IPV6_RECVERR, 1},
    };
    return apply(fd, settings, sizeof settings / sizeof *settings);
}

static int mtu_value(enum weir_dgram_mtu mtu)
{
    return mtu == WEIR_MTU_DONT ? IP_PMTUDISC_DONT
           : mtu == WEIR_MTU_DO ? IP_PMTUDISC_DO
                                : IP_PMTUDISC_PROBE;
}

static int set_sending(int fd, int family, const weir_dgram_service *s, bool both)
{
    bool ip6 = family == AF_INET6, ip4 = !ip6 || both, mtu = s->mtu != WEIR_MTU_DEFAULT;
    int value = mtu_value(s->mtu), loops = s->multicast_loop == WEIR_SWITCH_ON;
    bool loop = s->multicast_loop != WEIR_SWITCH_DEFAULT;
    int interface = 0;
    if (s->multicast_interface != NULL) {
        interface = (int)if_nametoindex(s->multicast_interface);
        if (interface == 0)
            return refused("multicast_interface", -ENODEV);
    }
    const struct setting settings[] = {
        {"broadcast", s->broadcast == WEIR_SWITCH_ON, false, SOL_SOCKET, SO_BROADCAST, 1},
        {"mtu", ip4 && mtu, false, IPPROTO_IP, IP_MTU_DISCOVER, value},
        {"mtu", ip6 && mtu, false, IPPROTO_IPV6, IPV6_MTU_DISCOVER, value},
        {"hops", ip4 && s->hops != 0, false, IPPROTO_IP, IP_TTL, s->hops},
        {"hops", ip6 && s->hops != 0, false, IPPROTO_IPV6, IPV6_UNICAST_HOPS, s->hops},
        {"multicast_hops", ip4 && s->multicast_hops != 0, false, IPPROTO_IP, IP_MULTICAST_TTL,
         s->multicast_hops},
        {"multicast_hops", ip6 && s->multicast_hops != 0, false, IPPROTO_IPV6, IPV6_MULTICAST_HOPS,
         s->multicast_hops},
        {"multicast_loop", ip4 && loop, false, IPPROTO_IP, IP_MULTICAST_LOOP, loops},
        {"multicast_loop", ip6 && loop, false, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, loops},
        {"multicast_interface", ip6 && interface != 0, false, IPPROTO_IPV6, IPV6_MULTICAST_IF,
         interface},
    };
    struct ip_mreqn out = {.imr_ifindex = interface};
    int result = apply(fd, settings, sizeof settings / sizeof *settings);
    if (result == 0 && ip4 && interface != 0 &&
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) < 0)
        result = refused("multicast_interface", -errno);
    return result;
}

static int set_all(int fd, const weir_address *address, const weir_dgram_service *s, bool any)
{
    bool udp = address->transport == WEIR_TRANSPORT_UDP;
    bool inet = address->socket.ss_family != AF_UNIX;
    int family = AF_UNSPEC, v6only = 1, result = 0;
    socklen_t size = sizeof family;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
    size = sizeof v6only;
    if (family == AF_INET6)
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size);
    bool both = udp && family == AF_INET6 && v6only == 0;
    const struct setting settings[] = {
        {"meta (SO_TIMESTAMPNS)", (s->meta & WEIR_DATAGRAM_TIME) != 0, false, SOL_SOCKET,
         SO_TIMESTAMPNS, 1},
        {"gro (UDP_GRO)", udp && s->gro != WEIR_SWITCH_OFF, s->gro == WEIR_SWITCH_DEFAULT,
         IPPROTO_UDP, UDP_GRO_OPTION, 1},
        {"SO_PASSCRED", address->transport == WEIR_TRANSPORT_UNIX_SEQPACKET, false, SOL_SOCKET,
         SO_PASSCRED, 1}, /* tells an empty record from the end */
    };
    result = apply(fd, settings, sizeof settings / sizeof *settings);
    if (result == 0 && inet)
        result = set_meta(fd, family, s, any, both);
    if (result == 0 && inet)
        result = set_sending(fd, family, s, both);
    if (result == 0 && inet)
        result = join_all(fd, family, s->groups);
    return result;
}

/* --- making them ------------------------------------------------------------------------------ */

/* A raw socket knows of no port: the address stays what it is, but for an identifier. */
static int dgram_socket_bound(int fd, weir_address *address)
{
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return -errno;
    if (type != SOCK_RAW)
        return weir__socket_bound(fd, address);
    return address->transport == WEIR_TRANSPORT_ICMP ? dgram_icmp_prepare(fd, address) : 0;
}

int dgram_socket_bind(weir_address *address, const weir_dgram_service *service, bool reuseport,
                      struct weir__socket_file *file)
{
    struct weir__socket_error error;
    struct weir__socket_how how = {.file = file};
    weir_socket_options options = service->socket;
    if (reuseport)
        options.reuseport = WEIR_SWITCH_ON;
    int fd = weir__socket_listen(address, &options, &how, &error);
    if (error.warnings != 0)
        weir__log(WEIR_LOG_WARN, 0, 0, "%s", error.warning);
    if (fd < 0) {
        weir__log(WEIR_LOG_ERROR, fd, 0, "%s", error.text);
        return fd;
    }
    int result = dgram_socket_bound(fd, address);
    if (result == 0)
        result = set_all(fd, address, service, dgram_is_any(address));
    if (result == 0)
        return fd;
    weir__socket_unlink(address, file);
    close(fd);
    return result;
}

/* A unix datagram socket without a name could not be answered: the kernel chooses one (unix(7),
 * autobind). */
static int autobind(int fd)
{
    const struct sockaddr_un none = {.sun_family = AF_UNIX};
    return bind(fd, (const struct sockaddr *)&none, sizeof none.sun_family) < 0 ? -errno : 0;
}

int dgram_socket_connect(const weir_address *address, const weir_address *source,
                         const weir_dgram_service *service)
{
    struct weir__socket_error error;
    struct weir__socket_how how = {.local = source};
    int fd = weir__socket_for_connect(address, &service->socket, &how, &error), result;
    if (error.warnings != 0)
        weir__log(WEIR_LOG_WARN, 0, 0, "%s", error.warning);
    if (fd < 0) {
        weir__log(WEIR_LOG_ERROR, fd, 0, "%s", error.text);
        return fd;
    }
    result = set_all(fd, address, service, false);
    if (result == 0 && address->transport == WEIR_TRANSPORT_UNIX_DGRAM)
        result = autobind(fd);
    if (result == 0 &&
        connect(fd, (const struct sockaddr *)&address->socket, address->socket_size) < 0) {
        char text[WEIR_ADDRESS_TEXT_MAX] = "";
        result = -errno;
        weir_address_format(address, text, sizeof text);
        weir__log(WEIR_LOG_ERROR, result, 0, "cannot connect to %s: %s (%s)", text,
                  weir_error_text(result), weir_error_name(result));
    }
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

/* --- steering --------------------------------------------------------------------------------- */

/* The program sees the datagram behind its UDP head; the head of IP lies at SKF_NET_OFF. What it
 * returns is a socket's place in the order of binding. */
int dgram_socket_steer(int fd, int family, enum weir_dgram_steer steer, unsigned count)
{
    struct sock_filter by_ip4[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 2654435761u), /* Knuth's, so that neighbours part */
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 12),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_filter by_ip6[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_NET_OFF),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 11, 0), /* IPv4 on a socket of both */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 8),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12),
        BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 16),
        BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 20),
        BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
        BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 2654435761u),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 12),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_filter by_cpu[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_CPU)),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {sizeof by_ip4 / sizeof *by_ip4, by_ip4};
    if (steer == WEIR_STEER_CPU)
        program = (struct sock_fprog){sizeof by_cpu / sizeof *by_cpu, by_cpu};
    else if (family == AF_INET6)
        program = (struct sock_fprog){sizeof by_ip6 / sizeof *by_ip6, by_ip6};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0)
        return refused("steer (SO_ATTACH_REUSEPORT_CBPF)", -errno);
    return 0;
}

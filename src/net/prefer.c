/* Which of several addresses to try first: RFC 6724 section 6, by where from each would be reached.
 * Rules 3, 4 and 7 (deprecated, home and native addresses) are about what the kernel does not tell;
 * 9 is for IPv6 alone, as elsewhere: it would undo the round robin of IPv4 servers. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/conn.h"

struct preference {
    weir_address address;
    uint8_t to[16], from[16];
    bool reached; /* there is a source */
    int to_scope, from_scope, to_label, from_label, precedence;
    unsigned same_bits;
};

/* RFC 6724 section 2.1. */
static const struct {
    uint8_t prefix[16];
    uint8_t bits;
    int precedence, label;
} policies[] = {
    {{[15] = 1}, 128, 50, 0},  {{[10] = 0xff, 0xff}, 96, 35, 4},
    {{0}, 96, 1, 3},           {{0x20, 0x01, 0, 0}, 32, 5, 5},
    {{0x20, 0x02}, 16, 30, 2}, {{0x3f, 0xfe}, 16, 1, 12},
    {{0xfe, 0xc0}, 10, 1, 11}, {{0xfc}, 7, 3, 13},
    {{0}, 0, 40, 1},
};

static unsigned common_bits(const uint8_t *a, const uint8_t *b)
{
    unsigned bits = 0;
    while (bits < 128 && ((a[bits / 8] ^ b[bits / 8]) >> (7 - bits % 8) & 1) == 0)
        bits++;
    return bits;
}

static int policy(const uint8_t *address, int *precedence)
{
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        if (common_bits(address, policies[i].prefix) < policies[i].bits)
            continue;
        *precedence = policies[i].precedence;
        return policies[i].label;
    }
    return 0;
}

/* RFC 6724 section 3.1 and 3.2: 2 link, 5 site, 14 global. */
static int scope_of(const uint8_t *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    if (memcmp(a, mapped, 12) == 0)
        return a[12] == 127 || (a[12] == 169 && a[13] == 254) ? 2 : 14;
    if (a[0] == 0xff)
        return a[1] & 15;
    if (IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)a) ||
        (a[0] == 0xfe && (a[1] & 0xc0) == 0x80))
        return 2;
    return a[0] == 0xfe && (a[1] & 0xc0) == 0xc0 ? 5 : 14;
}

static void bytes_of(const struct sockaddr_storage *socket, uint8_t out[16])
{
    if (socket->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)socket)->sin6_addr, 16);
        return;
    }
    memset(out, 0, 16);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, &((const struct sockaddr_in *)socket)->sin_addr, 4);
}

/* A connected UDP socket sends nothing, and knows where it would send from. */
static bool source_of(const weir_address *to, struct sockaddr_storage *from)
{
    weir_address probe = *to;
    socklen_t size = sizeof *from;
    int fd = socket(to->socket.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    weir_address_set_port(&probe, 9);
    bool known = connect(fd, (struct sockaddr *)&probe.socket, probe.socket_size) == 0 &&
                 getsockname(fd, (struct sockaddr *)from, &size) == 0;
    close(fd);
    return known;
}

static void preference_of(struct preference *p, const weir_address *address)
{
    struct sockaddr_storage from;
    int ignored;
    *p = (struct preference){.address = *address};
    bytes_of(&address->socket, p->to);
    p->to_scope = scope_of(p->to);
    p->to_label = policy(p->to, &p->precedence);
    p->reached = source_of(address, &from);
    if (!p->reached)
        return;
    bytes_of(&from, p->from);
    p->from_scope = scope_of(p->from);
    p->from_label = policy(p->from, &ignored);
    p->same_bits = address->socket.ss_family == AF_INET6 ? common_bits(p->to, p->from) : 0;
    if (p->same_bits > 64) /* what the interface chose itself says nothing */
        p->same_bits = 64;
}

/* Whether a comes before b, by the first rule that tells them apart. */
static bool before(const struct preference *a, const struct preference *b)
{
    bool own_a = a->to_scope == a->from_scope, own_b = b->to_scope == b->from_scope;
    bool like_a = a->to_label == a->from_label, like_b = b->to_label == b->from_label;
    if (a->reached != b->reached)
        return a->reached;
    if (own_a != own_b)
        return own_a;
    if (like_a != like_b)
        return like_a;
    if (a->precedence != b->precedence)
        return a->precedence > b->precedence;
    if (a->to_scope != b->to_scope)
        return a->to_scope < b->to_scope;
    if (a->address.socket.ss_family == b->address.socket.ss_family)
        return a->same_bits > b->same_bits;
    return false;
}

void addresses_prefer(weir_address *addresses, unsigned count)
{
    struct preference sorted[PREFER_MAX];
    if (count > PREFER_MAX)
        count = PREFER_MAX;
    for (unsigned i = 0; i < count; i++) {
        struct preference own;
        unsigned to = i;
        preference_of(&own, &addresses[i]);
        for (; to > 0 && before(&own, &sorted[to - 1]); to--)
            sorted[to] = sorted[to - 1];
        sorted[to] = own;
    }
    for (unsigned i = 0; i < count; i++)
        addresses[i] = sorted[i].address;
}

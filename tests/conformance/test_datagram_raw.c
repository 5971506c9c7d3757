/* ICMP and raw packets as datagrams, in a network namespace of its own, where ping sockets are
 * allowed or not, and by who may have a raw socket or not. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <weir/packet.h>

#include "conformance/harness_datagram.h"

enum { NOBODY = 65534, EXPERIMENT = 253 /* RFC 3692 */ };

static int former = -1;

static struct world *own_network(bool pings)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    const char *groups = pings ? "0 0" : "1 0";
    former = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) < 0) {
        close(former);
        skip_because("a network namespace needs root");
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
    fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, groups, 3), 3);
    close(fd);
    return world_open(NULL);
}

static void network_end(void)
{
    assert_int_equal(setns(former, CLONE_NEWNET), 0);
    close(former);
}

/* An echo with the socket's own identifier, as a program writes it. */
static size_t echo(const struct box *b, uint16_t sequence, uint8_t out[12])
{
    bool ip6 = b->address.socket.ss_family == AF_INET6;
    weir_checksum sum = {0};
    weir_icmp icmp = {.type = ip6 ? WEIR_ICMP6_ECHO : WEIR_ICMP_ECHO,
                      .id = (uint16_t)weir_address_port(&b->address),
                      .sequence = sequence};
    memcpy(out + 8, "data", 4);
    assert_int_equal(weir_icmp_build(&icmp, out, 12), 8);
    weir_checksum_add(&sum, out, 12);
    icmp.checksum = weir_checksum_end(&sum);
    return (size_t)weir_icmp_build(&icmp, out, 12) + 4;
}

/* What an answer is like, whatever socket it came by. */
static void an_answer(struct box *b, const weir_datagram *in)
{
    bool ip6 = b->address.socket.ss_family == AF_INET6;
    weir_icmp icmp;
    if (weir_icmp_parse(in->view.data, in->view.size, &icmp) != 8 || in->view.size != 12 ||
        in->full_bytes != 12 || icmp.type != (ip6 ? WEIR_ICMP6_ECHO_REPLY : WEIR_ICMP_ECHO_REPLY) ||
        icmp.id != weir_address_port(&b->address) || memcmp(icmp.payload.data, "data", 4) != 0)
        world_broke(b->w, "not our answer");
}

static void pings(bool allowed, const char *url, bool connects)
{
    struct world *w = own_network(allowed);
    struct box *a = box_new(w), *b = box_new(w);
    uint8_t packet[12];
    a->on = b->on = an_answer;
    a->service.meta = b->service.meta = WEIR_DATAGRAM_HOPS | WEIR_DATAGRAM_LOCAL;
    box_bind(a, url);
    if (connects)
        box_connect(b, a);
    else
        box_bind(b, url);
    assert_int_equal(a->address.transport, WEIR_TRANSPORT_ICMP);
    assert_int_equal(b->address.transport, WEIR_TRANSPORT_ICMP);
    assert_int_not_equal(weir_address_port(&a->address), 0);
    assert_int_not_equal(weir_address_port(&a->address), weir_address_port(&b->address));
    for (uint16_t i = 1; i <= 5; i++) {
        weir_view view = weir_bytes(packet, echo(a, i, packet));
        assert_int_equal(V(w, weir_dgram_send_to(a->socket, &a->address, view)), 0);
        view = weir_bytes(packet, echo(b, i, packet));
        if (i <= 3 && connects)
            assert_int_equal(V(w, weir_dgram_send(b->socket, view)), 0);
        else if (i <= 3)
            assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, view)), 0);
    }
    UNTIL(w, a->got == 5 && b->got == 3);
    assert_int_equal(a->last.hops, 64);
    assert_true(a->last.flags & WEIR_DATAGRAM_LOCAL);
    assert_int_equal(a->peer.transport, WEIR_TRANSPORT_ICMP);
    assert_int_equal(a->errors + b->errors, 0);
    boxes_end(w, a, b);
    network_end();
}

static void datagram_pings_by_ping_sockets(void **state)
{
    pings(true, "icmp://127.0.0.1", false);
    pings(true, "icmp://[::1]", true);
    pings(true, "icmp://127.0.0.1", true);
}

static void datagram_pings_by_raw_sockets(void **state)
{
    pings(false, "icmp://127.0.0.1", false);
    pings(false, "icmp://[::1]", false);
    pings(false, "icmp://127.0.0.1", true);
    pings(false, "icmp://[::1]", true);
}

/* What came to a raw socket before its filter, or passes no ping socket, reaches nobody. */
static void datagram_raw_sockets_hear_their_own(void **state)
{
    struct world *w = own_network(false);
    struct box *a = box_new(w), *b = box_new(w);
    uint8_t packet[12];
    a->on = an_answer;
    box_bind(a, "icmp://127.0.0.1:77");
    box_bind(b, "raw://127.0.0.1:1");
    assert_int_equal(weir_address_port(&a->address), 77);
    assert_int_equal(weir_address_port(&b->address), 1);
    echo(a, 1, packet);
    packet[5]++; /* an identifier of another's */
    packet[3]--;
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, weir_bytes(packet, 12))), 0);
    UNTIL(w, b->got == 2); /* the echo and its answer, which the raw socket hears */
    assert_int_equal(b->sizes[0], 32);
    echo(a, 1, packet);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &b->address, weir_bytes(packet, 12))), 0);
    UNTIL(w, b->got == 4 && a->got == 1);
    boxes_end(w, a, b);
    network_end();
}

/* A packet goes out as what follows the head of IP, and comes in with the head of IPv4. */
static void raw_packet(struct box *b, const weir_datagram *in)
{
    weir_ip_upper upper;
    const uint8_t *at = in->view.data;
    uint32_t size = in->view.size;
    if (b->address.socket.ss_family == AF_INET) {
        int head = weir_ip_upper_parse(at, size, &upper);
        if (head != 20 || upper.protocol != EXPERIMENT)
            world_broke(b->w, "no head of IPv4");
        at += 20;
        size -= 20;
    }
    if (size != 5 || memcmp(at, "hello", 5) != 0)
        world_broke(b->w, "not what was sent");
}

static void datagram_packets_of_a_protocol(void **state)
{
    static const char *const urls[] = {"raw://127.0.0.1:253", "raw://[::1]:253"};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = own_network(true);
        struct box *a = box_new(w), *b = box_new(w);
        a->on = raw_packet;
        box_bind(a, urls[i]);
        box_bind(b, i == 0 ? "raw://127.0.0.1:254" : "raw://[::1]:254");
        assert_int_equal(weir_address_port(&a->address), EXPERIMENT);
        assert_int_equal(V(w, weir_dgram_send_to(a->socket, &a->address, weir_str("hello"))), 0);
        assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, weir_str("other"))), 0);
        UNTIL(w, a->got == 1 && b->got == 1);
        boxes_end(w, a, b);
        network_end();
    }
}

static void datagram_errors_of_echoes(void **state)
{
    struct world *w = own_network(true);
    struct box *a = box_new(w);
    weir_address nowhere;
    uint8_t packet[12];
    assert_int_equal(weir_address_parse("icmp://192.0.2.1", &nowhere, NULL), 0);
    a->service.on_error = box_on_error;
    box_bind(a, "icmp://127.0.0.1");
    echo(a, 1, packet);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &nowhere, weir_bytes(packet, 12))), 0);
    UNTIL(w, a->errors == 1);
    /* Without a route, or from an address that cannot go there. */
    assert_true(a->told.error == -ENETUNREACH || a->told.error == -EINVAL);
    assert_int_equal(a->told.origin, WEIR_ORIGIN_LOCAL);
    boxes_end(w, a, NULL);
    network_end();
}

/* "Host unreachable" about an echo of somebody's, as a host on its way says it. */
static size_t unreachable(const struct box *a, uint16_t sequence, bool ours, uint8_t out[36])
{
    weir_ip4 ip = {.protocol = WEIR_IP_ICMP, .hops = 64, .total_bytes = 32};
    weir_icmp icmp = {.type = 3, .code = 1};
    weir_checksum sum = {0};
    uint8_t asked[12];
    echo(a, sequence, asked);
    asked[5] += !ours; /* another's identifier */
    ip.source[0] = ip.target[0] = 127;
    ip.source[3] = ip.target[3] = 1;
    assert_int_equal(weir_ip4_build(&ip, out + 8, 28), 20);
    memcpy(out + 28, asked, 8);
    assert_int_equal(weir_icmp_build(&icmp, out, 36), 8);
    weir_checksum_add(&sum, out, 36);
    icmp.checksum = weir_checksum_end(&sum);
    weir_icmp_build(&icmp, out, 36);
    return 36;
}

/* The kernel tells a raw socket of errors of everybody's echoes. */
static void datagram_errors_of_others_echoes(void **state)
{
    struct world *w = own_network(false);
    struct box *a = box_new(w), *b = box_new(w);
    uint8_t packet[36];
    a->service.on_error = box_on_error;
    box_bind(a, "icmp://127.0.0.1:77");
    box_bind(b, "raw://127.0.0.1:1");
    for (uint16_t i = 1; i <= 3; i++) {
        weir_view view = weir_bytes(packet, unreachable(a, i, false, packet));
        assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, view)), 0);
        world_run_ms(w, 5);
        view = weir_bytes(packet, echo(a, i, packet));
        assert_int_equal(V(w, weir_dgram_send_to(a->socket, &a->address, view)), 0);
        UNTIL(w, a->got == i);
        assert_int_equal(a->errors, 0);
    }
    weir_view view = weir_bytes(packet, unreachable(a, 4, true, packet));
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, view)), 0);
    UNTIL(w, a->errors == 1);
    assert_int_equal(a->told.error, -EHOSTUNREACH);
    assert_int_equal(a->told.origin, WEIR_ORIGIN_ICMP);
    boxes_end(w, a, b);
    network_end();
}

/* An error that names what is missing. */
static void datagram_without_the_capability(void **state)
{
    struct world *w = own_network(false);
    weir_dgram_service service = {0};
    static const char *const urls[] = {"icmp://127.0.0.1", "icmp://[::1]", "raw://127.0.0.1:1",
                                       "raw://[::1]:58"};
    assert_int_equal(seteuid(NOBODY), 0);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        int bound = V(w, weir_dgram_open(NULL, urls[i], &service));
        int connected = V(w, weir_dgram_connect(NULL, urls[i], NULL, &service));
        bool told = strstr(log_last(), "CAP_NET_RAW") != NULL;
        if (bound != -EPERM || connected != -EPERM || !told)
            fail_msg("%s: %d, %d, %s", urls[i], bound, connected, log_last());
    }
    assert_int_equal(seteuid(0), 0);
    world_end(w);
    network_end();
}

static void datagram_addresses_that_are_none(void **state)
{
    static const char *const bad[] = {"raw://127.0.0.1",     "raw://127.0.0.1:0",
                                      "raw://127.0.0.1:256", "icmp://127.0.0.1:65536",
                                      "icmp://127.0.0.1/",   "icmp://"};
    static const char *const good[] = {"raw://127.0.0.1:255", "icmp://127.0.0.1", "icmp://[::1]:9"};
    char text[WEIR_ADDRESS_TEXT_MAX];
    weir_dgram_service service = {0};
    weir_service stream = {0};
    weir_address address;
    struct world *w = world_open(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (weir_address_parse(bad[i], &address, NULL) != WEIR_EADDRESS)
            fail_msg("taken: %s", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(weir_address_parse(good[i], &address, NULL), 0);
        assert_true(weir_address_format(&address, text, sizeof text) > 0);
        assert_string_equal(text, good[i]);
    }
    /* A socket is of one family: any address of any of them is none. */
    assert_int_equal(V(w, weir_dgram_open(NULL, "icmp://*", &service)), WEIR_EADDRESS);
    assert_int_equal(V(w, weir_connect(NULL, "icmp://127.0.0.1", &stream, NULL)), WEIR_ENOTSUP);
    world_end(w);
}

K_MAIN(T(datagram_pings_by_ping_sockets), T(datagram_pings_by_raw_sockets),
       T(datagram_raw_sockets_hear_their_own), T(datagram_packets_of_a_protocol),
       T(datagram_errors_of_echoes), T(datagram_errors_of_others_echoes),
       T(datagram_without_the_capability), T(datagram_addresses_that_are_none))

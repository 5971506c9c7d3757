/* TUN and TAP devices, in a network namespace of its own: this host talks to one that a test plays.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/packet.h>
#include <weir/tun.h>

#include "conformance/harness.h"

enum { NOBODY = 65534, MTU = 1500, STREAM = 1 << 20 };

static int former = -1;

struct device {
    struct world *w;
    weir_tun *tun;
    weir_tun_service service;
    void (*on)(struct device *d, const weir_tun_packet *in);
    unsigned packets, gso, wrong, refused;
    uint32_t largest;
    bool closes; /* in the handler */
};

static void own_network(void)
{
    former = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) < 0) {
        close(former);
        skip_because("a network namespace needs root");
    }
    if (access("/dev/net/tun", R_OK | W_OK) < 0) {
        assert_int_equal(setns(former, CLONE_NEWNET), 0);
        close(former);
        skip_because("this kernel has no /dev/net/tun");
    }
}

static void interface_is(const char *name, bool up)
{
    struct ifreq request = {.ifr_flags = up ? IFF_UP | IFF_RUNNING : 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(request.ifr_name, name);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

/* This host is 10.9.0.1 there, and 10.9.0.2 is whom the test plays. */
static void address_on(const char *name)
{
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(request.ifr_name, name);
    address.sin_addr.s_addr = inet_addr("10.9.0.1");
    memcpy(&request.ifr_addr, &address, sizeof address);
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
    address.sin_addr.s_addr = inet_addr("255.255.255.0");
    memcpy(&request.ifr_addr, &address, sizeof address);
    assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &request), 0);
    close(fd);
    interface_is(name, true);
}

/* Packets of IPv4; the host says things by itself over IPv6. */
static void on_packet(weir_tun *tun, const weir_tun_packet *in, void *user)
{
    struct device *d = user;
    const uint8_t *at = in->view.data;
    bool tap = d->service.tap == WEIR_SWITCH_ON;
    if (!tap && (in->view.size < 20 || at[0] >> 4 != 4))
        return;
    d->packets++;
    d->gso += in->gso != 0;
    d->largest = in->view.size > d->largest ? in->view.size : d->largest;
    if (d->on != NULL)
        d->on(d, in);
    if (d->closes) {
        weir_tun_close(tun);
        d->tun = NULL;
    }
}

static struct device *device_new(struct world *w)
{
    struct device *d = calloc(1, sizeof *d);
    assert_non_null(d);
    d->w = w;
    d->service = (weir_tun_service){.on_packet = on_packet, .user = d, .name = "weir%d"};
    return d;
}

static void device_open(struct device *d)
{
    int result = V(d->w, weir_tun_open(&d->tun, &d->service));
    if (result < 0)
        fail_msg("%s", log_last());
    address_on(weir_tun_name(d->tun));
}

static void device_end(struct device *d)
{
    V(d->w, (weir_tun_close(d->tun), 0));
    assert_int_equal(d->wrong, 0);
    free(d);
}

static struct world *world_begin(void)
{
    own_network();
    return world_open(NULL);
}

static void world_over(struct world *w)
{
    world_end(w);
    assert_int_equal(setns(former, CLONE_NEWNET), 0);
    close(former);
}

/* Sends it back with its ends exchanged: whoever is spoken to there is this host. Sums stay right:
 * nothing is added or taken away. */
static void reflect(struct device *d, const weir_tun_packet *in)
{
    static uint8_t back[65549];
    weir_tun_packet out = *in;
    memcpy(back, in->view.data, in->view.size);
    memcpy(back + 12, (const uint8_t *)in->view.data + 16, 4);
    memcpy(back + 16, (const uint8_t *)in->view.data + 12, 4);
    out.view = weir_bytes(back, in->view.size);
    if (weir_tun_send(d->tun, &out) < 0)
        d->refused++;
}

static int udp_to(const char *host, unsigned port, const char *says)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    to.sin_addr.s_addr = inet_addr(host);
    assert_true(sendto(fd, says, strlen(says), 0, (struct sockaddr *)&to, sizeof to) >= 0);
    return fd;
}

/* --- pings -------------------------------------------------------------------------------------
 */

static void answer_ping(struct device *d, const weir_tun_packet *in)
{
    uint8_t packet[256];
    weir_ip4 ip;
    weir_icmp icmp;
    if (in->view.size > sizeof packet ||
        weir_packet_check(in->view.data, in->view.size) != WEIR_SUMS_GOOD ||
        weir_ip4_parse(in->view.data, in->view.size, &ip) != 20 || ip.protocol != WEIR_IP_ICMP ||
        weir_icmp_parse(ip.payload.data, ip.payload.size, &icmp) != 8 ||
        icmp.type != WEIR_ICMP_ECHO) {
        d->wrong++;
        return;
    }
    weir_ip4 back = ip;
    memcpy(packet, in->view.data, in->view.size);
    memcpy(back.source, ip.target, 4);
    memcpy(back.target, ip.source, 4);
    icmp.type = WEIR_ICMP_ECHO_REPLY;
    icmp.checksum = weir_checksum_update(icmp.checksum, WEIR_ICMP_ECHO << 8, 0);
    weir_ip4_build(&back, packet, sizeof packet);
    weir_icmp_build(&icmp, packet + 20, sizeof packet - 20);
    weir_tun_packet out = {.view = weir_bytes(packet, in->view.size)};
    d->wrong += weir_packet_check(packet, in->view.size) != WEIR_SUMS_GOOD;
    d->refused += weir_tun_send(d->tun, &out) < 0;
}

static unsigned answered;

static void on_answer(weir_dgram socket, const weir_datagram *in, void *user)
{
    answered++;
}

static void tun_answers_pings(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    weir_dgram_service service = {.on_datagram = on_answer};
    weir_dgram socket;
    weir_address local;
    uint8_t packet[12] = {0};
    d->on = answer_ping;
    device_open(d);
    answered = 0;
    assert_int_equal(V(w, weir_dgram_connect(&socket, "icmp://10.9.0.2", NULL, &service)), 0);
    assert_int_equal(V(w, weir_dgram_local(socket, &local)), 0);
    for (uint16_t i = 1; i <= 5; i++) {
        weir_icmp echo = {.type = WEIR_ICMP_ECHO, .id = (uint16_t)weir_address_port(&local)};
        weir_checksum sum = {0};
        echo.sequence = i;
        weir_icmp_build(&echo, packet, sizeof packet);
        weir_checksum_add(&sum, packet, sizeof packet);
        echo.checksum = weir_checksum_end(&sum);
        weir_icmp_build(&echo, packet, sizeof packet);
        assert_int_equal(V(w, weir_dgram_send(socket, weir_bytes(packet, sizeof packet))), 0);
    }
    UNTIL(w, answered == 5);
    assert_int_equal(d->packets, 5);
    weir_tun_stats stats;
    assert_int_equal(weir_tun_stats_get(d->tun, &stats), 0);
    assert_int_equal(stats.sent_packets, 5);
    assert_int_equal(stats.sent_bytes, 5 * 32);
    device_end(d);
    world_over(w);
}

/* --- streams -----------------------------------------------------------------------------------
 */

struct stream {
    int listener, client, server;
    uint64_t sent, received;
};

static void stream_begin(struct stream *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    *s = (struct stream){.server = -1};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = inet_addr("10.9.0.1");
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s->listener, 1), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &size), 0);
    address.sin_addr.s_addr = inet_addr("10.9.0.2");
    assert_int_equal(connect(s->client, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, EINPROGRESS);
}

/* Moves what can be moved; true when all of it has come. */
static bool stream_goes(struct stream *s)
{
    static uint8_t bytes[65536];
    if (s->server < 0)
        s->server = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s->server < 0)
        return false;
    while (s->sent < STREAM) {
        size_t size = STREAM - s->sent < sizeof bytes ? STREAM - s->sent : sizeof bytes;
        pattern_fill(bytes, s->sent, size);
        ssize_t done = send(s->client, bytes, size, MSG_NOSIGNAL);
        if (done < 0)
            break;
        s->sent += (uint64_t)done;
    }
    for (;;) {
        ssize_t got = recv(s->server, bytes, sizeof bytes, 0);
        if (got <= 0)
            return s->received == STREAM;
        assert_true(pattern_is(bytes, s->received, (size_t)got));
        s->received += (uint64_t)got;
    }
}

static void stream_end(struct stream *s)
{
    close(s->listener);
    close(s->client);
    close(s->server);
}

static void whole_segments(struct device *d, const weir_tun_packet *in)
{
    d->wrong += weir_packet_check(in->view.data, in->view.size) != WEIR_SUMS_GOOD ||
                in->flags != 0 || in->segment_bytes != 0;
    reflect(d, in);
}

/* Many segments as one: with the heads of all, and a sum that is to be done. */
static void large_segments(struct device *d, const weir_tun_packet *in)
{
    if (in->gso != 0)
        d->wrong += (in->gso & ~WEIR_TUN_GSO_ECN) != WEIR_TUN_GSO_TCP4 ||
                    (in->flags & WEIR_TUN_SUM_OPEN) == 0 || in->sum_start != 20 ||
                    in->sum_offset != 16 || in->segment_bytes == 0 ||
                    in->segment_bytes > MTU - 40 || in->head_bytes < 40 ||
                    in->view.size <= in->segment_bytes + in->head_bytes;
    reflect(d, in);
}

static void tun_carries_a_stream(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    struct stream s;
    d->on = whole_segments;
    device_open(d);
    stream_begin(&s);
    UNTIL(w, stream_goes(&s));
    assert_true(d->largest <= MTU && d->packets > STREAM / MTU);
    stream_end(&s);
    device_end(d);
    world_over(w);
}

static void tun_carries_segments_of_64_kib(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    struct stream s;
    d->on = large_segments;
    d->service.offload = WEIR_SWITCH_ON;
    device_open(d);
    stream_begin(&s);
    UNTIL(w, stream_goes(&s));
    assert_true(d->gso > 0 && d->largest > 2 * MTU);
    assert_int_equal(d->refused, 0);
    stream_end(&s);
    device_end(d);
    world_over(w);
}

/* Something of another program's left the device as it is. */
static void left_with_long_heads(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), bytes = 12;
    strcpy(request.ifr_name, name);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(ioctl(fd, TUNSETVNETHDRSZ, &bytes), 0);
    assert_int_equal(ioctl(fd, TUNSETPERSIST, 1ul), 0);
    close(fd);
}

static void carries(struct device *d)
{
    struct stream s;
    device_open(d);
    stream_begin(&s);
    UNTIL(d->w, stream_goes(&s));
    assert_int_equal(d->wrong, 0);
    assert_int_equal(d->refused, 0);
    stream_end(&s);
    V(d->w, (weir_tun_close(d->tun), 0));
    d->tun = NULL;
}

/* A device that stays keeps what was set on it: with heads of 12 bytes, with offload, without. */
static void tun_that_stays_is_as_it_is_opened(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    left_with_long_heads("weirh");
    d->service.name = "weirh";
    d->service.offload = WEIR_SWITCH_ON;
    d->on = large_segments;
    carries(d);
    assert_true(d->gso > 0 && d->largest > 2 * MTU);
    d->service.offload = WEIR_SWITCH_DEFAULT;
    d->service.persistent = WEIR_SWITCH_OFF;
    d->on = whole_segments;
    d->gso = d->largest = 0;
    carries(d);
    assert_true(d->gso == 0 && d->largest <= MTU);
    assert_int_equal(if_nametoindex("weirh"), 0);
    device_end(d);
    world_over(w);
}

/* --- TAP ---------------------------------------------------------------------------------------
 */

/* Answers who 10.9.0.2 is, and takes what it is told then. */
static void answer_arp(struct device *d, const weir_tun_packet *in)
{
    static const uint8_t own[6] = {2, 0, 0, 0, 9, 2};
    uint8_t frame[42];
    weir_ethernet ethernet;
    weir_ip_upper upper;
    weir_arp arp;
    const uint8_t *at = in->view.data;
    if (weir_ethernet_parse(at, in->view.size, &ethernet) != 14)
        return;
    if (ethernet.type == WEIR_ETHER_IP4 && memcmp(ethernet.target, own, 6) == 0 &&
        weir_ip_upper_parse(at + 14, in->view.size - 14, &upper) > 0 &&
        upper.protocol == WEIR_IP_UDP)
        d->gso++; /* of no other use here: the datagrams that came */
    if (ethernet.type != WEIR_ETHER_ARP ||
        weir_arp_parse(at + 14, in->view.size - 14, &arp) != 28 || arp.operation != 1)
        return;
    weir_arp answer = arp;
    answer.operation = 2;
    answer.source_hardware = own;
    answer.source = arp.target;
    answer.target_hardware = arp.source_hardware;
    answer.target = arp.source;
    memcpy(ethernet.target, ethernet.source, 6);
    memcpy(ethernet.source, own, 6);
    weir_ethernet_build(&ethernet, frame, sizeof frame);
    weir_arp_build(&answer, frame + 14, sizeof frame - 14);
    weir_tun_packet out = {.view = weir_bytes(frame, sizeof frame)};
    d->refused += weir_tun_send(d->tun, &out) < 0;
}

static void tun_as_tap_answers_arp(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    d->on = answer_arp;
    d->service.tap = WEIR_SWITCH_ON;
    d->service.name = "tap%d";
    device_open(d);
    assert_string_equal(weir_tun_name(d->tun), "tap0");
    int fd = udp_to("10.9.0.2", 9, "hello");
    UNTIL(w, d->gso == 1);
    close(fd);
    device_end(d);
    world_over(w);
}

/* --- queues, owners, ends ----------------------------------------------------------------------
 */

static void tun_queues_share_flows(void **state)
{
    struct world *w = world_begin();
    struct device *a = device_new(w), *b = device_new(w), *c = device_new(w);
    a->service.multi_queue = b->service.multi_queue = WEIR_SWITCH_ON;
    a->service.name = b->service.name = c->service.name = "weirq";
    assert_int_equal(V(w, weir_tun_open(&a->tun, &a->service)), 0);
    device_open(b);
    assert_int_equal(V(w, weir_tun_open(&c->tun, &c->service)), -EINVAL);
    c->service.multi_queue = c->service.offload = WEIR_SWITCH_ON; /* the first has none */
    assert_int_equal(V(w, weir_tun_open(&c->tun, &c->service)), -EINVAL);
    assert_non_null(strstr(log_last(), "offload"));
    c->service.multi_queue = c->service.offload = WEIR_SWITCH_DEFAULT;
    for (unsigned i = 0; i < 64; i++)
        close(udp_to("10.9.0.2", 1000 + i, "x"));
    UNTIL(w, a->packets + b->packets == 64);
    assert_true(a->packets > 0 && b->packets > 0);
    device_end(a);
    device_end(b);
    c->service.name = "weirs";
    assert_int_equal(V(w, weir_tun_open(&c->tun, &c->service)), 0);
    weir_tun *second;
    assert_int_equal(V(w, weir_tun_open(&second, &c->service)), -EBUSY);
    assert_non_null(strstr(log_last(), "multi_queue"));
    c->service.tap = WEIR_SWITCH_ON;
    assert_int_equal(V(w, weir_tun_open(&second, &c->service)), -EINVAL);
    device_end(c);
    world_over(w);
}

/* Takes CAP_NET_ADMIN off this thread, or puts it back; the user stays the same. */
static void administers(bool may)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    assert_int_equal(syscall(SYS_capget, &head, data), 0);
    data[0].effective &= ~(1u << CAP_NET_ADMIN);
    data[0].effective |= may ? data[0].permitted & 1u << CAP_NET_ADMIN : 0;
    assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

static int open_without(struct device *d)
{
    administers(false);
    int result = V(d->w, weir_tun_open(&d->tun, &d->service));
    administers(true);
    return result;
}

/* Makes a device that stays, for a user. */
static void make_for(struct device *d, unsigned user)
{
    d->service.persistent = WEIR_SWITCH_ON;
    d->service.owner = WEIR_SOME(user);
    assert_int_equal(V(d->w, weir_tun_open(&d->tun, &d->service)), 0);
    V(d->w, (weir_tun_close(d->tun), 0));
    assert_int_not_equal(if_nametoindex("weirp"), 0);
    d->service.persistent = WEIR_SWITCH_DEFAULT;
    d->service.owner = 0;
}

static void tun_that_stays_and_has_an_owner(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    d->service.name = "weirp";
    assert_int_equal(open_without(d), -EPERM);
    assert_non_null(strstr(log_last(), "CAP_NET_ADMIN"));
    assert_int_equal(if_nametoindex("weirp"), 0);
    make_for(d, NOBODY);
    assert_int_equal(open_without(d), -EPERM);
    make_for(d, geteuid());
    assert_int_equal(open_without(d), 0);
    V(w, (weir_tun_close(d->tun), 0));
    assert_int_not_equal(if_nametoindex("weirp"), 0);
    d->service.persistent = WEIR_SWITCH_OFF;
    assert_int_equal(V(w, weir_tun_open(&d->tun, &d->service)), 0);
    V(w, (weir_tun_close(d->tun), 0));
    assert_int_equal(if_nametoindex("weirp"), 0);
    d->tun = NULL;
    device_end(d);
    world_over(w);
}

static void tun_closed_in_its_handler(void **state)
{
    struct world *w = world_begin();
    struct device *d = device_new(w);
    d->closes = true;
    device_open(d);
    for (unsigned i = 0; i < 10; i++)
        close(udp_to("10.9.0.2", 9, "x"));
    UNTIL(w, d->tun == NULL);
    assert_int_equal(d->packets, 1);
    world_run_ms(w, 20);
    assert_int_equal(d->packets, 1);
    assert_int_equal(if_nametoindex("weir0"), 0);
    device_end(d);
    world_over(w);
}

static void tun_refuses(void **state)
{
    static const uint8_t large[65550], packet[20] = {0x45};
    struct world *w = world_begin();
    struct device *d = device_new(w);
    weir_tun_packet out = {.view = weir_bytes(packet, sizeof packet)};
    assert_int_equal(weir_tun_open(&d->tun, &d->service), WEIR_EMISUSE); /* no loop */
    d->service.name = "a name that is too long";
    assert_int_equal(V(w, weir_tun_open(&d->tun, &d->service)), WEIR_EINVALID);
    d->service.name = "weir%d";
    device_open(d);
    assert_int_equal(weir_tun_send(d->tun, &out), 0);
    out.flags = WEIR_TUN_SUM_OPEN;
    assert_int_equal(weir_tun_send(d->tun, &out), WEIR_EINVALID);
    out.flags = 0;
    out.view = weir_bytes(large, sizeof large);
    assert_int_equal(weir_tun_send(d->tun, &out), WEIR_EINVALID);
    out.view = weir_bytes(large, 100); /* of no version of IP */
    assert_int_equal(weir_tun_send(d->tun, &out), -EINVAL);
    interface_is(weir_tun_name(d->tun), false);
    out.view = weir_bytes(packet, sizeof packet);
    assert_int_equal(weir_tun_send(d->tun, &out), -EIO);
    weir_tun_stats stats;
    weir_tun_stats_get(d->tun, &stats);
    assert_int_equal(stats.sent_packets, 1);
    assert_int_equal(stats.refused_packets, 2);
    device_end(d);
    world_over(w);
}

K_MAIN(T(tun_answers_pings), T(tun_carries_a_stream), T(tun_carries_segments_of_64_kib),
       T(tun_as_tap_answers_arp), T(tun_queues_share_flows), T(tun_that_stays_and_has_an_owner),
       T(tun_that_stays_is_as_it_is_opened), T(tun_closed_in_its_handler), T(tun_refuses))

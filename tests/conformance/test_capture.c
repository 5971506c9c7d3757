/* Packets of an interface by a mapped ring, in a network namespace of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <weir/capture.h>
#include <weir/packet.h>

#include "conformance/harness.h"

enum { NOBODY = 65534, PORT = 9999 };

static int former = -1;

struct seen {
    struct world *w;
    weir_capture *capture;
    weir_capture_service service;
    unsigned count, directions[5], errors, wrong;
    uint64_t bytes;
    int error;
    weir_captured last;
    bool closes; /* in the handler */
};

static void lo_is(bool up)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP | IFF_RUNNING : 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static void own_network(void)
{
    former = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) < 0) {
        close(former);
        skip_because("a network namespace needs root");
    }
    lo_is(true);
}

static void network_end(void)
{
    assert_int_equal(setns(former, CLONE_NEWNET), 0);
    close(former);
}

/* A datagram of ours has its number at its beginning, and Ethernet, IPv4 and UDP in front. */
static void look_at(struct seen *s, const weir_captured *in)
{
    weir_ethernet ethernet;
    weir_ip_upper upper;
    weir_udp udp;
    const uint8_t *at = in->view.data;
    if (weir_ethernet_parse(at, in->view.size, &ethernet) != 14 || in->type != ethernet.type ||
        in->full_bytes != in->view.size || in->direction > WEIR_DIRECTION_OUT ||
        weir_ip_upper_parse(at + 14, in->view.size - 14, &upper) != 20 ||
        weir_udp_parse(upper.payload.data, upper.payload.size, &udp) != 8 || udp.target != PORT) {
        s->wrong++;
        return;
    }
    s->directions[in->direction]++;
    s->bytes += udp.payload.size;
}

static void on_packets(weir_capture *capture, const weir_captured *in, unsigned count, void *user)
{
    struct seen *s = user;
    for (unsigned i = 0; i < count; i++)
        look_at(s, &in[i]);
    s->count += count;
    s->last = in[count - 1];
    if (s->closes) {
        weir_capture_close(capture);
        s->capture = NULL;
    }
}

static void on_error(weir_capture *capture, int error, void *user)
{
    struct seen *s = user;
    s->errors++;
    s->error = error;
}

/* What goes to our port, by a filter. */
static const weir_bpf to_port[] = {
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, 12},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0x800},
    {BPF_LDX | BPF_B | BPF_MSH, 0, 0, 14},
    {BPF_LD | BPF_H | BPF_IND, 0, 0, 16},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, PORT},
    {BPF_RET | BPF_K, 0, 0, 0x40000},
    {BPF_RET | BPF_K, 0, 0, 0},
};

static struct seen *seen_new(void)
{
    own_network();
    struct seen *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->w = world_open(NULL);
    s->service = (weir_capture_service){.on_packets = on_packets,
                                        .on_error = on_error,
                                        .user = s,
                                        .interface = "lo",
                                        .filter = to_port,
                                        .filter_count = sizeof to_port / sizeof *to_port};
    return s;
}

static void seen_end(struct seen *s)
{
    V(s->w, (weir_capture_close(s->capture), 0));
    world_end(s->w);
    assert_int_equal(s->wrong, 0);
    free(s);
    network_end();
}

static void send_some(unsigned count, unsigned port)
{
    static const char bytes[1000];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(sendto(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&to, sizeof to),
                         sizeof bytes);
    close(fd);
}

static weir_capture_stats stats_of(struct seen *s)
{
    weir_capture_stats stats;
    assert_int_equal(V(s->w, weir_capture_stats_get(s->capture, &stats)), 0);
    return stats;
}

/* Each is seen twice on loopback: going out and coming in. More than one ring full of them. */
static void capture_what_the_filter_lets_pass(void **state)
{
    struct seen *s = seen_new();
    s->service.block_bytes = 64 * 1024;
    s->service.blocks = 4;
    assert_int_equal(V(s->w, weir_capture_open(&s->capture, &s->service)), 0);
    for (unsigned round = 1; round <= 40; round++) {
        send_some(20, PORT);
        send_some(3, PORT + 1);
        UNTIL(s->w, s->count == round * 40);
    }
    assert_int_equal(s->directions[WEIR_DIRECTION_OUT], 800);
    assert_int_equal(s->directions[WEIR_DIRECTION_HOST], 800);
    assert_int_equal(s->bytes, 1600 * 1000);
    assert_int_equal(s->last.interface, if_nametoindex("lo"));
    assert_true(s->last.received_ns > 1500000000ull * 1000000000ull);
    weir_capture_stats stats = stats_of(s);
    assert_int_equal(stats.packets, 1600);
    assert_int_equal(stats.delivered, 1600);
    assert_int_equal(stats.dropped, 0);
    seen_end(s);
}

/* Who does not look loses some, and is told how many. */
static void capture_counts_what_is_dropped(void **state)
{
    struct seen *s = seen_new();
    s->service.block_bytes = 64 * 1024;
    s->service.blocks = 2;
    assert_int_equal(V(s->w, weir_capture_open(&s->capture, &s->service)), 0);
    send_some(500, PORT);
    weir_capture_stats stats = stats_of(s);
    assert_true(stats.dropped > 0 && stats.dropped < 1000);
    assert_int_equal(stats.packets, 1000);
    UNTIL(s->w, s->count == 1000 - stats.dropped);
    send_some(5, PORT); /* and it goes on */
    UNTIL(s->w, s->count == 1010 - stats.dropped);
    stats = stats_of(s);
    assert_int_equal(stats.packets, 1010);
    assert_int_equal(stats.delivered + stats.dropped, 1010);
    assert_true(stats.freezes > 0);
    seen_end(s);
}

static void capture_closed_in_its_handler(void **state)
{
    struct seen *s = seen_new();
    s->closes = true;
    assert_int_equal(V(s->w, weir_capture_open(&s->capture, &s->service)), 0);
    send_some(200, PORT);
    UNTIL(s->w, s->capture == NULL);
    unsigned count = s->count;
    send_some(10, PORT);
    world_run_ms(s->w, 50);
    assert_int_equal(s->count, count);
    seen_end(s);
}

static void capture_of_an_interface_that_goes_down(void **state)
{
    struct seen *s = seen_new();
    assert_int_equal(V(s->w, weir_capture_open(&s->capture, &s->service)), 0);
    lo_is(false);
    UNTIL(s->w, s->errors == 1);
    assert_int_equal(s->error, -ENETDOWN);
    lo_is(true);
    send_some(5, PORT);
    UNTIL(s->w, s->count == 10);
    assert_int_equal(s->errors, 1);
    seen_end(s);
}

/* The kernel takes a tag off, and tells it apart. */
static void capture_of_a_vlan(void **state)
{
    struct seen *s = seen_new();
    uint8_t frame[14 + 4 + 46] = {0};
    weir_ethernet ethernet = {.type = WEIR_ETHER_VLAN};
    weir_vlan vlan = {.id = 7, .priority = 5, .type = 0x88b5}; /* for experiments: IEEE 802 */
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    s->service.filter = NULL;
    assert_int_equal(V(s->w, weir_capture_open(&s->capture, &s->service)), 0);
    weir_ethernet_build(&ethernet, frame, sizeof frame);
    weir_vlan_build(&vlan, frame + 14, sizeof frame - 14);
    to.sll_ifindex = (int)if_nametoindex("lo");
    assert_int_equal(sendto(fd, frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to),
                     sizeof frame);
    close(fd);
    UNTIL(s->w, s->count == 2 && s->last.direction != WEIR_DIRECTION_OUT);
    assert_true(s->last.flags & WEIR_CAPTURED_VLAN);
    assert_int_equal(s->last.vlan_tags, 5 << 13 | 7);
    assert_int_equal(s->last.vlan_type, WEIR_ETHER_VLAN);
    assert_int_equal(s->last.type, 0x88b5);
    s->wrong = 0; /* these are no datagrams of ours */
    seen_end(s);
}

/* It is gone for good, other than one that is down. */
static void capture_of_an_interface_that_is_removed(void **state)
{
    struct seen *s = seen_new();
    struct ifreq request = {.ifr_name = "gone0", .ifr_flags = IFF_TAP | IFF_NO_PI};
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tap < 0) {
        seen_end(s);
        skip_because("this kernel has no /dev/net/tun");
    }
    assert_int_equal(ioctl(tap, TUNSETIFF, &request), 0);
    s->service.interface = "gone0";
    s->service.filter = NULL;
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
    close(control);
    assert_int_equal(V(s->w, weir_capture_open(&s->capture, &s->service)), 0);
    world_turn(s->w);
    close(tap);
    UNTIL(s->w, s->errors == 1);
    assert_int_equal(s->error, -ENODEV);
    s->wrong = 0; /* what this host says by itself */
    seen_end(s);
}

static void refused(struct seen *s, int expected, const char *says)
{
    int result = V(s->w, weir_capture_open(&s->capture, &s->service));
    assert_null(s->capture);
    if (result != expected || strstr(log_last(), says) == NULL)
        fail_msg("%d: %s", result, log_last());
}

static void capture_that_is_refused(void **state)
{
    struct seen *s = seen_new();
    weir_bpf endless[] = {{BPF_JMP | BPF_JA, 0, 0, 9}, {BPF_RET | BPF_K, 0, 0, 0}};
    weir_capture_service good = s->service;
    assert_int_equal(weir_capture_open(&s->capture, &s->service), WEIR_EMISUSE); /* no loop */
    s->service.interface = "nothing0";
    refused(s, -ENODEV, "ip link");
    s->service.interface = "a name that is too long";
    refused(s, WEIR_EINVALID, "15 characters");
    s->service = good;
    s->service.filter = endless;
    s->service.filter_count = 2;
    refused(s, WEIR_EINVALID, "instruction 0");
    s->service = good;
    s->service.block_bytes = 100000;
    refused(s, WEIR_EINVALID, "power of two");
    s->service = good;
    s->service.block_ms = 65536;
    refused(s, WEIR_EINVALID, "65535 ms");
    s->service = good;
    s->service.interface = NULL;
    s->service.promiscuous = WEIR_SWITCH_ON;
    refused(s, WEIR_EINVALID, "promiscuous");
    s->service = good;
    assert_int_equal(seteuid(NOBODY), 0);
    int result = V(s->w, weir_capture_open(&s->capture, &s->service));
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(result, -EPERM);
    assert_non_null(strstr(log_last(), "CAP_NET_RAW"));
    seen_end(s);
}

K_MAIN(T(capture_what_the_filter_lets_pass), T(capture_counts_what_is_dropped),
       T(capture_closed_in_its_handler), T(capture_of_an_interface_that_goes_down),
       T(capture_of_an_interface_that_is_removed), T(capture_of_a_vlan), T(capture_that_is_refused))

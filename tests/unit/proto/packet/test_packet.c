/* Headers of packets: captured frames, made ones, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/packet.h>

#include "captured.h"

enum { ROOM = 256 };

static uint8_t frame[ROOM];

/* Reads a captured frame, and the Ethernet header of it: what follows, and its size. */
static const uint8_t *open_frame(const char *hex, size_t *size, unsigned type)
{
    weir_ethernet ethernet;
    uint8_t again[14];
    size_t all = captured_read(hex, frame);

    assert_int_equal(weir_ethernet_parse(frame, all, &ethernet), 14);
    assert_int_equal(ethernet.type, type);
    assert_int_equal(weir_ethernet_build(&ethernet, again, sizeof again), 14);
    assert_memory_equal(again, frame, 14);
    *size = all - 14;
    return frame + 14;
}

static void ethernet_and_vlan(void **state)
{
    /* By hand after IEEE 802.1Q: an outer tag of 802.1ad with priority 5, drop eligible, id 9. */
    static const uint8_t tags[] = {0xb0, 0x09, 0x81, 0x00, 0x0f, 0xff, 0x08, 0x00};
    weir_ethernet ethernet;
    weir_vlan vlan;
    uint8_t out[4];
    size_t size = captured_read(captured_tcp_syn, frame);

    assert_int_equal(weir_ethernet_parse(frame, size, &ethernet), 14);
    assert_memory_equal(ethernet.target, "\2\0\0\0\0\xb", 6);
    assert_memory_equal(ethernet.source, "\2\0\0\0\0\xa", 6);
    assert_int_equal(weir_ethernet_parse(frame, 13, &ethernet), 0);
    assert_int_equal(ethernet.type, 0);
    assert_int_equal(weir_ethernet_build(&ethernet, out, sizeof out), WEIR_ETOOBIG);
    assert_int_equal(weir_vlan_parse(tags, sizeof tags, &vlan), 4);
    assert_int_equal(vlan.priority, 5);
    assert_true(vlan.drop_eligible);
    assert_int_equal(vlan.id, 9);
    assert_int_equal(vlan.type, WEIR_ETHER_VLAN);
    assert_int_equal(weir_vlan_build(&vlan, out, 4), 4);
    assert_memory_equal(out, tags, 4);
    assert_int_equal(weir_vlan_parse(tags + 4, 4, &vlan), 4);
    assert_int_equal(vlan.id, 4095);
    assert_int_equal(vlan.priority, 0);
    assert_false(vlan.drop_eligible);
    assert_int_equal(vlan.type, WEIR_ETHER_IP4);
    assert_int_equal(weir_vlan_parse(tags, 3, &vlan), 0);
    assert_int_equal(weir_vlan_build(&(weir_vlan){.id = 4096}, out, 4), WEIR_EINVALID);
    assert_int_equal(weir_vlan_build(&(weir_vlan){.priority = 8}, out, 4), WEIR_EINVALID);
    assert_int_equal(weir_vlan_build(&(weir_vlan){.id = 1}, out, 3), WEIR_ETOOBIG);
}

static void vxlan_and_arp(void **state)
{
    size_t size;
    const uint8_t *at = open_frame(captured_vxlan_arp, &size, WEIR_ETHER_IP4);
    weir_ip4 ip;
    weir_udp udp;
    weir_vxlan vxlan;
    weir_ethernet inner;
    weir_arp arp;
    uint8_t out[64];

    assert_int_equal(weir_ip4_parse(at, size, &ip), 20);
    assert_int_equal(weir_udp_parse(ip.payload.data, ip.payload.size, &udp), 8);
    assert_int_equal(udp.target, WEIR_VXLAN_PORT);
    assert_int_equal(weir_vxlan_parse(udp.payload.data, udp.payload.size, &vxlan), 8);
    assert_int_equal(vxlan.network, 42);
    assert_int_equal(vxlan.flags, 8);
    assert_int_equal(weir_vxlan_build(&vxlan, out, 8), 8);
    assert_memory_equal(out, udp.payload.data, 8);
    vxlan.network = 0x1000000;
    assert_int_equal(weir_vxlan_build(&vxlan, out, 8), WEIR_EINVALID);
    at = udp.payload.data + 8;
    size = udp.payload.size - 8;
    assert_int_equal(weir_ethernet_parse(at, size, &inner), 14);
    assert_int_equal(inner.type, WEIR_ETHER_ARP);
    assert_int_equal(weir_arp_parse(at + 14, size - 14, &arp), 28);
    assert_int_equal(arp.operation, 1);
    assert_int_equal(arp.hardware, 1);
    assert_int_equal(arp.protocol, WEIR_ETHER_IP4);
    assert_memory_equal(arp.source_hardware, inner.source, 6);
    assert_memory_equal(arp.source, "\12\10\0\1", 4);
    assert_memory_equal(arp.target_hardware, "\0\0\0\0\0\0", 6);
    assert_memory_equal(arp.target, "\12\10\0\2", 4);
    assert_int_equal(weir_arp_build(&arp, out, sizeof out), 28);
    assert_memory_equal(out, at + 14, 28);
    assert_int_equal(weir_arp_build(&arp, out, 27), WEIR_ETOOBIG);
    for (size_t cut = 0; cut < 28; cut++)
        assert_int_equal(weir_arp_parse(at + 14, cut, &arp), 0);
}

static void ip4_header(void **state)
{
    size_t size;
    const uint8_t *at = open_frame(captured_tcp_syn, &size, WEIR_ETHER_IP4);
    weir_ip4 ip;
    uint8_t out[60];

    assert_int_equal(weir_ip4_parse(at, size, &ip), 20);
    assert_memory_equal(ip.source, "\xc0\0\2\1", 4);
    assert_memory_equal(ip.target, "\xc0\0\2\2", 4);
    assert_int_equal(ip.hops, 64);
    assert_int_equal(ip.protocol, WEIR_IP_TCP);
    assert_int_equal(ip.id, 0x78b6);
    assert_int_equal(ip.total_bytes, 60);
    assert_true(ip.dont_fragment);
    assert_false(ip.more_fragments || ip.reserved_bit);
    assert_int_equal(ip.checksum, 0x3e02);
    assert_int_equal(ip.payload.size, 40);
    assert_int_equal(ip.cut_bytes, 0);
    assert_int_equal(weir_ip4_build(&ip, out, sizeof out), 20);
    assert_memory_equal(out, at, 20);
    assert_int_equal(weir_ip4_parse(at, 30, &ip), 20); /* cut short */
    assert_int_equal(ip.payload.size, 10);
    assert_int_equal(ip.cut_bytes, 30);
    for (size_t cut = 0; cut < 20; cut++)
        assert_int_equal(weir_ip4_parse(at, cut, &ip), 0);
    memcpy(out, at, 20);
    out[0] = 0x44; /* a header of 16 bytes */
    assert_int_equal(weir_ip4_parse(out, 20, &ip), WEIR_EPROTO);
    out[0] = 0x65;
    assert_int_equal(weir_ip4_parse(out, 20, &ip), WEIR_EPROTO);
    out[0] = 0x46; /* options that are not there */
    assert_int_equal(weir_ip4_parse(out, 20, &ip), 0);
    out[0] = 0x45;
    out[2] = 0;
    out[3] = 19; /* shorter than its header */
    assert_int_equal(weir_ip4_parse(out, 20, &ip), WEIR_EPROTO);
    assert_int_equal(ip.total_bytes, 0);
    out[3] = 0;
    assert_int_equal(weir_ip4_parse(out, 40, &ip), 20);
    assert_int_equal(ip.payload.size, 20);
    memcpy(out + 6, "\xbf\xff", 2); /* reserved, more, and the largest offset */
    assert_int_equal(weir_ip4_parse(out, 40, &ip), 20);
    assert_true(ip.reserved_bit && ip.more_fragments && !ip.dont_fragment);
    assert_int_equal(ip.fragment_offset, 65528);
    ip.fragment_offset = 4;
    assert_int_equal(weir_ip4_build(&ip, out, sizeof out), WEIR_EINVALID);
}

static void ip4_options(void **state)
{
    size_t size;
    const uint8_t *at = open_frame(captured_udp_ip4_options, &size, WEIR_ETHER_IP4);
    static const uint8_t padded[] = {1, 1, 7, 3, 4, 0, 9, 9}, wrong[] = {7, 1}, outside[] = {7, 3};
    weir_packet_bytes rest;
    weir_option option;
    weir_ip4 ip;
    weir_udp udp;
    uint8_t out[60];

    assert_int_equal(weir_ip4_parse(at, size, &ip), 24);
    assert_int_equal(ip.options.size, 4);
    rest = ip.options;
    assert_int_equal(weir_option_next(&rest, &option), 1);
    assert_int_equal(option.type, 0x94); /* router alert: RFC 2113 */
    assert_int_equal(option.body.size, 2);
    assert_int_equal(weir_option_next(&rest, &option), 0);
    assert_int_equal(weir_udp_parse(ip.payload.data, ip.payload.size, &udp), 8);
    assert_int_equal(udp.target, 9);
    assert_int_equal(udp.payload.size, 12);
    assert_memory_equal(udp.payload.data, "router alert", 12);
    assert_int_equal(weir_ip4_build(&ip, out, sizeof out), 24);
    assert_memory_equal(out, at, 24);
    assert_int_equal(weir_ip4_build(&ip, out, 23), WEIR_ETOOBIG);
    ip.options.size = 3;
    assert_int_equal(weir_ip4_build(&ip, out, sizeof out), WEIR_EINVALID);
    ip.options.size = 44;
    assert_int_equal(weir_ip4_build(&ip, out, sizeof out), WEIR_EINVALID);
    rest = (weir_packet_bytes){padded, sizeof padded};
    assert_int_equal(weir_option_next(&rest, &option), 1);
    assert_int_equal(option.type, 7);
    assert_int_equal(option.body.data[0], 4);
    assert_int_equal(weir_option_next(&rest, &option), 0);
    rest = (weir_packet_bytes){wrong, 2};
    assert_int_equal(weir_option_next(&rest, &option), WEIR_EPROTO);
    rest = (weir_packet_bytes){outside, 2};
    assert_int_equal(weir_option_next(&rest, &option), WEIR_EPROTO);
    rest = (weir_packet_bytes){outside, 1};
    assert_int_equal(weir_option_next(&rest, &option), WEIR_EPROTO);
}

static void tcp_header(void **state)
{
    size_t size;
    const uint8_t *at = open_frame(captured_tcp_syn, &size, WEIR_ETHER_IP4) + 20;
    weir_tcp tcp;
    weir_tcp_options options;
    uint8_t out[60];

    assert_int_equal(weir_tcp_parse(at, size - 20, &tcp), 40);
    assert_int_equal(tcp.source, 50560); /* these as tcpdump says */
    assert_int_equal(tcp.target, 80);
    assert_int_equal(tcp.flags, WEIR_TCP_SYN);
    assert_true(tcp.sequence == 3059599125);
    assert_int_equal(tcp.window, 64240);
    assert_int_equal(tcp.payload.size, 0);
    assert_int_equal(weir_tcp_options_parse(tcp.options, &options), 0);
    assert_int_equal(options.has, WEIR_TCP_HAS_MSS | WEIR_TCP_HAS_SACK_PERMITTED |
                                      WEIR_TCP_HAS_TIME | WEIR_TCP_HAS_SCALE);
    assert_int_equal(options.mss_bytes, 1460);
    assert_int_equal(options.window_scale, 10);
    assert_true(options.time == 2556871709 && options.time_echo == 0);
    assert_int_equal(weir_tcp_build(&tcp, out, sizeof out), 40);
    assert_memory_equal(out, at, 40);
    assert_int_equal(weir_tcp_build(&tcp, out, 39), WEIR_ETOOBIG);
    for (size_t cut = 0; cut < 40; cut++)
        assert_int_equal(weir_tcp_parse(at, cut, &tcp), 0);
    out[12] = 0x4f;
    assert_int_equal(weir_tcp_parse(out, 40, &tcp), WEIR_EPROTO);
    out[12] = 0x5f;
    out[13] = 0xff;
    assert_int_equal(weir_tcp_parse(out, 40, &tcp), 20);
    assert_int_equal(tcp.reserved, 7);
    assert_int_equal(tcp.flags, 0x1ff);
    assert_int_equal(tcp.payload.size, 20);
    tcp.flags = 0x200;
    assert_int_equal(weir_tcp_build(&tcp, out, sizeof out), WEIR_EINVALID);
    at = open_frame(captured_tcp_data, &size, WEIR_ETHER_IP4) + 20;
    assert_int_equal(weir_tcp_parse(at, size - 20, &tcp), 32);
    assert_int_equal(tcp.flags, WEIR_TCP_PSH | WEIR_TCP_ACK);
    assert_int_equal(tcp.payload.size, 5);
    assert_memory_equal(tcp.payload.data, "hello", 5);
}

static void tcp_options_written(void **state)
{
    static const char *const bad[] = {"\2\3\1", "\3\4\1\1", "\4\3\1", "\10\3\1",
                                      "\5\3\1", "\5\2",     "\2\0",   "\2\7\1"};
    static const size_t bad_sizes[] = {3, 4, 3, 3, 3, 2, 2, 3};
    weir_tcp_options in = {.has = WEIR_TCP_HAS_MSS | WEIR_TCP_HAS_SACK_PERMITTED |
                                  WEIR_TCP_HAS_TIME | WEIR_TCP_HAS_SCALE,
                           .mss_bytes = 1460,
                           .window_scale = 10,
                           .time = 2556871709},
                     again;
    uint8_t out[60];
    weir_tcp tcp;
    size_t size;
    const uint8_t *at = open_frame(captured_tcp_syn, &size, WEIR_ETHER_IP4) + 20;

    /* The same options, as Linux has them, but for where the padding stands. */
    assert_int_equal(weir_tcp_options_build(&in, out, sizeof out), 20);
    assert_int_equal(weir_tcp_parse(at, size - 20, &tcp), 40);
    assert_memory_equal(out, tcp.options.data, 16);
    assert_memory_equal(out + 16, "\3\3\12\1", 4);
    assert_int_equal(weir_tcp_options_build(&in, out, 19), WEIR_ETOOBIG);
    in = (weir_tcp_options){.has = WEIR_TCP_HAS_TIME | WEIR_TCP_HAS_SACK,
                            .time = 1,
                            .time_echo = 0xfffffffe,
                            .sack_count = 3,
                            .sack = {{10, 20}, {30, 40}, {0xffffff00, 5}}};
    int written = weir_tcp_options_build(&in, out, sizeof out);
    assert_int_equal(written, 36);
    assert_int_equal(weir_tcp_options_parse((weir_packet_bytes){out, 36}, &again), 0);
    assert_memory_equal(&again, &in, sizeof in);
    in.sack_count = 4;
    assert_int_equal(weir_tcp_options_build(&in, out, sizeof out), WEIR_ETOOBIG);
    in.sack_count = 5;
    assert_int_equal(weir_tcp_options_build(&in, out, sizeof out), WEIR_EINVALID);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weir_packet_bytes text = {(const uint8_t *)bad[i], (uint32_t)bad_sizes[i]};
        if (weir_tcp_options_parse(text, &again) != WEIR_EPROTO)
            fail_msg("taken: number %zu", i);
    }
    memset(out, 0, sizeof out); /* five blocks, which no header has room for */
    out[0] = 5;
    out[1] = 42;
    assert_int_equal(weir_tcp_options_parse((weir_packet_bytes){out, 42}, &again), WEIR_EPROTO);
    assert_int_equal(
        weir_tcp_options_parse((weir_packet_bytes){(const uint8_t *)"\3\3\17", 3}, &again), 0);
    assert_int_equal(again.window_scale, 14);
}

static void udp_and_icmp(void **state)
{
    size_t size;
    const uint8_t *at = open_frame(captured_icmp_unreachable, &size, WEIR_ETHER_IP4);
    weir_ip4 ip, about;
    weir_icmp icmp;
    weir_udp udp;
    uint8_t out[8];

    assert_int_equal(weir_ip4_parse(at, size, &ip), 20);
    assert_int_equal(ip.dscp, 48);
    assert_int_equal(weir_icmp_parse(ip.payload.data, ip.payload.size, &icmp), 8);
    assert_int_equal(icmp.type, WEIR_ICMP_UNREACHABLE);
    assert_int_equal(icmp.code, 3);
    assert_int_equal(weir_icmp_word(&icmp), 0);
    assert_int_equal(weir_icmp_build(&icmp, out, 8), 8);
    assert_memory_equal(out, ip.payload.data, 8);
    assert_int_equal(weir_ip4_parse(icmp.payload.data, icmp.payload.size, &about), 24);
    assert_int_equal(weir_udp_parse(about.payload.data, about.payload.size, &udp), 8);
    assert_int_equal(udp.target, 9);
    assert_int_equal(udp.total_bytes, 20);
    assert_int_equal(weir_udp_build(&udp, out, 8), 8);
    assert_memory_equal(out, about.payload.data, 8);
    out[4] = 0;
    out[5] = 7;
    assert_int_equal(weir_udp_parse(out, 8, &udp), WEIR_EPROTO);
    out[5] = 9;
    assert_int_equal(weir_udp_parse(out, 8, &udp), 8);
    assert_int_equal(udp.cut_bytes, 1);
    assert_int_equal(weir_udp_parse(out, 7, &udp), 0);
    assert_int_equal(weir_icmp_parse(out, 7, &icmp), 0);
    assert_int_equal(weir_icmp_build(&icmp, out, 7), WEIR_ETOOBIG);
    at = open_frame(captured_ping6, &size, WEIR_ETHER_IP6);
    assert_int_equal(weir_icmp_parse(at + 40, size - 40, &icmp), 8);
    assert_int_equal(icmp.type, WEIR_ICMP6_ECHO);
    assert_int_equal(icmp.id, 0x1234);
    assert_int_equal(icmp.sequence, 1);
    assert_memory_equal(icmp.payload.data, "abcd", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ethernet_and_vlan), cmocka_unit_test(vxlan_and_arp),
        cmocka_unit_test(ip4_header),        cmocka_unit_test(ip4_options),
        cmocka_unit_test(tcp_header),        cmocka_unit_test(tcp_options_written),
        cmocka_unit_test(udp_and_icmp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

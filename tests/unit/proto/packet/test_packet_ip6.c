/* IPv6 with its extension headers, and the sums of all packets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/packet.h>

#include "captured.h"

static uint8_t frame[2048];

/* The IP packet of a captured frame. */
static uint8_t *packet_of(const char *hex, size_t *size)
{
    *size = captured_read(hex, frame) - 14;
    return frame + 14;
}

static void ip6_header(void **state)
{
    size_t size;
    const uint8_t *at = packet_of(captured_ping6, &size);
    weir_ip6 ip;
    uint8_t out[40];

    assert_int_equal(weir_ip6_parse(at, size, &ip), 40);
    assert_int_equal(ip.flow, 0x98ae);
    assert_int_equal(ip.payload_bytes, 12);
    assert_int_equal(ip.next, WEIR_IP_ICMP6);
    assert_int_equal(ip.hops, 64);
    assert_int_equal(ip.source[0], 0x20);
    assert_int_equal(ip.source[15], 1);
    assert_int_equal(ip.target[15], 2);
    assert_int_equal(ip.payload.size, 12);
    assert_int_equal(weir_ip6_build(&ip, out, sizeof out), 40);
    assert_memory_equal(out, at, 40);
    assert_int_equal(weir_ip6_build(&ip, out, 39), WEIR_ETOOBIG);
    for (size_t cut = 0; cut < 40; cut++)
        assert_int_equal(weir_ip6_parse(at, cut, &ip), 0);
    assert_int_equal(weir_ip6_parse(at, 50, &ip), 40);
    assert_int_equal(ip.payload.size, 10);
    assert_int_equal(ip.cut_bytes, 2);
    out[0] = 0x6f;
    out[1] = 0xd0;
    assert_int_equal(weir_ip6_parse(out, 40, &ip), 40);
    assert_int_equal(ip.dscp, 63);
    assert_int_equal(ip.ecn, 1);
    out[0] = 0x4f;
    assert_int_equal(weir_ip6_parse(out, 40, &ip), WEIR_EPROTO);
    ip = (weir_ip6){.flow = 0x100000};
    assert_int_equal(weir_ip6_build(&ip, out, 40), WEIR_EINVALID);
}

static void extensions(void **state)
{
    size_t size;
    const uint8_t *at = packet_of(captured_hop_options, &size);
    weir_ip_upper upper;
    weir_ip6_extension extension;
    weir_packet_bytes rest;
    weir_option option;
    uint8_t out[64];

    assert_int_equal(weir_ip_upper_parse(at, size, &upper), 48);
    assert_int_equal(upper.protocol, WEIR_IP_UDP);
    assert_int_equal(upper.extensions, 1);
    assert_false(upper.fragment);
    assert_int_equal(upper.payload.size, 19);
    assert_int_equal(weir_ip6_extension_parse(0, at + 40, size - 40, &extension), 8);
    rest = extension.body;
    assert_int_equal(weir_ip6_option_next(&rest, &option), 1);
    assert_int_equal(option.type, 5); /* router alert: RFC 2711 */
    assert_int_equal(option.body.size, 2);
    assert_int_equal(weir_ip6_option_next(&rest, &option), 0);
    assert_int_equal(weir_ip6_extension_build(&extension, out, sizeof out), 8);
    assert_memory_equal(out, at + 40, 8);
    assert_int_equal(weir_ip6_extension_build(&extension, out, 7), WEIR_ETOOBIG);
    assert_int_equal(weir_ip6_extension_parse(WEIR_IP_TCP, at + 40, 8, &extension), WEIR_EINVALID);
    at = packet_of(captured_ip6_fragment, &size);
    assert_int_equal(weir_ip_upper_parse(at, size, &upper), 48);
    assert_true(upper.fragment);
    assert_int_equal(upper.fragment_offset, 1448); /* these as tcpdump says */
    assert_true(upper.fragment_id == 0xbf1da9f6);
    assert_int_equal(upper.payload.size, 160);
    assert_int_equal(weir_ip6_extension_parse(44, at + 40, size - 40, &extension), 8);
    assert_int_equal(weir_ip6_extension_build(&extension, out, sizeof out), 8);
    assert_memory_equal(out, at + 40, 8);
    rest = (weir_packet_bytes){(const uint8_t *)"\0\1\3aaa\5\1", 8};
    assert_int_equal(weir_ip6_option_next(&rest, &option), WEIR_EPROTO);
}

/* An IPv6 header, `count` headers of a type, and UDP. */
static size_t chain(uint8_t *out, unsigned count, uint8_t type, size_t more)
{
    weir_ip6 ip = {.next = type, .hops = 1};
    weir_udp udp = {.source = 1, .target = 2};
    size_t size = 40;

    ip.payload_bytes = (uint16_t)(8 * count + 8 + more);
    assert_int_equal(weir_ip6_build(&ip, out, 40), 40);
    for (unsigned i = 0; i < count; i++, size += 8) {
        memset(out + size, 0, 8);
        out[size] = i + 1 < count ? type : WEIR_IP_UDP;
    }
    assert_int_equal(weir_udp_build(&udp, out + size, 8), 8);
    return size + 8;
}

static void extensions_bounded(void **state)
{
    uint8_t packet[512];
    weir_ip_upper upper;
    size_t size = chain(packet, 16, WEIR_IP_TARGET_OPTIONS, 0);

    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), 40 + 8 * 16);
    assert_int_equal(upper.protocol, WEIR_IP_UDP);
    size = chain(packet, 17, WEIR_IP_TARGET_OPTIONS, 0);
    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), WEIR_EPROTO);
    assert_int_equal(upper.payload.size, 0);
    size = chain(packet, 2, WEIR_IP_HOP_OPTIONS, 0); /* only the first header may be that */
    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), WEIR_EPROTO);
    size = chain(packet, 1, WEIR_IP_TARGET_OPTIONS, 0);
    packet[41] = 2; /* 24 bytes: more than the packet says it has */
    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), WEIR_EPROTO);
    packet[5] = 100; /* it says it has more: it was cut short */
    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), 0);
    size = chain(packet, 1, WEIR_IP_AH, 0);
    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), WEIR_EPROTO);
    packet[41] = 1; /* RFC 4302: 12 bytes, in words of 4 */
    assert_int_equal(weir_ip_upper_parse(packet, size, &upper), 52);
}

/* RFC 1071 section 3: the example of its two ways to add. */
static void sums(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    weir_checksum sum = {0};

    weir_checksum_add(&sum, bytes, sizeof bytes);
    assert_int_equal(weir_checksum_end(&sum), 0xffff - 0xddf2);
    for (size_t cut = 0; cut <= sizeof bytes; cut++)
        for (size_t last = cut; last <= sizeof bytes; last++) {
            sum = (weir_checksum){0};
            weir_checksum_add(&sum, bytes, cut);
            weir_checksum_add(&sum, bytes + cut, last - cut);
            weir_checksum_add(&sum, bytes + last, sizeof bytes - last);
            assert_int_equal(weir_checksum_end(&sum), 0xffff - 0xddf2);
        }
    /* RFC 1624 section 4: the example that equation 2 of RFC 1141 gets wrong. */
    assert_int_equal(weir_checksum_update(0xdd2f, 0x5555, 0x3285), 0x0000);
    sum = (weir_checksum){0};
    weir_checksum_add_pseudo(&sum, 5, bytes, bytes, 0, 0);
    assert_int_equal(weir_checksum_end(&sum), 0xffff);
}

/* Changing a field step by step gives what adding all up again does. */
static void sums_updated(void **state)
{
    uint8_t bytes[40];
    weir_checksum sum = {0};

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 1);
    weir_checksum_add(&sum, bytes, sizeof bytes);
    uint16_t check = weir_checksum_end(&sum);
    for (unsigned value = 0; value < 65536; value += 251) {
        uint16_t old = (uint16_t)(bytes[10] << 8 | bytes[11]);
        bytes[10] = (uint8_t)(value >> 8);
        bytes[11] = (uint8_t)value;
        check = weir_checksum_update(check, old, (uint16_t)value);
        sum = (weir_checksum){0};
        weir_checksum_add(&sum, bytes, sizeof bytes);
        assert_int_equal(check, weir_checksum_end(&sum));
    }
}

/* The sums that tcpdump says the captured packets should have. */
static void packets_sealed(void **state)
{
    static const struct {
        const char *hex;
        int found; /* as captured: its upper sum may be left to the card */
        size_t at; /* of the upper sum in the packet */
        unsigned sum;
    } rows[] = {
        {captured_tcp_syn, WEIR_SUMS_UPPER, 36, 0x2940},
        {captured_tcp_data, WEIR_SUMS_UPPER, 36, 0xb3ce},
        {captured_udp_ip4_options, WEIR_SUMS_UPPER, 30, 0x7031},
        {captured_dns_query, WEIR_SUMS_UPPER, 26, 0x2e33},
        {captured_vxlan_udp, WEIR_SUMS_UPPER, 26, 0x6cd1},
        {captured_ping, WEIR_SUMS_GOOD, 22, 0x2104},
        {captured_icmp_unreachable, WEIR_SUMS_GOOD, 22, 0x6d2e},
        {captured_hop_options, WEIR_SUMS_GOOD, 0, 0},
        {captured_ping6, WEIR_SUMS_GOOD, 0, 0},
        {captured_neighbor_advertisement, WEIR_SUMS_GOOD, 0, 0},
        {captured_icmp6_unreachable, WEIR_SUMS_GOOD, 0, 0},
        {captured_ip6_fragment, WEIR_SUMS_UNKNOWN, 0, 0},
    };
    uint8_t before[2048];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size;
        uint8_t *packet = packet_of(rows[i].hex, &size);
        if (weir_packet_check(packet, size) != rows[i].found)
            fail_msg("row %zu: %d", i, weir_packet_check(packet, size));
        memcpy(before, packet, size);
        assert_int_equal(weir_packet_seal(packet, size), 0);
        if (rows[i].at != 0) {
            assert_int_equal(packet[rows[i].at] << 8 | packet[rows[i].at + 1], rows[i].sum);
            packet[rows[i].at] = before[rows[i].at];
            packet[rows[i].at + 1] = before[rows[i].at + 1];
        }
        assert_memory_equal(packet, before, size); /* nothing else has changed */
        if (rows[i].found == WEIR_SUMS_UNKNOWN)
            continue;
        assert_int_equal(weir_packet_seal(packet, size), 0);
        assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_GOOD);
        packet[size - 1] ^= 1;
        assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_UPPER);
    }
}

static void packets_with_wrong_sums(void **state)
{
    size_t size;
    uint8_t *packet = packet_of(captured_ping, &size);

    packet[8]--; /* a hop */
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_IP4);
    assert_int_equal(weir_packet_seal(packet, size), 0);
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_GOOD);
    assert_int_equal(weir_packet_check(packet, size - 1), WEIR_SUMS_UNKNOWN); /* cut */
    assert_int_equal(weir_packet_check(packet, 10), WEIR_EPROTO);
    assert_int_equal(weir_packet_seal(packet, 19), WEIR_EPROTO);
    assert_int_equal(weir_packet_seal(packet, 65536), WEIR_ETOOBIG);
    assert_int_equal(weir_packet_seal(packet, 24), WEIR_EPROTO); /* half an ICMP header */
    packet = packet_of(captured_dns_query, &size);
    packet[26] = packet[27] = 0; /* UDP over IPv4 without a sum */
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_UNKNOWN);
    packet[27] = 1;
    packet[25] = 200; /* UDP longer than IP */
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_UPPER);
    packet = packet_of(captured_hop_options, &size);
    packet[48 + 6] = packet[48 + 7] = 0; /* over IPv6 there is always one */
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_UPPER);
    assert_int_equal(weir_packet_seal(packet, size), 0);
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_GOOD);
    packet[40] = WEIR_IP_UDP;
    packet[6] = WEIR_IP_ROUTING;
    packet[43] = 1; /* one segment left: the target is another */
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_UNKNOWN);
    packet[43] = 0;
    assert_int_equal(weir_packet_check(packet, size), WEIR_SUMS_GOOD);
}

/* A UDP sum that comes out as 0 is written as 0xffff: 0 says that there is none. */
static void udp_sum_of_zero(void **state)
{
    uint8_t packet[30] = {0x45};
    weir_udp udp;

    packet[9] = WEIR_IP_UDP;
    /* Protocol and both lengths add up to 17 + 10 + 10; the payload makes it 0xffff. */
    packet[28] = (uint8_t)((0xffff - 37) >> 8);
    packet[29] = (uint8_t)(0xffff - 37);
    assert_int_equal(weir_packet_seal(packet, sizeof packet), 0);
    assert_int_equal(weir_udp_parse(packet + 20, 10, &udp), 8);
    assert_int_equal(udp.checksum, 0xffff);
    assert_int_equal(udp.total_bytes, 10);
    assert_int_equal(weir_packet_check(packet, sizeof packet), WEIR_SUMS_GOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ip6_header),
        cmocka_unit_test(extensions),
        cmocka_unit_test(sums),
        cmocka_unit_test(extensions_bounded),
        cmocka_unit_test(sums_updated),
        cmocka_unit_test(packets_sealed),
        cmocka_unit_test(udp_sum_of_zero),
        cmocka_unit_test(packets_with_wrong_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

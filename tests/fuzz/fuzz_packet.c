/* Packets: whatever a parser takes lies inside of the data, is built again as the same bytes, and a
 * packet that was sealed has right sums. The first byte says where to begin. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/dns_message.h>
#include <weir/error.h>
#include <weir/packet.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEPTH_MOST = 6 };

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void inside(const uint8_t *data, size_t size, weir_packet_bytes bytes)
{
    if (bytes.size == 0)
        return;
    expect(bytes.data >= data && bytes.size <= size &&
           (size_t)(bytes.data - data) <= size - bytes.size);
}

/* Checks what a parser said of a header, and writes it once more. */
#define ROUND(thing, data, size, out)                                              \
    do {                                                                           \
        uint8_t again_[1100];                                                      \
        int used_ = weir_##thing##_parse(data, size, out);                         \
        expect(used_ >= WEIR_EPROTO ? used_ == WEIR_EPROTO || used_ >= 0 : false); \
        if (used_ <= 0)                                                            \
            return;                                                                \
        expect((size_t)used_ <= (size));                                           \
        expect(weir_##thing##_build(out, again_, sizeof again_) == used_);         \
        expect(memcmp(again_, data, (size_t)used_) == 0);                          \
        expect(weir_##thing##_build(out, again_, (size_t)used_ - 1) < 0);          \
    } while (0)

static void ethernet(const uint8_t *data, size_t size, unsigned depth);
static void ip(const uint8_t *data, size_t size, unsigned depth);

static void options(weir_packet_bytes rest, int (*next)(weir_packet_bytes *, weir_option *))
{
    const weir_packet_bytes all = rest;
    weir_option option;
    unsigned count = 0;

    while (next(&rest, &option) > 0) {
        inside(all.data, all.size, option.body);
        expect(++count <= all.size);
    }
}

static void tcp(const uint8_t *data, size_t size)
{
    weir_tcp tcp;
    weir_tcp_options read, again;
    uint8_t text[40];

    ROUND(tcp, data, size, &tcp);
    inside(data, size, tcp.options);
    inside(data, size, tcp.payload);
    options(tcp.options, weir_option_next);
    if (weir_tcp_options_parse(tcp.options, &read) < 0)
        return;
    int used = weir_tcp_options_build(&read, text, sizeof text);
    if (used < 0) /* padded in another way they may not fit */
        return;
    expect(weir_tcp_options_parse((weir_packet_bytes){text, (uint32_t)used}, &again) == 0);
    expect(memcmp(&read, &again, sizeof read) == 0);
}

static void names_in(const weir_dns_reader *reader, const weir_dns_record *record)
{
    char text[WEIR_DNS_TEXT_MAX];
    weir_dns_name name, again;

    for (size_t offset = 0; offset <= record->data.size && offset < 8; offset++) {
        int used = weir_dns_name_at(reader, record, offset, &name);
        expect(used <= (int)(record->data.size - offset));
        if (used <= 0)
            continue;
        expect(weir_dns_name_format(&name, text, sizeof text) > 0);
        expect(weir_dns_name_parse(text, &again) == 0 && weir_dns_name_equal(&name, &again));
    }
}

/* Reads a message and writes it; then what was written must be written the same. */
static int dns_again(const uint8_t *data, size_t size, uint8_t *out, bool *whole)
{
    weir_dns_reader reader;
    weir_dns_writer writer;
    weir_dns_record record;
    int result;

    *whole = false;
    if (weir_dns_read(&reader, data, size) < 0)
        return 0;
    weir_dns_write(&writer, &reader.header, out, WEIR_DNS_MESSAGE_MAX);
    while ((result = weir_dns_next(&reader, &record)) > 0) {
        inside(data, size, record.data);
        names_in(&reader, &record);
        if (weir_dns_add(&writer, &record) < 0)
            return 0;
    }
    *whole = result == 0;
    return weir_dns_write_end(&writer);
}

static void dns(const uint8_t *data, size_t size)
{
    static uint8_t first[WEIR_DNS_MESSAGE_MAX], second[WEIR_DNS_MESSAGE_MAX];
    bool whole, again;
    int used = dns_again(data, size, first, &whole);

    if (used <= 0 || !whole)
        return;
    expect(dns_again(first, (size_t)used, second, &again) == used && again);
    expect(memcmp(first, second, (size_t)used) == 0);
}

static void name(const uint8_t *data, size_t size)
{
    char text[1400], out[WEIR_DNS_TEXT_MAX];
    weir_dns_name read, again;

    if (size >= sizeof text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (weir_dns_name_parse(text, &read) < 0)
        return;
    expect(weir_dns_name_format(&read, out, sizeof out) > 0);
    expect(weir_dns_name_parse(out, &again) == 0);
    expect(read.size == again.size && memcmp(read.data, again.data, read.size) == 0);
}

static void udp(const uint8_t *data, size_t size, unsigned depth)
{
    weir_udp udp;
    weir_vxlan vxlan;

    ROUND(udp, data, size, &udp);
    inside(data, size, udp.payload);
    if (udp.source == 53 || udp.target == 53)
        dns(udp.payload.data, udp.payload.size);
    if (udp.target != WEIR_VXLAN_PORT || udp.payload.size == 0)
        return;
    ROUND(vxlan, udp.payload.data, udp.payload.size, &vxlan);
    ethernet(udp.payload.data + 8, udp.payload.size - 8, depth + 1);
}

static void icmp(const uint8_t *data, size_t size, unsigned depth)
{
    weir_icmp icmp;

    ROUND(icmp, data, size, &icmp);
    inside(data, size, icmp.payload);
    ip(icmp.payload.data, icmp.payload.size, depth + 1);
}

static void extension(uint8_t type, const uint8_t *data, size_t size)
{
    weir_ip6_extension extension;
    uint8_t out[2048];
    int used = weir_ip6_extension_parse(type, data, size, &extension);

    if (used <= 0)
        return;
    expect((size_t)used <= size);
    inside(data, size, extension.body);
    expect(weir_ip6_extension_build(&extension, out, sizeof out) == used);
    expect(memcmp(out, data, (size_t)used) == 0);
    options(extension.body, weir_ip6_option_next);
}

static void sealed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);

    expect(copy != NULL);
    memcpy(copy, data, size);
    if (weir_packet_seal(copy, size) == 0) {
        int found = weir_packet_check(copy, size);
        expect(found == WEIR_SUMS_GOOD || found == WEIR_SUMS_UNKNOWN);
    }
    free(copy);
}

static void ip_header(const uint8_t *data, size_t size)
{
    weir_ip4 ip4;
    weir_ip6 ip6;

    if (data[0] >> 4 == 6) {
        ROUND(ip6, data, size, &ip6);
        inside(data, size, ip6.payload);
        extension(ip6.next, data + 40, size - 40);
        return;
    }
    ROUND(ip4, data, size, &ip4);
    inside(data, size, ip4.options);
    inside(data, size, ip4.payload);
    options(ip4.options, weir_option_next);
}

static void ip(const uint8_t *data, size_t size, unsigned depth)
{
    weir_ip_upper upper;

    if (size == 0 || depth > DEPTH_MOST)
        return;
    ip_header(data, size);
    int used = weir_ip_upper_parse(data, size, &upper);
    expect(used <= (int)size);
    weir_packet_check(data, size);
    sealed(data, size);
    if (used <= 0)
        return;
    inside(data, size, upper.payload);
    expect(upper.payload.size == 0 || upper.payload.data == data + used);
    if (upper.protocol == WEIR_IP_TCP)
        tcp(upper.payload.data, upper.payload.size);
    else if (upper.protocol == WEIR_IP_UDP)
        udp(upper.payload.data, upper.payload.size, depth);
    else if (upper.protocol == WEIR_IP_ICMP || upper.protocol == WEIR_IP_ICMP6)
        icmp(upper.payload.data, upper.payload.size, depth);
}

static void arp(const uint8_t *data, size_t size)
{
    weir_arp arp;

    ROUND(arp, data, size, &arp);
    inside(data, size, (weir_packet_bytes){arp.source_hardware, arp.hardware_bytes});
    inside(data, size, (weir_packet_bytes){arp.source, arp.protocol_bytes});
    inside(data, size, (weir_packet_bytes){arp.target_hardware, arp.hardware_bytes});
    inside(data, size, (weir_packet_bytes){arp.target, arp.protocol_bytes});
}

static void ethernet(const uint8_t *data, size_t size, unsigned depth)
{
    weir_ethernet ethernet;
    weir_vlan vlan;

    if (depth > DEPTH_MOST)
        return;
    ROUND(ethernet, data, size, &ethernet);
    uint16_t type = ethernet.type;
    data += 14;
    size -= 14;
    for (unsigned i = 0; i < 4 && (type == WEIR_ETHER_VLAN || type == WEIR_ETHER_VLAN_SERVICE);
         i++) {
        ROUND(vlan, data, size, &vlan);
        type = vlan.type;
        data += 4;
        size -= 4;
    }
    if (type == WEIR_ETHER_ARP)
        arp(data, size);
    else if (type == WEIR_ETHER_IP4 || type == WEIR_ETHER_IP6)
        ip(data, size, depth);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] & 3) {
    case 0:
        ethernet(data + 1, size - 1, 0);
        break;
    case 1:
        ip(data + 1, size - 1, 0);
        break;
    case 2:
        dns(data + 1, size - 1);
        break;
    default:
        name(data + 1, size - 1);
    }
    return 0;
}

/* The sums of IP, TCP, UDP and ICMP, and whole packets filled in and looked at. */
#include "proto/packet/wire.h"

enum { PACKET_MOST = 65535 };

/* Words of the network's order are added as numbers of ours. Beyond 2^32 of them the sum would not
 * fit, and no packet has so many. */
void weir_checksum_add(weir_checksum *sum, const void *data, size_t size)
{
    const uint8_t *at = data, *end = at + size;

    if (sum->odd && at < end) {
        sum->sum += *at++;
        sum->odd = false;
    }
    for (; end - at >= 2; at += 2)
        sum->sum += wire_get16(at);
    if (at < end) {
        sum->sum += (uint32_t)*at << 8;
        sum->odd = true;
    }
}

void weir_checksum_add_pseudo(weir_checksum *sum, int family, const uint8_t *source,
                              const uint8_t *target, uint8_t protocol, uint32_t upper_bytes)
{
    size_t address_bytes = family == 4 ? 4 : 16;
    uint8_t rest[8] = {0};

    if (family != 4 && family != 6)
        return;
    weir_checksum_add(sum, source, address_bytes);
    weir_checksum_add(sum, target, address_bytes);
    wire_put32(rest, upper_bytes);
    rest[7] = protocol;
    weir_checksum_add(sum, rest, sizeof rest);
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t weir_checksum_end(const weir_checksum *sum)
{
    return (uint16_t)~fold(sum->sum);
}

uint16_t weir_checksum_update(uint16_t checksum, uint16_t old_field, uint16_t new_field)
{
    return (uint16_t)~fold((uint64_t)(uint16_t)~checksum + (uint16_t)~old_field + new_field);
}

/* Where the checksum stands in an upper header, or 0: it has none that is known. */
static uint32_t sum_offset(int family, uint8_t protocol)
{
    switch (protocol) {
    case WEIR_IP_TCP:
        return 16;
    case WEIR_IP_UDP:
        return 6;
    case WEIR_IP_ICMP:
        return family == 4 ? 2 : 0;
    case WEIR_IP_ICMP6:
        return family == 6 ? 2 : 0;
    default:
        return 0;
    }
}

/* The sum over an upper message and what stands in front of it: 0 where its checksum is right. */
static uint16_t upper_sum(const uint8_t *packet, const weir_ip_upper *upper)
{
    int family = packet[0] >> 4;
    size_t at = family == 4 ? 12 : 8, bytes = family == 4 ? 4 : 16;
    weir_checksum sum = {0};

    if (upper->protocol != WEIR_IP_ICMP)
        weir_checksum_add_pseudo(&sum, family, packet + at, packet + at + bytes, upper->protocol,
                                 upper->payload.size);
    weir_checksum_add(&sum, upper->payload.data, upper->payload.size);
    return weir_checksum_end(&sum);
}

/* The final target of a source route is in its header, and counts for the sum: such packets are
 * left as they are (RFC 8200 section 8.1). */
static bool is_routed(const uint8_t *packet, size_t size)
{
    weir_ip_upper upper;
    weir_ip6 ip;
    weir_ip6_extension extension;

    if (packet[0] >> 4 != 6 || weir_ip_upper_parse(packet, size, &upper) <= 0)
        return false;
    weir_ip6_parse(packet, size, &ip);
    const uint8_t *at = ip.payload.data;
    uint8_t type = ip.next;
    for (unsigned i = 0; i < upper.extensions; i++) {
        size_t left = (size_t)(packet + size - at);
        int used = weir_ip6_extension_parse(type, at, left, &extension);
        if (used <= 0)
            return false;
        if (type == WEIR_IP_ROUTING && extension.body.data[1] != 0) /* segments left */
            return true;
        type = extension.next;
        at += used;
    }
    return false;
}

int weir_packet_seal(void *packet, size_t size)
{
    uint8_t *at = packet;
    weir_ip_upper upper;
    int family = size != 0 ? at[0] >> 4 : 0;

    if ((family != 4 && family != 6) || size < (family == 4 ? 20 : 40))
        return WEIR_EPROTO;
    if (size > (family == 4 ? PACKET_MOST : PACKET_MOST + 40))
        return WEIR_ETOOBIG;
    wire_put16(at + (family == 4 ? 2 : 4), (uint32_t)(family == 4 ? size : size - 40));
    if (weir_ip_upper_parse(packet, size, &upper) <= 0)
        return WEIR_EPROTO;
    if (family == 4) {
        weir_checksum sum = {0};
        wire_put16(at + 10, 0);
        weir_checksum_add(&sum, at, 4 * (size_t)(at[0] & 15));
        wire_put16(at + 10, weir_checksum_end(&sum));
    }
    uint32_t offset = sum_offset(family, upper.protocol);
    if (offset == 0 || upper.fragment || is_routed(packet, size))
        return 0;
    if (upper.payload.size < (upper.protocol == WEIR_IP_TCP ? 20 : 8))
        return WEIR_EPROTO;
    uint8_t *header = at + (upper.payload.data - at);
    if (upper.protocol == WEIR_IP_UDP)
        wire_put16(header + 4, upper.payload.size);
    wire_put16(header + offset, 0);
    uint16_t sum = upper_sum(packet, &upper);
    wire_put16(header + offset, sum == 0 && upper.protocol == WEIR_IP_UDP ? 0xffff : sum);
    return 0;
}

/* UDP says its length once more; what is behind it is no part of it. False: it does not fit. */
static bool trim_udp(weir_ip_upper *upper)
{
    uint32_t total = wire_get16(upper->payload.data + 4);

    if (total == 0)
        return true;
    if (total < 8 || total > upper->payload.size)
        return false;
    upper->payload.size = total;
    return true;
}

int weir_packet_check(const void *packet, size_t size)
{
    const uint8_t *at = packet;
    weir_ip_upper upper;
    int found = WEIR_SUMS_GOOD;
    uint32_t cut;

    if (size == 0 || weir_ip_upper_parse(packet, size, &upper) <= 0)
        return WEIR_EPROTO;
    int family = at[0] >> 4;
    if (family == 4) {
        weir_checksum sum = {0};
        weir_ip4 ip;
        weir_checksum_add(&sum, at, 4 * (size_t)(at[0] & 15));
        if (weir_checksum_end(&sum) != 0)
            found |= WEIR_SUMS_IP4;
        weir_ip4_parse(packet, size, &ip);
        cut = ip.cut_bytes;
    } else {
        weir_ip6 ip;
        weir_ip6_parse(packet, size, &ip);
        cut = ip.cut_bytes;
    }
    uint32_t offset = sum_offset(family, upper.protocol);
    if (offset == 0 || upper.fragment || cut != 0 || is_routed(packet, size))
        return found | WEIR_SUMS_UNKNOWN;
    if (upper.payload.size < 8)
        return found | WEIR_SUMS_UPPER;
    if (upper.protocol == WEIR_IP_UDP && wire_get16(upper.payload.data + offset) == 0)
        /* RFC 8200 section 8.1: over IPv6 there is always one. */
        return found | (family == 4 ? WEIR_SUMS_UNKNOWN : WEIR_SUMS_UPPER);
    if (upper.protocol == WEIR_IP_UDP && !trim_udp(&upper))
        return found | WEIR_SUMS_UPPER;
    return upper_sum(packet, &upper) != 0 ? found | WEIR_SUMS_UPPER : found;
}

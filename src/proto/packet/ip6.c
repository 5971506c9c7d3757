/* IPv6 and the headers between it and what it carries. */
#include "proto/packet/wire.h"

enum { IP6_BYTES = 40, EXTENSION_LEAST = 8, AH_LEAST = 12, OPTION_PAD_1 = 0, OPTION_PAD_N = 1 };

int weir_ip6_parse(const void *data, size_t size, weir_ip6 *out)
{
    const uint8_t *at = data;

    *out = (weir_ip6){0};
    if (size != 0 && at[0] >> 4 != 6)
        return WEIR_EPROTO;
    if (size < IP6_BYTES)
        return 0;
    uint32_t word = wire_get32(at);
    out->dscp = word >> 22 & 63;
    out->ecn = word >> 20 & 3;
    out->flow = word & 0xfffff;
    out->payload_bytes = wire_get16(at + 4);
    out->next = at[6];
    out->hops = at[7];
    memcpy(out->source, at + 8, 16);
    memcpy(out->target, at + 24, 16);
    /* Without a next header nothing follows, and 0 is what it says. */
    bool told = out->payload_bytes != 0 || out->next == WEIR_IP_NONE;
    size_t wanted = told ? out->payload_bytes : size - IP6_BYTES;
    out->payload = wire_payload(at, size, IP6_BYTES, wanted, &out->cut_bytes);
    return IP6_BYTES;
}

int weir_ip6_build(const weir_ip6 *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (in->dscp > 63 || in->ecn > 3 || in->flow > 0xfffff)
        return WEIR_EINVALID;
    if (size < IP6_BYTES)
        return WEIR_ETOOBIG;
    wire_put32(at, 6u << 28 | (uint32_t)in->dscp << 22 | (uint32_t)in->ecn << 20 | in->flow);
    wire_put16(at + 4, in->payload_bytes);
    at[6] = in->next;
    at[7] = in->hops;
    memcpy(at + 8, in->source, 16);
    memcpy(at + 24, in->target, 16);
    return IP6_BYTES;
}

bool weir_ip6_is_extension(uint8_t type)
{
    return type == WEIR_IP_HOP_OPTIONS || type == WEIR_IP_ROUTING || type == WEIR_IP_FRAGMENT ||
           type == WEIR_IP_AH || type == WEIR_IP_TARGET_OPTIONS || type == WEIR_IP_MOBILITY ||
           type == WEIR_IP_HIP || type == WEIR_IP_SHIM6;
}

/* AH counts in words of 4 bytes, less 2 (RFC 4302 section 2.2); the others in words of 8, less 1.
 */
static size_t extension_bytes(uint8_t type, uint8_t length)
{
    if (type == WEIR_IP_FRAGMENT)
        return EXTENSION_LEAST;
    return type == WEIR_IP_AH ? 4 * ((size_t)length + 2) : 8 * ((size_t)length + 1);
}

int weir_ip6_extension_parse(uint8_t type, const void *data, size_t size, weir_ip6_extension *out)
{
    const uint8_t *at = data;

    *out = (weir_ip6_extension){0};
    if (!weir_ip6_is_extension(type))
        return WEIR_EINVALID;
    if (size < EXTENSION_LEAST)
        return 0;
    size_t all = extension_bytes(type, at[1]);
    if (type == WEIR_IP_AH && all < AH_LEAST)
        return WEIR_EPROTO;
    if (size < all)
        return 0;
    out->type = type;
    out->next = at[0];
    out->body = (weir_packet_bytes){at + 2, (uint32_t)(all - 2)};
    if (type == WEIR_IP_FRAGMENT) {
        unsigned word = wire_get16(at + 2);
        out->reserved_byte = at[1];
        out->reserved_bits = word >> 1 & 3;
        out->more_fragments = word & 1;
        out->fragment_offset = (uint16_t)(word & 0xfff8);
        out->fragment_id = wire_get32(at + 4);
    }
    return (int)all;
}

int weir_ip6_extension_build(const weir_ip6_extension *in, void *out, size_t size)
{
    uint8_t *at = out;
    size_t all = in->type == WEIR_IP_FRAGMENT ? EXTENSION_LEAST : (size_t)in->body.size + 2;
    size_t word = in->type == WEIR_IP_AH ? 4 : 8;
    size_t least = in->type == WEIR_IP_AH ? AH_LEAST : EXTENSION_LEAST;

    if (!weir_ip6_is_extension(in->type) || all < least || all % word != 0 ||
        all > extension_bytes(in->type, 255))
        return WEIR_EINVALID;
    if (in->type == WEIR_IP_FRAGMENT && (in->fragment_offset % 8 != 0 || in->reserved_bits > 3))
        return WEIR_EINVALID;
    if (size < all)
        return WEIR_ETOOBIG;
    at[0] = in->next;
    if (in->type == WEIR_IP_FRAGMENT) {
        at[1] = in->reserved_byte;
        wire_put16(at + 2, (uint32_t)in->fragment_offset | (uint32_t)in->reserved_bits << 1 |
                               in->more_fragments);
        wire_put32(at + 4, in->fragment_id);
        return EXTENSION_LEAST;
    }
    at[1] = (uint8_t)(in->type == WEIR_IP_AH ? all / 4 - 2 : all / 8 - 1);
    memcpy(at + 2, in->body.data, all - 2);
    return (int)all;
}

static int upper_of_ip6(const uint8_t *data, size_t size, weir_ip_upper *out)
{
    weir_ip6 ip;
    weir_ip6_extension extension;
    int used = weir_ip6_parse(data, size, &ip);

    if (used <= 0)
        return used;
    out->protocol = ip.next;
    out->payload = ip.payload;
    while (weir_ip6_is_extension(out->protocol) && out->fragment_offset == 0) {
        uint8_t type = out->protocol;
        int taken =
            weir_ip6_extension_parse(type, out->payload.data, out->payload.size, &extension);
        if (taken == 0 && ip.cut_bytes == 0)
            taken = WEIR_EPROTO; /* it is all there, and ends in the middle of a header */
        if (taken > 0 && out->extensions == WEIR_IP6_EXTENSIONS_MAX)
            taken = WEIR_EPROTO;
        /* Hop-by-hop options stand first, or are none: RFC 8200 section 4.1. */
        if (taken > 0 && type == WEIR_IP_HOP_OPTIONS && out->extensions != 0)
            taken = WEIR_EPROTO;
        if (taken <= 0)
            return taken;
        if (type == WEIR_IP_FRAGMENT) {
            out->fragment = extension.more_fragments || extension.fragment_offset != 0;
            out->fragment_offset = extension.fragment_offset;
            out->fragment_id = extension.fragment_id;
        }
        out->extensions++;
        out->protocol = extension.next;
        out->payload.data += taken;
        out->payload.size -= (uint32_t)taken;
        used += taken;
    }
    return used;
}

int weir_ip_upper_parse(const void *data, size_t size, weir_ip_upper *out)
{
    weir_ip4 ip;

    *out = (weir_ip_upper){0};
    if (size == 0)
        return 0;
    if (*(const uint8_t *)data >> 4 == 6) {
        int used = upper_of_ip6(data, size, out);
        if (used <= 0)
            *out = (weir_ip_upper){0};
        return used;
    }
    int used = weir_ip4_parse(data, size, &ip);
    if (used <= 0)
        return used;
    out->protocol = ip.protocol;
    out->payload = ip.payload;
    out->fragment = ip.more_fragments || ip.fragment_offset != 0;
    out->fragment_offset = ip.fragment_offset;
    out->fragment_id = ip.id;
    return used;
}

int weir_ip6_option_next(weir_packet_bytes *rest, weir_option *out)
{
    *out = (weir_option){0};
    while (rest->size != 0) {
        uint32_t size = 1;
        uint8_t type = rest->data[0];
        if (type != OPTION_PAD_1) {
            if (rest->size < 2 || 2u + rest->data[1] > rest->size)
                return WEIR_EPROTO;
            size = 2u + rest->data[1];
        }
        if (type != OPTION_PAD_1 && type != OPTION_PAD_N) {
            out->type = type;
            out->body = (weir_packet_bytes){rest->data + 2, size - 2};
        }
        rest->data += size;
        rest->size -= size;
        if (type != OPTION_PAD_1 && type != OPTION_PAD_N)
            return 1;
    }
    return 0;
}

/* IPv4, and the options that it and TCP have in one form. */
#include "proto/packet/wire.h"

enum { IP4_BYTES = 20, OPTION_END = 0, OPTION_PAD = 1 };

int weir_ip4_parse(const void *data, size_t size, weir_ip4 *out)
{
    const uint8_t *at = data;

    *out = (weir_ip4){0};
    if (size != 0 && (at[0] >> 4 != 4 || (at[0] & 15) < 5))
        return WEIR_EPROTO;
    if (size < IP4_BYTES)
        return 0;
    size_t header = 4 * (size_t)(at[0] & 15), total = wire_get16(at + 2);
    if (total != 0 && total < header)
        return WEIR_EPROTO;
    if (size < header)
        return 0;
    unsigned fragment = wire_get16(at + 6);
    out->dscp = at[1] >> 2;
    out->ecn = at[1] & 3;
    out->total_bytes = (uint16_t)total;
    out->id = wire_get16(at + 4);
    out->reserved_bit = fragment >> 15;
    out->dont_fragment = fragment >> 14 & 1;
    out->more_fragments = fragment >> 13 & 1;
    out->fragment_offset = (uint16_t)((fragment & 0x1fff) * 8);
    out->hops = at[8];
    out->protocol = at[9];
    out->checksum = wire_get16(at + 10);
    memcpy(out->source, at + 12, 4);
    memcpy(out->target, at + 16, 4);
    out->options = (weir_packet_bytes){at + IP4_BYTES, (uint32_t)(header - IP4_BYTES)};
    size_t wanted = total != 0 ? total - header : size - header;
    out->payload = wire_payload(at, size, header, wanted, &out->cut_bytes);
    return (int)header;
}

int weir_ip4_build(const weir_ip4 *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (in->dscp > 63 || in->ecn > 3 || in->fragment_offset % 8 != 0)
        return WEIR_EINVALID;
    if (in->options.size % 4 != 0 || in->options.size > 40)
        return WEIR_EINVALID;
    if (size < IP4_BYTES + in->options.size)
        return WEIR_ETOOBIG;
    int options = wire_put_options(at + IP4_BYTES, in->options);
    at[0] = (uint8_t)(0x45 + options / 4);
    at[1] = (uint8_t)(in->dscp << 2 | in->ecn);
    wire_put16(at + 2, in->total_bytes);
    wire_put16(at + 4, in->id);
    wire_put16(at + 6, (uint32_t)in->reserved_bit << 15 | (uint32_t)in->dont_fragment << 14 |
                           (uint32_t)in->more_fragments << 13 | in->fragment_offset / 8u);
    at[8] = in->hops;
    at[9] = in->protocol;
    wire_put16(at + 10, in->checksum);
    memcpy(at + 12, in->source, 4);
    memcpy(at + 16, in->target, 4);
    return IP4_BYTES + options;
}

int weir_option_next(weir_packet_bytes *rest, weir_option *out)
{
    *out = (weir_option){0};
    while (rest->size != 0 && rest->data[0] == OPTION_PAD) {
        rest->data++;
        rest->size--;
    }
    if (rest->size == 0 || rest->data[0] == OPTION_END)
        return 0;
    if (rest->size < 2 || rest->data[1] < 2 || rest->data[1] > rest->size)
        return WEIR_EPROTO;
    uint32_t size = rest->data[1];
    out->type = rest->data[0];
    out->body = (weir_packet_bytes){rest->data + 2, size - 2};
    rest->data += size;
    rest->size -= size;
    return 1;
}

/* The small headers of 8 bytes: UDP, VXLAN on it, ICMP. */
#include "proto/packet/wire.h"

enum { HEADER_BYTES = 8 };

int weir_udp_parse(const void *data, size_t size, weir_udp *out)
{
    const uint8_t *at = data;

    *out = (weir_udp){0};
    if (size < HEADER_BYTES)
        return 0;
    size_t total = wire_get16(at + 4);
    if (total != 0 && total < HEADER_BYTES)
        return WEIR_EPROTO;
    out->source = wire_get16(at);
    out->target = wire_get16(at + 2);
    out->total_bytes = (uint16_t)total;
    out->checksum = wire_get16(at + 6);
    size_t wanted = (total != 0 ? total : size) - HEADER_BYTES;
    out->payload = wire_payload(at, size, HEADER_BYTES, wanted, &out->cut_bytes);
    return HEADER_BYTES;
}

int weir_udp_build(const weir_udp *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (size < HEADER_BYTES)
        return WEIR_ETOOBIG;
    wire_put16(at, in->source);
    wire_put16(at + 2, in->target);
    wire_put16(at + 4, in->total_bytes);
    wire_put16(at + 6, in->checksum);
    return HEADER_BYTES;
}

int weir_vxlan_parse(const void *data, size_t size, weir_vxlan *out)
{
    const uint8_t *at = data;

    *out = (weir_vxlan){0};
    if (size < HEADER_BYTES)
        return 0;
    out->flags = at[0];
    out->reserved_1 = wire_get24(at + 1);
    out->network = wire_get24(at + 4);
    out->reserved_2 = at[7];
    return HEADER_BYTES;
}

int weir_vxlan_build(const weir_vxlan *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (in->network > 0xffffff || in->reserved_1 > 0xffffff)
        return WEIR_EINVALID;
    if (size < HEADER_BYTES)
        return WEIR_ETOOBIG;
    at[0] = in->flags;
    wire_put24(at + 1, in->reserved_1);
    wire_put24(at + 4, in->network);
    at[7] = in->reserved_2;
    return HEADER_BYTES;
}

int weir_icmp_parse(const void *data, size_t size, weir_icmp *out)
{
    const uint8_t *at = data;
    uint32_t cut;

    *out = (weir_icmp){0};
    if (size < HEADER_BYTES)
        return 0;
    out->type = at[0];
    out->code = at[1];
    out->checksum = wire_get16(at + 2);
    out->id = wire_get16(at + 4);
    out->sequence = wire_get16(at + 6);
    out->payload = wire_payload(at, size, HEADER_BYTES, size - HEADER_BYTES, &cut);
    return HEADER_BYTES;
}

int weir_icmp_build(const weir_icmp *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (size < HEADER_BYTES)
        return WEIR_ETOOBIG;
    at[0] = in->type;
    at[1] = in->code;
    wire_put16(at + 2, in->checksum);
    wire_put16(at + 4, in->id);
    wire_put16(at + 6, in->sequence);
    return HEADER_BYTES;
}

/* Ethernet, the tags of VLANs, and ARP. */
#include "proto/packet/wire.h"

enum { ETHERNET_BYTES = 14, VLAN_BYTES = 4, ARP_BYTES = 8 };

int weir_ethernet_parse(const void *data, size_t size, weir_ethernet *out)
{
    const uint8_t *at = data;

    *out = (weir_ethernet){0};
    if (size < ETHERNET_BYTES)
        return 0;
    memcpy(out->target, at, 6);
    memcpy(out->source, at + 6, 6);
    out->type = wire_get16(at + 12);
    return ETHERNET_BYTES;
}

int weir_ethernet_build(const weir_ethernet *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (size < ETHERNET_BYTES)
        return WEIR_ETOOBIG;
    memcpy(at, in->target, 6);
    memcpy(at + 6, in->source, 6);
    wire_put16(at + 12, in->type);
    return ETHERNET_BYTES;
}

int weir_vlan_parse(const void *data, size_t size, weir_vlan *out)
{
    const uint8_t *at = data;

    *out = (weir_vlan){0};
    if (size < VLAN_BYTES)
        return 0;
    out->priority = at[0] >> 5;
    out->drop_eligible = at[0] >> 4 & 1;
    out->id = wire_get16(at) & 0xfff;
    out->type = wire_get16(at + 2);
    return VLAN_BYTES;
}

int weir_vlan_build(const weir_vlan *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (in->id > 0xfff || in->priority > 7)
        return WEIR_EINVALID;
    if (size < VLAN_BYTES)
        return WEIR_ETOOBIG;
    wire_put16(at, (uint32_t)in->priority << 13 | (uint32_t)in->drop_eligible << 12 | in->id);
    wire_put16(at + 2, in->type);
    return VLAN_BYTES;
}

int weir_arp_parse(const void *data, size_t size, weir_arp *out)
{
    const uint8_t *at = data;

    *out = (weir_arp){0};
    if (size < ARP_BYTES)
        return 0;
    size_t hardware = at[4], protocol = at[5], all = ARP_BYTES + 2 * (hardware + protocol);
    if (size < all)
        return 0;
    out->hardware = wire_get16(at);
    out->protocol = wire_get16(at + 2);
    out->hardware_bytes = at[4];
    out->protocol_bytes = at[5];
    out->operation = wire_get16(at + 6);
    out->source_hardware = at + ARP_BYTES;
    out->source = out->source_hardware + hardware;
    out->target_hardware = out->source + protocol;
    out->target = out->target_hardware + hardware;
    return (int)all;
}

int weir_arp_build(const weir_arp *in, void *out, size_t size)
{
    uint8_t *at = out;
    size_t hardware = in->hardware_bytes, protocol = in->protocol_bytes;
    size_t all = ARP_BYTES + 2 * (hardware + protocol);

    if (size < all)
        return WEIR_ETOOBIG;
    wire_put16(at, in->hardware);
    wire_put16(at + 2, in->protocol);
    at[4] = in->hardware_bytes;
    at[5] = in->protocol_bytes;
    wire_put16(at + 6, in->operation);
    at += ARP_BYTES;
    if (hardware != 0) {
        memcpy(at, in->source_hardware, hardware);
        memcpy(at + hardware + protocol, in->target_hardware, hardware);
    }
    if (protocol != 0) {
        memcpy(at + hardware, in->source, protocol);
        memcpy(at + 2 * hardware + protocol, in->target, protocol);
    }
    return (int)all;
}

/* Numbers in the network's order, and what all parsers of packets share. */
#ifndef WEIR_PROTO_PACKET_WIRE_H
#define WEIR_PROTO_PACKET_WIRE_H

#include <stdint.h>
#include <string.h>

#include <weir/error.h>
#include <weir/packet.h>

static inline uint16_t wire_get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t wire_get24(const uint8_t *at)
{
    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

static inline uint32_t wire_get32(const uint8_t *at)
{
    return (uint32_t)wire_get16(at) << 16 | wire_get16(at + 2);
}

static inline void wire_put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void wire_put24(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 16);
    wire_put16(at + 1, value);
}

static inline void wire_put32(uint8_t *at, uint32_t value)
{
    wire_put16(at, value >> 16);
    wire_put16(at + 2, value);
}

/* The payload of `wanted` bytes behind `used` of the `size` bytes at `data`, as much as is there;
 * *cut gets the rest. A packet that is larger than 4 GiB does not exist. */
static inline weir_packet_bytes wire_payload(const uint8_t *data, size_t size, size_t used,
                                             size_t wanted, uint32_t *cut)
{
    size_t there = size - used, taken = wanted < there ? wanted : there;

    if (taken > UINT32_MAX)
        taken = UINT32_MAX;
    *cut = (uint32_t)(wanted < there ? 0 : wanted - there);
    return (weir_packet_bytes){data + used, (uint32_t)taken};
}

/* Copies options that are padded as headers want them; their bytes, or WEIR_EINVALID. */
static inline int wire_put_options(uint8_t *at, weir_packet_bytes options)
{
    if (options.size % 4 != 0 || options.size > 40)
        return WEIR_EINVALID;
    if (options.size != 0)
        memcpy(at, options.data, options.size);
    return (int)options.size;
}

#endif

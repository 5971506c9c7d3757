/* TCP and the options of it that are in use. */
#include "proto/packet/wire.h"

enum { TCP_BYTES = 20, OPTIONS_MOST = 40, SCALE_MOST = 14, SACKS_MOST = 4 };
enum {
    TCP_END = 0,
    TCP_PAD = 1,
    TCP_MSS = 2,
    TCP_SCALE = 3,
    TCP_SACK_PERMITTED = 4,
    TCP_SACK = 5,
    TCP_TIME = 8
};

int weir_tcp_parse(const void *data, size_t size, weir_tcp *out)
{
    const uint8_t *at = data;
    uint32_t cut;

    *out = (weir_tcp){0};
    if (size < TCP_BYTES)
        return 0;
    size_t header = 4 * (size_t)(at[12] >> 4);
    if (header < TCP_BYTES)
        return WEIR_EPROTO;
    if (size < header)
        return 0;
    out->source = wire_get16(at);
    out->target = wire_get16(at + 2);
    out->sequence = wire_get32(at + 4);
    out->acknowledged = wire_get32(at + 8);
    out->reserved = at[12] >> 1 & 7;
    out->flags = wire_get16(at + 12) & 0x1ff;
    out->window = wire_get16(at + 14);
    out->checksum = wire_get16(at + 16);
    out->urgent = wire_get16(at + 18);
    out->options = (weir_packet_bytes){at + TCP_BYTES, (uint32_t)(header - TCP_BYTES)};
    out->payload = wire_payload(at, size, header, size - header, &cut);
    return (int)header;
}

int weir_tcp_build(const weir_tcp *in, void *out, size_t size)
{
    uint8_t *at = out;

    if (in->reserved > 7 || in->flags > 0x1ff || in->options.size % 4 != 0 ||
        in->options.size > OPTIONS_MOST)
        return WEIR_EINVALID;
    if (size < TCP_BYTES + in->options.size)
        return WEIR_ETOOBIG;
    int options = wire_put_options(at + TCP_BYTES, in->options);
    wire_put16(at, in->source);
    wire_put16(at + 2, in->target);
    wire_put32(at + 4, in->sequence);
    wire_put32(at + 8, in->acknowledged);
    wire_put16(at + 12,
               (uint32_t)(TCP_BYTES + options) / 4 << 12 | (uint32_t)in->reserved << 9 | in->flags);
    wire_put16(at + 14, in->window);
    wire_put16(at + 16, in->checksum);
    wire_put16(at + 18, in->urgent);
    return TCP_BYTES + options;
}

static int read_sack(weir_packet_bytes body, weir_tcp_options *out)
{
    if (body.size == 0 || body.size % 8 != 0 || body.size > 8 * SACKS_MOST)
        return WEIR_EPROTO;
    out->sack_count = (uint8_t)(body.size / 8);
    for (unsigned i = 0; i < out->sack_count; i++) {
        out->sack[i].first = wire_get32(body.data + 8 * (size_t)i);
        out->sack[i].behind = wire_get32(body.data + 8 * (size_t)i + 4);
    }
    out->has |= WEIR_TCP_HAS_SACK;
    return 0;
}

static int read_option(const weir_option *option, weir_tcp_options *out)
{
    const uint8_t *at = option->body.data;
    uint32_t size = option->body.size;

    if (option->type == TCP_SACK)
        return read_sack(option->body, out);
    if (option->type == TCP_MSS && size == 2) {
        out->mss_bytes = wire_get16(at);
        out->has |= WEIR_TCP_HAS_MSS;
    } else if (option->type == TCP_SCALE && size == 1) {
        /* A larger one is used as 14: RFC 7323 section 2.3. */
        out->window_scale = at[0] < SCALE_MOST ? at[0] : SCALE_MOST;
        out->has |= WEIR_TCP_HAS_SCALE;
    } else if (option->type == TCP_SACK_PERMITTED && size == 0) {
        out->has |= WEIR_TCP_HAS_SACK_PERMITTED;
    } else if (option->type == TCP_TIME && size == 8) {
        out->time = wire_get32(at);
        out->time_echo = wire_get32(at + 4);
        out->has |= WEIR_TCP_HAS_TIME;
    } else if (option->type == TCP_MSS || option->type == TCP_SCALE ||
               option->type == TCP_SACK_PERMITTED || option->type == TCP_TIME) {
        return WEIR_EPROTO;
    }
    return 0;
}

int weir_tcp_options_parse(weir_packet_bytes options, weir_tcp_options *out)
{
    weir_option option;
    int result;

    *out = (weir_tcp_options){0};
    while ((result = weir_option_next(&options, &option)) > 0) {
        result = read_option(&option, out);
        if (result < 0)
            break;
    }
    if (result < 0)
        *out = (weir_tcp_options){0};
    return result;
}

/* Type, length and up to 4 bytes of a number; the option's bytes. */
static size_t put(uint8_t *at, uint8_t type, size_t body_bytes, uint32_t value)
{
    at[0] = type;
    at[1] = (uint8_t)(2 + body_bytes);
    for (size_t i = 0; i < body_bytes; i++)
        at[2 + i] = (uint8_t)(value >> 8 * (body_bytes - 1 - i));
    return 2 + body_bytes;
}

int weir_tcp_options_build(const weir_tcp_options *in, void *out, size_t size)
{
    uint8_t text[2 + 8 + 4 + 3 + 2 + 10 + 2 + 8 * SACKS_MOST + 4];
    size_t used = 0;

    if (in->window_scale > SCALE_MOST || in->sack_count > SACKS_MOST ||
        ((in->has & WEIR_TCP_HAS_SACK) && in->sack_count == 0))
        return WEIR_EINVALID;
    if (in->has & WEIR_TCP_HAS_MSS)
        used += put(text + used, TCP_MSS, 2, in->mss_bytes);
    if (in->has & WEIR_TCP_HAS_SACK_PERMITTED)
        used += put(text + used, TCP_SACK_PERMITTED, 0, 0);
    if (in->has & WEIR_TCP_HAS_TIME) {
        used += put(text + used, TCP_TIME, 4, in->time);
        wire_put32(text + used, in->time_echo);
        used += 4;
        text[used - 9] = 10;
    }
    if (in->has & WEIR_TCP_HAS_SCALE)
        used += put(text + used, TCP_SCALE, 1, in->window_scale);
    if (in->has & WEIR_TCP_HAS_SACK) {
        used += put(text + used, TCP_SACK, 0, 0);
        text[used - 1] = (uint8_t)(2 + 8 * in->sack_count);
        for (unsigned i = 0; i < in->sack_count; i++, used += 8) {
            wire_put32(text + used, in->sack[i].first);
            wire_put32(text + used + 4, in->sack[i].behind);
        }
    }
    while (used % 4 != 0)
        text[used++] = TCP_PAD;
    if (used > OPTIONS_MOST || used > size)
        return WEIR_ETOOBIG;
    memcpy(out, text, used);
    return (int)used;
}

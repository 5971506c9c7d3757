/* Frames with a length field. All arithmetic is on what a hostile peer wrote. */
#include "proto/frame.h"

#include <stdbool.h>
#include <string.h>

#include <weir/error.h>

#include "base/assert.h"

enum { VARINT_BYTES = 10 }; /* 64 bits in groups of 7 */

int weir__frame_check_length(const weir_frame *frame)
{
    const unsigned allowed =
        frame->width == WEIR_FRAME_VARINT ? WEIR_FRAME_PADDED : WEIR_FRAME_LITTLE;
    uint32_t head_size = frame->offset;

    switch (frame->width) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 8:
        head_size += frame->width;
        break;
    case WEIR_FRAME_VARINT:
        head_size++;
        break;
    default:
        return WEIR_EINVALID;
    }
    if ((frame->flags & ~allowed) != 0 || frame->max < head_size)
        return WEIR_EINVALID;
    if (frame->strip != WEIR_FRAME_STRIP_HEAD && frame->strip > frame->max)
        return WEIR_EINVALID;
    /* The smallest length must leave a frame within max, and no adjustment can need more than it.
     */
    if (frame->adjust > 0 && (uint32_t)frame->adjust > frame->max - head_size)
        return WEIR_EINVALID;
    if (frame->ends != NULL || frame->ends_count != 0 || frame->end.bytes != NULL ||
        frame->end.size != 0)
        return WEIR_EINVALID;
    return 0;
}

/* The length of the whole frame, once its head of `head_size` bytes was read. Nothing here can
 * wrap: each sum is compared with what is left up to max before it is made. */
static inline int length_judge(const weir_frame *frame, size_t head_size, uint64_t length,
                               size_t size, weir_frame_found *found)
{
    size_t strip = frame->strip == WEIR_FRAME_STRIP_HEAD ? head_size : frame->strip;
    uint64_t room;

    WEIR_DEBUG_ASSERT(head_size <= frame->max);
    room = frame->max - head_size;
    if (frame->adjust < 0) {
        uint64_t less = (uint64_t)(-(int64_t)frame->adjust);

        if (length < less)
            return WEIR_EPROTO;
        length -= less;
    } else {
        uint64_t more = (uint64_t)frame->adjust;

        if (more > room || length > room - more)
            return WEIR_ETOOBIG;
        length += more;
    }
    if (length > room)
        return WEIR_ETOOBIG;
    found->size = head_size + (size_t)length;
    if (strip > found->size)
        return WEIR_EPROTO;
    found->payload_offset = strip;
    found->payload_size = found->size - strip;
    return size >= found->size;
}

static inline uint64_t length_read(const uint8_t *field, unsigned width, bool little)
{
    uint16_t word;
    uint32_t half;
    uint64_t whole;

    switch (width) {
    case 1:
        return field[0];
    case 2:
        memcpy(&word, field, sizeof word);
        return little == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) ? word
                                                                     : __builtin_bswap16(word);
    case 3:
        return little ? field[0] | (uint32_t)field[1] << 8 | (uint32_t)field[2] << 16
                      : field[2] | (uint32_t)field[1] << 8 | (uint32_t)field[0] << 16;
    case 4:
        memcpy(&half, field, sizeof half);
        return little == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) ? half
                                                                     : __builtin_bswap32(half);
    default:
        memcpy(&whole, field, sizeof whole);
        return little == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) ? whole
                                                                     : __builtin_bswap64(whole);
    }
}

/* How many bytes the varint has, 0 when more are needed, or an error: more than 64 bits, or, unless
 * allowed, groups of zeros at its end that mean nothing (readers differ in how many they take). */
static int varint_read(const weir_frame *frame, const uint8_t *field, size_t size, uint64_t *value)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < VARINT_BYTES && i < size; i++) {
        uint8_t byte = field[i];

        if (i == VARINT_BYTES - 1 && byte > 1)
            return WEIR_EPROTO;
        sum |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        if (byte == 0 && i > 0 && !(frame->flags & WEIR_FRAME_PADDED))
            return WEIR_EPROTO;
        *value = sum;
        return (int)i + 1;
    }
    return 0;
}

int weir__frame_next_length(const weir_frame *frame, const uint8_t *data, size_t size,
                            weir_frame_found *found)
{
    size_t offset = frame->offset, width = frame->width;
    uint64_t length;

    if (width == WEIR_FRAME_VARINT) {
        size_t limit = size < frame->max ? size : frame->max;
        int count =
            limit <= offset ? 0 : varint_read(frame, data + offset, limit - offset, &length);

        if (count < 0)
            return count;
        if (count == 0) {
            found->size = (limit < offset ? offset : limit) + 1;
            return limit == frame->max ? WEIR_ETOOBIG : 0;
        }
        return length_judge(frame, offset + (size_t)count, length, size, found);
    }
    if (size < offset + width) {
        found->size = offset + width;
        return 0;
    }
    length = length_read(data + offset, frame->width, frame->flags & WEIR_FRAME_LITTLE);
    return length_judge(frame, offset + width, length, size, found);
}

/* -- writing -- */

static size_t varint_write(uint8_t *out, uint64_t value)
{
    size_t count = 0;

    for (; value >= 0x80; value >>= 7)
        out[count++] = (uint8_t)(value | 0x80);
    out[count++] = (uint8_t)value;
    return count;
}

static void length_write(uint8_t *out, unsigned width, bool little, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        out[little ? i : width - 1 - i] = (uint8_t)(value >> (8 * i));
}

int weir__frame_encode_length(const weir_frame *frame, size_t size, weir_frame_wrap *wrap)
{
    uint64_t value = size;

    if (size > frame->max)
        return WEIR_ETOOBIG;
    if (frame->adjust > 0 && value < (uint64_t)frame->adjust)
        return WEIR_EINVALID;
    value = (uint64_t)((int64_t)value - frame->adjust);
    if (frame->width == WEIR_FRAME_VARINT) {
        wrap->head_size = varint_write(wrap->head, value);
    } else {
        if (frame->width < 8 && value >> (8 * frame->width) != 0)
            return WEIR_ETOOBIG;
        length_write(wrap->head, frame->width, frame->flags & WEIR_FRAME_LITTLE, value);
        wrap->head_size = frame->width;
    }
    /* The peer would refuse it for what it reads back. */
    if (frame->offset + wrap->head_size + size > frame->max)
        return WEIR_ETOOBIG;
    if (frame->strip != WEIR_FRAME_STRIP_HEAD &&
        frame->strip > frame->offset + wrap->head_size + size)
        return WEIR_EINVALID;
    return 0;
}

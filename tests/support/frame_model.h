/* What weir_frame_next should say, written a second time as plainly as possible: byte by byte, no
 * resuming, wide integers. Tests and the fuzz target hold the codec against it. */
#ifndef SUPPORT_FRAME_MODEL_H
#define SUPPORT_FRAME_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/error.h>
#include <weir/frame.h>

static inline int model_found(const weir_frame *f, size_t text, size_t end, weir_frame_found *found)
{
    found->size = text + end;
    found->payload_offset = 0;
    found->payload_size = f->flags & WEIR_FRAME_KEEP_END ? text + end : text;
    return 1;
}

static inline int model_line(const weir_frame *f, const uint8_t *data, size_t size,
                             weir_frame_found *found)
{
    for (size_t i = 0;; i++) {
        if (i == f->max)
            return WEIR_ETOOBIG;
        if (i == size)
            return 0;
        if (!(f->flags & WEIR_FRAME_CRLF)) {
            if (data[i] == '\n')
                return i > 0 && data[i - 1] == '\r' ? model_found(f, i - 1, 2, found)
                                                    : model_found(f, i, 1, found);
            continue;
        }
        if (data[i] == '\n')
            return WEIR_EPROTO;
        if (data[i] != '\r')
            continue;
        if (i + 1 == f->max)
            return WEIR_ETOOBIG;
        if (i + 1 == size)
            return 0;
        return data[i + 1] == '\n' ? model_found(f, i, 2, found) : WEIR_EPROTO;
    }
}

/* -1: no match, 0: not all of it is there, 1: match. */
static inline int model_match(const weir_delimiter *end, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < end->size; i++) {
        if (i == size)
            return 0;
        if (data[i] != (uint8_t)end->bytes[i])
            return -1;
    }
    return 1;
}

static inline int model_delimiters(const weir_frame *f, const uint8_t *data, size_t size,
                                   weir_frame_found *found)
{
    const weir_delimiter *ends = f->kind == WEIR_FRAME_DELIMITER ? &f->end : f->ends;
    unsigned count = f->kind == WEIR_FRAME_DELIMITER ? 1 : f->ends_count;

    for (size_t i = 0;; i++) {
        size_t longest = 0;
        int answer = 0;

        if (i == f->max)
            return WEIR_ETOOBIG;
        if (i == size)
            return 0;
        for (unsigned k = 0; k < count; k++) {
            int match = -1;

            if (ends[k].size > longest && i + ends[k].size <= f->max)
                match = model_match(&ends[k], data + i, size - i);
            if (match >= 0) {
                longest = ends[k].size;
                answer = match;
            }
        }
        if (longest > 0)
            return answer == 0 ? 0 : model_found(f, i, longest, found);
    }
}

/* How many bytes the length field has, 0 for more needed, or an error. */
static inline int model_field(const weir_frame *f, const uint8_t *data, size_t size,
                              unsigned __int128 *value)
{
    *value = 0;
    if (f->width != WEIR_FRAME_VARINT) {
        if (size < (size_t)f->offset + f->width)
            return 0;
        for (unsigned i = 0; i < f->width; i++) {
            unsigned place = f->flags & WEIR_FRAME_LITTLE ? f->width - 1 - i : i;

            *value = *value * 256 + data[f->offset + place];
        }
        return f->width;
    }
    for (unsigned i = 0;; i++) {
        uint8_t byte;

        if ((size_t)f->offset + i == f->max)
            return WEIR_ETOOBIG;
        if ((size_t)f->offset + i >= size)
            return 0;
        byte = data[f->offset + i];
        *value += (unsigned __int128)(byte % 128) << (7 * i);
        if (*value > UINT64_MAX || (i == 9 && byte >= 128))
            return WEIR_EPROTO;
        if (byte >= 128)
            continue;
        if (byte == 0 && i > 0 && !(f->flags & WEIR_FRAME_PADDED))
            return WEIR_EPROTO;
        return (int)i + 1;
    }
}

static inline int model_length(const weir_frame *f, const uint8_t *data, size_t size,
                               weir_frame_found *found)
{
    unsigned __int128 value;
    int width = model_field(f, data, size, &value);
    __int128 rest, whole, strip;

    if (width <= 0)
        return width;
    rest = (__int128)value + f->adjust;
    whole = rest + f->offset + width;
    strip = f->strip == WEIR_FRAME_STRIP_HEAD ? f->offset + width : f->strip;
    if (rest < 0)
        return WEIR_EPROTO;
    if (whole > f->max)
        return WEIR_ETOOBIG;
    if (strip > whole)
        return WEIR_EPROTO;
    if (size < (size_t)whole)
        return 0;
    found->size = (size_t)whole;
    found->payload_offset = (size_t)strip;
    found->payload_size = (size_t)(whole - strip);
    return 1;
}

static inline int model_next(const weir_frame *f, const uint8_t *data, size_t size,
                             weir_frame_found *found)
{
    switch (f->kind) {
    case WEIR_FRAME_FIXED:
        found->size = found->payload_size = f->max;
        found->payload_offset = 0;
        return size >= f->max;
    case WEIR_FRAME_LINE:
        return model_line(f, data, size, found);
    case WEIR_FRAME_LENGTH:
        return model_length(f, data, size, found);
    default:
        return model_delimiters(f, data, size, found);
    }
}

/* The frame that begins at `data`, asked for with 0, step, 2 * step … and at last `size` bytes,
 * going on with the hint each time; each answer must be the model's for as many bytes. Returns the
 * last answer, or 100 where the codec and the model differ. */
static inline int model_compare(const weir_frame *f, const uint8_t *data, size_t size, size_t step,
                                weir_frame_found *found)
{
    size_t scanned = 0, there = 0;

    for (;;) {
        weir_frame_found model = {0};
        int model_answer = model_next(f, data, there, &model);
        int answer = weir_frame_next(f, data, there, &scanned, found);

        if (answer != model_answer || scanned > there)
            return 100;
        if (answer == 0 && (found->size <= there || found->size > f->max))
            return 100;
        if (answer == 1 && (scanned != 0 || found->size != model.size ||
                            found->payload_offset != model.payload_offset ||
                            found->payload_size != model.payload_size))
            return 100;
        if (answer != 0 || there == size)
            return answer;
        there = size - there < step ? size : there + step;
    }
}

#endif

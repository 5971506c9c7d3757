#include "proto/frame.h"

#include <stdbool.h>
#include <string.h>

#include <weir/error.h>

/* -- checking a descriptor -- */

static bool is_delimiter(const weir_delimiter *end)
{
    return end->bytes != NULL && end->size > 0 && end->size <= WEIR_FRAME_END_BYTES;
}

static bool begins_with(const weir_delimiter *end, const weir_delimiter *beginning)
{
    return end->size >= beginning->size &&
           memcmp(end->bytes, beginning->bytes, beginning->size) == 0;
}

/* The one that is written must not be the beginning of another: together with the next payload it
 * could become that one. */
static int check_delimiters(const weir_frame *frame)
{
    uint32_t shortest = UINT32_MAX;

    if (frame->ends == NULL || frame->ends_count == 0 || frame->ends_count > WEIR_FRAME_ENDS_MAX)
        return WEIR_EINVALID;
    for (unsigned i = 0; i < frame->ends_count; i++) {
        if (!is_delimiter(&frame->ends[i]))
            return WEIR_EINVALID;
        if (i > 0 && begins_with(&frame->ends[i], &frame->ends[0]))
            return WEIR_EINVALID;
        if (frame->ends[i].size < shortest)
            shortest = frame->ends[i].size;
    }
    return frame->max < shortest ? WEIR_EINVALID : 0;
}

static bool has_no_length(const weir_frame *frame)
{
    return frame->offset == 0 && frame->width == 0 && frame->adjust == 0 && frame->strip == 0;
}

static bool has_no_end(const weir_frame *frame)
{
    return frame->end.bytes == NULL && frame->end.size == 0;
}

static bool has_no_ends(const weir_frame *frame)
{
    return frame->ends == NULL && frame->ends_count == 0;
}

static bool has_flags(const weir_frame *frame, unsigned allowed)
{
    return (frame->flags & ~allowed) == 0;
}

int weir_frame_check(const weir_frame *frame)
{
    bool sound;

    if (frame->max == 0 || frame->reserved != 0)
        return WEIR_EINVALID;
    if (frame->kind == WEIR_FRAME_LENGTH)
        return weir__frame_check_length(frame);
    if (!has_no_length(frame))
        return WEIR_EINVALID;
    switch (frame->kind) {
    case WEIR_FRAME_FIXED:
        sound = has_flags(frame, 0) && has_no_end(frame) && has_no_ends(frame);
        break;
    case WEIR_FRAME_LINE:
        sound = has_flags(frame, WEIR_FRAME_KEEP_END | WEIR_FRAME_CRLF) && has_no_end(frame) &&
                has_no_ends(frame) && frame->max > (frame->flags & WEIR_FRAME_CRLF ? 1 : 0);
        break;
    case WEIR_FRAME_DELIMITER:
        sound = has_flags(frame, WEIR_FRAME_KEEP_END) && has_no_ends(frame) &&
                is_delimiter(&frame->end) && frame->max >= frame->end.size;
        break;
    case WEIR_FRAME_DELIMITERS:
        sound = has_flags(frame, WEIR_FRAME_KEEP_END) && has_no_end(frame) &&
                check_delimiters(frame) == 0;
        break;
    default:
        sound = false;
    }
    return sound ? 0 : WEIR_EINVALID;
}

/* -- reading -- */

static int next_fixed(const weir_frame *frame, size_t size, weir_frame_found *found)
{
    found->size = frame->max;
    found->payload_offset = 0;
    found->payload_size = frame->max;
    return size >= frame->max;
}

int weir_frame_next(const weir_frame *frame, const void *data, size_t size, size_t *scanned,
                    weir_frame_found *found)
{
    /* Memory may be a null pointer without bytes, and a hint from elsewhere is not trusted. */
    if (size == 0)
        data = "";
    if (__builtin_expect(*scanned > size || *scanned > frame->max, 0))
        return WEIR_EINVALID;
    switch (frame->kind) {
    case WEIR_FRAME_LENGTH:
        return weir__frame_next_length(frame, data, size, found);
    case WEIR_FRAME_LINE:
        return weir__frame_next_line(frame, data, size, scanned, found);
    case WEIR_FRAME_DELIMITER:
        return weir__frame_next_delimiter(frame, data, size, scanned, found);
    case WEIR_FRAME_DELIMITERS:
        return weir__frame_next_delimiters(frame, data, size, scanned, found);
    case WEIR_FRAME_FIXED:
        return next_fixed(frame, size, found);
    default:
        return WEIR_EINVALID;
    }
}

/* -- writing -- */

static int encode_end(const weir_frame *frame, size_t size, const char *end, size_t end_size,
                      weir_frame_wrap *wrap)
{
    if (end_size > frame->max || size > frame->max - end_size)
        return WEIR_ETOOBIG;
    wrap->tail = end;
    wrap->tail_size = end_size;
    return 0;
}

int weir_frame_encode(const weir_frame *frame, size_t size, weir_frame_wrap *wrap)
{
    wrap->head_size = 0;
    wrap->tail = NULL;
    wrap->tail_size = 0;
    switch (frame->kind) {
    case WEIR_FRAME_FIXED:
        return size == frame->max ? 0 : WEIR_EINVALID;
    case WEIR_FRAME_LINE:
        if (frame->flags & WEIR_FRAME_CRLF)
            return encode_end(frame, size, "\r\n", 2, wrap);
        return encode_end(frame, size, "\n", 1, wrap);
    case WEIR_FRAME_DELIMITER:
        return encode_end(frame, size, frame->end.bytes, frame->end.size, wrap);
    case WEIR_FRAME_DELIMITERS:
        return encode_end(frame, size, frame->ends[0].bytes, frame->ends[0].size, wrap);
    case WEIR_FRAME_LENGTH:
        return weir__frame_encode_length(frame, size, wrap);
    default:
        return WEIR_EINVALID;
    }
}

/* Reads back the last bytes of the payload with the end behind them: it must be found where the
 * payload stops. A delimiter that begins earlier begins less than its length before. */
static bool seam_is_clean(const weir_frame *frame, const char *data, size_t size)
{
    char seam[2 * WEIR_FRAME_END_BYTES];
    size_t kept = size < WEIR_FRAME_END_BYTES - 1 ? size : WEIR_FRAME_END_BYTES - 1, scanned = 0;
    weir_frame unlimited = *frame;
    weir_frame_wrap wrap;
    weir_frame_found found;

    unlimited.max = sizeof seam;
    unlimited.flags &= (uint8_t)~WEIR_FRAME_KEEP_END;
    if (weir_frame_encode(&unlimited, kept, &wrap) < 0)
        return false;
    memcpy(seam, data + size - kept, kept);
    memcpy(seam + kept, wrap.tail, wrap.tail_size);
    return weir_frame_next(&unlimited, seam, kept + wrap.tail_size, &scanned, &found) == 1 &&
           found.payload_size == kept;
}

int weir_frame_payload_check(const weir_frame *frame, const void *data, size_t size)
{
    weir_frame unlimited = *frame;
    weir_frame_found found;
    size_t scanned = 0;

    if (size == 0)
        data = "";
    if (size > UINT32_MAX - 1)
        return WEIR_EINVALID;
    switch (frame->kind) {
    case WEIR_FRAME_FIXED:
    case WEIR_FRAME_LENGTH:
        return 0;
    case WEIR_FRAME_LINE:
    case WEIR_FRAME_DELIMITER:
    case WEIR_FRAME_DELIMITERS:
        unlimited.max = UINT32_MAX;
        if (weir_frame_next(&unlimited, data, size, &scanned, &found) != 0)
            return WEIR_EINVALID;
        return seam_is_clean(frame, data, size) ? 0 : WEIR_EINVALID;
    default:
        return WEIR_EINVALID;
    }
}

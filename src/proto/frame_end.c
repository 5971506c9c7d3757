/* Frames found by what ends them. What is bounded by max is searched once: positions before
 * *scanned are settled. */
#include "proto/frame.h"

#include <stdbool.h>
#include <string.h>

#include <weir/error.h>

static int end_found(const weir_frame *frame, size_t end_offset, size_t end_size, size_t *scanned,
                     weir_frame_found *found)
{
    *scanned = 0;
    found->size = end_offset + end_size;
    found->payload_offset = 0;
    found->payload_size = frame->flags & WEIR_FRAME_KEEP_END ? found->size : end_offset;
    return 1;
}

/* No end in the first `limit` bytes: all of it, or as much as a frame may have. */
static int end_missing(const weir_frame *frame, size_t limit, size_t settled, size_t *scanned,
                       weir_frame_found *found)
{
    if (limit == frame->max)
        return WEIR_ETOOBIG;
    *scanned = settled;
    found->size = limit + 1;
    return 0;
}

/* -- lines -- */

/* With CRLF alone as an end, anything else that some reader takes for one is refused: a CR or an LF
 * by itself. A CR at the end of what is there is not settled yet. */
static int next_crlf(const weir_frame *frame, const char *data, size_t limit, size_t *scanned,
                     weir_frame_found *found)
{
    const char *start = data + *scanned, *end = data + limit;
    const char *lf = memchr(start, '\n', (size_t)(end - start));
    const char *cr = memchr(start, '\r', (size_t)((lf != NULL ? lf : end) - start));

    if (cr != NULL && cr + 1 < end && cr + 1 != lf)
        return WEIR_EPROTO;
    if (lf != NULL && cr == NULL)
        return WEIR_EPROTO;
    if (lf != NULL)
        return end_found(frame, (size_t)(cr - data), 2, scanned, found);
    return end_missing(frame, limit, cr != NULL ? limit - 1 : limit, scanned, found);
}

int weir__frame_next_line(const weir_frame *frame, const char *data, size_t size, size_t *scanned,
                          weir_frame_found *found)
{
    size_t limit = size < frame->max ? size : frame->max;
    const char *lf;
    size_t text_size;

    if (frame->flags & WEIR_FRAME_CRLF)
        return next_crlf(frame, data, limit, scanned, found);
    lf = memchr(data + *scanned, '\n', limit - *scanned);
    if (lf == NULL)
        return end_missing(frame, limit, limit, scanned, found);
    text_size = (size_t)(lf - data);
    if (text_size > 0 && lf[-1] == '\r')
        return end_found(frame, text_size - 1, 2, scanned, found);
    return end_found(frame, text_size, 1, scanned, found);
}

/* -- delimiters -- */

/* memchr is many times faster than memmem, as long as the first byte is rare; memmem takes linear
 * time whatever the bytes are. */
static const char *delimiter_find(const weir_delimiter *end, const char *data, size_t size)
{
    enum { CANDIDATES = 16 };

    for (unsigned i = 0; i < CANDIDATES && size >= end->size; i++) {
        const char *first = memchr(data, end->bytes[0], size - end->size + 1);

        if (first == NULL || memcmp(first, end->bytes, end->size) == 0)
            return first;
        size -= (size_t)(first + 1 - data);
        data = first + 1;
    }
    return memmem(data, size, end->bytes, end->size);
}

int weir__frame_next_delimiter(const weir_frame *frame, const char *data, size_t size,
                               size_t *scanned, weir_frame_found *found)
{
    size_t limit = size < frame->max ? size : frame->max;
    size_t end_size = frame->end.size, settled = *scanned;
    const char *end = delimiter_find(&frame->end, data + settled, limit - settled);

    if (end != NULL)
        return end_found(frame, (size_t)(end - data), end_size, scanned, found);
    if (limit >= end_size)
        settled = limit - end_size + 1;
    return end_missing(frame, limit, settled, scanned, found);
}

/* The longest delimiter at the beginning of `data`, of which `size` bytes are there and at most
 * `room` may be used; 0 when there is none. *open: a longer one may still come. */
static size_t longest_here(const weir_frame *frame, const char *data, size_t size, size_t room,
                           bool *open)
{
    size_t longest = 0;

    *open = false;
    for (unsigned i = 0; i < frame->ends_count; i++) {
        const weir_delimiter *end = &frame->ends[i];
        size_t there = end->size < size ? end->size : size;

        if (end->size > room || memcmp(end->bytes, data, there) != 0)
            continue;
        if (there < end->size)
            *open = true; /* longer than all that is there, and so than any that matches */
        else if (there > longest)
            longest = there;
    }
    return longest;
}

/* Bytes that begin a delimiter, each in all places of a block, so that a block is compared at once.
 */
enum { BLOCK_BYTES = 16 };
typedef uint8_t block __attribute__((vector_size(BLOCK_BYTES)));

struct first_bytes {
    block blocks[WEIR_FRAME_ENDS_MAX];
    unsigned count;
};

static void first_bytes_init(struct first_bytes *firsts, const weir_frame *frame)
{
    firsts->count = frame->ends_count;
    for (unsigned i = 0; i < frame->ends_count; i++)
        firsts->blocks[i] = (block){0} + (uint8_t)frame->ends[i].bytes[0];
}

/* Skips whole blocks of `data` without such a byte; returns how many bytes. */
static size_t first_bytes_skip(const struct first_bytes *firsts, const char *data, size_t size)
{
    size_t skipped = 0;

    for (; size - skipped >= BLOCK_BYTES; skipped += BLOCK_BYTES) {
        uint64_t any[BLOCK_BYTES / sizeof(uint64_t)];
        block bytes, equal = {0};

        memcpy(&bytes, data + skipped, sizeof bytes);
        for (unsigned i = 0; i < firsts->count; i++)
            equal |= (block)(bytes == firsts->blocks[i]);
        memcpy(any, &equal, sizeof any);
        if ((any[0] | any[1]) != 0)
            break;
    }
    return skipped;
}

static bool is_first(const weir_frame *frame, char byte)
{
    for (unsigned i = 0; i < frame->ends_count; i++)
        if (frame->ends[i].bytes[0] == byte)
            return true;
    return false;
}

int weir__frame_next_delimiters(const weir_frame *frame, const char *data, size_t size,
                                size_t *scanned, weir_frame_found *found)
{
    size_t limit = size < frame->max ? size : frame->max;
    size_t checked = *scanned; /* blocks were looked at up to here */
    struct first_bytes firsts;

    first_bytes_init(&firsts, frame);
    for (size_t i = *scanned; i < limit; i++) {
        size_t end_size;
        bool open;

        if (i == checked) {
            i += first_bytes_skip(&firsts, data + i, limit - i);
            checked = i + BLOCK_BYTES;
            if (i == limit)
                break;
        }
        if (!is_first(frame, data[i]))
            continue;
        end_size = longest_here(frame, data + i, limit - i, frame->max - i, &open);
        if (open)
            return end_missing(frame, limit, i, scanned, found);
        if (end_size > 0)
            return end_found(frame, i, end_size, scanned, found);
    }
    return end_missing(frame, limit, limit, scanned, found);
}

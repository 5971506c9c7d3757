#include "app/http/range.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "app/http/cursor.h"
#include "proto/httpfield.h"

/* The length of "bytes=", in letters of either case. */
enum { UNIT_SIZE = 6 };

/* Reads digits; a number that does not fit is the largest, which lies beyond every end. */
static bool read_number(struct cursor *in, uint64_t *number)
{
    const char *start = in->at;
    bool fits = true;

    *number = 0;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        uint64_t digit = (uint64_t)(*in->at - '0');
        if (__builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, digit, number))
            fits = false;
    }
    if (!fits)
        *number = UINT64_MAX;
    return in->at > start;
}

/* One range-spec. Returns false when it is malformed. A range that cannot be satisfied is well
 * formed and gives size 0. */
static bool read_spec(struct cursor *in, uint64_t total, struct range *part)
{
    uint64_t first, last;

    part->offset = part->size = 0;
    if (cursor_skip_byte(in, '-')) {
        if (!read_number(in, &last))
            return false;
        part->size = last < total ? last : total;
        part->offset = total - part->size;
        return true;
    }
    if (!read_number(in, &first) || !cursor_skip_byte(in, '-'))
        return false;
    if (!read_number(in, &last))
        last = UINT64_MAX;
    else if (last < first)
        return false;
    if (first >= total)
        return true;
    if (last >= total)
        last = total - 1;
    part->offset = first;
    part->size = last - first + 1;
    return true;
}

static bool are_close(struct range a, struct range b)
{
    struct range low = a.offset <= b.offset ? a : b, high = a.offset <= b.offset ? b : a;

    return high.offset <= low.offset + low.size ||
           high.offset - (low.offset + low.size) <= RANGE_GAP_MAX;
}

static struct range join(struct range a, struct range b)
{
    uint64_t a_end = a.offset + a.size, b_end = b.offset + b.size;
    struct range joined;

    joined.offset = a.offset < b.offset ? a.offset : b.offset;
    joined.size = (a_end > b_end ? a_end : b_end) - joined.offset;
    return joined;
}

/* Adds a part, joined with every one that it touches; the joined one stands where the first of them
 * stood. One pass is enough: joining fills only a gap that is too small to hold another part, so it
 * comes no closer to those that were passed. */
static void add_part(struct range_set *set, struct range part)
{
    uint32_t place = set->count;

    for (uint32_t i = 0; i < set->count;) {
        if (!are_close(set->part[i], part)) {
            i++;
            continue;
        }
        part = join(set->part[i], part);
        if (i < place)
            place = i;
        set->count--;
        memmove(&set->part[i], &set->part[i + 1], (set->count - i) * sizeof(part));
    }
    if (place > set->count)
        place = set->count;
    memmove(&set->part[place + 1], &set->part[place], (set->count - place) * sizeof(part));
    set->part[place] = part;
    set->count++;
}

enum range_outcome weir__range_read(struct http_text field, uint64_t total_bytes,
                                    struct range_set *set)
{
    struct cursor in = cursor_from(field);
    uint32_t seen = 0;

    set->count = 0;
    if (field.length < UNIT_SIZE ||
        !http_text_is(((struct http_text){field.at, UNIT_SIZE}), "bytes="))
        return RANGE_IGNORED;
    in.at += UNIT_SIZE;
    while (cursor_next_member(&in)) {
        struct range part;
        if (++seen > RANGE_MAX || !read_spec(&in, total_bytes, &part) || !cursor_ends_member(&in))
            return RANGE_IGNORED;
        if (part.size > 0)
            add_part(set, part);
    }
    if (seen == 0 || total_bytes == 0)
        return RANGE_IGNORED;
    return set->count > 0 ? RANGE_SATISFIED : RANGE_UNSATISFIABLE;
}

size_t weir__range_text(struct range part, uint64_t total_bytes, char out[RANGE_TEXT_SIZE])
{
    return (size_t)snprintf(
        out, RANGE_TEXT_SIZE, "bytes %llu-%llu/%llu", (unsigned long long)part.offset,
        (unsigned long long)(part.offset + part.size - 1), (unsigned long long)total_bytes);
}

size_t weir__range_text_unsatisfiable(uint64_t total_bytes, char out[RANGE_TEXT_SIZE])
{
    return (size_t)snprintf(out, RANGE_TEXT_SIZE, "bytes */%llu", (unsigned long long)total_bytes);
}

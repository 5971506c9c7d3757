/* A Range field against a representation of any length, and the framing of what comes out. Input:
 * 8 bytes of length, then the field. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "app/http/multipart.h"
#include "app/http/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int holds)
{
    if (!holds)
        abort();
}

static void check_parts(const struct range_set *set, uint64_t total)
{
    expect(set->count >= 1 && set->count <= RANGE_MAX);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct range *part = &set->part[i];
        expect(part->size > 0 && part->offset < total && part->size <= total - part->offset);
        for (uint32_t j = 0; j < i; j++) {
            const struct range *other = &set->part[j];
            const struct range *low = part->offset < other->offset ? part : other;
            const struct range *high = low == part ? other : part;
            uint64_t end = low->offset + low->size;
            expect(high->offset > end && high->offset - end > RANGE_GAP_MAX);
        }
    }
}

/* The length that is announced is the length that is written. */
static void check_framing(const struct range_set *set, uint64_t total)
{
    static const unsigned char random[MULTIPART_RANDOM_SIZE] = {1, 2, 3};
    struct multipart multipart;
    char out[MULTIPART_HEAD_SIZE];
    uint64_t announced;
    __extension__ unsigned __int128 written;

    expect(multipart_init(&multipart, random, (struct http_text){"text/plain", 10}, total) == 0);
    written = multipart_tail(&multipart, out);
    for (uint32_t i = 0; i < set->count; i++) {
        size_t length = multipart_head(&multipart, set->part[i], i == 0, out);
        expect(length < sizeof(out) && strlen(out) == length);
        written += length + (unsigned __int128)set->part[i].size;
    }
    if (multipart_total(&multipart, set, &announced) == 0)
        expect(announced == written);
    else
        expect(written > UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct range_set set;
    struct http_text field;
    uint64_t total;

    if (size < sizeof(total))
        return 0;
    memcpy(&total, data, sizeof(total));
    field = (struct http_text){(const char *)data + sizeof(total), size - sizeof(total)};
    switch (weir__range_read(field, total, &set)) {
    case RANGE_SATISFIED:
        check_parts(&set, total);
        check_framing(&set, total);
        break;
    case RANGE_UNSATISFIABLE:
        expect(set.count == 0 && total > 0);
        break;
    case RANGE_IGNORED:
        break;
    }
    return 0;
}

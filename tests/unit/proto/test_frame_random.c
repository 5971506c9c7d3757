/* Random framings of random streams, cut at random, against the plain model; random payloads
 * written and read back; and that nothing is searched twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "support/frame_model.h"

static uint64_t random_state = 88172645463325252u;

static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 20) % limit;
}

static const weir_delimiter delimiters[] = {
    WEIR_DELIMITER("ab"), WEIR_DELIMITER("aba"), WEIR_DELIMITER("b"),    WEIR_DELIMITER("\r\n"),
    WEIR_DELIMITER("\n"), WEIR_DELIMITER("\r"),  WEIR_DELIMITER("aaaa"), WEIR_DELIMITER("\0"),
    WEIR_DELIMITER("ca"), WEIR_DELIMITER("cab"), WEIR_DELIMITER("a\n"),  WEIR_DELIMITER("c"),
};
enum { DELIMITERS = sizeof delimiters / sizeof delimiters[0] };

static weir_frame random_frame(void)
{
    static const uint8_t widths[] = {1, 2, 3, 4, 8, WEIR_FRAME_VARINT};
    static weir_delimiter ends[WEIR_FRAME_ENDS_MAX];
    weir_frame frame = {.kind = (uint8_t)(1 + random_below(5)), .max = 1 + random_below(40)};

    if (random_below(4) == 0)
        frame.flags = (uint8_t)random_below(16);
    switch (frame.kind) {
    case WEIR_FRAME_DELIMITER:
        frame.end = delimiters[random_below(DELIMITERS)];
        break;
    case WEIR_FRAME_DELIMITERS:
        frame.ends_count = (uint16_t)(1 + random_below(4));
        for (unsigned i = 0; i < frame.ends_count; i++)
            ends[i] = delimiters[random_below(DELIMITERS)];
        frame.ends = ends;
        break;
    case WEIR_FRAME_LENGTH:
        frame.width = widths[random_below(6)];
        frame.offset = (uint8_t)random_below(4);
        frame.adjust = random_below(2) == 0 ? 0 : (int32_t)random_below(12) - 8;
        frame.strip = random_below(2) == 0 ? WEIR_FRAME_STRIP_HEAD : (uint16_t)random_below(12);
        break;
    }
    return frame;
}

/* Few different bytes, so that much of it means something; zeros, so that lengths are small. */
static void random_bytes(uint8_t *out, size_t size)
{
    static const uint8_t likely[] = {'a', 'b', 'c', '\r', '\n', 0, 0, 0, 1, 3, 9, 0x80, 0xff};

    for (size_t i = 0; i < size; i++)
        out[i] = random_below(16) == 0 ? (uint8_t)random_below(256)
                                       : likely[random_below(sizeof likely)];
}

static weir_frame random_sound_frame(void)
{
    weir_frame frame;

    do
        frame = random_frame();
    while (weir_frame_check(&frame) < 0);
    return frame;
}

static void streams_are_read_as_the_model_reads_them(void **state)
{
    int answers[3] = {0};

    for (int round = 0; round < 60000; round++) {
        weir_frame frame = random_sound_frame();
        uint8_t stream[120];
        size_t size = random_below(sizeof stream + 1), offset = 0;
        int answer = 1;

        random_bytes(stream, size);
        while (answer == 1) {
            weir_frame_found whole = {0}, cut = {0};
            size_t step = 1 + random_below(7);

            answer = model_compare(&frame, stream + offset, size - offset, step, &cut);
            assert_int_not_equal(answer, 100);
            assert_int_equal(
                model_compare(&frame, stream + offset, size - offset, sizeof stream, &whole),
                answer);
            if (answer == 1)
                assert_memory_equal(&whole, &cut, sizeof cut);
            offset += answer == 1 ? whole.size : 0;
            answers[answer < 0 ? 2 : answer]++;
        }
    }
    assert_true(answers[0] > 5000 && answers[1] > 50000 && answers[2] > 5000);
}

/* The bytes of a whole frame around a payload, or 0 where it cannot be written. */
static size_t write_frame(const weir_frame *frame, const uint8_t *payload, size_t size,
                          uint8_t *out)
{
    size_t end = frame->offset;
    weir_frame_wrap wrap;

    if (weir_frame_payload_check(frame, payload, size) < 0)
        return 0;
    if (weir_frame_encode(frame, size, &wrap) < 0)
        return 0;
    memset(out, 'o', end);
    memcpy(out + end, wrap.head, wrap.head_size);
    end += wrap.head_size;
    memcpy(out + end, payload, size);
    end += size;
    if (wrap.tail_size > 0)
        memcpy(out + end, wrap.tail, wrap.tail_size);
    return end + wrap.tail_size;
}

static void what_is_written_is_read_back(void **state)
{
    int written = 0;

    for (int round = 0; round < 60000; round++) {
        weir_frame frame = random_sound_frame();
        uint8_t payload[40], stream[2 * 64];
        size_t size = frame.kind == WEIR_FRAME_FIXED ? frame.max : random_below(sizeof payload);
        size_t wrapped, behind, scanned = 0;
        weir_frame_found found;

        random_bytes(payload, size);
        wrapped = write_frame(&frame, payload, size, stream);
        if (wrapped == 0)
            continue;
        /* Whatever comes behind it. */
        behind = random_below(20);
        random_bytes(stream + wrapped, behind);
        assert_int_equal(weir_frame_next(&frame, stream, wrapped + behind, &scanned, &found), 1);
        assert_int_equal(found.size, wrapped);
        if (frame.kind != WEIR_FRAME_LENGTH) {
            size_t kept = frame.flags & WEIR_FRAME_KEEP_END ? wrapped : size;

            assert_int_equal(found.payload_size, kept);
            assert_memory_equal(stream + found.payload_offset, payload, size);
        } else {
            assert_memory_equal(stream + wrapped - size, payload, size);
        }
        written++;
    }
    assert_true(written > 10000);
}

/* What the hint covers is overwritten with ends, which nobody may notice; and all but the beginning
 * of an end is covered. So bytes that come one by one are each searched once. */
static void bytes_one_by_one_are_searched_once(void **state)
{
    enum { SIZE = 2000 };
    static const weir_delimiter ends[] = {WEIR_DELIMITER("\n\n\n"), WEIR_DELIMITER("\n\nx")};
    static const weir_frame frames[] = {
        weir_frame_line(SIZE + 9), weir_frame_line_with(SIZE + 9, WEIR_FRAME_CRLF),
        weir_frame_delimiter(SIZE + 9, "\n\nx"), weir_frame_delimiters(SIZE + 9, ends, 2)};

    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        uint8_t stream[SIZE];
        size_t scanned = 0;
        weir_frame_found found;

        memset(stream, 'x', sizeof stream);
        for (size_t size = 1; size <= SIZE; size++) {
            assert_int_equal(weir_frame_next(&frames[i], stream, size, &scanned, &found), 0);
            assert_in_range(scanned, size < 2 ? 0 : size - 2, size);
            memset(stream, '\n', scanned);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_read_as_the_model_reads_them),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(bytes_one_by_one_are_searched_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

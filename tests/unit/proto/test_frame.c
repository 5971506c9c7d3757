/* The frame codec: the examples of docs/guide/framing.md, byte for byte, each cut everywhere; what
 * is refused; what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "support/frame_model.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A static descriptor inside another static object, as a service has it. */
static const struct {
    int before;
    weir_frame frame;
    int behind;
} service_like = {1, weir_frame_line(4096), 2};

static const weir_delimiter line_ends[] = {WEIR_DELIMITER("\r\n"), WEIR_DELIMITER("\n"),
                                           WEIR_DELIMITER("\r")};
static const weir_delimiter overlapping[] = {WEIR_DELIMITER("ENDING"), WEIR_DELIMITER("END"),
                                             WEIR_DELIMITER("DI")};

/* A stream, the payloads that come out of it, separated by '|', and what comes after the last:
 * 0 or an error. */
struct example {
    weir_frame frame;
    const char *bytes;
    size_t size;
    const char *payloads;
    size_t payloads_size;
    int last;
};

#define BYTES(literal) "" literal, sizeof(literal) - 1

static const struct example examples[] = {
    {weir_frame_fixed(4), BYTES("abcdefgh"), BYTES("abcd|efgh|"), 0},
    {weir_frame_fixed(4), BYTES("abcdef"), BYTES("abcd|"), 0},
    /* lines */
    {weir_frame_line(8), BYTES("GET a\r\nb\n\n"), BYTES("GET a|b||"), 0},
    {weir_frame_line(8), BYTES("a\rb\r\r\n"), BYTES("a\rb\r|"), 0},
    {weir_frame_line(8), BYTES("1234567\n12345678\n"), BYTES("1234567|"), WEIR_ETOOBIG},
    {weir_frame_line(8), BYTES("123456\r\n1234567\r\n"), BYTES("123456|"), WEIR_ETOOBIG},
    {weir_frame_line(8), BYTES("12345678"), BYTES(""), WEIR_ETOOBIG},
    {weir_frame_line_with(8, WEIR_FRAME_KEEP_END), BYTES("ab\r\nc\n"), BYTES("ab\r\n|c\n|"), 0},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("ab\r\n\r\ncd"), BYTES("ab||"), 0},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("ab\r\ncd\n"), BYTES("ab|"), WEIR_EPROTO},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("ab\rc\r\n"), BYTES(""), WEIR_EPROTO},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("ab\r\r\n"), BYTES(""), WEIR_EPROTO},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("1234567\r\n"), BYTES(""), WEIR_ETOOBIG},
    /* delimiters */
    {weir_frame_delimiter(9, "\0"), BYTES("one\0two\0\0"), BYTES("one|two||"), 0},
    {weir_frame_delimiter(9, "\r\n.\r\n"), BYTES("a\r\n.\r\n\r\n.\r\n"), BYTES("a||"), 0},
    {weir_frame_delimiter(9, "aab"), BYTES("aaabaaab"), BYTES("a|a|"), 0},
    {weir_frame_delimiter(4, "$$"), BYTES("ab$$abc$$"), BYTES("ab|"), WEIR_ETOOBIG},
    {weir_frame_delimiters(9, line_ends, 3), BYTES("a\rb\r\nc\n\r\r\nd\r"), BYTES("a|b|c|||"), 0},
    {weir_frame_delimiters(4, line_ends, 3), BYTES("abc\r\n"), BYTES("abc||"), 0},
    {weir_frame_delimiters(9, overlapping, 3), BYTES("aENDbENDINGENDcDI"), BYTES("a|b||c|"), 0},
    {weir_frame_delimiters(9, overlapping, 3), BYTES("ENDINENDING"), BYTES("|IN|"), 0},
    {weir_frame_delimiters(5, overlapping, 3), BYTES("ENDING"), BYTES("|"), 0},
    {weir_frame_delimiters(5, overlapping, 3), BYTES("abcEND"), BYTES(""), WEIR_ETOOBIG},
    /* a length in front */
    {weir_frame_length(9, 2), BYTES("\0\3abc\0\0\0\2de"), BYTES("abc||de|"), 0},
    {weir_frame_length(5, 2), BYTES("\0\3abc\0\4defg"), BYTES("abc|"), WEIR_ETOOBIG},
    {weir_frame_length(9, 2), BYTES("\0\3abc\0\10"), BYTES("abc|"), WEIR_ETOOBIG},
    {weir_frame_length(9, 1), BYTES("\3abc"), BYTES("abc|"), 0},
    {weir_frame_length(9, 3), BYTES("\0\0\3abc"), BYTES("abc|"), 0},
    {weir_frame_length(9, 4), BYTES("\0\0\0\3abc"), BYTES("abc|"), 0},
    {weir_frame_length(12, 8), BYTES("\0\0\0\0\0\0\0\3abc"), BYTES("abc|"), 0},
    {weir_frame_length(UINT32_MAX, 8), BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), BYTES(""),
     WEIR_ETOOBIG},
    {weir_frame_length(UINT32_MAX, 4), BYTES("\xff\xff\xff\xff"), BYTES(""), WEIR_ETOOBIG},
    {weir_frame_length_little(9, 2), BYTES("\3\0abc"), BYTES("abc|"), 0},
    {weir_frame_length_little(9, 3), BYTES("\3\0\0abc"), BYTES("abc|"), 0},
    {weir_frame_length_little(9, 4), BYTES("\3\0\0\0abc"), BYTES("abc|"), 0},
    {weir_frame_length_little(12, 8), BYTES("\3\0\0\0\0\0\0\0abc"), BYTES("abc|"), 0},
    /* PostgreSQL: type, then a length that counts itself */
    {weir_frame_length_field(99, 1, 4, 0, -4, 0), BYTES("Q\0\0\0\6a\0Z\0\0\0\5I"),
     BYTES("Q\0\0\0\6a\0|Z\0\0\0\5I|"), 0},
    {weir_frame_length_field(99, 1, 4, 0, -4, 0), BYTES("Q\0\0\0\3"), BYTES(""), WEIR_EPROTO},
    /* MySQL: three bytes little, a sequence number that is not counted */
    {weir_frame_length_field(99, 0, 3, WEIR_FRAME_LITTLE, 1, 4), BYTES("\2\0\0\7ab\0\0\0\6"),
     BYTES("ab||"), 0},
    /* BGP: sixteen bytes of marker, then the length of everything (RFC 4271 4.1) */
    {weir_frame_length_field(4096, 16, 2, 0, -18, 18), BYTES("0123456789abcdef\0\x13\4"),
     BYTES("\4|"), 0},
    {weir_frame_length_field(4096, 16, 2, 0, -18, 18), BYTES("0123456789abcdef\0\x11"), BYTES(""),
     WEIR_EPROTO},
    /* varints */
    {weir_frame_varint(400), BYTES("\3abc\0\1d"), BYTES("abc||d|"), 0},
    {weir_frame_varint(129), BYTES("\200\1"), BYTES(""), WEIR_ETOOBIG},
    {weir_frame_varint(130), BYTES("\200\1"), BYTES(""), 0},
    {weir_frame_varint(400), BYTES("\203\0abc"), BYTES(""), WEIR_EPROTO},
    {weir_frame_length_field(400, 0, WEIR_FRAME_VARINT, WEIR_FRAME_PADDED, 0,
                             WEIR_FRAME_STRIP_HEAD),
     BYTES("\203\200\0abc"), BYTES("abc|"), 0},
    {weir_frame_varint(400), BYTES("\377\377\377\377\377\377\377\377\377\1"), BYTES(""),
     WEIR_ETOOBIG},
    {weir_frame_varint(400), BYTES("\377\377\377\377\377\377\377\377\377\2"), BYTES(""),
     WEIR_EPROTO},
    {weir_frame_varint(400), BYTES("\377\377\377\377\377\377\377\377\377\377"), BYTES(""),
     WEIR_EPROTO},
    {weir_frame_varint(2), BYTES("\200\200\200"), BYTES(""), WEIR_ETOOBIG},
    /* the largest length there is, which an adjustment would carry round to 2 */
    {weir_frame_length_field(12, 0, WEIR_FRAME_VARINT, 0, 3, 0),
     BYTES("\377\377\377\377\377\377\377\377\377\1ab"), BYTES(""), WEIR_ETOOBIG},
    {weir_frame_length_field(20, 0, 8, 0, 3, 0), BYTES("\377\377\377\377\377\377\377\377abc"),
     BYTES(""), WEIR_ETOOBIG},
    /* MQTT: type and flags, then a varint */
    {weir_frame_length_field(99, 1, WEIR_FRAME_VARINT, 0, 0, 0), BYTES("\x30\2ab\xc0\0"),
     BYTES("\x30\2ab|\xc0\0|"), 0},
};

/* Payloads of `size` bytes, and what was returned after the last; the stream lies in memory of
 * exactly its size, so that the address sanitizer sees a read beyond it. */
static int payloads_of(const weir_frame *frame, const char *bytes, size_t size, size_t step,
                       char *out, size_t *out_size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    const uint8_t *data = copy;
    int answer;

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    *out_size = 0;
    for (;;) {
        weir_frame_found found = {0};

        answer = model_compare(frame, data, size, step, &found);
        assert_int_not_equal(answer, 100);
        if (answer != 1)
            break;
        memcpy(out + *out_size, data + found.payload_offset, found.payload_size);
        *out_size += found.payload_size;
        out[(*out_size)++] = '|';
        data += found.size;
        size -= found.size;
    }
    free(copy);
    return answer;
}

static void examples_come_out_as_described(void **state)
{
    for (size_t i = 0; i < LENGTH(examples); i++) {
        const struct example *example = &examples[i];

        assert_int_equal(weir_frame_check(&example->frame), 0);
        for (size_t step = 1; step <= example->size + 1; step++) {
            char out[256];
            size_t out_size;
            int last =
                payloads_of(&example->frame, example->bytes, example->size, step, out, &out_size);

            if (out_size != example->payloads_size || last != example->last ||
                memcmp(out, example->payloads, out_size) != 0)
                fail_msg("example %zu, %zu bytes at a time: \"%.*s\", then %d", i, step,
                         (int)out_size, out, last);
        }
    }
}

static void static_descriptors_are_what_they_say(void **state)
{
    static const weir_frame by_hand = {.kind = WEIR_FRAME_LINE, .max = 4096};
    volatile int size = 7;
    weir_frame in_a_variable = weir_frame_fixed(size);

    assert_int_equal(service_like.before + service_like.behind, 3);
    assert_memory_equal(&service_like.frame, &by_hand, sizeof by_hand);
    assert_int_equal(in_a_variable.max, 7);
    in_a_variable = weir_frame_line(-1);
    assert_int_equal(weir_frame_check(&in_a_variable), WEIR_EINVALID);
    in_a_variable = weir_frame_line(1LL << 32);
    assert_int_equal(weir_frame_check(&in_a_variable), WEIR_EINVALID);
    in_a_variable = weir_frame_line((1LL << 32) - 1);
    assert_int_equal(weir_frame_check(&in_a_variable), 0);
}

static const weir_delimiter empty_end[] = {WEIR_DELIMITER("a"), {"", 0}};
static const weir_delimiter null_end[] = {{NULL, 3}};
static const weir_delimiter extended[] = {WEIR_DELIMITER("\n"), WEIR_DELIMITER("\n\n")};
static const weir_delimiter twice[] = {WEIR_DELIMITER("a"), WEIR_DELIMITER("a")};

static const weir_frame contradictions[] = {
    {0},
    {.kind = WEIR_FRAME_LINE},
    {.kind = 6, .max = 10},
    {.kind = WEIR_FRAME_LINE, .max = 10, .reserved = 1},
    {.kind = WEIR_FRAME_LINE, .max = 10, .width = 1},
    {.kind = WEIR_FRAME_LINE, .max = 10, .ends = line_ends, .ends_count = 2},
    {.kind = WEIR_FRAME_LINE, .max = 10, .end = WEIR_DELIMITER("x")},
    {.kind = WEIR_FRAME_LINE, .max = 1, .flags = WEIR_FRAME_CRLF},
    {.kind = WEIR_FRAME_LINE, .max = 10, .flags = WEIR_FRAME_LITTLE},
    {.kind = WEIR_FRAME_LINE, .max = 10, .flags = 16},
    {.kind = WEIR_FRAME_FIXED, .max = 10, .flags = WEIR_FRAME_KEEP_END},
    {.kind = WEIR_FRAME_FIXED, .max = 10, .strip = 1},
    {.kind = WEIR_FRAME_DELIMITER, .max = 10},
    weir_frame_delimiter(10, ""),
    weir_frame_delimiter(2, "abc"),
    {.kind = WEIR_FRAME_DELIMITER, .max = 999, .end = {"long", WEIR_FRAME_END_BYTES + 1}},
    weir_frame_delimiters(10, NULL, 2),
    weir_frame_delimiters(10, line_ends, 0),
    weir_frame_delimiters(10, line_ends, WEIR_FRAME_ENDS_MAX + 1),
    weir_frame_delimiters(10, empty_end, 2),
    weir_frame_delimiters(10, null_end, 1),
    weir_frame_delimiters(10, extended, 2),
    weir_frame_delimiters(10, twice, 2),
    weir_frame_delimiters(1, overlapping, 3),
    weir_frame_length(10, 0),
    weir_frame_length(10, 5),
    weir_frame_length(10, 16),
    weir_frame_length(7, 8),
    weir_frame_length_field(20, 19, 2, 0, 0, 0),
    weir_frame_length_field(20, 0, 2, 0, 19, 0),
    weir_frame_length_field(20, 0, 2, 0, 0, 21),
    weir_frame_length_field(20, 0, 2, WEIR_FRAME_KEEP_END, 0, 0),
    weir_frame_length_field(20, 0, 2, WEIR_FRAME_PADDED, 0, 0),
    weir_frame_length_field(20, 0, WEIR_FRAME_VARINT, WEIR_FRAME_LITTLE, 0, 0),
    {.kind = WEIR_FRAME_LENGTH, .max = 10, .width = 1, .ends_count = 1},
};

static void contradictions_are_refused(void **state)
{
    for (size_t i = 0; i < LENGTH(contradictions); i++)
        if (weir_frame_check(&contradictions[i]) != WEIR_EINVALID)
            fail_msg("contradiction %zu is not noticed", i);
}

static void a_wild_hint_is_refused(void **state)
{
    static const weir_frame frame = weir_frame_line(10);
    weir_frame_found found;
    size_t scanned = 4;

    assert_int_equal(weir_frame_next(&frame, "abc", 3, &scanned, &found), WEIR_EINVALID);
    scanned = 0;
    assert_int_equal(weir_frame_next(&frame, NULL, 0, &scanned, &found), 0);
    assert_int_equal(found.size, 1);
}

/* The least that a frame will have lets a reader ask for as much at once. */
static void what_is_needed_is_told(void **state)
{
    static const weir_frame frame = weir_frame_length(1000, 2);
    weir_frame_found found;
    size_t scanned = 0;

    assert_int_equal(weir_frame_next(&frame, "\1", 1, &scanned, &found), 0);
    assert_int_equal(found.size, 2);
    assert_int_equal(weir_frame_next(&frame, "\1\2", 2, &scanned, &found), 0);
    assert_int_equal(found.size, 260);
}

/* -- writing -- */

static void wrap_is(const weir_frame *frame, size_t size, const char *head, size_t head_size,
                    const char *tail, size_t tail_size)
{
    weir_frame_wrap wrap;

    assert_int_equal(weir_frame_check(frame), 0);
    assert_int_equal(weir_frame_encode(frame, size, &wrap), 0);
    assert_int_equal(wrap.head_size, head_size);
    assert_memory_equal(wrap.head, head, head_size);
    assert_int_equal(wrap.tail_size, tail_size);
    if (tail_size > 0)
        assert_memory_equal(wrap.tail, tail, tail_size);
}

#define WRAP_IS(frame, size, head, tail) wrap_is(&(frame), size, BYTES(head), BYTES(tail))

static void heads_and_tails_are_written(void **state)
{
    WRAP_IS(weir_frame_fixed(9), 9, "", "");
    WRAP_IS(weir_frame_line(10), 9, "", "\n");
    WRAP_IS(weir_frame_line_with(10, WEIR_FRAME_CRLF), 8, "", "\r\n");
    WRAP_IS(weir_frame_delimiter(10, "\0\1"), 8, "", "\0\1");
    WRAP_IS(weir_frame_delimiters(10, line_ends, 3), 8, "", "\r\n");
    WRAP_IS(weir_frame_length(1000, 1), 255, "\377", "");
    WRAP_IS(weir_frame_length(1000, 2), 258, "\1\2", "");
    WRAP_IS(weir_frame_length(1000, 3), 258, "\0\1\2", "");
    WRAP_IS(weir_frame_length(1000, 4), 258, "\0\0\1\2", "");
    WRAP_IS(weir_frame_length(1000, 8), 258, "\0\0\0\0\0\0\1\2", "");
    WRAP_IS(weir_frame_length_little(1000, 2), 258, "\2\1", "");
    WRAP_IS(weir_frame_length_little(1000, 3), 258, "\2\1\0", "");
    WRAP_IS(weir_frame_length_little(1000, 8), 258, "\2\1\0\0\0\0\0\0", "");
    WRAP_IS(weir_frame_varint(1000), 0, "\0", "");
    WRAP_IS(weir_frame_varint(1000), 127, "\177", "");
    WRAP_IS(weir_frame_varint(1000), 300, "\254\2", "");
    WRAP_IS(weir_frame_length_field(99, 1, 4, 0, -4, 0), 2, "\0\0\0\6", "");
    WRAP_IS(weir_frame_length_field(99, 0, 3, WEIR_FRAME_LITTLE, 1, 4), 3, "\2\0\0", "");
    WRAP_IS(weir_frame_length_field(4096, 16, 2, 0, -18, 18), 1, "\0\x13", "");
}

static int encode_error(weir_frame frame, size_t size)
{
    weir_frame_wrap wrap;

    return weir_frame_encode(&frame, size, &wrap);
}

static void what_the_reader_would_refuse_is_not_written(void **state)
{
    assert_int_equal(encode_error((weir_frame){0}, 1), WEIR_EINVALID);
    assert_int_equal(encode_error(weir_frame_fixed(9), 8), WEIR_EINVALID);
    assert_int_equal(encode_error(weir_frame_line(10), 10), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_line(10), SIZE_MAX), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_line_with(10, WEIR_FRAME_CRLF), 9), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_delimiter(10, "\r\n"), 9), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_length(1000, 1), 256), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_length(UINT32_MAX, 3), 1 << 24), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_length(10, 2), 9), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_length(10, 2), 8), 0);
    assert_int_equal(encode_error(weir_frame_length(10, 2), SIZE_MAX), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_varint(129), 127), 0);
    assert_int_equal(encode_error(weir_frame_varint(129), 128), WEIR_ETOOBIG);
    assert_int_equal(encode_error(weir_frame_length_field(99, 0, 3, 0, 1, 4), 0), WEIR_EINVALID);
    assert_int_equal(encode_error(weir_frame_length_field(99, 0, 2, 0, 0, 8), 5), WEIR_EINVALID);
}

static int payload_error(weir_frame frame, const char *data, size_t size)
{
    return weir_frame_payload_check(&frame, data, size);
}

static void a_payload_that_holds_an_end_is_noticed(void **state)
{
    weir_frame line = weir_frame_line(100);
    weir_frame crlf = weir_frame_line_with(100, WEIR_FRAME_CRLF);
    weir_frame nul = weir_frame_delimiter(100, "\0");
    weir_frame double_a = weir_frame_delimiter(100, "aa");
    weir_frame ends = weir_frame_delimiters(100, line_ends, 3);
    char text[1000];

    assert_int_equal(payload_error(line, NULL, 0), 0);
    assert_int_equal(payload_error(line, BYTES("ab\rc")), 0);
    assert_int_equal(payload_error(line, BYTES("a\nb")), WEIR_EINVALID);
    assert_int_equal(payload_error(line, BYTES("ab\r")), WEIR_EINVALID);
    assert_int_equal(payload_error(crlf, BYTES("ab")), 0);
    assert_int_equal(payload_error(crlf, BYTES("ab\r")), WEIR_EINVALID);
    assert_int_equal(payload_error(crlf, BYTES("a\rb")), WEIR_EINVALID);
    assert_int_equal(payload_error(nul, BYTES("ab")), 0);
    assert_int_equal(payload_error(nul, BYTES("a\0b")), WEIR_EINVALID);
    assert_int_equal(payload_error(double_a, BYTES("aba")), WEIR_EINVALID);
    assert_int_equal(payload_error(double_a, BYTES("abab")), 0);
    assert_int_equal(payload_error(ends, BYTES("ab")), 0);
    assert_int_equal(payload_error(ends, BYTES("ab\r")), WEIR_EINVALID);
    memset(text, 'x', sizeof text);
    assert_int_equal(payload_error(line, text, sizeof text), 0);
    text[sizeof text - 1] = '\r';
    assert_int_equal(payload_error(line, text, sizeof text), WEIR_EINVALID);
    assert_int_equal(payload_error(weir_frame_fixed(3), BYTES("\n\n\n")), 0);
    assert_int_equal(payload_error(weir_frame_length(9, 2), BYTES("\n\n\n")), 0);
    assert_int_equal(payload_error((weir_frame){0}, BYTES("a")), WEIR_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_come_out_as_described),
        cmocka_unit_test(static_descriptors_are_what_they_say),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(a_wild_hint_is_refused),
        cmocka_unit_test(what_is_needed_is_told),
        cmocka_unit_test(heads_and_tails_are_written),
        cmocka_unit_test(what_the_reader_would_refuse_is_not_written),
        cmocka_unit_test(a_payload_that_holds_an_end_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

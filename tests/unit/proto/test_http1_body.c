/* Bodies beyond what the corpus replays: responses, limits, every way to cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "proto/http1_body.h"

/* What a body read to its end, or to its refusal, gave. */
struct result {
    ssize_t rc;             /* bytes used in all, or the refusal */
    enum http1_event event; /* the last */
    size_t length;
    uint8_t data[4096];
};

/* Feeds p in pieces of `step` bytes, each of them in memory of its own. */
static struct result run(struct http1_body *body, const void *wire, size_t n, size_t step)
{
    struct result result = {.rc = 0};
    size_t at = 0;

    do {
        size_t have = n - at < step ? n - at : step;
        uint8_t *copy = malloc(have + !have);
        struct http1_piece piece;
        ssize_t rc;

        assert_non_null(copy);
        memcpy(copy, (const uint8_t *)wire + at, have);
        rc = http1_body_next(body, copy, have, &piece);
        if (rc < 0) {
            free(copy);
            result.rc = rc;
            return result;
        }
        assert_true((size_t)rc <= have);
        at += (size_t)rc;
        result.rc = (ssize_t)at;
        result.event = piece.event;
        if (piece.event == HTTP1_PIECE_DATA) {
            assert_true(piece.length > 0 && piece.data >= copy);
            assert_true(piece.data + piece.length <= copy + have);
            assert_true(result.length + piece.length <= sizeof(result.data));
            memcpy(result.data + result.length, piece.data, piece.length);
            result.length += piece.length;
        } else {
            assert_int_equal(piece.length, 0);
        }
        free(copy);
    } while (at < n && (result.event == HTTP1_PIECE_DATA || result.event == HTTP1_PIECE_MORE));
    return result;
}

static struct http1_body chunked(uint64_t most)
{
    struct http1_request request = {.chunked = true};
    struct http1_body body;

    assert_int_equal(http1_body_begin_request(&body, &request, NULL, most), 0);
    return body;
}

static struct http1_body fixed(uint64_t length)
{
    struct http1_request request = {.has_length = true, .content_length = length};
    struct http1_body body;

    assert_int_equal(http1_body_begin_request(&body, &request, NULL, UINT64_MAX), 0);
    return body;
}

static void chunks_in_pieces_of_any_size(void **state)
{
    static const char wire[] =
        "5\r\nhello\r\n1;a=\"b\"\r\n,\r\n00C;x\r\n world\r\nnext\r\n0;y=z\r\n\r\nGET";
    static const char want[] = "hello, world\r\nnext";

    for (size_t step = 1; step < sizeof(wire); step++) {
        struct http1_body body = chunked(UINT64_MAX);
        struct result result = run(&body, wire, sizeof(wire) - 1, step);

        assert_int_equal(result.event, HTTP1_PIECE_END);
        assert_int_equal(result.rc, sizeof(wire) - 1 - 3);
        assert_int_equal(result.length, sizeof(want) - 1);
        assert_memory_equal(result.data, want, result.length);
        assert_true(body.ended);
        assert_int_equal(body.received, sizeof(want) - 1);
        assert_int_equal(http1_body_cut(&body), 0);
    }
}

static void a_cut_anywhere_is_told(void **state)
{
    static const char wire[] = "5\r\nhello\r\n0\r\n\r\n";

    for (size_t n = 0; n < sizeof(wire) - 1; n++) {
        struct http1_body body = chunked(UINT64_MAX);
        struct result result = run(&body, wire, n, n + 1);

        assert_true(result.rc >= 0 && result.event != HTTP1_PIECE_END);
        assert_int_equal(http1_body_cut(&body), -HTTP1_BODY_CUT);
    }
}

static void a_fixed_length_ends_where_it_ends(void **state)
{
    for (size_t step = 1; step < 12; step++) {
        struct http1_body body = fixed(5);
        struct result result = run(&body, "helloGET", 8, step);
        struct http1_piece piece;

        assert_int_equal(result.length, 5);
        assert_memory_equal(result.data, "hello", 5);
        assert_int_equal(http1_body_next(&body, (const uint8_t *)"GET", 3, &piece), 0);
        assert_int_equal(piece.event, HTTP1_PIECE_END);
        assert_int_equal(http1_body_cut(&body), 0);
    }
    struct http1_body body = fixed(5);

    run(&body, "hell", 4, 4);
    assert_int_equal(http1_body_cut(&body), -HTTP1_BODY_CUT);
}

static void no_body_ends_at_once(void **state)
{
    struct http1_body body = fixed(0);
    struct http1_piece piece;

    assert_int_equal(http1_body_next(&body, (const uint8_t *)"GET", 3, &piece), 0);
    assert_int_equal(piece.event, HTTP1_PIECE_END);
    assert_int_equal(http1_body_next(&body, NULL, 0, &piece), 0);
    assert_int_equal(piece.event, HTTP1_PIECE_END);
    assert_int_equal(http1_body_cut(&body), 0);
}

static void the_limit_counts_payload(void **state)
{
    struct http1_request request = {.has_length = true, .content_length = 11};
    struct http1_body body;
    struct result result;

    assert_int_equal(http1_body_begin_request(&body, &request, NULL, 10), -HTTP1_BODY_TOO_LARGE);
    assert_int_equal(http1_body_begin_request(&body, &request, NULL, 11), 0);

    body = chunked(10);
    result = run(&body, "5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", 25, 25);
    assert_int_equal(result.event, HTTP1_PIECE_END);
    body = chunked(9);
    result = run(&body, "5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", 25, 25);
    assert_int_equal(result.rc, -HTTP1_BODY_TOO_LARGE);
    body = chunked(0);
    result = run(&body, "0\r\n\r\n", 5, 5);
    assert_int_equal(result.event, HTTP1_PIECE_END);
}

static void until_close_lasts_until_close(void **state)
{
    struct http1_response response = {.body = HTTP1_BODY_UNTIL_CLOSE};
    struct http1_body body;
    struct result result;

    assert_int_equal(http1_body_begin_response(&body, &response, NULL, UINT64_MAX), 0);
    result = run(&body, "all of it\r\n\r\n", 13, 4);
    assert_int_equal(result.length, 13);
    assert_false(body.ended);
    assert_int_equal(http1_body_cut(&body), 0);
    assert_true(body.ended);

    assert_int_equal(http1_body_begin_response(&body, &response, NULL, 5), 0);
    result = run(&body, "hello", 5, 5);
    assert_int_equal(result.rc, 5);
    result = run(&body, "!", 1, 1);
    assert_int_equal(result.rc, -HTTP1_BODY_TOO_LARGE);
}

static void a_response_has_the_body_that_its_head_says(void **state)
{
    struct http1_response response = {.body = HTTP1_BODY_LENGTH, .content_length = 6};
    struct http1_body body;
    struct result result;

    assert_int_equal(http1_body_begin_response(&body, &response, NULL, 5), -HTTP1_BODY_TOO_LARGE);
    assert_int_equal(http1_body_begin_response(&body, &response, NULL, 6), 0);
    result = run(&body, "abcdefg", 7, 7);
    assert_int_equal(result.length, 6);
    response = (struct http1_response){.body = HTTP1_BODY_NONE, .content_length = 6};
    assert_int_equal(http1_body_begin_response(&body, &response, NULL, 5), 0);
    result = run(&body, "abcdefg", 7, 7);
    assert_int_equal(result.event, HTTP1_PIECE_END);
    assert_int_equal(result.rc, 0);
}

static void sizes_up_to_63_bits(void **state)
{
    static const struct {
        const char *line;
        uint64_t size;
    } good[] = {
        {"1\r\n", 1},
        {"fFfF\r\n", 0xffff},
        {"7fffffffffffffff\r\n", INT64_MAX},
        {"0000000000000001\r\n", 1},
        {"123456789abcdef\r\n", 0x123456789abcdef},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct http1_body body = chunked(UINT64_MAX);
        struct result result = run(&body, good[i].line, strlen(good[i].line), 1);

        assert_int_equal(result.event, HTTP1_PIECE_MORE);
        assert_true(body.left == good[i].size);
    }
}

/* Each byte value at each place of a size line: only what the grammar has may pass. */
static void every_byte_in_a_size_line(void **state)
{
    static const char line[] = "a;b=c\r\n";

    for (size_t at = 0; at < sizeof(line) - 1; at++) {
        for (int c = 0; c < 256; c++) {
            struct http1_body body = chunked(UINT64_MAX);
            char copy[sizeof(line)];
            struct result result;
            const char *may;

            memcpy(copy, line, sizeof(line));
            copy[at] = (char)c;
            result = run(&body, copy, sizeof(line) - 1, 3);
            /* Digits; ; or another digit; token; token, ; or =; token or quote; token or ;. */
            may = at == 0   ? "0123456789abcdefABCDEF"
                  : at == 1 ? "0123456789abcdefABCDEF;"
                  : at == 5 ? "\r"
                  : at == 6 ? "\n"
                            : NULL;
            if (may) {
                bool allowed = c != 0 && strchr(may, c);

                if (at == 1 && c != ';')
                    allowed = false; /* "aab=c" has a stranger behind its digits */
                if (at == 5)         /* another character of the value, then LF alone is none */
                    allowed = c == '\r';
                assert_int_equal(result.rc > 0, allowed);
            } else if (c <= ' ' || c >= 0x7f) {
                assert_true(result.rc < 0);
            }
        }
    }
}

static void trailers_are_parsed_and_end_the_body(void **state)
{
    static const char wire[] = "0\r\nX-Sum: 12\r\nServer-Timing: total;dur=1\r\n\r\nGET";
    struct http1_field rows[4];
    struct http1_fields fields = {.row = rows, .capacity = 4};
    struct http1_body body = chunked(UINT64_MAX);
    struct http1_resume resume = {0, 0, 0};
    struct http1_piece piece;
    const uint8_t *p = (const uint8_t *)wire;
    struct http_text value;
    ssize_t rc;

    rc = http1_body_next(&body, p, sizeof(wire) - 1, &piece);
    assert_int_equal(rc, 3);
    assert_int_equal(piece.event, HTTP1_PIECE_TRAILERS);
    p += rc;
    for (size_t have = 0; have < 40; have++)
        assert_int_equal(http1_body_trailers(&body, p, have, &resume, NULL, &fields), 0);
    assert_int_equal(http1_body_cut(&body), -HTTP1_BODY_CUT);
    rc = http1_body_trailers(&body, p, sizeof(wire) - 1 - 3, &resume, NULL, &fields);
    assert_int_equal(rc, sizeof(wire) - 1 - 3 - 3);
    assert_int_equal(fields.count, 2);
    value = http1_field_value(&fields, 1);
    assert_int_equal(value.length, 11);
    assert_memory_equal(value.at, "total;dur=1", 11);
    assert_int_equal(http1_body_cut(&body), 0);
    assert_int_equal(http1_body_next(&body, p + rc, 3, &piece), 0);
    assert_int_equal(piece.event, HTTP1_PIECE_END);
}

static void extensions_are_paid_with_payload(void **state)
{
    struct http1_limits limits = {.extension_bytes = 4};
    struct http1_request request = {.chunked = true};
    struct http1_body body;
    struct result result;

    http1_body_begin_request(&body, &request, &limits, UINT64_MAX);
    result = run(&body, "1;abcd\r\n", 8, 8);
    assert_int_equal(result.rc, 8);
    http1_body_begin_request(&body, &request, &limits, UINT64_MAX);
    result = run(&body, "1;abcde\r\n", 9, 9);
    assert_int_equal(result.rc, -HTTP1_CHUNK_EXTENSIONS_TOO_LARGE);
    /* 64 bytes for all of them, and one more for each byte of data. */
    http1_body_begin_request(&body, &request, &limits, UINT64_MAX);
    for (int i = 0; i < 21; i++) {
        result = run(&body, "1;abcd\r\nx\r\n", 11, 11);
        assert_int_equal(result.rc, 11);
    }
    result = run(&body, "1;abcd\r\nx\r\n", 11, 11);
    assert_int_equal(result.rc, -HTTP1_CHUNK_EXTENSIONS_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_in_pieces_of_any_size),
        cmocka_unit_test(a_cut_anywhere_is_told),
        cmocka_unit_test(a_fixed_length_ends_where_it_ends),
        cmocka_unit_test(no_body_ends_at_once),
        cmocka_unit_test(the_limit_counts_payload),
        cmocka_unit_test(until_close_lasts_until_close),
        cmocka_unit_test(a_response_has_the_body_that_its_head_says),
        cmocka_unit_test(sizes_up_to_63_bits),
        cmocka_unit_test(every_byte_in_a_size_line),
        cmocka_unit_test(trailers_are_parsed_and_end_the_body),
        cmocka_unit_test(extensions_are_paid_with_payload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

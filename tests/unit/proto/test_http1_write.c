#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http1.h"
#include "proto/http1_write.h"
#include "proto/httpstatus.h"

static struct http_text text(const char *string)
{
    return (struct http_text){string, strlen(string)};
}

static void a_whole_head(void **state)
{
    static const char want[] = "HTTP/1.1 404 Not Found\r\n"
                               "Server: weir\r\n"
                               "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                               "X-Name: a value\r\n"
                               "X-Empty: \r\n"
                               "Content-Length: 18446744073709551615\r\n\r\n";
    uint8_t out[512];
    struct http1_writer writer = http1_writer_on(out, sizeof(out));

    http1_write_status(&writer, 404);
    http1_write_literal(&writer, "Server: weir\r\n");
    http1_write_date(&writer, "Sun, 06 Nov 1994 08:49:37 GMT");
    http1_write_field(&writer, text("X-Name"), text("a value"));
    http1_write_field(&writer, text("X-Empty"), text(""));
    http1_write_length(&writer, UINT64_MAX);
    assert_int_equal(http1_write_end(&writer), sizeof(want) - 1);
    assert_memory_equal(out, want, sizeof(want) - 1);
}

static void a_request(void **state)
{
    static const char want[] = "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n";
    uint8_t out[64];
    struct http1_writer writer = http1_writer_on(out, sizeof(out));

    http1_write_request(&writer, text("GET"), text("/a?b"));
    http1_write_field(&writer, text("Host"), text("x"));
    assert_int_equal(http1_write_end(&writer), sizeof(want) - 1);
    assert_memory_equal(out, want, sizeof(want) - 1);
}

static void lengths_in_decimal(void **state)
{
    static const uint64_t lengths[] = {0, 1, 9, 10, 99, 100, 4294967296, 9999999999999999999u};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        uint8_t out[64];
        char want[64];
        struct http1_writer writer = http1_writer_on(out, sizeof(out));
        int n = snprintf(want, sizeof(want), "Content-Length: %llu\r\n\r\n",
                         (unsigned long long)lengths[i]);

        http1_write_length(&writer, lengths[i]);
        assert_int_equal(http1_write_end(&writer), n);
        assert_memory_equal(out, want, (size_t)n);
    }
}

/* A head is written into every room that is too small, each in memory of exactly that size. */
static void no_byte_beyond_the_room(void **state)
{
    size_t need = 0;

    for (size_t size = 0; size < 200; size++) {
        uint8_t *out = malloc(size + !size);
        struct http1_writer writer = http1_writer_on(out, size);
        ssize_t rc;

        assert_non_null(out);
        http1_write_status(&writer, 200);
        http1_write_status_reason(&writer, 299, "Odd", 3);
        http1_write_request(&writer, text("GET"), text("/"));
        http1_write_date(&writer, "Sun, 06 Nov 1994 08:49:37 GMT");
        http1_write_field(&writer, text("X"), text("y"));
        http1_write_length(&writer, 12345);
        rc = http1_write_end(&writer);
        if (rc > 0 && need == 0)
            need = (size_t)rc;
        assert_int_equal(rc, need ? (ssize_t)need : -ENOBUFS);
        if (need)
            assert_true(size >= need);
        free(out);
    }
    assert_true(need > 100);
}

static void refused_field(const char *name, size_t name_length, const char *value,
                          size_t value_length)
{
    uint8_t out[128];
    struct http1_writer writer = http1_writer_on(out, sizeof(out));

    http1_write_field(&writer, (struct http_text){name, name_length},
                      (struct http_text){value, value_length});
    assert_ptr_equal(writer.at, out);
    http1_write_literal(&writer, "X: y\r\n");
    assert_int_equal(http1_write_end(&writer), -EINVAL);
}

/* Nothing that a value or a name holds can begin another field or end the head. */
static void nothing_can_be_smuggled_in(void **state)
{
    refused_field("", 0, "x", 1);
    refused_field("X Y", 3, "x", 1);
    refused_field("X:", 2, "x", 1);
    refused_field("X\r\nY", 4, "x", 1);
    refused_field("X", 1, "a\r\nY: b", 7);
    refused_field("X", 1, "a\nY: b", 6);
    refused_field("X", 1, "a\rb", 3);
    refused_field("X", 1, "a\0b", 3);
    refused_field("X", 1, "\x7f", 1);
    refused_field("X", 1, " a", 2);
    refused_field("X", 1, "a ", 2);
    refused_field("X", 1, "a\t", 2);
    refused_field("X", 1, "a long value that ends in a line end\r\n", 38);
    for (int c = 0; c < 256; c++) {
        char value[3] = {'a', (char)c, 'b'};
        bool bad = (c < 0x20 && c != '\t') || c == 0x7f;
        uint8_t out[64];
        struct http1_writer writer = http1_writer_on(out, sizeof(out));

        http1_write_field(&writer, text("X"), (struct http_text){value, 3});
        assert_int_equal(writer.error, bad ? -EINVAL : 0);
    }
}

static void bad_requests_and_statuses_are_not_written(void **state)
{
    static const struct {
        const char *method, *target;
    } bad[] = {{"", "/"},        {"GET", ""},     {"G T", "/"},   {"GET", "/a b"},
               {"GET", "/\r\n"}, {"GET", "/a#b"}, {"GET\r", "/"}, {"GET", "/\xc3"}};
    uint8_t out[64];

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct http1_writer writer = http1_writer_on(out, sizeof(out));

        http1_write_request(&writer, text(bad[i].method), text(bad[i].target));
        assert_int_equal(http1_write_end(&writer), -EINVAL);
    }
    static const unsigned statuses[] = {0, 99, 1000, 4096};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        struct http1_writer writer = http1_writer_on(out, sizeof(out));

        http1_write_status(&writer, statuses[i]);
        assert_int_equal(http1_write_end(&writer), -EINVAL);
    }
    struct http1_writer writer = http1_writer_on(out, sizeof(out));
    http1_write_status_reason(&writer, 200, "O\r\nK", 4);
    assert_int_equal(http1_write_end(&writer), -EINVAL);
}

/* Every status that can be written is read back by our own parser. */
static void statuses_are_read_back(void **state)
{
    for (unsigned status = 100; status < 600; status++) {
        uint8_t out[128];
        struct http1_writer writer = http1_writer_on(out, sizeof(out));
        struct http1_field rows[4];
        struct http1_response response = {.fields = {.row = rows, .capacity = 4}};
        struct http1_resume resume = {0, 0, 0};
        struct http_text reason;
        ssize_t n;

        http1_write_status(&writer, status);
        n = http1_write_end(&writer);
        assert_true(n > 0);
        assert_int_equal(http1_parse_response(out, (size_t)n, &resume, NULL, HTTP_HEAD, &response),
                         n);
        assert_int_equal(response.status, status);
        reason = http1_text(&response.fields, response.reason);
        assert_int_equal(reason.length, http_status_text(status).length);
        assert_memory_equal(reason.at, http_status_text(status).at, reason.length);
    }
    assert_int_equal(http_status_text(200).length, 2);
    assert_int_equal(http_status_text(99).length, 0);
    assert_int_equal(http_status_text(600).length, 0);
    assert_int_equal(http_status_line(418).length, 0);
}

static void chunk_heads(void **state)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int less = 0; less < 2; less++) {
            uint64_t length = (UINT64_C(1) << bit) - (uint64_t)less;
            uint8_t out[HTTP1_CHUNK_HEAD_MAX];
            char want[32];
            int n = snprintf(want, sizeof(want), "%llx\r\n", (unsigned long long)length);

            assert_int_equal(http1_chunk_head(out, length), n);
            assert_memory_equal(out, want, (size_t)n);
        }
    }
    uint8_t out[HTTP1_CHUNK_HEAD_MAX];
    assert_int_equal(http1_chunk_head(out, UINT64_MAX), HTTP1_CHUNK_HEAD_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_head),
        cmocka_unit_test(a_request),
        cmocka_unit_test(lengths_in_decimal),
        cmocka_unit_test(no_byte_beyond_the_room),
        cmocka_unit_test(nothing_can_be_smuggled_in),
        cmocka_unit_test(bad_requests_and_statuses_are_not_written),
        cmocka_unit_test(statuses_are_read_back),
        cmocka_unit_test(chunk_heads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

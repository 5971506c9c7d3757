/* What a parsed request says; what is taken and what refused stands in tests/corpus/http1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/http1.h"

static struct http1_field rows[HTTP1_FIELDS];

static ssize_t parse(const char *text, struct http1_request *request)
{
    struct http1_resume resume = {0, 0, 0};

    memset(request, 0xff, sizeof(*request)); /* nothing may be left over from before */
    request->fields.row = rows;
    request->fields.capacity = HTTP1_FIELDS;
    return http1_parse_request((const uint8_t *)text, strlen(text), &resume, NULL, request);
}

static void assert_text(struct http_text got, const char *want)
{
    if (got.length != strlen(want) || memcmp(got.at, want, got.length) != 0)
        fail_msg("'%.*s', not '%s'", (int)got.length, got.at, want);
}

static void assert_span(const struct http1_request *request, struct http1_span span,
                        const char *want)
{
    assert_text(http1_text(&request->fields, span), want);
}

static void everything_of_a_request(void **state)
{
    static const char head[] = "POST /a/b?c=d HTTP/1.1\r\n"
                               "Host: example.com:8080\r\n"
                               "X-Own:  two words \t\r\n"
                               "content-length: 12\r\n"
                               "x-own: again\r\n"
                               "Connection: Upgrade, x-own\r\n"
                               "Expect: 100-continue\r\n\r\n";
    struct http1_request request;
    struct http_text value = {"", 0};

    assert_int_equal(parse(head, &request), sizeof(head) - 1);
    assert_int_equal(request.head_bytes, sizeof(head) - 1);
    assert_int_equal(request.method, HTTP_POST);
    assert_span(&request, request.method_name, "POST");
    assert_span(&request, request.target, "/a/b?c=d");
    assert_span(&request, request.path, "/a/b");
    assert_span(&request, request.query, "c=d");
    assert_true(request.has_query);
    assert_span(&request, request.scheme, "");
    assert_span(&request, request.host, "example.com:8080");
    assert_span(&request, request.host_name, "example.com");
    assert_int_equal(request.port, 8080);
    assert_int_equal(request.minor, 1);
    assert_int_equal(request.form, HTTP1_FORM_ORIGIN);
    assert_int_equal(request.options, HTTP1_OPTION_UPGRADE | HTTP1_OPTION_OTHER);
    assert_true(request.has_length && !request.chunked && request.keep_alive);
    assert_true(request.expect_continue);
    assert_int_equal(request.content_length, 12);
    assert_int_equal(request.fields.count, 6);
    assert_text(http1_field_name(&request.fields, 1), "X-Own");
    assert_text(http1_field_value(&request.fields, 1), "two words");
    assert_int_equal(request.fields.row[1].id, HTTP_NAME_OTHER);
    assert_int_equal(request.fields.row[2].id, HTTP_CONTENT_LENGTH);
    assert_true(http1_fields_get(&request.fields, HTTP_EXPECT, &value));
    assert_text(value, "100-continue");
    assert_false(http1_fields_get(&request.fields, HTTP_ACCEPT, &value));
    assert_false(http1_fields_get(&request.fields, HTTP_NAME_OTHER, &value));
    assert_int_equal(http1_fields_find(&request.fields, "X-OWN", 5, 0), 1);
    assert_int_equal(http1_fields_find(&request.fields, "X-OWN", 5, 2), 3);
    assert_int_equal(http1_fields_find(&request.fields, "X-OWN", 5, 4), -1);
}

static void forms_of_a_target(void **state)
{
    struct http1_request request;

    assert_true(parse("GET http://Example.com:81/p?q HTTP/1.1\r\nHost: example.COM:81\r\n\r\n",
                      &request) > 0);
    assert_int_equal(request.form, HTTP1_FORM_ABSOLUTE);
    assert_span(&request, request.scheme, "http");
    assert_span(&request, request.host, "Example.com:81");
    assert_span(&request, request.host_name, "Example.com");
    assert_int_equal(request.port, 81);
    assert_span(&request, request.path, "/p");
    assert_span(&request, request.query, "q");

    assert_true(parse("GET http://[::1] HTTP/1.0\r\n\r\n", &request) > 0);
    assert_span(&request, request.host_name, "[::1]");
    assert_span(&request, request.path, "");
    assert_false(request.has_query);

    assert_true(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &request) > 0);
    assert_int_equal(request.form, HTTP1_FORM_ASTERISK);
    assert_span(&request, request.path, "*");

    assert_true(parse("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &request) > 0);
    assert_int_equal(request.form, HTTP1_FORM_AUTHORITY);
    assert_span(&request, request.host_name, "a");
    assert_int_equal(request.port, 443);
    assert_span(&request, request.path, "");

    assert_true(parse("GET / HTTP/1.0\r\n\r\n", &request) > 0);
    assert_span(&request, request.host, "");
    assert_int_equal(request.minor, 0);
}

static bool keeps(const char *version, const char *fields)
{
    struct http1_request request;
    char head[256] = "GET / ";

    strcat(strcat(strcat(head, version), "\r\nHost: a\r\n"), fields);
    assert_true(parse(strcat(head, "\r\n"), &request) > 0);
    return request.keep_alive;
}

static void who_may_stay(void **state)
{
    assert_true(keeps("HTTP/1.1", ""));
    assert_true(keeps("HTTP/1.1", "Connection: x\r\n"));
    assert_false(keeps("HTTP/1.1", "Connection: close\r\n"));
    assert_false(keeps("HTTP/1.1", "Connection: keep-alive\r\nConnection: x,CLOSE\r\n"));
    assert_false(keeps("HTTP/1.0", ""));
    assert_false(keeps("HTTP/1.0", "Connection: x\r\n"));
    assert_true(keeps("HTTP/1.0", "Connection: Keep-Alive\r\n"));
    assert_false(keeps("HTTP/1.0", "Connection: keep-alive, close\r\n"));
}

static void an_expectation_counts_only_with_a_body_and_from_1_1(void **state)
{
    struct http1_request request;

    assert_true(parse("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", &request) > 0);
    assert_false(request.expect_continue);
    assert_true(parse("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n",
                      &request) > 0);
    assert_true(request.expect_continue && request.chunked);
    assert_true(
        parse("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", &request) > 0);
    assert_false(request.expect_continue);
}

static void a_request_with_an_unknown_expectation_can_be_used(void **state)
{
    struct http1_request request;
    ssize_t rc =
        parse("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: fire\r\n\r\n", &request);

    assert_int_equal(rc, -HTTP1_UNKNOWN_EXPECTATION);
    assert_false(http1_refusal_row(rc)->close);
    assert_int_equal(http1_refusal_row(rc)->status, 417);
    assert_int_equal(request.content_length, 3);
    assert_true(request.head_bytes > 0 && request.keep_alive);
}

/* The bytes may move: only the base has to be told. */
static void offsets_outlive_a_copy(void **state)
{
    char *first = strdup("GET /path HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"), *second;
    struct http1_request request;

    assert_non_null(first);
    assert_true(parse(first, &request) > 0);
    second = strdup(first);
    assert_non_null(second);
    memset(first, 'Z', strlen(first));
    free(first);
    request.fields.base = (const uint8_t *)second;
    assert_span(&request, request.path, "/path");
    assert_text(http1_field_value(&request.fields, 1), "y");
    free(second);
}

static void storage_bounds_the_number_of_fields(void **state)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nX: y\r\n\r\n";
    struct http1_limits limits = {.fields = 100};
    struct http1_request request;

    for (uint16_t capacity = 0; capacity < 5; capacity++) {
        struct http1_resume resume = {0, 0, 0};
        struct http1_field *few = malloc(capacity * sizeof(*few) + 1);
        ssize_t rc;

        request.fields.row = few;
        request.fields.capacity = capacity;
        rc = http1_parse_request((const uint8_t *)head, sizeof(head) - 1, &resume, &limits,
                                 &request);
        assert_int_equal(rc, capacity < 3 ? -HTTP1_TOO_MANY_FIELDS : (ssize_t)sizeof(head) - 1);
        free(few);
    }
}

static void limits_hold_to_the_byte(void **state)
{
    static const char head[] = "GET /abc HTTP/1.1\r\nHost: a\r\n\r\n";
    const size_t n = sizeof(head) - 1;

    for (uint32_t most = 1; most < 40; most++) {
        for (size_t step = 1; step <= n; step++) {
            struct http1_limits by_line = {.line_bytes = most}, by_head = {.head_bytes = most};
            struct http1_resume resume = {0, 0, 0};
            struct http1_request request = {.fields = {.row = rows, .capacity = 4}};
            ssize_t rc = 0;

            for (size_t have = step; rc == 0 && have < n + step; have += step)
                rc = http1_parse_request((const uint8_t *)head, have < n ? have : n, &resume,
                                         &by_line, &request);
            assert_int_equal(rc, most < 17 ? -HTTP1_LINE_TOO_LONG : (ssize_t)n);
            rc = 0;
            resume = (struct http1_resume){0, 0, 0};
            for (size_t have = step; rc == 0 && have < n + step; have += step)
                rc = http1_parse_request((const uint8_t *)head, have < n ? have : n, &resume,
                                         &by_head, &request);
            assert_int_equal(rc, most < n ? -HTTP1_HEAD_TOO_LARGE : (ssize_t)n);
        }
    }
}

/* A row has 16 bits for the length of a name; a longer one is refused, not cut. */
static void a_name_beyond_16_bits_is_refused(void **state)
{
    struct http1_limits limits = {.head_bytes = 1 << 20};

    for (size_t length = UINT16_MAX - 1; length <= UINT16_MAX + 1; length++) {
        static char head[70000];
        struct http1_request request = {.fields = {.row = rows, .capacity = 4}};
        struct http1_resume resume = {0, 0, 0};
        size_t n = 0;
        ssize_t rc;

        n += (size_t)sprintf(head, "GET / HTTP/1.1\r\nHost: a\r\n");
        memset(head + n, 'n', length);
        n += length;
        n += (size_t)sprintf(head + n, ": v\r\n\r\n");
        rc = http1_parse_request((const uint8_t *)head, n, &resume, &limits, &request);
        if (length > UINT16_MAX) {
            assert_int_equal(rc, -HTTP1_HEAD_TOO_LARGE);
            continue;
        }
        assert_int_equal(rc, n);
        assert_int_equal(request.fields.row[1].name_length, length);
    }
}

static void resume_is_ready_for_the_next_request(void **state)
{
    static const char two[] =
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http1_request request = {.fields = {.row = rows, .capacity = 4}};
    struct http1_resume resume = {0, 0, 0};
    const uint8_t *p = (const uint8_t *)two;
    ssize_t rc = 0;

    for (size_t have = 0; rc == 0; have++)
        rc = http1_parse_request(p, have, &resume, NULL, &request);
    assert_int_equal(rc, (sizeof(two) - 1) / 2);
    assert_int_equal(resume.scanned + resume.line + resume.lines, 0);
    rc = http1_parse_request(p + rc, sizeof(two) - 1 - (size_t)rc, &resume, NULL, &request);
    assert_int_equal(rc, (sizeof(two) - 1) / 2);
    assert_span(&request, request.path, "/2");
}

/*
 * A peer that sends byte by byte must not make us read all of the head again for each byte. The
 * pages that were read are taken away while the line goes on: whoever looks back crashes.
 */
static void what_was_scanned_is_not_read_again(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct http1_limits limits = {.head_bytes = (uint32_t)page * 8};
    struct http1_request request = {.fields = {.row = rows, .capacity = 4}};
    struct http1_resume resume = {0, 0, 0};
    uint8_t *p = mmap(NULL, page * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    size_t have;

    assert_true(p != MAP_FAILED);
    memset(p, 'v', page * 4);
    memcpy(p, start, sizeof(start) - 1);
    assert_int_equal(http1_parse_request(p, page * 2, &resume, &limits, &request), 0);
    assert_int_equal(mprotect(p, page * 2, PROT_NONE), 0);
    for (have = page * 2 + 1; have <= page * 3; have++)
        assert_int_equal(http1_parse_request(p, have, &resume, &limits, &request), 0);
    assert_int_equal(mprotect(p, page * 2, PROT_READ | PROT_WRITE), 0);
    memcpy(p + page * 3, "\r\n\r\n", 4);
    assert_int_equal(http1_parse_request(p, page * 3 + 4, &resume, &limits, &request),
                     page * 3 + 4);
    assert_int_equal(request.fields.row[1].value_length, page * 3 - (sizeof(start) - 1));
    munmap(p, page * 4);
}

static void refusals_have_rows(void **state)
{
    for (int refusal = 1; refusal < HTTP1_REFUSALS; refusal++) {
        const struct http1_refusal_row *row = http1_refusal_row(-refusal);

        assert_ptr_equal(row, http1_refusal_row(refusal));
        assert_true(strlen(row->name) > 3 && strlen(row->text) > 10);
        assert_true(row->status >= 400 && row->status < 600);
    }
    assert_non_null(strstr(http1_refusal_row(HTTP1_BARE_LF)->text, "nc use -C"));
    assert_non_null(http1_refusal_row(-10000)->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_of_a_request),
        cmocka_unit_test(forms_of_a_target),
        cmocka_unit_test(who_may_stay),
        cmocka_unit_test(an_expectation_counts_only_with_a_body_and_from_1_1),
        cmocka_unit_test(a_request_with_an_unknown_expectation_can_be_used),
        cmocka_unit_test(offsets_outlive_a_copy),
        cmocka_unit_test(storage_bounds_the_number_of_fields),
        cmocka_unit_test(limits_hold_to_the_byte),
        cmocka_unit_test(a_name_beyond_16_bits_is_refused),
        cmocka_unit_test(resume_is_ready_for_the_next_request),
        cmocka_unit_test(what_was_scanned_is_not_read_again),
        cmocka_unit_test(refusals_have_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proto/http1.h"
#include "proto/http1_engine.h"

/* One response head and what it must give; cut at every byte it must give the same. */
struct row {
    const char *head;
    int refusal; /* or HTTP1_ACCEPTED, and then: */
    enum http_method method;
    uint16_t status;
    enum http1_body_kind body;
    bool keep_alive;
    uint64_t length;
};

#define OK       HTTP1_ACCEPTED
#define NONE     HTTP1_BODY_NONE
#define LENGTH   HTTP1_BODY_LENGTH
#define CHUNKED  HTTP1_BODY_CHUNKED
#define TO_CLOSE HTTP1_BODY_UNTIL_CLOSE

static const struct row table[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 200, LENGTH, true, 5},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", OK, HTTP_GET, 200, NONE, true, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", OK, HTTP_GET, 200, CHUNKED, true, 0},
    {"HTTP/1.1 200 OK\r\n\r\n", OK, HTTP_GET, 200, TO_CLOSE, false, 0},
    {"HTTP/1.0 200 OK\r\n\r\n", OK, HTTP_GET, 200, TO_CLOSE, false, 0},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 200, LENGTH, false, 5},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 200,
     LENGTH, true, 5},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 200, LENGTH,
     false, 5},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", OK, HTTP_HEAD, 200, NONE, true, 5},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", OK, HTTP_HEAD, 200, NONE, true, 0},
    {"HTTP/1.1 200 OK\r\n\r\n", OK, HTTP_HEAD, 200, NONE, true, 0},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 304, NONE, true, 5},
    {"HTTP/1.1 204 No Content\r\n\r\n", OK, HTTP_GET, 204, NONE, true, 0},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", OK, HTTP_GET, 204, NONE, true, 0},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", HTTP1_FORBIDDEN_BODY, HTTP_GET, 0, 0,
     0, 0},
    {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_FORBIDDEN_BODY,
     HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 100 Continue\r\n\r\n", OK, HTTP_GET, 100, NONE, true, 0},
    {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", OK, HTTP_GET, 103, NONE, true, 0},
    {"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n", HTTP1_FORBIDDEN_BODY, HTTP_GET, 0, 0, 0,
     0},
    {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", OK, HTTP_GET,
     101, NONE, false, 0},
    {"HTTP/1.1 200 OK\r\n\r\n", OK, HTTP_CONNECT, 200, NONE, false, 0},
    {"HTTP/1.1 204 OK\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", OK, HTTP_CONNECT, 204,
     NONE, false, 0},
    {"HTTP/1.1 407 Who\r\nContent-Length: 5\r\n\r\n", OK, HTTP_CONNECT, 407, LENGTH, true, 5},
    {"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 200, LENGTH, true, 5},
    {"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 200, LENGTH, true, 5},
    {"HTTP/1.1 599 \xc3\xa4 \t x\r\nContent-Length: 5\r\n\r\n", OK, HTTP_GET, 599, LENGTH, true, 5},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     HTTP1_BOTH_LENGTHS, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HTTP1_REPEATED_LENGTH,
     HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", HTTP1_BAD_LENGTH, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HTTP1_UNKNOWN_CODING, HTTP_GET,
     0, 0, 0, 0},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_CODING_IN_1_0, HTTP_GET, 0, 0,
     0, 0},
    {"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n", HTTP1_BARE_LF, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200\nContent-Length: 5\r\n\r\n", HTTP1_BARE_LF, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 OK\rX\r\n\r\n", HTTP1_BARE_CR, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 O\x01K\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1  200 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 20 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 2000 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 099 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 600 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 +20 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.2 200 OK\r\n\r\n", HTTP1_BAD_VERSION, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/2.0 200 OK\r\n\r\n", HTTP1_BAD_VERSION, HTTP_GET, 0, 0, 0, 0},
    {"ICY 200 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"http/1.1 200 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"\r\nHTTP/1.1 200 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"220 mail.example ESMTP\r\n\r\n", HTTP1_BAD_STATUS_LINE, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", HTTP1_SPACE_BEFORE_COLON, HTTP_GET, 0, 0, 0, 0},
    {"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", HTTP1_FOLDED, HTTP_GET, 0, 0, 0, 0},
};

static void check(const struct row *row)
{
    size_t n = strlen(row->head);

    for (size_t cut = 0; cut <= n; cut++) {
        struct http1_field rows[8];
        struct http1_response response;
        struct http1_resume resume = {0, 0, 0};
        const uint8_t *p = (const uint8_t *)row->head;
        ssize_t rc;

        memset(&response, 0xff, sizeof(response));
        response.fields.row = rows;
        response.fields.capacity = 8;
        rc = http1_parse_response(p, cut, &resume, NULL, row->method, &response);
        if (rc == 0)
            rc = http1_parse_response(p, n, &resume, NULL, row->method, &response);
        if (rc != (row->refusal ? -(ssize_t)row->refusal : (ssize_t)n))
            fail_msg("%s: %s at cut %zu", row->head, http1_refusal_row(rc < 0 ? rc : 0)->name, cut);
        if (row->refusal)
            continue;
        assert_int_equal(response.status, row->status);
        assert_int_equal(response.body, row->body);
        assert_int_equal(response.keep_alive, row->keep_alive);
        assert_int_equal(response.content_length, row->length);
        assert_int_equal(response.interim, row->status < 200 && row->status != 101);
        assert_int_equal(response.head_bytes, n);
    }
}

static void responses(void **state)
{
    for (int i = 0; http1_engines[i]; i++) {
        if (!http1_engines[i]->usable())
            continue;
        http1_engine_use(http1_engines[i]);
        for (size_t k = 0; k < sizeof(table) / sizeof(*table); k++)
            check(&table[k]);
    }
    http1_engine_use(NULL);
}

static void a_nul_in_the_reason_is_refused(void **state)
{
    static const char head[] = "HTTP/1.1 200 O\0K\r\n\r\n";
    struct http1_field rows[8];
    struct http1_response response = {.fields = {.row = rows, .capacity = 8}};
    struct http1_resume resume = {0, 0, 0};

    assert_int_equal(http1_parse_response((const uint8_t *)head, sizeof(head) - 1, &resume, NULL,
                                          HTTP_GET, &response),
                     -HTTP1_BAD_STATUS_LINE);
}

static void the_status_line_has_its_limit(void **state)
{
    static const char head[] = "HTTP/1.1 200 abcdefghij\r\n\r\n";

    for (uint32_t most = 14; most < 30; most++) {
        struct http1_limits limits = {.line_bytes = most};
        struct http1_field rows[8];
        struct http1_response response = {.fields = {.row = rows, .capacity = 8}};
        struct http1_resume resume = {0, 0, 0};
        ssize_t rc = 0;

        for (size_t have = 0; rc == 0 && have < sizeof(head); have++)
            rc = http1_parse_response((const uint8_t *)head, have, &resume, &limits, HTTP_GET,
                                      &response);
        assert_int_equal(rc, most < 23 ? -HTTP1_LINE_TOO_LONG : (ssize_t)sizeof(head) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses),
        cmocka_unit_test(a_nul_in_the_reason_is_refused),
        cmocka_unit_test(the_status_line_has_its_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

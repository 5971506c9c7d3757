#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http1_reply_cuts.h"

#include "base/alloc.h"
#include "proto/http1_engine.h"

/* A stream of answers, and what it must give whatever its cuts. */
struct row {
    const char *stream;
    const char *statuses; /* "200 204", each followed by ! where the connection ends with it */
    uint64_t bytes;       /* of all bodies */
    enum http_method method;
    int refusal;
    int cut; /* http1_reply_cut at the end of the stream */
};

#define HEAD "HTTP/1.1 200 OK\r\n"

static const struct row table[] = {
    {HEAD "Content-Length: 5\r\n\r\nhello", "200", 5, HTTP_GET, 0, 0},
    {HEAD "Content-Length: 0\r\n\r\n" HEAD "Content-Length: 2\r\n\r\nab", "200 200", 2, HTTP_GET, 0,
     0},
    {HEAD "Content-Length: 5\r\n\r\n" HEAD "Content-Length: 7\r\n\r\n", "200 200", 0, HTTP_HEAD, 0,
     0},
    {HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n" HEAD
          "Content-Length: 1\r\n\r\nz",
     "200 200", 14, HTTP_GET, 0, 0},
    {HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 17\r\nETag: 1\r\n\r\n" HEAD
          "Content-Length: 1\r\n\r\nz",
     "200 200", 2, HTTP_GET, 0, 0},
    {"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" HEAD
     "Content-Length: 1\r\n\r\nz",
     "204 304 200", 1, HTTP_GET, 0, 0},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" HEAD
     "Content-Length: 1\r\n\r\nz",
     "200", 1, HTTP_GET, 0, 0},
    {HEAD "\r\nuntil the end", "200!", 13, HTTP_GET, 0, 1},
    {HEAD "Connection: close\r\nContent-Length: 1\r\n\r\nzmore", "200!", 1, HTTP_GET, 0, 0},
    {HEAD "Content-Length: 5\r\n\r\nhell", "", 4, HTTP_GET, 0, -HTTP1_BODY_CUT},
    {HEAD "Content-Len", "", 0, HTTP_GET, 0, -HTTP1_BODY_CUT},
    {"HTTP/1.1 100 Continue\r\n\r\n", "", 0, HTTP_GET, 0, -HTTP1_BODY_CUT},
    {HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum", "", 1, HTTP_GET, 0,
     -HTTP1_BODY_CUT},
    {HEAD "Content-Length: 1\r\n\r\nzHTTP/1.1 20", "200", 1, HTTP_GET, 0, -HTTP1_BODY_CUT},
    {HEAD "Content-Length: 1\r\n\r\nzrubbish\r\n\r\n", "200", 1, HTTP_GET, -HTTP1_BAD_STATUS_LINE,
     0},
    {HEAD "Transfer-Encoding: chunked\r\n\r\nG\r\n", "", 0, HTTP_GET, -HTTP1_BAD_CHUNK_SIZE, 0},
    {HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n", "", 0, HTTP_GET,
     -HTTP1_FORBIDDEN_TRAILER, 0},
    {HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "", 0, HTTP_GET,
     -HTTP1_BOTH_LENGTHS, 0},
};

static void check(const struct row *row, size_t first, size_t step, struct http1_reply_memo *memo)
{
    struct replies got;
    char statuses[128] = "";
    uint64_t bytes;

    replies_read((const uint8_t *)row->stream, strlen(row->stream), first, step, row->method, memo,
                 &got);
    bytes = got.tail;
    for (unsigned i = 0; i < got.count; i++) {
        sprintf(statuses + strlen(statuses), "%s%u%s", i != 0 ? " " : "", got.row[i].status,
                got.row[i].keep_alive ? "" : "!");
        bytes += got.row[i].bytes;
    }
    if (strcmp(statuses, row->statuses) != 0 || bytes != row->bytes ||
        got.refusal != row->refusal || got.cut != row->cut)
        fail_msg("%s\nin parts of %zu, then %zu: answers \"%s\", %u bytes, refusal %d, cut %d",
                 row->stream, first, step, statuses, (unsigned)bytes, (int)got.refusal, got.cut);
}

static void every_cut_gives_the_same(void **state)
{
    for (int i = 0; http1_engines[i] != NULL; i++) {
        if (!http1_engines[i]->usable())
            continue;
        http1_engine_use(http1_engines[i]);
        for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
            struct http1_reply_memo memo = {0};
            size_t n = strlen(table[k].stream);

            for (size_t first = 0; first <= n; first++)
                check(&table[k], first, n, NULL);
            for (size_t step = 1; step <= n; step++)
                check(&table[k], step, step, &memo);
        }
    }
    http1_engine_use(NULL);
}

/* The memory of a head must not answer for another method, nor for a longer head. */
static void a_remembered_head_is_that_head_only(void **state)
{
    static const char get[] = HEAD "Content-Length: 3\r\n\r\nabc",
                      other[] = HEAD "Content-Length: 3\r\nX: y\r\n\r\nabc";
    struct http1_reply_memo memo = {0};
    struct replies got;

    replies_read((const uint8_t *)get, sizeof get - 1, sizeof get, 1, HTTP_GET, &memo, &got);
    assert_int_equal(got.row[0].bytes, 3);
    assert_int_not_equal(memo.bytes, 0);
    replies_read((const uint8_t *)get, sizeof get - 4, sizeof get, 1, HTTP_HEAD, &memo, &got);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.row[0].bytes, 0);
    replies_read((const uint8_t *)get, sizeof get - 1, sizeof get, 1, HTTP_GET, &memo, &got);
    replies_read((const uint8_t *)other, sizeof other - 1, sizeof other, 1, HTTP_GET, &memo, &got);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.row[0].bytes, 3);
}

static void heads_have_their_limit(void **state)
{
    static char stream[HTTP1_HEAD_BYTES + 100];
    struct replies got;

    memcpy(stream, HEAD "X: ", sizeof HEAD + 2);
    memset(stream + sizeof HEAD + 2, 'a', sizeof stream - sizeof HEAD - 2);
    for (size_t step = 1; step < sizeof stream; step = step * 7 + 1) {
        replies_read((const uint8_t *)stream, sizeof stream, step, step, HTTP_GET, NULL, &got);
        assert_int_equal(got.refusal, -HTTP1_HEAD_TOO_LARGE);
    }
}

static void interim_heads_have_their_limit(void **state)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n",
                      last[] = HEAD "Content-Length: 0\r\n\r\n";
    static char stream[(HTTP1_REPLY_INTERIM_MAX + 2) * sizeof interim + sizeof last];
    struct replies got;

    for (unsigned count = HTTP1_REPLY_INTERIM_MAX; count <= HTTP1_REPLY_INTERIM_MAX + 1; count++) {
        stream[0] = '\0';
        for (unsigned i = 0; i < count; i++)
            strcat(stream, interim);
        strcat(stream, last);
        replies_read((const uint8_t *)stream, strlen(stream), 7, 61, HTTP_GET, NULL, &got);
        assert_int_equal(got.refusal, count > HTTP1_REPLY_INTERIM_MAX ? -HTTP1_HEAD_TOO_LARGE : 0);
    }
}

static void no_memory_is_an_error(void **state)
{
    static const char part[] = HEAD "Content-";
    struct http1_reply reply = {0};
    struct http1_reply_piece piece;
    uint64_t live = weir__alloc_live();

    weir__alloc_fail_at(1);
    assert_int_equal(
        http1_reply_next(&reply, NULL, (const uint8_t *)part, sizeof part - 1, HTTP_GET, &piece),
        -HTTP1_REFUSALS);
    assert_int_equal(weir__alloc_fail_at(0), 0);
    http1_reply_end(&reply);
    assert_int_equal(weir__alloc_live(), live);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(a_remembered_head_is_that_head_only),
        cmocka_unit_test(heads_have_their_limit),
        cmocka_unit_test(interim_heads_have_their_limit),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Answers byte by byte: status line, fields in their order, framing, for each method and version.
 */
#include "http_harness.h"

static struct harness harness;

static void whole(weir_exchange x, void *user)
{
    assert_int_equal(weir_http_respond(x, 200, "text/plain", weir_str("body")), 0);
}

static void empty(weir_exchange x, void *user)
{
    assert_int_equal(weir_http_respond(x, 200, NULL, weir_bytes(NULL, 0)), 0);
}

static void status(weir_exchange x, void *user)
{
    unsigned number = (unsigned)atoi(weir_http_param(x, "n"));
    assert_int_equal(weir_http_respond(x, number, "text/plain", weir_str("body")), 0);
}

static void chunked(weir_exchange x, void *user)
{
    assert_int_equal(weir_http_begin(x, 200, "text/plain", -1), 0);
    assert_int_equal(weir_http_write(x, weir_str("first"), WEIR_NEVER), 0);
    assert_int_equal(weir_http_write(x, weir_bytes(NULL, 0), WEIR_NEVER), 0); /* not the end */
    assert_int_equal(weir_http_write(x, weir_str("a second piece"), WEIR_NEVER), 0);
    if (user != NULL) {
        int expected = weir_http_trailer(x, "Date", "x") == WEIR_EMISUSE ? WEIR_EMISUSE : 0;
        assert_int_equal(weir_http_trailer(x, "X-B", "2"), expected);
        assert_int_equal(weir_http_trailer(x, "X-A", "1"), expected);
        assert_true(weir_http_trailer(x, "X A", "1") < 0);
    }
    assert_int_equal(weir_http_end(x), 0);
    assert_int_equal(weir_http_end(x), WEIR_EMISUSE);
    assert_int_equal(weir_http_write(x, weir_str("more"), WEIR_NEVER), WEIR_EMISUSE);
}

static void measured(weir_exchange x, void *user)
{
    assert_int_equal(weir_http_begin(x, 200, "text/plain", 7), 0);
    assert_int_equal(weir_http_begin(x, 200, "text/plain", 7), WEIR_EMISUSE);
    assert_int_equal(weir_http_respond(x, 200, NULL, weir_str("")), WEIR_EMISUSE);
    assert_int_equal(weir_http_set(x, "X", "y"), WEIR_EMISUSE);
    assert_int_equal(weir_http_write(x, weir_str("one "), WEIR_NEVER), 0);
    bool head = weir_http_method(x).size == 4;
    assert_int_equal(weir_http_write(x, weir_str("more"), WEIR_NEVER), head ? 0 : WEIR_ETOOBIG);
    assert_int_equal(weir_http_write(x, weir_str("two"), WEIR_NEVER), 0);
    assert_int_equal(weir_http_trailer(x, "X", "y"), WEIR_EMISUSE);
    assert_int_equal(weir_http_end(x), 0);
}

static void fields(weir_exchange x, void *user)
{
    assert_int_equal(weir_http_set(x, "Set-Cookie", "a=1"), 0);
    assert_int_equal(weir_http_set(x, "Set-Cookie", "b=2"), 0);
    assert_int_equal(weir_http_set(x, "X-Empty", ""), 0);
    assert_int_equal(weir_http_set(x, "X", "a\r\nY: b"), WEIR_EINVALID);
    assert_int_equal(weir_http_set(x, "CONTENT-LENGTH", "5"), WEIR_EINVALID);
    assert_int_equal(weir_http_set(x, "X:Y", "5"), WEIR_EINVALID);
    assert_int_equal(weir_http_set(x, NULL, "5"), WEIR_EINVALID);
    assert_int_equal(weir_http_set(x, "X", NULL), WEIR_EINVALID);
    assert_int_equal(weir_http_respond(x, 200, "a\r\nb: c", weir_str("")), WEIR_EINVALID);
    assert_int_equal(weir_http_respond(x, 200, "", weir_str("")), WEIR_EINVALID);
    assert_int_equal(weir_http_respond(x, 199, NULL, weir_str("")), WEIR_EINVALID);
    assert_int_equal(weir_http_respond(x, 1000, NULL, weir_str("")), WEIR_EINVALID);
    assert_int_equal(weir_http_respond(x, 200, "text/plain", weir_str("x")), 0);
}

/* Types that are like one another, one after the other: none is taken for another. */
static void types(weir_exchange x, void *user)
{
    assert_int_equal(weir_http_respond(x, 200, weir_http_query_value(x, "t"), weir_str("")), 0);
}

static unsigned written;

/* Goes on for as long as its client takes it. */
static void endless(weir_exchange x, void *user)
{
    static const char piece[60000] = "piece";
    weir_http_begin(x, 200, "text/plain", -1);
    while (weir_http_write(x, weir_bytes(piece, sizeof(piece)), WEIR_NEVER) >= 0)
        written++;
}

static int add_routes(weir_http_app *app)
{
    int result = weir_http_get(app, "/whole", whole, NULL);
    result += weir_http_get(app, "/empty", empty, NULL);
    result += weir_http_get(app, "/status/{n}", status, NULL);
    result += weir_http_get(app, "/chunked", chunked, NULL);
    result += weir_http_get(app, "/trailers", chunked, &harness);
    result += weir_http_get(app, "/measured", measured, NULL);
    result += weir_http_get(app, "/fields", fields, NULL);
    result += weir_http_get(app, "/types", types, NULL);
    result += weir_http_get(app, "/endless", endless, NULL);
    return result;
}

/* Everything but the date, which has to be there once in each head, behind the status line. */
static void without_dates(char *text)
{
    char *at = text;
    while ((at = strstr(at, "\r\nDate: ")) != NULL) {
        char *end = strstr(at + 2, " GMT\r\n");
        assert_non_null(end);
        assert_int_equal(end + 4 - at, 2 + 6 + 29);
        memmove(at, end + 4, strlen(end + 4) + 1);
    }
    assert_null(strstr(text, "Date:"));
}

static void check(const char *request, const char *expected, bool ends)
{
    static struct heard heard;
    int fd = harness_connect(&harness, NULL);
    harness_talk(&harness, fd, request, strlen(request), &heard);
    without_dates(heard.text);
    assert_string_equal(heard.text, expected);
    assert_int_equal(heard.ended, ends);
    assert_false(heard.reset);
    close(fd);
}

#define GET(path)      "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define HEAD(path)     "HEAD " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define OLD(path)      "GET " path " HTTP/1.0\r\n\r\n"
#define OLD_KEPT(path) "GET " path " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
#define LAST(path)     "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define OK             "HTTP/1.1 200 OK\r\nServer: me\r\nX-All: 1\r\n"
#define TYPED          OK "Content-Type: text/plain\r\n"
#define KEPT           "Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n"
#define CLOSED         "Connection: close\r\n\r\n"

static void whole_answers(void **state)
{
    check(GET("/whole"), TYPED "Content-Length: 4\r\n" KEPT "body", false);
    check(HEAD("/whole"), TYPED "Content-Length: 4\r\n" KEPT, false);
    check(LAST("/whole"), TYPED "Content-Length: 4\r\n" CLOSED "body", true);
    check(OLD("/whole"), TYPED "Content-Length: 4\r\n" CLOSED "body", true);
    check(OLD_KEPT("/whole"), TYPED "Content-Length: 4\r\n" KEPT "body", false);
    check(GET("/empty"), OK "Content-Length: 0\r\n" KEPT, false);
    check(GET("/whole") HEAD("/whole") GET("/empty") LAST("/whole") GET("/whole"),
          TYPED "Content-Length: 4\r\n" KEPT "body" TYPED "Content-Length: 4\r\n" KEPT OK
                "Content-Length: 0\r\n" KEPT TYPED "Content-Length: 4\r\n" CLOSED "body",
          true);
}

static void statuses(void **state)
{
#define LINE(text) "HTTP/1.1 " text "\r\nServer: me\r\nX-All: 1\r\nContent-Type: text/plain\r\n"
    check(GET("/status/204"), LINE("204 No Content") KEPT, false);
    check(GET("/status/304"), LINE("304 Not Modified") KEPT, false);
    check(GET("/status/205"), LINE("205 Reset Content") "Content-Length: 0\r\n" KEPT, false);
    check(GET("/status/404"), LINE("404 Not Found") "Content-Length: 4\r\n" KEPT "body", false);
    check(GET("/status/299"), LINE("299 ") "Content-Length: 4\r\n" KEPT "body", false);
    check(GET("/status/999"), LINE("999 ") "Content-Length: 4\r\n" KEPT "body", false);
    check(HEAD("/status/204"), LINE("204 No Content") KEPT, false);
    check(OLD("/status/204"), LINE("204 No Content") CLOSED, true);
}

static void streamed_answers(void **state)
{
    const char *chunks = "5\r\nfirst\r\ne\r\na second piece\r\n0\r\n";
    char expected[1024];

    snprintf(expected, sizeof(expected), TYPED "Transfer-Encoding: chunked\r\n" KEPT "%s\r\n",
             chunks);
    check(GET("/chunked"), expected, false);
    snprintf(expected, sizeof(expected), TYPED "Transfer-Encoding: chunked\r\n" CLOSED "%s\r\n",
             chunks);
    check(LAST("/chunked"), expected, true);
    snprintf(expected, sizeof(expected),
             TYPED "Transfer-Encoding: chunked\r\n" KEPT "%sX-B: 2\r\nX-A: 1\r\n\r\n", chunks);
    check(GET("/trailers"), expected, false);
    check(HEAD("/chunked"), TYPED "Transfer-Encoding: chunked\r\n" KEPT, false);
    check(HEAD("/trailers"), TYPED "Transfer-Encoding: chunked\r\n" KEPT, false);
    check(OLD("/chunked"), TYPED CLOSED "firsta second piece", true);
    check(OLD_KEPT("/trailers"), TYPED CLOSED "firsta second piece", true);
    check("HEAD /chunked HTTP/1.0\r\n\r\n", TYPED CLOSED, true);
    check(GET("/measured"), TYPED "Content-Length: 7\r\n" KEPT "one two", false);
    check(HEAD("/measured"), TYPED "Content-Length: 7\r\n" KEPT, false);
    check(OLD("/measured"), TYPED "Content-Length: 7\r\n" CLOSED "one two", true);
}

static void added_fields(void **state)
{
    check(GET("/fields"),
          TYPED "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty: \r\nContent-Length: 1\r\n" KEPT "x",
          false);
}

static void content_types(void **state)
{
    static const char *const given[] = {"a/b", "a/bc", "b", "a/b", "ca/b", "a/b; charset=x", "a/b"};
    for (size_t i = 0; i < COUNT(given); i++) {
        char request[256], expected[512];
        snprintf(request, sizeof(request), "GET /types?t=%s HTTP/1.1\r\nHost: x\r\n\r\n", given[i]);
        char *blank = strstr(request, "; ");
        if (blank != NULL)
            blank[1] = '+';
        snprintf(expected, sizeof(expected), OK "Content-Type: %s\r\nContent-Length: 0\r\n" KEPT,
                 given[i]);
        check(request, expected, false);
    }
}

/* A writer is woken once a turn, however quickly its client reads: others have their turns too. */
static void a_turns_share(void **state)
{
    static const char request[] = GET("/endless");
    static char sink[1 << 20];
    int fd = harness_connect(&harness, NULL);
    assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    for (int turn = 0; turn < 50; turn++) {
        unsigned before = written;
        assert_int_equal(weir_loop_turn(harness.loop, 0), 0);
        assert_true(written - before <= 4);
        while (recv(fd, sink, sizeof(sink), 0) > 0)
            ;
    }
    assert_true(written > 40);
    close(fd);
    struct heard *heard = calloc(1, sizeof(*heard)); /* the loop sees that it is gone */
    fd = harness_connect(&harness, NULL);
    harness_talk(&harness, fd, "x", 1, heard);
    free(heard);
    close(fd);
}

static int begin(void **state)
{
    static const char *const headers[] = {"X-All: 1", NULL};
    weir_http_options options = {.server_name = "me", .headers = headers};
    return harness_begin(&harness, &options, add_routes);
}

static int end(void **state)
{
    harness_end(&harness);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers),    cmocka_unit_test(statuses),
        cmocka_unit_test(streamed_answers), cmocka_unit_test(added_fields),
        cmocka_unit_test(content_types),    cmocka_unit_test(a_turns_share),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

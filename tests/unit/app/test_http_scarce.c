/* Memory fails at each place in turn, once and for good, while requests of all kinds are served:
 * nothing breaks, nothing is lost, and when there is memory again the server serves as before. */
#include "http_harness.h"

/* Fails calls from `from` on, as many as `failures`. Counts what is alive. */
static struct {
    bool on;
    unsigned long calls, from, failures;
    long living;
} memory;

static bool fails(void)
{
    return memory.on && ++memory.calls >= memory.from &&
           memory.calls - memory.from < memory.failures;
}

static void *hook_alloc(size_t size, void *arg)
{
    void *memory_new = fails() ? NULL : malloc(size);
    memory.living += memory_new != NULL;
    return memory_new;
}

static void *hook_realloc(void *old, size_t size, void *arg)
{
    void *grown = fails() ? NULL : realloc(old, size);
    memory.living += grown != NULL && old == NULL;
    return grown;
}

static void hook_free(void *old, void *arg)
{
    memory.living -= old != NULL;
    free(old);
}

static unsigned lent, released, pulled, told;

static void give_back(const void *data, size_t size, void *arg)
{
    released++;
}

static void own(weir_exchange x, void *user)
{
    static const char text[2000] = "own";
    lent++;
    weir_http_respond(x, 200, "text/plain", weir_own(text, sizeof(text), give_back, NULL));
}

static void hello(weir_exchange x, void *user)
{
    weir_http_set(x, "X-Long", weir_http_param(x, "name"));
    weir_http_text(x, 200, "%s %s", weir_http_param(x, "name"), weir_http_query_value(x, "q"));
}

static void stream(weir_exchange x, void *user)
{
    static const char text[3000] = "stream";
    int result = weir_http_begin(x, 200, "text/plain", -1);
    for (int i = 0; i < 60 && result >= 0; i++)
        result = weir_http_write(x, weir_bytes(text, sizeof(text)), WEIR_NEVER);
    if (result >= 0)
        weir_http_trailer(x, "X", "y");
    if (result >= 0)
        weir_http_end(x);
}

static ssize_t pull(weir_conn conn, void *data, size_t size, void *arg)
{
    unsigned *left = arg;
    if (data == NULL) {
        told++;
        return 0;
    }
    if (*left == 0)
        return 0;
    memset(data, 'p', 100);
    --*left;
    return 100;
}

static void source(weir_exchange x, void *user)
{
    static unsigned left;
    left = 5;
    pulled++;
    if (weir_http_pull(x, 200, "text/plain", -1, pull, &left) < 0)
        pulled--;
}

static void nap(weir_exchange x, void *user)
{
    weir_sleep(weir_after(WEIR_MS));
    weir_view piece;
    size_t total = 0;
    while (weir_http_read(x, &piece, weir_after(WEIR_S)) > 0)
        total += piece.size;
    weir_http_text(x, 200, "%zu", total);
}

static void body_piece(weir_exchange x, weir_view data, int error, void *arg)
{
    if (data.size == 0)
        weir_http_text(x, error == 0 ? 200 : 400, "called");
}

static void called(weir_exchange x, void *user)
{
    if (weir_http_on_body(x, body_piece, NULL) < 0)
        weir_http_text(x, 500, "no");
}

static int add_routes(weir_http_app *app)
{
    static const struct {
        const char *method, *pattern;
        weir_http_fn *fn;
        unsigned flags;
    } routes[] = {
        {"GET", "/own", own, 0},
        {"GET", "/hello/{name}", hello, 0},
        {"GET", "/stream", stream, 0},
        {"GET", "/source", source, 0},
        {"POST", "/nap", nap, 0},
        {"POST", "/called", called, WEIR_HTTP_PLAIN},
        {"GET", "/source/plain", source, WEIR_HTTP_PLAIN},
    };
    int result = 0;
    for (size_t i = 0; i < COUNT(routes) && result == 0; i++)
        result = weir_http_route(app, routes[i].method, routes[i].pattern, routes[i].fn, NULL,
                                 routes[i].flags);
    return result;
}

static char requests[8][8192];

static void requests_make(void)
{
    static char name[3001], chunk[2001];
    memset(name, 'n', sizeof(name) - 1);
    memset(chunk, 'c', sizeof(chunk) - 1);
#define REQUEST(i, ...) snprintf(requests[i], sizeof(requests[i]), __VA_ARGS__)
    REQUEST(0, "GET /hello/%s?q=%s HTTP/1.1\r\nHost: x\r\n\r\n", name, chunk);
    REQUEST(1, "GET /own HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    REQUEST(2, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    REQUEST(3,
            "GET /source HTTP/1.1\r\nHost: x\r\n\r\nGET /source/plain HTTP/1.1\r\nHost: x\r\n\r\n");
    REQUEST(4, "POST /nap HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n%s", chunk);
    REQUEST(5,
            "POST /called HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "7d0\r\n%s\r\n0\r\n\r\n",
            chunk);
    REQUEST(6, "POST /hello/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n%s", chunk);
    REQUEST(7, "GET /bad\n\n");
}

static void serve(struct harness *h)
{
    static struct heard heard;
    for (size_t i = 0; i < COUNT(requests); i++) {
        int fd = harness_connect(h, NULL);
        harness_talk(h, fd, requests[i], strlen(requests[i]), &heard);
        close(fd);
    }
}

/* All is as it should be, when there is memory. */
static void serves_well(struct harness *h)
{
    static const char *const expected[] = {"200", "200", "200", "200", "200", "200", "405", "400"};
    static struct heard heard;
    for (size_t i = 0; i < COUNT(requests); i++) {
        int fd = harness_connect(h, NULL);
        harness_talk(h, fd, requests[i], strlen(requests[i]), &heard);
        if (heard.size < 12 || memcmp(heard.text + 9, expected[i], 3) != 0)
            fail_msg("request %zu: %s", i, heard.text);
        close(fd);
    }
}

static void memory_fails(unsigned long failures)
{
    struct harness h;
    unsigned long from = 0;
    do {
        from++;
        long before = memory.living;
        assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
        memory.calls = 0;
        memory.from = from;
        memory.failures = failures;
        memory.on = true;
        serve(&h);
        memory.on = false;
        serves_well(&h);
        harness_end(&h);
        assert_int_equal(lent, released);
        assert_int_equal(pulled, told);
        assert_int_equal(memory.living, before);
    } while (memory.calls >= from);
    printf("%lu places\n", from - 1);
    assert_true(from > 10);
}

static void fails_once(void **state)
{
    memory_fails(1);
}

static void fails_for_good(void **state)
{
    memory_fails(1000000);
}

/* Also while the server begins: then it does not, and nothing is left over. */
static void fails_at_the_beginning(void **state)
{
    struct harness h;
    unsigned long from = 0;
    int result;
    do {
        long before = memory.living;
        memory.calls = 0;
        memory.from = ++from;
        memory.failures = 1;
        memory.on = true;
        result = harness_begin(&h, NULL, add_routes);
        memory.on = false;
        if (result == 0) {
            serves_well(&h);
            harness_end(&h);
        }
        assert_int_equal(memory.living, before);
    } while (memory.calls >= from);
    printf("%lu places\n", from - 1);
    assert_true(from > 10);
}

static int quiet(void **state)
{
    requests_make();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fails_once),
        cmocka_unit_test(fails_for_good),
        cmocka_unit_test(fails_at_the_beginning),
    };
    const weir_allocator allocator = {hook_alloc, hook_realloc, hook_free, NULL};
    if (weir_set_allocator(&allocator) < 0)
        return 1;
    return cmocka_run_group_tests(tests, quiet, NULL);
}

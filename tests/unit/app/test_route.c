/* Routes: what beats what, parameters, conflicts, methods, depth, and paths that mean no good. */
#include "app_test.h"

#include <weir/error.h>

#include "app/http/server.h"

static void handler(weir_exchange x, void *user)
{
}

/* An exchange as far as a search for its route needs one: a request, an arena, a place for fields.
 */
struct asked {
    struct http_server server;
    weir_loop *loop;
    struct exchange x;
    struct room room;
    int status;
};

static weir_loop *loop;

static int loop_begin(void **state)
{
    return weir_loop_new(&loop, NULL);
}

static int loop_end(void **state)
{
    weir_loop_free(loop);
    return 0;
}

static void asked_end(struct asked *a)
{
    struct memory *memory = &loop->memory;
    while (a->x.more != NULL) {
        struct arena_more *next = a->x.more->next;
        memory_give(memory, a->x.more, a->x.more->room);
        a->x.more = next;
    }
    if (a->x.fields != a->room.fields)
        memory_give(memory, a->x.fields, a->x.fields_room);
}

/* Parses and looks up: the status, 0 for a handler. */
static int ask(struct route_node *tree, const char *method, const char *target, struct asked *a)
{
    static char head[65536];
    struct http1_resume resume = {0};
    struct http1_limits limits = {.line_bytes = 60000, .head_bytes = 65000};

    memset(a, 0, sizeof(*a));
    a->server.loop = loop;
    a->x.server = &a->server;
    a->x.room = &a->room;
    a->x.fields = a->room.fields;
    a->x.fields_room = HTTP_FIELDS;
    a->x.request.fields.row = a->room.rows;
    a->x.request.fields.capacity = HTTP1_FIELDS;
    int size = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: x:80\r\n\r\n", method, target);
    assert_true(size > 0 && (size_t)size < sizeof(head));
    assert_int_equal(
        http1_parse_request((const uint8_t *)head, (size_t)size, &resume, &limits, &a->x.request),
        size);
    a->status = route_find(tree, &a->x);
    return a->status;
}

static int add(struct route_node *tree, const char *method, const char *pattern, const char *user)
{
    struct route route = {handler, (void *)(uintptr_t)user, 0};
    return route_add(tree, method, pattern, route);
}

/* What a request leads to: the route's own text and the parameters, or the status. */
static void leads_to(struct route_node *tree, const char *method, const char *target,
                     const char *expected)
{
    static char text[70000];
    struct asked a;

    if (ask(tree, method, target, &a) != 0) {
        size_t size = (size_t)snprintf(text, sizeof(text), "%d", a.status);
        if (a.x.fields_size != 0) /* "Allow: …" CR LF */
            snprintf(text + size, sizeof(text) - size, " %.*s", (int)a.x.fields_size - 9,
                     a.x.fields + 7);
    } else {
        size_t size = (size_t)snprintf(text, sizeof(text), "%s", (const char *)a.x.route.user);
        for (unsigned i = 0; i < a.x.param_count; i++) {
            const struct http_param *param = &a.room.params[i];
            assert_int_equal(param->value[-1], '/'); /* as who maps it to files wants it */
            size += (size_t)snprintf(text + size, sizeof(text) - size, " %s=%s", param->name,
                                     param->value);
        }
    }
    assert_string_equal(text, expected);
    asked_end(&a);
}

static void precedence(void **state)
{
    struct route_node *tree = route_tree_new();

    assert_int_equal(add(tree, "GET", "/", "root"), 0);
    assert_int_equal(add(tree, "GET", "/{all...}", "all"), 0);
    assert_int_equal(add(tree, "GET", "/users", "users"), 0);
    assert_int_equal(add(tree, "GET", "/users/", "slash"), 0);
    assert_int_equal(add(tree, "GET", "/users/me", "me"), 0);
    assert_int_equal(add(tree, "GET", "/users/{id}", "user"), 0);
    assert_int_equal(add(tree, "GET", "/users/{id}/posts/{post}", "post"), 0);
    assert_int_equal(add(tree, "GET", "/users/me/posts/last", "last"), 0);
    assert_int_equal(add(tree, "GET", "/users/{who}/files/{path...}", "files"), 0);

    leads_to(tree, "GET", "/", "root");
    leads_to(tree, "GET", "/x", "all all=x");
    leads_to(tree, "GET", "/users", "users");
    leads_to(tree, "GET", "/users/", "slash");
    leads_to(tree, "GET", "/users/me", "me");
    leads_to(tree, "GET", "/users/me2", "user id=me2");
    leads_to(tree, "GET", "/users/7", "user id=7");
    leads_to(tree, "GET", "/users/7/posts/9", "post id=7 post=9");
    /* What begins as a literal may end as a parameter. */
    leads_to(tree, "GET", "/users/me/posts/9", "post id=me post=9");
    leads_to(tree, "GET", "/users/me/posts/last", "last");
    leads_to(tree, "GET", "/users/7/files/a/b/c", "files who=7 path=a/b/c");
    leads_to(tree, "GET", "/users/7/files/", "files who=7 path=");
    leads_to(tree, "GET", "/users/7/files", "all all=users/7/files");
    leads_to(tree, "GET", "/users/7/posts", "all all=users/7/posts");
    leads_to(tree, "GET", "/users//posts/1", "all all=users//posts/1"); /* no empty parameters */
    leads_to(tree, "GET", "//", "all all=/");
    leads_to(tree, "GET", "/users?x=/users/me", "users");
    leads_to(tree, "GET", "http://x:80/users/me", "me");
    leads_to(tree, "GET", "http://x:80", "root");
    leads_to(tree, "GET", "http://x:80?q", "root");
    route_tree_free(tree);
}

static void decoding(void **state)
{
    struct route_node *tree = route_tree_new();

    assert_int_equal(add(tree, "GET", "/a b", "blank"), 0);
    assert_int_equal(add(tree, "GET", "/a%b", "percent"), 0);
    assert_int_equal(add(tree, "GET", "/caf\xc3\xa9", "utf8"), 0);
    assert_int_equal(add(tree, "GET", "/p/{x}", "param"), 0);
    assert_int_equal(add(tree, "GET", "/r/{x...}", "rest"), 0);

    leads_to(tree, "GET", "/a%20b", "blank");
    leads_to(tree, "GET", "/%61%20%62", "blank");
    leads_to(tree, "GET", "/a%25b", "percent");
    leads_to(tree, "GET", "/a%b", "400");
    leads_to(tree, "GET", "/caf%c3%A9", "utf8");
    leads_to(tree, "GET", "/a+b", "404");
    leads_to(tree, "GET", "/p/%2e%2e", "param x=..");
    leads_to(tree, "GET", "/p/a%2Fb", "param x=a/b"); /* an escaped slash parts nothing */
    leads_to(tree, "GET", "/p%2Fa", "404");
    leads_to(tree, "GET", "/p/a+b%2B", "param x=a+b+");
    leads_to(tree, "GET", "/%70/%25", "param x=%");
    leads_to(tree, "GET", "/r/a%20b//%41", "rest x=a b//A");
    leads_to(tree, "GET", "/p/..", "param x=..");
    /* Bad escapes and NUL, wherever they are. */
    leads_to(tree, "GET", "/p/%", "400");
    leads_to(tree, "GET", "/p/%4", "400");
    leads_to(tree, "GET", "/p/%4g", "400");
    leads_to(tree, "GET", "/p/%00", "400");
    leads_to(tree, "GET", "/r/a/%g0/b", "400");
    leads_to(tree, "GET", "/none/%zz", "400");
    leads_to(tree, "GET", "/a%20b%", "400");
    route_tree_free(tree);
}

static void methods(void **state)
{
    struct route_node *tree = route_tree_new();

    assert_int_equal(add(tree, "GET", "/g", "get"), 0);
    assert_int_equal(add(tree, "GET", "/h", "get"), 0);
    assert_int_equal(add(tree, "HEAD", "/h", "head"), 0);
    assert_int_equal(add(tree, "POST", "/p", "post"), 0);
    assert_int_equal(add(tree, "PURGE", "/p", "purge"), 0);
    assert_int_equal(add(tree, "purge", "/p", "small"), 0); /* methods have case */
    assert_int_equal(add(tree, "OPTIONS", "/o", "options"), 0);
    assert_int_equal(add(tree, "POST", "/u/{id}", "update"), 0);
    assert_int_equal(add(tree, "GET", "/u/me", "me"), 0);
    assert_int_equal(add(tree, "DELETE", "/u/{id...}", "delete"), 0);

    leads_to(tree, "HEAD", "/g", "get");
    leads_to(tree, "HEAD", "/h", "head");
    leads_to(tree, "POST", "/p", "post");
    leads_to(tree, "PURGE", "/p", "purge");
    leads_to(tree, "purge", "/p", "small");
    leads_to(tree, "PURG", "/p", "501");
    leads_to(tree, "OPTIONS", "/o", "options");
    leads_to(tree, "OPTIONS", "/g", "204 GET, HEAD, OPTIONS");
    leads_to(tree, "OPTIONS", "/none", "404");
    leads_to(tree, "OPTIONS", "*", "204 GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    leads_to(tree, "PUT", "/g", "405 GET, HEAD, OPTIONS");
    leads_to(tree, "GET", "/p", "405 POST, PURGE, purge, OPTIONS");
    leads_to(tree, "HEAD", "/p", "405 POST, PURGE, purge, OPTIONS");
    leads_to(tree, "GET", "/o", "405 OPTIONS");
    leads_to(tree, "get", "/g", "501");
    leads_to(tree, "TRACE", "/g", "501");
    /* A better match of another method is none; Allow names those of all that match. */
    leads_to(tree, "POST", "/u/me", "update id=me");
    leads_to(tree, "GET", "/u/me", "me");
    leads_to(tree, "DELETE", "/u/me", "delete id=me");
    leads_to(tree, "PUT", "/u/me", "405 GET, HEAD, POST, DELETE, OPTIONS");
    leads_to(tree, "GET", "/u/you", "405 POST, DELETE, OPTIONS");
    route_tree_free(tree);
}

static void connect_is_no_method(void **state)
{
    struct route_node *tree = route_tree_new();
    struct asked a;

    assert_int_equal(ask(tree, "CONNECT", "x:80", &a), 501);
    asked_end(&a);
    assert_int_equal(add(tree, "CONNECT", "/", "x"), WEIR_EINVALID);
    assert_int_equal(add(tree, "TRACE", "/", "x"), WEIR_EINVALID);
    route_tree_free(tree);
}

static void refused_patterns(void **state)
{
    static const char *const patterns[] = {
        "",         "x",      "{x}",     "/{",       "/}",          "/{}",
        "/{...}",   "/a{x}",  "/{x}a",   "/{x",      "/x}",         "/{x...}/a",
        "/{x...}/", "/{a b}", "/{a}{b}", "/{a}/{a}", "/{a}/{a...}", "/a?b",
        "/a#b",     "/%20",   "/a\nb",   "/a\x7f",   "/{x....}",    "/{{x}}",
    };
    static const char *const names[] = {"", " ", "GET ", "GE T", "GET\n", "G(T", "G\xc3\x89T"};
    struct route_node *tree = route_tree_new();
    char long_text[400];

    for (size_t i = 0; i < COUNT(patterns); i++)
        if (add(tree, "GET", patterns[i], "x") != WEIR_EINVALID)
            fail_msg("taken: %s", patterns[i]);
    for (size_t i = 0; i < COUNT(names); i++)
        if (add(tree, names[i], "/", "x") != WEIR_EINVALID)
            fail_msg("taken: %s", names[i]);
    leads_to(tree, "GET", "/", "404"); /* nothing of them is left */
    leads_to(tree, "GET", "/a", "404");

    memset(long_text, 'a', sizeof(long_text));
    long_text[0] = '/';
    long_text[256] = '\0';
    assert_int_equal(add(tree, "GET", long_text, "long"), 0); /* 255 bytes */
    leads_to(tree, "GET", long_text, "long");
    long_text[256] = 'a';
    long_text[257] = '\0';
    assert_int_equal(add(tree, "GET", long_text, "x"), WEIR_EINVALID);
    leads_to(tree, "GET", long_text, "404");
    memset(long_text, 'M', 33);
    long_text[33] = '\0';
    assert_int_equal(add(tree, long_text, "/m", "x"), WEIR_EINVALID);
    assert_int_equal(add(tree, long_text + 1, "/m", "method"), 0);
    leads_to(tree, long_text + 1, "/m", "method");
    route_tree_free(tree);
}

static void conflicts(void **state)
{
    struct route_node *tree = route_tree_new();

    assert_int_equal(add(tree, "GET", "/a/{x}", "1"), 0);
    assert_int_equal(add(tree, "GET", "/a/{x}", "2"), WEIR_EINVALID);
    assert_int_equal(add(tree, "GET", "/a/{y}", "2"), WEIR_EINVALID); /* the same in other words */
    assert_int_equal(add(tree, "POST", "/a/{y}", "3"), 0);
    assert_int_equal(add(tree, "GET", "/a/{z}/b", "4"), 0);
    assert_int_equal(add(tree, "PURGE", "/a", "5"), 0);
    assert_int_equal(add(tree, "PURGE", "/a", "6"), WEIR_EINVALID);
    assert_int_equal(add(tree, "GET", "/a/{r...}", "7"), 0);
    assert_int_equal(add(tree, "GET", "/a/{s...}", "8"), WEIR_EINVALID);
    /* Each has its own names. */
    leads_to(tree, "GET", "/a/v", "1 x=v");
    leads_to(tree, "POST", "/a/v", "3 y=v");
    leads_to(tree, "GET", "/a/v/b", "4 z=v");
    leads_to(tree, "PURGE", "/a", "5");
    route_tree_free(tree);
}

static void limits(void **state)
{
    struct route_node *tree = route_tree_new();
    char pattern[1024], target[1024];
    int size = 0;

    for (int i = 0; i < HTTP_PARAMS_MAX; i++)
        size += snprintf(pattern + size, sizeof(pattern) - (size_t)size, "/{p%d}", i);
    assert_int_equal(add(tree, "GET", pattern, "x"), 0);
    snprintf(pattern + size, sizeof(pattern) - (size_t)size, "/{more}");
    assert_int_equal(add(tree, "GET", pattern, "x"), WEIR_EINVALID);
    struct asked a;
    assert_int_equal(ask(tree, "GET", "/0/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f", &a), 0);
    assert_int_equal(a.x.param_count, HTTP_PARAMS_MAX);
    assert_string_equal(a.room.params[15].value, "f");
    assert_string_equal(a.room.params[15].name, "p15");
    asked_end(&a);

    for (int i = 0; i < 64; i++)
        memcpy(target + i * 2, "/d", 3);
    assert_int_equal(add(tree, "GET", target, "deep"), 0);
    leads_to(tree, "GET", target, "deep");
    memcpy(target + 128, "/d", 3);
    assert_int_equal(add(tree, "GET", target, "x"), WEIR_EINVALID);
    leads_to(tree, "GET", target, "404");
    route_tree_free(tree);
}

static void many_children(void **state)
{
    struct route_node *tree = route_tree_new();
    static char names[3000][24];

    for (int i = 0; i < 3000; i++) {
        /* Short ones, and long ones that differ in the middle alone. */
        snprintf(names[i], sizeof(names[i]), i % 2 ? "/%d" : "/abcdefgh%05dabcdefgh", i);
        assert_int_equal(add(tree, "GET", names[i], names[i]), 0);
    }
    for (int i = 0; i < 3000; i++)
        leads_to(tree, "GET", names[i], names[i]);
    leads_to(tree, "GET", "/3001", "404");
    leads_to(tree, "GET", "/abcdefgh99999abcdefgh", "404");
    route_tree_free(tree);
}

/* A tree in which each step has two ways, and a path that fails at the end of all of them. */
static void hostile_paths(void **state)
{
    struct route_node *tree = route_tree_new();
    static char target[30000];
    char pattern[256];

    for (unsigned ways = 0; ways < 256; ways++) {
        size_t at = 0;
        for (unsigned i = 0; i < 8; i++)
            at += (size_t)snprintf(pattern + at, sizeof(pattern) - at,
                                   ways >> i & 1 ? "/{p%u}" : "/a", i);
        snprintf(pattern + at, sizeof(pattern) - at, "/end");
        assert_int_equal(add(tree, "GET", pattern, "end"), 0);
    }
    leads_to(tree, "GET", "/a/a/a/a/a/a/a/a/end", "end");
    leads_to(tree, "GET", "/a/a/a/a/a/a/a/a/ende", "404");
    leads_to(tree, "GET", "/a/a/a/a/a/a/a/a/end/", "404");
    leads_to(tree, "GET", "/b/b/b/b/b/b/b/b/end", "end p0=b p1=b p2=b p3=b p4=b p5=b p6=b p7=b");
    memset(target, '/', sizeof(target) - 1);
    leads_to(tree, "GET", target, "404");
    for (size_t i = 0; i + 1 < sizeof(target) - 1; i += 2)
        memcpy(target + i, "/a", 2);
    leads_to(tree, "GET", target, "404");
    memset(target + 1, 'a', sizeof(target) - 2);
    leads_to(tree, "GET", target, "404");
    memset(target + 1, '%', sizeof(target) - 2);
    leads_to(tree, "GET", target, "400");
    route_tree_free(tree);
}

static void long_parameters(void **state)
{
    struct route_node *tree = route_tree_new();
    static char target[30000];
    struct asked a;

    assert_int_equal(add(tree, "GET", "/{a}/{b...}", "x"), 0);
    memset(target, 'v', sizeof(target) - 1);
    target[0] = '/';
    target[10000] = '/';
    assert_int_equal(ask(tree, "GET", target, &a), 0);
    assert_int_equal(strlen(a.room.params[0].value), 9999);
    assert_int_equal(strlen(a.room.params[1].value), sizeof(target) - 1 - 10001);
    asked_end(&a);
    route_tree_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precedence),       cmocka_unit_test(decoding),
        cmocka_unit_test(methods),          cmocka_unit_test(connect_is_no_method),
        cmocka_unit_test(refused_patterns), cmocka_unit_test(conflicts),
        cmocka_unit_test(limits),           cmocka_unit_test(many_children),
        cmocka_unit_test(hostile_paths),    cmocka_unit_test(long_parameters),
    };
    return cmocka_run_group_tests(tests, loop_begin, loop_end);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "proto/httpuri.h"

static struct http_text text(const char *string)
{
    return (struct http_text){string, strlen(string)};
}

static void authorities(void **state)
{
    static const struct {
        const char *text, *name;
        uint16_t port;
    } good[] = {
        {"localhost", "localhost", 0},
        {"a:1", "a", 1},
        {"a:", "a", 0},
        {"a:65535", "a", 65535},
        {"127.0.0.1:80", "127.0.0.1", 80},
        {"[::1]", "[::1]", 0},
        {"[::1]:8080", "[::1]", 8080},
        {"a-b_c.d~e.", "a-b_c.d~e.", 0},
        {"a:00080", "a", 80},
        {"[1:2:3:4:5:6:7:8]:", "[1:2:3:4:5:6:7:8]", 0},
    };
    static const char *const bad[] = {"",
                                      ":80",
                                      "a:b",
                                      "a:0",
                                      "a:65536",
                                      "a:000080",
                                      "a:80:",
                                      "a b",
                                      "a@b",
                                      "a/b",
                                      "[::1",
                                      "::1",
                                      "[]",
                                      "[::1]x",
                                      "[::1]80",
                                      "[a]",
                                      "a,b",
                                      "a%20",
                                      "[::%1]",
                                      "[1.2.3.4]",
                                      "a\n",
                                      "a:-1",
                                      "a: 1",
                                      "\xc3\xa4",
                                      "[0000:0000:0000:0000:0000:0000:255.255.255.2555]"};
    struct http_text name;
    uint16_t port;

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_true(http_authority_parse(text(good[i].text), &name, &port));
        assert_int_equal(name.length, strlen(good[i].name));
        assert_memory_equal(name.at, good[i].name, name.length);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        if (http_authority_parse(text(bad[i]), &name, &port))
            fail_msg("taken: %s", bad[i]);
    }
    assert_false(http_authority_parse((struct http_text){"a\0b", 3}, &name, &port));
    assert_false(http_authority_parse((struct http_text){"[::1\0]", 6}, &name, &port));
}

static void check_path(const char *path, const char *want, bool slash, bool dots, bool empty)
{
    size_t length = strlen(path);
    char *out = malloc(length + 1), *place = malloc(length + 1);
    struct http_path_facts facts;

    assert_non_null(out);
    assert_non_null(place);
    memcpy(place, path, length);
    assert_int_equal(http_path_decode(text(path), out, length, &facts), strlen(want));
    assert_memory_equal(out, want, strlen(want));
    assert_int_equal(facts.escaped_slash, slash);
    assert_int_equal(facts.dot_segment, dots);
    assert_int_equal(facts.empty_segment, empty);
    assert_int_equal(http_path_decode((struct http_text){place, length}, place, length, NULL),
                     strlen(want));
    assert_memory_equal(place, want, strlen(want));
    free(out);
    free(place);
}

static void paths_are_decoded_once(void **state)
{
    check_path("/", "/", false, false, false);
    check_path("/a/b.c", "/a/b.c", false, false, false);
    check_path("/%61%62%7E", "/ab~", false, false, false);
    check_path("/%2561", "/%61", false, false, false);
    check_path("/a+b", "/a+b", false, false, false);
    check_path("/a%2fb", "/a/b", true, false, false);
    check_path("/a%2Fb", "/a/b", true, false, false);
    check_path("/a%5cb", "/a\\b", true, false, false);
    check_path("/..", "/..", false, true, false);
    check_path("/.", "/.", false, true, false);
    check_path("/a/../b", "/a/../b", false, true, false);
    check_path("/%2e%2E/b", "/../b", false, true, false);
    check_path("/a/..%2fb", "/a/../b", true, true, false);
    check_path("/...", "/...", false, false, false);
    check_path("/.a/..b/c../d.", "/.a/..b/c../d.", false, false, false);
    check_path("..", "..", false, true, false);
    check_path("//a", "//a", false, false, true);
    check_path("/a//b", "/a//b", false, false, true);
    check_path("/a/", "/a/", false, false, false);
    check_path("/a/%2f", "/a//", true, false, true);
    check_path("", "", false, false, false);
    check_path("/%ff%c3%a4", "/\xff\xc3\xa4", false, false, false);
    check_path("/%0d%0a", "/\r\n", false, false, false);
}

static void bad_escapes_are_refused(void **state)
{
    static const char *const bad[] = {"%",    "/%",   "/%4",     "/%zz",  "/%4g",
                                      "/%g4", "/%00", "/a%00b",  "/%%41", "/% 41",
                                      "/%-1", "/%0x", "/%u0041", "/%+1"};
    char out[64];

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        if (http_path_decode(text(bad[i]), out, sizeof(out), NULL) != -1)
            fail_msg("taken: %s", bad[i]);
    }
    /* All pairs of characters behind a percent sign. */
    for (int high = 0; high < 256; high++) {
        for (int low = 0; low < 256; low++) {
            const char hex[] = "0123456789abcdefABCDEF";
            char path[4] = {'/', '%', (char)high, (char)low};
            bool good = high && low && strchr(hex, high) && strchr(hex, low) &&
                        !(high == '0' && low == '0');

            assert_int_equal(http_path_decode((struct http_text){path, 4}, out, 64, NULL),
                             good ? 2 : -1);
            if (good) {
                char digits[3] = {(char)high, (char)low, '\0'};

                assert_int_equal((uint8_t)out[1], strtoul(digits, NULL, 16));
            }
        }
    }
}

static void too_little_room_is_told(void **state)
{
    char out[4];

    assert_int_equal(http_path_decode(text("/abcd"), out, 4, NULL), -2);
    assert_int_equal(http_path_decode(text("/a%62c"), out, 4, NULL), 4);
    assert_int_equal(http_query_decode(text("abcde"), out, 4), -2);
    assert_int_equal(http_path_decode(text("/"), out, 0, NULL), -2);
}

static void queries_are_parted(void **state)
{
    static const char *const want[][2] = {{"a", "b"}, {"c", ""},    {"d", ""},
                                          {"", "e"},  {"f", "g=h"}, {"%61", "+"}};
    struct http_text query = text("&a=b&&c&d=&=e&f=g=h&%61=+&"), name, value;

    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
        assert_true(http_query_next(&query, &name, &value));
        assert_int_equal(name.length, strlen(want[i][0]));
        assert_memory_equal(name.at, want[i][0], name.length);
        assert_int_equal(value.length, strlen(want[i][1]));
        assert_memory_equal(value.at, want[i][1], value.length);
    }
    assert_false(http_query_next(&query, &name, &value));
    assert_false(http_query_next(&query, &name, &value));
}

static void query_parts_are_decoded_as_forms_are(void **state)
{
    char out[32];

    assert_int_equal(http_query_decode(text("a+b%2Bc%00"), out, sizeof(out)), 6);
    assert_memory_equal(out, "a b+c", 6);
    assert_int_equal(http_query_decode(text("%"), out, sizeof(out)), -1);
    assert_int_equal(http_query_decode(text("%4"), out, sizeof(out)), -1);
    assert_int_equal(http_query_decode(text(""), out, sizeof(out)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(authorities),
        cmocka_unit_test(paths_are_decoded_once),
        cmocka_unit_test(bad_escapes_are_refused),
        cmocka_unit_test(too_little_room_is_told),
        cmocka_unit_test(queries_are_parted),
        cmocka_unit_test(query_parts_are_decoded_as_forms_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

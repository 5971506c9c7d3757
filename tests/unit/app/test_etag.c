#include "app_test.h"

#include <stdbool.h>

#include "app/http/etag.h"

static bool read_tag(const char *text, struct etag *tag)
{
    struct cursor cursor = cursor_from(text_of(text));
    return weir__etag_read(&cursor, tag) && cursor.at == cursor.end;
}

static void comparison_table_of_the_rfc(void **state)
{
    /* RFC 9110 section 8.8.3.2. */
    static const struct {
        const char *a, *b;
        bool strong, weak;
    } cases[] = {
        {"W/\"1\"", "W/\"1\"", false, true}, {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", false, true},   {"\"1\"", "\"1\"", true, true},
        {"\"1\"", "\"2\"", false, false},    {"\"1\"", "\"11\"", false, false},
        {"\"\"", "\"\"", true, true},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct etag a, b;
        assert_true(read_tag(cases[i].a, &a));
        assert_true(read_tag(cases[i].b, &b));
        assert_int_equal(weir__etag_same_strong(a, b), cases[i].strong);
        assert_int_equal(weir__etag_same_strong(b, a), cases[i].strong);
        assert_int_equal(weir__etag_same_weak(a, b), cases[i].weak);
        assert_int_equal(weir__etag_same_weak(b, a), cases[i].weak);
    }
}

static void forms(void **state)
{
    static const char *const good[] = {"\"xyzzy\"", "W/\"xyzzy\"", "\"\"",         "\"a,b\"",
                                       "\"!#~\"",   "\"\\\"",      "\"\x80\xff\"", "\"W/\""};
    static const char *const bad[] = {"",       "x",        "\"x",       "x\"",       "w/\"x\"",
                                      "W\"x\"", "W/ \"x\"", "W/x",       "\"a b\"",   "\"a\tb\"",
                                      "'x'",    "*",        "\"a\x7f\"", "\"a\x01\"", "\"a\"b\""};
    struct etag tag;

    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(read_tag(good[i], &tag));
        assert_int_equal(tag.weak, good[i][0] == 'W');
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(read_tag(bad[i], &tag));
}

static void made_tags(void **state)
{
    char a[ETAG_SIZE], b[ETAG_SIZE];
    struct etag tag;
    size_t length;

    length = weir__etag_make(0, 0, 0, false, a);
    assert_int_equal(length, strlen(a));
    assert_true(read_tag(a, &tag));
    assert_false(tag.weak);
    length = weir__etag_make(UINT64_MAX, INT64_MIN, UINT64_MAX, true, b);
    assert_int_equal(length, strlen(b));
    assert_true(read_tag(b, &tag));
    assert_true(tag.weak);

    /* The same file gives the same tag; size, time and inode each make another. */
    weir__etag_make(1000, 1700000000123456789, 42, false, a);
    weir__etag_make(1000, 1700000000123456789, 42, false, b);
    assert_string_equal(a, b);
    assert_memory_equal(a, "\"3e8-", 5);
    weir__etag_make(1001, 1700000000123456789, 42, false, b);
    assert_string_not_equal(a, b);
    weir__etag_make(1000, 1700000000123456790, 42, false, b);
    assert_string_not_equal(a, b);
    weir__etag_make(1000, 1700000000123456789, 43, false, b);
    assert_string_not_equal(a, b);
    /* What one gains the other loses: a sum of both would be the same. */
    weir__etag_make(1000, 1700000000123456790, 41, false, b);
    assert_string_not_equal(a, b);
    weir__etag_make(1000, 1700000000123456789, 42, true, b);
    assert_memory_equal(b, "W/", 2);
    assert_string_equal(b + 2, a);
}

static int compare_tags(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void tags_of_many_files_differ(void **state)
{
    enum { FILES = 2000 };
    static char tags[FILES][ETAG_SIZE];

    for (int i = 0; i < FILES; i++)
        weir__etag_make(7, 1700000000000000000 + i % 50, (uint64_t)(i / 50), false, tags[i]);
    qsort(tags, FILES, ETAG_SIZE, compare_tags);
    for (int i = 1; i < FILES; i++)
        assert_string_not_equal(tags[i - 1], tags[i]);
}

static void young_files(void **state)
{
    const int64_t second = 1000000000, time = 1700000000 * second;

    assert_true(weir__etag_is_young(time + 1, time + 1));
    assert_true(weir__etag_is_young(time + 1, time + 1000000));
    assert_false(weir__etag_is_young(time + 1, time + second / 10));
    /* A time of whole seconds tells of a file system that knows no other. */
    assert_true(weir__etag_is_young(time, time + second));
    assert_false(weir__etag_is_young(time, time + 3 * second));
    assert_true(weir__etag_is_young(time + 5 * second + 1, time)); /* of the future */
    assert_true(weir__etag_is_young(INT64_MAX, INT64_MIN));
    assert_false(weir__etag_is_young(INT64_MIN, INT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparison_table_of_the_rfc),
        cmocka_unit_test(forms),
        cmocka_unit_test(made_tags),
        cmocka_unit_test(tags_of_many_files_differ),
        cmocka_unit_test(young_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

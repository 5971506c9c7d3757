#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include <weir/limits.h>

#include "loop/limits.h"

enum { ROWS_MAX = 512 };

static void rows_are_whole_and_names_unique(void **state)
{
    static weir_limit_row rows[ROWS_MAX];
    unsigned count = weir_limits(rows, ROWS_MAX);
    assert_in_range(count, 40, ROWS_MAX);
    for (unsigned i = 0; i < count; i++) {
        assert_non_null(rows[i].group);
        assert_true(strlen(rows[i].name) > 2 && strlen(rows[i].unit) > 0);
        assert_true(strlen(rows[i].what) > 3 && rows[i].value > 0);
        for (const char *c = rows[i].name; *c != '\0'; c++)
            assert_true(islower((unsigned char)*c) || *c == '_');
        for (unsigned other = 0; other < i; other++)
            if (strcmp(rows[i].name, rows[other].name) == 0 &&
                strcmp(rows[i].group, rows[other].group) == 0)
                fail_msg("%s.%s stands twice", rows[i].group, rows[i].name);
    }
}

static uint64_t find(const char *group, const char *name)
{
    static weir_limit_row rows[ROWS_MAX];
    unsigned count = weir_limits(rows, ROWS_MAX);
    for (unsigned i = 0; i < count; i++)
        if (strcmp(rows[i].group, group) == 0 && strcmp(rows[i].name, name) == 0)
            return rows[i].value;
    return 0;
}

static void values_are_those_in_use(void **state)
{
    assert_int_equal(find("core", "soft_mark"), LIMIT_SOFT_MARK);
    assert_int_equal(find("core", "pull_chunk"), LIMIT_PULL_CHUNK); /* the last one of its table */
    assert_int_equal(find("http", "idle_ms"), LIMIT_IDLE_MS);
    assert_int_equal(find("core", "memory_max_bytes"), limits_memory_bytes() / 4);
}

static void writes_no_more_than_there_is_room_for(void **state)
{
    weir_limit_row rows[3];
    memset(rows, 0x55, sizeof rows);
    assert_true(weir_limits(rows, 2) > 40);
    assert_string_equal(rows[1].group, "core");
    for (size_t i = 0; i < sizeof rows[2]; i++)
        assert_int_equal(((unsigned char *)&rows[2])[i], 0x55);
    assert_true(weir_limits(NULL, 0) > 40);
    /* A program of an older release knows a smaller row. */
    assert_true(weir__limits(rows, 1, offsetof(weir_limit_row, value)) > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole_and_names_unique),
        cmocka_unit_test(values_are_those_in_use),
        cmocka_unit_test(writes_no_more_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

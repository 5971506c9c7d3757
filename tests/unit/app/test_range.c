#include "app_test.h"

#include "app/http/range.h"

/* Parts as "offset+size offset+size". */
static void check(const char *field, uint64_t total, enum range_outcome outcome, const char *parts)
{
    struct range_set set;
    char text[1024] = "";

    assert_int_equal(weir__range_read(text_of(field), total, &set), outcome);
    if (outcome != RANGE_SATISFIED)
        return;
    for (uint32_t i = 0; i < set.count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu+%llu", i ? " " : "",
                 (unsigned long long)set.part[i].offset, (unsigned long long)set.part[i].size);
    assert_string_equal(text, parts);
}

static void examples_of_the_rfc(void **state)
{
    /* RFC 9110 section 14.1.2, a representation of 10 000 bytes. */
    check("bytes=0-499", 10000, RANGE_SATISFIED, "0+500");
    check("bytes=500-999", 10000, RANGE_SATISFIED, "500+500");
    check("bytes=-500", 10000, RANGE_SATISFIED, "9500+500");
    check("bytes=9500-", 10000, RANGE_SATISFIED, "9500+500");
    check("bytes=0-0,-1", 10000, RANGE_SATISFIED, "0+1 9999+1");
    check("bytes= 0-999, 4500-5499, -1000", 10000, RANGE_SATISFIED, "0+1000 4500+1000 9000+1000");
    /* "Other valid (but not canonical) specifications of the second 500 bytes". */
    check("bytes=500-600,601-999", 10000, RANGE_SATISFIED, "500+500");
    check("bytes=500-700,601-999", 10000, RANGE_SATISFIED, "500+500");
}

static void single_ranges(void **state)
{
    check("bytes=0-", 100, RANGE_SATISFIED, "0+100");
    check("bytes=99-", 100, RANGE_SATISFIED, "99+1");
    check("bytes=99-99", 100, RANGE_SATISFIED, "99+1");
    check("bytes=0-99", 100, RANGE_SATISFIED, "0+100");
    check("bytes=0-100", 100, RANGE_SATISFIED, "0+100");
    check("bytes=0-1000000", 100, RANGE_SATISFIED, "0+100");
    check("bytes=-1", 100, RANGE_SATISFIED, "99+1");
    check("bytes=-100", 100, RANGE_SATISFIED, "0+100");
    check("bytes=-101", 100, RANGE_SATISFIED, "0+100");
    check("BYTES=1-2", 100, RANGE_SATISFIED, "1+2");
    check("bytes=0001-0002", 100, RANGE_SATISFIED, "1+2");
    check("bytes=\t1-2 ", 100, RANGE_SATISFIED, "1+2");
    check("bytes=,,1-2,,", 100, RANGE_SATISFIED, "1+2");
    check("bytes=100-", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=100-200", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=-0", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=-0,100-", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=100-,5-6", 100, RANGE_SATISFIED, "5+2");
}

static void malformed_is_ignored(void **state)
{
    static const char *const fields[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes= ",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=2-1",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes =1-2",
        "bytes=1-2;",
        "bytes=1-2 3-4",
        "bytes=--1",
        "bytes=-1-",
        "bytes=+1-2",
        "bytes=0x1-",
        "items=0-1",
        "bytes:0-1",
        "octets=0-1",
        "bytes=1-2,x",
        "bytes=1-2,2-1",
        "bytes==1-2",
        "bytes=1-2\n",
        "bytes=1.0-2",
        "bytes=0-1, bytes=3-4",
    };

    for (size_t i = 0; i < COUNT(fields); i++)
        check(fields[i], 10000, RANGE_IGNORED, "");
    check(NULL, 100, RANGE_IGNORED, "");
    assert_int_equal(weir__range_read(T("bytes=1-\0"), 100, &(struct range_set){0}), RANGE_IGNORED);
}

static void empty_representation_has_no_ranges(void **state)
{
    check("bytes=0-", 0, RANGE_IGNORED, "");
    check("bytes=-5", 0, RANGE_IGNORED, "");
    check("bytes=5-9", 0, RANGE_IGNORED, "");
}

static void numbers_beyond_64_bits(void **state)
{
    const uint64_t most = UINT64_MAX;

    check("bytes=0-18446744073709551615", 100, RANGE_SATISFIED, "0+100");
    check("bytes=0-18446744073709551616", 100, RANGE_SATISFIED, "0+100");
    check("bytes=5-99999999999999999999999999999999999999", 100, RANGE_SATISFIED, "5+95");
    check("bytes=18446744073709551615-", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=18446744073709551616-18446744073709551617", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=-18446744073709551616", 100, RANGE_SATISFIED, "0+100");
    /* The number wraps to 16 when its overflow goes unseen. */
    check("bytes=18446744073709551632-", 100, RANGE_UNSATISFIABLE, "");
    check("bytes=-18446744073709551632", 100, RANGE_SATISFIED, "0+100");
    check("bytes=0-", most, RANGE_SATISFIED, "0+18446744073709551615");
    check("bytes=18446744073709551614-", most, RANGE_SATISFIED, "18446744073709551614+1");
    check("bytes=18446744073709551615-", most, RANGE_UNSATISFIABLE, "");
    check("bytes=0-0,18446744073709551614-", most, RANGE_SATISFIED, "0+1 18446744073709551614+1");
}

static void near_and_overlapping_ranges_are_joined(void **state)
{
    check("bytes=0-9,10-19", 10000, RANGE_SATISFIED, "0+20");
    check("bytes=0-9,90-99", 10000, RANGE_SATISFIED, "0+100");
    check("bytes=0-9,91-99", 10000, RANGE_SATISFIED, "0+10 91+9");
    check("bytes=0-,0-,0-", 10000, RANGE_SATISFIED, "0+10000");
    check("bytes=-10000,0-1", 10000, RANGE_SATISFIED, "0+10000");
    check("bytes=500-599,0-9", 10000, RANGE_SATISFIED, "500+100 0+10");
    /* The third one joins the first two, and stands where the first of them stood. */
    check("bytes=500-599,0-9,10-499", 10000, RANGE_SATISFIED, "0+600");
    check("bytes=5000-5099,0-9,1000-1099,5100-5199", 10000, RANGE_SATISFIED,
          "5000+200 0+10 1000+100");
    check("bytes=0-9,5000-5099,1000-1099,10-1000", 10000, RANGE_SATISFIED, "0+1100 5000+100");
}

static void many_ranges_are_ignored(void **state)
{
    char field[4096] = "bytes=";

    for (int i = 0; i < RANGE_MAX; i++)
        snprintf(field + strlen(field), sizeof(field) - strlen(field), "%s%d-%d", i ? "," : "",
                 i * 200, i * 200 + 1);
    struct range_set set;
    assert_int_equal(weir__range_read(text_of(field), 100000, &set), RANGE_SATISFIED);
    assert_int_equal(set.count, RANGE_MAX);
    strcat(field, ",9000-9001");
    assert_int_equal(weir__range_read(text_of(field), 100000, &set), RANGE_IGNORED);
    /* Also when they could be joined to one, or lie beyond the end. */
    strcpy(field, "bytes=0-");
    for (int i = 0; i < RANGE_MAX; i++)
        strcat(field, ",0-");
    assert_int_equal(weir__range_read(text_of(field), 100000, &set), RANGE_IGNORED);
}

static void texts(void **state)
{
    char out[RANGE_TEXT_SIZE];

    assert_int_equal(weir__range_text((struct range){0, 500}, 1234, out), 16);
    assert_string_equal(out, "bytes 0-499/1234");
    weir__range_text((struct range){42, 1192}, 1234, out);
    assert_string_equal(out, "bytes 42-1233/1234");
    weir__range_text((struct range){UINT64_MAX - 1, 1}, UINT64_MAX, out);
    assert_string_equal(out, "bytes 18446744073709551614-18446744073709551614/"
                             "18446744073709551615");
    assert_int_equal(weir__range_text_unsatisfiable(47022, out), 13);
    assert_string_equal(out, "bytes */47022");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_rfc),
        cmocka_unit_test(single_ranges),
        cmocka_unit_test(malformed_is_ignored),
        cmocka_unit_test(empty_representation_has_no_ranges),
        cmocka_unit_test(numbers_beyond_64_bits),
        cmocka_unit_test(near_and_overlapping_ranges_are_joined),
        cmocka_unit_test(many_ranges_are_ignored),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

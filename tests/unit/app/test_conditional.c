#include "app_test.h"

#include <stdio.h>

#include "app/http/conditional.h"

/* Most cases are about a representation that was changed at EXACTLY. */
#define EARLIER         "Sat, 05 Nov 1994 08:49:37 GMT"
#define EXACTLY         "Sun, 06 Nov 1994 08:49:37 GMT"
#define LATER           "Mon, 07 Nov 1994 08:49:37 GMT"
#define EXACTLY_850     "Sunday, 06-Nov-94 08:49:37 GMT"
#define EXACTLY_ASCTIME "Sun Nov  6 08:49:37 1994"
enum { MODIFIED_S = 784111777 };

static struct validators strong, weak, bare, undated, untagged, none, unsure;

static int set_up(void **state)
{
    strong = (struct validators){true, true, false, T("\"a\""), MODIFIED_S, 1000};
    weak = strong;
    weak.etag = T("W/\"a\"");
    undated = strong;
    undated.has_modified = false;
    untagged = strong;
    untagged.etag = (struct http_text){NULL, 0};
    bare = untagged;
    bare.has_modified = false;
    none = (struct validators){0};
    unsure = strong;
    unsure.modified_weak = true;
    return 0;
}

struct fields {
    const char *match, *none_match, *modified, *unmodified, *if_range, *range;
};

struct judged {
    enum http_method method;
    struct fields fields;
    const struct validators *validators;
    int status;
};

static void check(const struct judged *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct fields *f = &cases[i].fields;
        struct conditional conditional = {
            .if_match = text_of(f->match),
            .if_none_match = text_of(f->none_match),
            .if_modified_since = text_of(f->modified),
            .if_unmodified_since = text_of(f->unmodified),
            .if_range = text_of(f->if_range),
            .range = text_of(f->range),
            .now_s = 1700000000,
        };
        struct range_set set;
        int status = conditional_judge(&conditional, cases[i].method, cases[i].validators, &set);
        if (status != cases[i].status)
            print_error("case %zu\n", i);
        assert_int_equal(status, cases[i].status);
        assert_int_equal(set.count > 0, status == 206);
    }
}

static void if_match(void **state)
{
    const struct judged cases[] = {
        {HTTP_GET, {0}, &strong, 200},
        {HTTP_GET, {.match = "\"a\""}, &strong, 200},
        {HTTP_GET, {.match = "\"b\""}, &strong, 412},
        {HTTP_GET, {.match = "\"b\", \"a\""}, &strong, 200},
        {HTTP_GET, {.match = "\"b\",,\"c\" ,\"a\","}, &strong, 200},
        {HTTP_GET, {.match = "*"}, &strong, 200},
        {HTTP_GET, {.match = " * "}, &strong, 200},
        {HTTP_GET, {.match = "*"}, &bare, 200},
        {HTTP_PUT, {.match = "*"}, &none, 412},
        {HTTP_PUT, {.match = "\"a\""}, &none, 412},
        {HTTP_PUT, {.match = "\"a\""}, &strong, 200},
        {HTTP_DELETE, {.match = "\"b\""}, &strong, 412},
        {HTTP_GET, {.match = "\"a\""}, &untagged, 412},
        /* Strong comparison: a weak tag on either side never matches. */
        {HTTP_GET, {.match = "W/\"a\""}, &strong, 412},
        {HTTP_GET, {.match = "\"a\""}, &weak, 412},
        {HTTP_GET, {.match = "W/\"a\""}, &weak, 412},
        /* What cannot be read does not hold. */
        {HTTP_GET, {.match = ""}, &strong, 412},
        {HTTP_GET, {.match = "a"}, &strong, 412},
        {HTTP_GET, {.match = "\"a\", b"}, &strong, 412},
        {HTTP_GET, {.match = "\"a\"\"b\""}, &strong, 412},
        {HTTP_GET, {.match = "*, \"a\""}, &strong, 412},
        {HTTP_GET, {.match = "\"a"}, &strong, 412},
    };
    check(cases, COUNT(cases));
}

static void if_unmodified_since(void **state)
{
    const struct judged cases[] = {
        {HTTP_GET, {.unmodified = EXACTLY}, &strong, 200},
        {HTTP_GET, {.unmodified = LATER}, &strong, 200},
        {HTTP_GET, {.unmodified = EARLIER}, &strong, 412},
        {HTTP_PUT, {.unmodified = EARLIER}, &strong, 412},
        {HTTP_PUT, {.unmodified = LATER}, &strong, 200},
        {HTTP_GET, {.unmodified = EXACTLY_850}, &strong, 200},
        {HTTP_GET, {.unmodified = EXACTLY_ASCTIME}, &strong, 200},
        {HTTP_GET, {.unmodified = "Saturday, 05-Nov-94 08:49:37 GMT"}, &strong, 412},
        /* Ignored: no date, several dates, no modification date to compare with. */
        {HTTP_GET, {.unmodified = "yesterday"}, &strong, 200},
        {HTTP_GET, {.unmodified = EARLIER ", " EARLIER}, &strong, 200},
        {HTTP_GET, {.unmodified = EARLIER}, &undated, 200},
        {HTTP_PUT, {.unmodified = EARLIER}, &none, 200},
        /* If-Match decides where it is given. */
        {HTTP_GET, {.match = "\"a\"", .unmodified = EARLIER}, &strong, 200},
        {HTTP_GET, {.match = "\"b\"", .unmodified = LATER}, &strong, 412},
    };
    check(cases, COUNT(cases));
}

static void if_none_match(void **state)
{
    const struct judged cases[] = {
        {HTTP_GET, {.none_match = "\"a\""}, &strong, 304},
        {HTTP_HEAD, {.none_match = "\"a\""}, &strong, 304},
        {HTTP_PUT, {.none_match = "\"a\""}, &strong, 412},
        {HTTP_GET, {.none_match = "\"b\""}, &strong, 200},
        {HTTP_PUT, {.none_match = "\"b\""}, &strong, 200},
        {HTTP_GET, {.none_match = "\"b\", \"c\", \"a\""}, &strong, 304},
        {HTTP_GET, {.none_match = "*"}, &strong, 304},
        {HTTP_PUT, {.none_match = "*"}, &strong, 412},
        {HTTP_PUT, {.none_match = "*"}, &none, 200},
        {HTTP_GET, {.none_match = "\"a\""}, &untagged, 200},
        /* Weak comparison. */
        {HTTP_GET, {.none_match = "W/\"a\""}, &strong, 304},
        {HTTP_GET, {.none_match = "\"a\""}, &weak, 304},
        {HTTP_GET, {.none_match = "W/\"a\""}, &weak, 304},
        {HTTP_GET, {.none_match = "W/\"b\""}, &weak, 200},
        /* What cannot be read: send all, change nothing. */
        {HTTP_GET, {.none_match = "a"}, &strong, 200},
        {HTTP_GET, {.none_match = "\"a\" b"}, &strong, 200},
        {HTTP_GET, {.none_match = ""}, &strong, 200},
        {HTTP_PUT, {.none_match = "a"}, &strong, 412},
        {HTTP_POST, {.none_match = "\"b\", *"}, &strong, 412},
        /* Methods that know no conditions: section 13.2.1. */
        {HTTP_OPTIONS, {.none_match = "*"}, &strong, 200},
        {HTTP_TRACE, {.match = "\"b\""}, &strong, 200},
        {HTTP_CONNECT, {.unmodified = EARLIER}, &strong, 200},
        /* One of our own that nobody numbered is a method like PUT. */
        {HTTP_METHOD_OTHER, {.none_match = "*"}, &strong, 412},
    };
    check(cases, COUNT(cases));
}

static void if_modified_since(void **state)
{
    const struct judged cases[] = {
        {HTTP_GET, {.modified = EXACTLY}, &strong, 304},
        {HTTP_HEAD, {.modified = EXACTLY}, &strong, 304},
        {HTTP_GET, {.modified = LATER}, &strong, 304},
        {HTTP_GET, {.modified = EARLIER}, &strong, 200},
        {HTTP_GET, {.modified = EXACTLY_850}, &strong, 304},
        {HTTP_GET, {.modified = EXACTLY_ASCTIME}, &strong, 304},
        /* Ignored for other methods, without a date, and when it is none. */
        {HTTP_PUT, {.modified = LATER}, &strong, 200},
        {HTTP_GET, {.modified = LATER}, &undated, 200},
        {HTTP_GET, {.modified = "0"}, &strong, 200},
        {HTTP_GET, {.modified = LATER "," LATER}, &strong, 200},
        {HTTP_GET, {.modified = ""}, &strong, 200},
        /* If-None-Match decides where it is given, also when the date says otherwise. */
        {HTTP_GET, {.none_match = "\"b\"", .modified = LATER}, &strong, 200},
        {HTTP_GET, {.none_match = "\"a\"", .modified = EARLIER}, &strong, 304},
        {HTTP_GET, {.none_match = "junk", .modified = LATER}, &strong, 200},
        /* All four, in the order of section 13.2.2. */
        {HTTP_GET, {"\"a\"", "\"a\"", EARLIER, EARLIER, NULL, NULL}, &strong, 304},
        {HTTP_GET, {"\"b\"", "\"a\"", EARLIER, LATER, NULL, NULL}, &strong, 412},
        {HTTP_GET, {NULL, "\"a\"", LATER, EARLIER, NULL, NULL}, &strong, 412},
        {HTTP_GET, {NULL, "\"b\"", LATER, LATER, NULL, NULL}, &strong, 200},
    };
    check(cases, COUNT(cases));
}

static void ranges(void **state)
{
    const struct judged cases[] = {
        {HTTP_GET, {.range = "bytes=0-9"}, &strong, 206},
        {HTTP_GET, {.range = "bytes=0-9,500-509"}, &strong, 206},
        {HTTP_GET, {.range = "bytes=1000-"}, &strong, 416},
        {HTTP_GET, {.range = "bytes=5-1"}, &strong, 200},
        {HTTP_GET, {.range = "lines=0-9"}, &strong, 200},
        /* GET alone knows ranges: section 14.2. */
        {HTTP_HEAD, {.range = "bytes=0-9"}, &strong, 200},
        {HTTP_HEAD, {.range = "bytes=1000-"}, &strong, 200},
        {HTTP_POST, {.range = "bytes=0-9"}, &strong, 200},
        /* Conditions come first. */
        {HTTP_GET, {.none_match = "\"a\"", .range = "bytes=0-9"}, &strong, 304},
        {HTTP_GET, {.modified = LATER, .range = "bytes=1000-"}, &strong, 304},
        {HTTP_GET, {.match = "\"b\"", .range = "bytes=0-9"}, &strong, 412},
        {HTTP_GET, {.unmodified = EARLIER, .range = "bytes=0-9"}, &strong, 412},
        {HTTP_GET, {.match = "\"a\"", .range = "bytes=0-9"}, &strong, 206},
        {HTTP_GET, {.range = "bytes=0-9"}, &none, 200},
    };
    check(cases, COUNT(cases));
}

static void if_range(void **state)
{
    const char *range = "bytes=0-9";
    const struct judged cases[] = {
        {HTTP_GET, {.if_range = "\"a\"", .range = range}, &strong, 206},
        {HTTP_GET, {.if_range = " \"a\" ", .range = range}, &strong, 206},
        {HTTP_GET, {.if_range = "\"b\"", .range = range}, &strong, 200},
        /* Strong comparison. */
        {HTTP_GET, {.if_range = "W/\"a\"", .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = "\"a\"", .range = range}, &weak, 200},
        {HTTP_GET, {.if_range = "W/\"a\"", .range = range}, &weak, 200},
        /* One tag, no list and no star. */
        {HTTP_GET, {.if_range = "\"a\", \"b\"", .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = "*", .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = "a", .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = "", .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = "\"a\"", .range = range}, &untagged, 200},
        /* A date must be the very one, and worth trusting: section 8.8.2.2. */
        {HTTP_GET, {.if_range = EXACTLY, .range = range}, &strong, 206},
        {HTTP_GET, {.if_range = EXACTLY_850, .range = range}, &strong, 206},
        {HTTP_GET, {.if_range = LATER, .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = EARLIER, .range = range}, &strong, 200},
        {HTTP_GET, {.if_range = EXACTLY, .range = range}, &untagged, 206},
        {HTTP_GET, {.if_range = EXACTLY, .range = range}, &undated, 200},
        {HTTP_GET, {.if_range = EXACTLY, .range = range}, &unsure, 200},
        {HTTP_GET, {.if_range = "\"a\"", .range = range}, &unsure, 206},
        /* Where it holds, the range is processed as if it stood alone; where not, there is none. */
        {HTTP_GET, {.if_range = "\"a\"", .range = "bytes=1000-"}, &strong, 416},
        {HTTP_GET, {.if_range = "\"b\"", .range = "bytes=1000-"}, &strong, 200},
        {HTTP_GET, {.if_range = "\"b\""}, &strong, 200},
        {HTTP_HEAD, {.if_range = "\"a\"", .range = range}, &strong, 200},
        /* A download that is resumed after the file was replaced. */
        {HTTP_GET, {.unmodified = LATER, .if_range = "\"b\"", .range = range}, &strong, 200},
    };
    check(cases, COUNT(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(if_match),      cmocka_unit_test(if_unmodified_since),
        cmocka_unit_test(if_none_match), cmocka_unit_test(if_modified_since),
        cmocka_unit_test(ranges),        cmocka_unit_test(if_range),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}

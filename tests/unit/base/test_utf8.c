#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

/* The same by the table of RFC 3629, section 4, for all sequences of up to four bytes' classes. */
static unsigned by_the_table(const unsigned char *b, size_t size)
{
    static const struct {
        unsigned length;
        unsigned char least[4], most[4];
    } rows[] = {
        {1, {0x00}, {0x7f}},
        {2, {0xc2, 0x80}, {0xdf, 0xbf}},
        {3, {0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}},
        {3, {0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}},
        {3, {0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}},
        {3, {0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}},
        {4, {0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}},
        {4, {0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}},
        {4, {0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}},
    };
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        bool fits = size >= rows[r].length;
        for (unsigned i = 0; fits && i < rows[r].length; i++)
            fits = b[i] >= rows[r].least[i] && b[i] <= rows[r].most[i];
        if (fits)
            return rows[r].length;
    }
    return 0;
}

static void it_agrees_with_the_table(void **state)
{
    static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90,
                                          0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    unsigned char bytes[4];
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t rest = 0; rest < 100; rest++) {
                bytes[0] = (unsigned char)first;
                bytes[1] = (unsigned char)second;
                bytes[2] = edges[rest / 10];
                bytes[3] = edges[rest % 10];
                for (size_t size = 0; size <= 4; size++) {
                    uint32_t code = 0;
                    assert_int_equal(utf8_next((const char *)bytes, size, &code),
                                     by_the_table(bytes, size));
                }
            }
        }
    }
}

static void numbers_are_right(void **state)
{
    static const struct {
        const char *text;
        uint32_t code;
    } cases[] = {{"A", 'A'},
                 {"\xc3\xa4", 0xe4},
                 {"\xe2\x82\xac", 0x20ac},
                 {"\xef\xbf\xbd", 0xfffd},
                 {"\xf0\x9f\x98\x80", 0x1f600},
                 {"\xf4\x8f\xbf\xbf", 0x10ffff}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t code = 0;
        assert_int_equal(utf8_next(cases[i].text, strlen(cases[i].text), &code),
                         strlen(cases[i].text));
        assert_int_equal(code, cases[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_the_table),
        cmocka_unit_test(numbers_are_right),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}

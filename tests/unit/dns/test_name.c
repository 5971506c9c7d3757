/* Names of DNS: text, messages, addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>

#include "dns/name.h"

static void text_and_back(void **state)
{
    static const char *const same[] = {"a", "www.example.com", "_x._tcp.a-b.test", "1.2"};
    struct dns_name name;
    char text[NAME_TEXT_MAX];

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_int_equal(name_from_text(&name, same[i], strlen(same[i])), 0);
        assert_int_equal(name.size, strlen(same[i]) + 2);
        assert_int_equal(name_to_text(&name, text), strlen(same[i]));
        assert_string_equal(text, same[i]);
    }
    assert_int_equal(name_from_text(&name, "WWW.Test.", 9), 0);
    name_to_text(&name, text);
    assert_string_equal(text, "www.test");
}

static void no_names(void **state)
{
    char longest[300];
    struct dns_name name;
    static const char *const bad[] = {"",     ".",    "..",  "a..b", ".a", "a b",
                                      "a\tb", "a\\b", "a/b", "\x80", "a.."};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(name_from_text(&name, bad[i], strlen(bad[i])), WEIR_EADDRESS);
    assert_int_equal(name_from_text(&name, "a\0b", 3), WEIR_EADDRESS);
    memset(longest, 'a', sizeof longest);
    assert_int_equal(name_from_text(&name, longest, 63), 0);
    assert_int_equal(name_from_text(&name, longest, 64), WEIR_EADDRESS);
    for (size_t i = 49; i < sizeof longest; i += 50)
        longest[i] = '.';
    assert_int_equal(name_from_text(&name, longest, 253), 0);
    assert_int_equal(name.size, 255);
    assert_int_equal(name_from_text(&name, longest, 254), WEIR_EADDRESS);
}

static int read_at(struct dns_name *out, const char *message, size_t size, size_t from, size_t *to)
{
    *to = from;
    return name_from_message(out, (const uint8_t *)message, size, to);
}

static void messages(void **state)
{
    static const char packed[] = "\1a\4Test\0\3www\xc0\2\xc0\x08\xc0\x0e";
    struct dns_name name;
    char text[NAME_TEXT_MAX];
    size_t at;

    assert_int_equal(read_at(&name, packed, 18, 8, &at), 0);
    assert_int_equal(at, 14);
    name_to_text(&name, text);
    assert_string_equal(text, "www.test");
    assert_int_equal(read_at(&name, packed, 18, 16, &at), 0); /* a pointer to a pointer */
    assert_int_equal(at, 18);
    name_to_text(&name, text);
    assert_string_equal(text, "www.test");
    assert_int_equal(read_at(&name, packed, 7, 0, &at), WEIR_EPROTO); /* its end is missing */
    assert_int_equal(read_at(&name, packed, 13, 8, &at), WEIR_EPROTO);
    assert_int_equal(read_at(&name, "\xc0\0", 2, 0, &at), WEIR_EPROTO);
    assert_int_equal(read_at(&name, "\xc0\4\0\0\0", 5, 0, &at), WEIR_EPROTO);
    assert_int_equal(read_at(&name, "\1a\xc0\0", 4, 0, &at), WEIR_EPROTO);
    assert_int_equal(read_at(&name, "\x40", 1, 0, &at), WEIR_EPROTO);
    assert_int_equal(read_at(&name, "", 0, 0, &at), WEIR_EPROTO);
    assert_int_equal(read_at(&name, "\0", 1, 0, &at), 0);
    name_to_text(&name, text);
    assert_string_equal(text, ".");
}

/* A name has 127 parts at most, and no use for more pointers than that. */
static void jumps(void **state)
{
    uint8_t message[600] = {0};
    struct dns_name name;

    for (unsigned i = 0; i < 200; i++) { /* each points at the one before, the first at a root */
        unsigned to = i == 0 ? 0 : 2 * i - 1;
        message[2 * i + 1] = (uint8_t)(0xc0 | to >> 8);
        message[2 * i + 2] = (uint8_t)to;
    }
    size_t at = 1 + 2 * 126;
    assert_int_equal(name_from_message(&name, message, sizeof message, &at), 0);
    assert_int_equal(at, 1 + 2 * 127);
    assert_int_equal(name.size, 1);
    at = 1 + 2 * 127;
    assert_int_equal(name_from_message(&name, message, sizeof message, &at), WEIR_EPROTO);
    at = 1 + 2 * 199;
    assert_int_equal(name_from_message(&name, message, sizeof message, &at), WEIR_EPROTO);
}

/* 255 bytes are a name, 256 are not; and a name of the worst bytes fits its text. */
static void sizes(void **state)
{
    char message[300] = {0};
    struct dns_name name;
    char text[NAME_TEXT_MAX];
    size_t at, size = 0;

    memset(message, 0xff, sizeof message);
    for (int i = 0; i < 3; i++, size += 64)
        message[size] = 63;
    message[size] = 61;
    size += 62;
    message[size++] = 0;
    assert_int_equal(size, 255);
    assert_int_equal(read_at(&name, message, size, 0, &at), 0);
    assert_int_equal(name.size, 255);
    assert_int_equal(name_to_text(&name, text), 250 * 4 + 3);
    message[3 * 64] = 62;
    message[size - 1] = 'a';
    message[size++] = 0;
    assert_int_equal(read_at(&name, message, size, 0, &at), WEIR_EPROTO);
}

static void addresses(void **state)
{
    struct dns_name name;
    weir_address address;
    char text[NAME_TEXT_MAX];

    weir_address_parse("tcp://192.0.2.130:5", &address, NULL);
    assert_int_equal(name_of_address(&name, &address), 0);
    name_to_text(&name, text);
    assert_string_equal(text, "130.2.0.192.in-addr.arpa");
    weir_address_parse("tcp://[2001:db8::f]:5", &address, NULL);
    assert_int_equal(name_of_address(&name, &address), 0);
    name_to_text(&name, text);
    assert_string_equal(text, "f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
                              ".ip6.arpa");
    weir_address_parse("unix:@x", &address, NULL);
    assert_int_equal(name_of_address(&name, &address), WEIR_EADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_back), cmocka_unit_test(no_names), cmocka_unit_test(messages),
        cmocka_unit_test(jumps),         cmocka_unit_test(sizes),    cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Headers of the PROXY protocol: what is read, what is refused, what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/proxy.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static void is(const weir_address *address, const char *url)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    assert_true(weir_address_format(address, text, sizeof text) > 0);
    assert_string_equal(text, url);
}

/* Each shorter piece asks for more, what follows is not looked at. */
static int read_all(const char *data, size_t size, weir_proxy_header *out)
{
    char more[600];
    int used = weir_proxy_parse(data, size, out);
    if (used <= 0)
        return used;
    memcpy(more, data, size);
    memcpy(more + size, "GET", 3);
    for (size_t i = 0; i < (size_t)used; i++)
        if (weir_proxy_parse(more, i, out) != 0)
            fail_msg("%zu of %d bytes", i, used);
    assert_int_equal(weir_proxy_parse(more, size + 3, out), used);
    return used;
}

static void version_1(void **state)
{
    static const char four[] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    static const char six[] = "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
    static const char longest[] = "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    weir_proxy_header h;

    assert_int_equal(read_all(four, strlen(four), &h), strlen(four));
    assert_int_equal(h.version, 1);
    assert_false(h.unknown);
    is(&h.source, "tcp://192.0.2.1:56324");
    is(&h.destination, "tcp://198.51.100.2:443");
    assert_int_equal(read_all(six, strlen(six), &h), strlen(six));
    is(&h.source, "tcp://[2001:db8::1]:0");
    is(&h.destination, "tcp://[::1]:65535");
    assert_int_equal(read_all("PROXY UNKNOWN\r\n", 15, &h), 15);
    assert_true(h.unknown);
    assert_int_equal(read_all("PROXY UNKNOWN ffff::1 x y\r\n", 27, &h), 27);
    assert_int_equal(weir_proxy_parse(longest, strlen(longest), &h), WEIR_EPROTO);
}

static void not_version_1(void **state)
{
    static const char *const bad[] = {
        "G",
        "PROXX",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 a\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP6 ::g ::1 1 1\r\n",
        "PROXY TCP6 fe80::1%lo ::1 1 1\r\n",
        "PROXY TCP6 [::1] ::1 1 1\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP4 a\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "\n",
        "\r\n\r\nx",
        "PROXY TCP4 1.2.3.4 1.2.3.4  1\r\n",
    };
    char text[200];
    weir_proxy_header h;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (weir_proxy_parse(bad[i], strlen(bad[i]), &h) != WEIR_EPROTO)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(weir_proxy_parse("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n", 34, &h), WEIR_EPROTO);
    memset(text, 'a', sizeof text); /* 107 bytes and no end */
    memcpy(text, "PROXY UNKNOWN ", 14);
    assert_int_equal(weir_proxy_parse(text, 106, &h), 0);
    assert_int_equal(weir_proxy_parse(text, 107, &h), WEIR_EPROTO);
    text[105] = '\r';
    text[106] = '\n';
    assert_int_equal(weir_proxy_parse(text, sizeof text, &h), 107);
    assert_int_equal(weir_proxy_parse("", 0, &h), 0);
}

static size_t v2(char *out, int command, int kind, const char *rest, size_t size)
{
    memcpy(out, SIGNATURE, 12);
    out[12] = (char)command;
    out[13] = (char)kind;
    out[14] = (char)(size >> 8);
    out[15] = (char)size;
    memcpy(out + 16, rest, size);
    return 16 + size;
}

#define FOUR "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"

static void version_2(void **state)
{
    char data[600], un[216] = "/run/x.sock";
    weir_proxy_header h;
    size_t size = v2(data, 0x21, 0x11, FOUR, 12);

    assert_int_equal(read_all(data, size, &h), 28);
    assert_int_equal(h.version, 2);
    is(&h.source, "tcp://192.0.2.1:56324");
    is(&h.destination, "tcp://198.51.100.2:443");
    size = v2(data, 0x21, 0x12, FOUR, 12);
    assert_int_equal(read_all(data, size, &h), 28);
    is(&h.source, "udp://192.0.2.1:56324");
    size = v2(data, 0x21, 0x21,
              "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2", 36);
    assert_int_equal(read_all(data, size, &h), 52);
    is(&h.source, "tcp://[2001:db8::1]:1");
    is(&h.destination, "tcp://[::1]:2");
    memcpy(un + 108, "\0abstract", 10);
    size = v2(data, 0x21, 0x31, un, 216);
    assert_int_equal(read_all(data, size, &h), 232);
    is(&h.source, "unix:/run/x.sock");
    is(&h.destination, "unix:@abstract");
    size = v2(data, 0x20, 0x11, FOUR, 12);
    assert_int_equal(read_all(data, size, &h), 28);
    assert_true(h.unknown);
    size = v2(data, 0x20, 0, "", 0);
    assert_int_equal(read_all(data, size, &h), 16);
    size = v2(data, 0x21, 0, "abc", 3);
    assert_int_equal(read_all(data, size, &h), 19);
    assert_true(h.unknown);
    size = v2(data, 0x21, 0x11, FOUR "\x02\0\3abc\x04\0\0", 12 + 6 + 3); /* extensions */
    assert_int_equal(read_all(data, size, &h), 37);
}

/* The CRC-32C of this header was computed by another program, for which that of "123456789" is
 * 0xe3069283, as it is to be. */
static void checked(void **state)
{
    char data[64];
    weir_proxy_header h;
    size_t size = v2(data, 0x21, 0x11, FOUR "\3\0\4\0\0\0\0", 12 + 7);
    uint32_t crc = 0x20ec9549;

    for (int i = 0; i < 4; i++)
        data[31 + i] = (char)(crc >> (24 - 8 * i));
    assert_int_equal(read_all(data, size, &h), 35);
    data[20] ^= 1;
    assert_int_equal(weir_proxy_parse(data, size, &h), WEIR_EPROTO);
}

static void not_version_2(void **state)
{
    char data[5000];
    weir_proxy_header h;
    static const struct {
        int command, kind;
        const char *rest;
        size_t size;
    } bad[] = {
        {0x22, 0x11, FOUR, 12},
        {0x11, 0x11, FOUR, 12},
        {0x31, 0x11, FOUR, 12},
        {0x21, 0x41, FOUR, 12},
        {0x21, 0x13, FOUR, 12},
        {0x21, 0x10, FOUR, 12},
        {0x21, 0x01, FOUR, 12},
        {0x21, 0x11, FOUR, 11},
        {0x21, 0x21, FOUR, 12},
        {0x21, 0x31, FOUR, 12},
        {0x21, 0x11, FOUR "\1", 13},
        {0x21, 0x11, FOUR "\1\0", 14},
        {0x21, 0x11, FOUR "\1\0\1", 15},
        {0x21, 0x11, FOUR "\1\xff\xff.", 16},
        {0x21, 0x11, FOUR "\3\0\4\0\0\0\0", 19},
        {0x21, 0x11, FOUR "\3\0\3\0\0\0", 18},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t size = v2(data, bad[i].command, bad[i].kind, bad[i].rest, bad[i].size);
        if (weir_proxy_parse(data, size, &h) != WEIR_EPROTO)
            fail_msg("taken: number %zu", i);
    }
    memset(data, 0, sizeof data);
    memcpy(data, SIGNATURE "\x20\x00\x10\x01", 16); /* 4097 bytes: refused before they come */
    assert_int_equal(weir_proxy_parse(data, 16, &h), WEIR_EPROTO);
    memcpy(data, SIGNATURE "\x20\x00\x10\x00", 16);
    assert_int_equal(weir_proxy_parse(data, WEIR_PROXY_HEADER_MAX - 1, &h), 0);
    assert_int_equal(weir_proxy_parse(data, WEIR_PROXY_HEADER_MAX, &h), WEIR_PROXY_HEADER_MAX);
    data[11] = 'x';
    assert_int_equal(weir_proxy_parse(data, 12, &h), WEIR_EPROTO);
}

static void write_and_read(const char *source, const char *destination, int version, int expected)
{
    weir_proxy_header h = {.version = (uint8_t)version}, again;
    char out[WEIR_PROXY_WRITE_MAX];

    assert_int_equal(weir_address_parse(source, &h.source, NULL), 0);
    assert_int_equal(weir_address_parse(destination, &h.destination, NULL), 0);
    int size = weir_proxy_write(&h, out, sizeof out);
    if (expected < 0) {
        assert_int_equal(size, expected);
        return;
    }
    assert_true(size > 0);
    assert_int_equal(weir_proxy_parse(out, (size_t)size, &again), size);
    assert_int_equal(again.version, version);
    is(&again.source, source);
    is(&again.destination, destination);
    for (int i = 0; i < size; i++)
        assert_int_equal(weir_proxy_write(&h, out, (size_t)i), WEIR_ETOOBIG);
}

static void written_of_words(void)
{
    weir_proxy_header h = {.version = 1};
    char out[WEIR_PROXY_WRITE_MAX];

    assert_int_equal(weir_address_parse("tcp://192.0.2.1:1", &h.source, NULL), 0);
    assert_int_equal(weir_address_parse("tcp://localhost:9000", &h.destination, NULL), 0);
    int size = weir_proxy_write(&h, out, sizeof out);
    if (size > 0) /* "localhost" may be of the other family */
        assert_int_equal(weir_proxy_parse(out, (size_t)size, &h), size);
    else
        assert_int_equal(size, WEIR_EINVALID);
}

static void written(void **state)
{
    weir_proxy_header h = {.version = 1, .unknown = true};
    char out[WEIR_PROXY_WRITE_MAX];

    assert_int_equal(weir_proxy_write(&h, out, sizeof out), 15);
    assert_memory_equal(out, "PROXY UNKNOWN\r\n", 15);
    h.version = 2;
    assert_int_equal(weir_proxy_write(&h, out, sizeof out), 16);
    h.version = 3;
    assert_int_equal(weir_proxy_write(&h, out, sizeof out), WEIR_EINVALID);
    written_of_words();
    for (int version = 1; version <= 2; version++) {
        write_and_read("tcp://192.0.2.1:1", "tcp://192.0.2.2:65535", version, 1);
        write_and_read("tcp://[2001:db8::1]:1", "tcp://[::]:2", version, 1);
    }
    write_and_read("udp://192.0.2.1:1", "udp://192.0.2.2:2", 2, 1);
    write_and_read("unix:/run/a", "unix:@b", 2, 1);
    write_and_read("tcp://192.0.2.1:1", "tcp://[::5]:2", 2, 1); /* one of them mapped */
    write_and_read("tcp://192.0.2.1:1", "tcp://[::5]:2", 1, WEIR_EINVALID);
    write_and_read("udp://192.0.2.1:1", "udp://192.0.2.2:2", 1, WEIR_EINVALID);
    write_and_read("unix:/run/a", "unix:@b", 1, WEIR_EINVALID);
    write_and_read("tcp://192.0.2.1:1", "udp://192.0.2.2:2", 2, WEIR_EINVALID);
    write_and_read("unix:/run/a", "tcp://192.0.2.2:2", 2, WEIR_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1), cmocka_unit_test(not_version_1), cmocka_unit_test(version_2),
        cmocka_unit_test(checked),   cmocka_unit_test(not_version_2), cmocka_unit_test(written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

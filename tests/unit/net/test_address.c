/* Addresses: what is read, what is refused and where, and that writing and reading agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/address.h>
#include <weir/error.h>

#include "base/utf8.h"
#include "net/ip.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What is read, and how it is written back (NULL: as it was). */
static const struct good {
    const char *text, *canonical;
    int transport, scheme, port;
} goods[] = {
    {"tcp://1.2.3.4:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://0.0.0.0:0", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 0},
    {"tcp://255.255.255.255:65535", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 65535},
    {"tcp://[::1]:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://[::]:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://[2001:DB8:0:0:1:0:0:1]:80", "tcp://[2001:db8::1:0:0:1]:80", WEIR_TRANSPORT_TCP,
     WEIR_SCHEME_TCP, 80},
    {"tcp://[1:2:3:4:5:6:7:8]:1", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 1},
    {"tcp://[1:2:3:4:5:6:1.2.3.4]:1", "tcp://[1:2:3:4:5:6:102:304]:1", WEIR_TRANSPORT_TCP,
     WEIR_SCHEME_TCP, 1},
    {"tcp://[::ffff:1.2.3.4]:80", "tcp://1.2.3.4:80", WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://[fe80::1%lo]:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://[fe80::1%1]:80", "tcp://[fe80::1%lo]:80", WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://[fe80::1%4294967295]:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://[fe80::1]:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"udp://[ff02::fb%lo]:5353", NULL, WEIR_TRANSPORT_UDP, WEIR_SCHEME_UDP, 5353},
    {"tcp://*:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://:80", "tcp://*:80", WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"tcp://localhost:80", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"TCP://LocalHost:80", "tcp://localhost:80", WEIR_TRANSPORT_TCP, WEIR_SCHEME_TCP, 80},
    {"udp://1.2.3.4:53", NULL, WEIR_TRANSPORT_UDP, WEIR_SCHEME_UDP, 53},
    {"udp://*:53", NULL, WEIR_TRANSPORT_UDP, WEIR_SCHEME_UDP, 53},
    {"http://1.2.3.4", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTP, 80},
    {"http://1.2.3.4:80/", "http://1.2.3.4", WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTP, 80},
    {"http://1.2.3.4:8080", NULL, WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTP, 8080},
    {"https://[::1]/a/b?c=%20d", "https://[::1]", WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTPS, 443},
    {"https://*:443", "https://*", WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTPS, 443},
    {"https://localhost?q", "https://localhost", WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTPS, 443},
    {"http://:0", "http://*:0", WEIR_TRANSPORT_TCP, WEIR_SCHEME_HTTP, 0},
    {"unix:/run/x.sock", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:relative/path", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:@abstract", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:@a%00b", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix-dgram:/run/x.sock", NULL, WEIR_TRANSPORT_UNIX_DGRAM, WEIR_SCHEME_UNIX_DGRAM, -1},
    {"unix-dgram:@name", NULL, WEIR_TRANSPORT_UNIX_DGRAM, WEIR_SCHEME_UNIX_DGRAM, -1},
    {"unix-seqpacket:@name", NULL, WEIR_TRANSPORT_UNIX_SEQPACKET, WEIR_SCHEME_UNIX_SEQPACKET, -1},
    {"unix:%40path", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:/a%20b%25", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:/%2Fa", NULL, WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:/%61?b#c:d", "unix:/a?b#c:d", WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"unix:/\xc3\xa9", "unix:/%C3%A9", WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
    {"Unix:/x", "unix:/x", WEIR_TRANSPORT_UNIX, WEIR_SCHEME_UNIX, -1},
};

/* The text of an address; `out` has WEIR_ADDRESS_TEXT_MAX bytes. */
static const char *written(const weir_address *address, char *out)
{
    int length = weir_address_format(address, out, WEIR_ADDRESS_TEXT_MAX);

    assert_int_equal(length, strlen(out));
    return out;
}

static void test_good(void **state)
{
    char text[WEIR_ADDRESS_TEXT_MAX], again_text[WEIR_ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < COUNT(goods); i++) {
        const struct good *good = &goods[i];
        const char *canonical = good->canonical != NULL ? good->canonical : good->text;
        struct weir_address_error error = {0};
        weir_address address, again;

        if (weir_address_parse(good->text, &address, &error) != 0)
            fail_msg("%s refused at %u: %s", good->text, error.offset, error.message);
        assert_int_equal(address.transport, good->transport);
        assert_int_equal(address.scheme, good->scheme);
        assert_int_equal(weir_address_port(&address), good->port);
        assert_string_equal(written(&address, text), canonical);
        assert_int_equal(weir_address_parse(text, &again, &error), 0);
        assert_true(weir_address_equal(&address, &again));
        assert_int_equal(address.flags, again.flags);
        assert_string_equal(written(&again, again_text), text);
    }
}

/* What is refused, at which byte, and a word of the message. */
static const struct bad {
    const char *text;
    unsigned offset;
    const char *word;
} bads[] = {
    {"", 0, "scheme"},
    {"127.0.0.1:80", 0, "scheme"},
    {"//1.2.3.4:80", 0, "scheme"},
    {":80", 0, "scheme"},
    {"1tcp://1.2.3.4:80", 0, "scheme"},
    {"ftp://1.2.3.4:80", 0, "unknown scheme"},
    {"localhost:80", 0, "unknown scheme"},
    {"tcp:", 4, "//"},
    {"tcp:/1.2.3.4:80", 4, "//"},
    {"tcp:1.2.3.4:80", 4, "//"},
    {"tcp://", 6, "host"},
    {"http://", 7, "host"},
    {"http:///", 7, "host"},
    {" tcp://1.2.3.4:80", 0, "spaces"},
    {"tcp://1.2.3.4:80 ", 16, "spaces"},
    {"tcp://1.2.3.4 :80", 13, "spaces"},
    {"tcp://1.2.3.4:80\n", 16, "control"},
    {"unix:/a b", 7, "spaces"},
    {"unix:/a\tb", 7, "control"},
    {"unix:/a\x7f", 7, "control"},
    {"tcp://1.2.3.4", 13, "port"},
    {"tcp://*", 7, "port"},
    {"tcp://1.2.3.4:", 14, "port"},
    {"tcp://1.2.3.4:/", 14, "port"},
    {"tcp://1.2.3.4/", 13, "port"},
    {"tcp://1.2.3.4:80/", 16, "nothing may follow"},
    {"tcp://1.2.3.4:80x", 16, "nothing may follow"},
    {"http://1.2.3.4:80x", 17, "nothing may follow"},
    {"tcp://1.2.3.4:65536", 14, "65535"},
    {"tcp://1.2.3.4:99999999999999999999", 14, "65535"},
    {"tcp://1.2.3.4:080", 14, "leading zero"},
    {"tcp://1.2.3.4:00", 14, "leading zero"},
    {"tcp://1.2.3.4:-1", 14, "number"},
    {"tcp://1.2.3.4:+1", 14, "number"},
    {"tcp://1.2.3:80", 11, "four"},
    {"tcp://1:80", 7, "four"},
    {"tcp://1.2.3.:80", 12, "four"},
    {"tcp://1..3.4:80", 8, "four"},
    {"tcp://.1.2.3:80", 6, "four"},
    {"tcp://1.2.3.4.5:80", 13, "four"},
    {"tcp://1.256.3.4:80", 8, "255"},
    {"tcp://1.2.3.1000:80", 12, "255"},
    {"tcp://1.02.3.4:80", 8, "leading zero"},
    {"tcp://[::1:80", 10, "missing ]"},
    {"tcp://[::1", 10, "missing ]"},
    {"tcp://[::", 9, "missing ]"},
    {"tcp://[1:80", 11, "missing ]"},
    {"tcp://[::1:80/]", 10, "missing ]"},
    {"tcp://[]:80", 7, "missing"},
    {"tcp://[:1]:80", 7, "single :"},
    {"tcp://[1:]:80", 8, "single :"},
    {"tcp://[1::2::3]:80", 11, "second ::"},
    {"tcp://[:::]:80", 9, "hexadecimal"},
    {"tcp://[1:2:3:4:5:6:7]:80", 20, "8 groups"},
    {"tcp://[1:2:3:4:5:6:7:8:9]:80", 23, "8 groups"},
    {"tcp://[1:2:3:4::5:6:7:8]:80", 7, "8 groups"},
    {"tcp://[12345::]:80", 11, "4 digits"},
    {"tcp://[::g]:80", 9, "hexadecimal"},
    {"tcp://[1.2.3.4]:80", 7, "brackets"},
    {"tcp://[::1.2.3]:80", 14, "four"},
    {"tcp://[1:2:3:4:5:6:7:1.2.3.4]:80", 21, "no room"},
    {"tcp://[::1]80", 11, "only a colon"},
    {"http://[::1]80", 12, "only a colon"},
    {"tcp://[::1]", 11, "port"},
    {"tcp://::1:80", 6, "brackets"},
    {"tcp://1.2.3.4:80:90", 6, "brackets"},
    {"tcp://[::1%lo]:80", 10, "link-local"},
    {"tcp://[::ffff:1.2.3.4%lo]:80", 21, "link-local"},
    {"tcp://[fe80::1%]:80", 15, "missing"},
    {"tcp://[fe80::1%no-such-if]:80", 15, "no network interface"},
    {"tcp://[fe80::1%25lo]:80", 15, "no network interface"},
    {"tcp://[fe80::1%0]:80", 15, "no network interface"},
    {"tcp://[fe80::1%01]:80", 15, "no network interface"},
    {"tcp://[fe80::1%4294967296]:80", 15, "no network interface"},
    {"tcp://[fe80::1%aaaaaaaaaaaaaaaa]:80", 30, "15 characters"},
    {"tcp://example.org:80", 6, "resolver"},
    {"http://localhost.", 7, "resolver"},
    {"tcp://localhosts:80", 6, "resolver"},
    {"tcp://**:80", 6, "cannot stand"},
    {"tcp://a!b:80", 7, "cannot stand"},
    {"tcp://ex\xc3\xa4mple:80", 8, "cannot stand"},
    {"tcp://me@1.2.3.4:80", 8, "user name"},
    {"tcp://me:secret@1.2.3.4:80", 15, "user name"},
    {"http://1.2.3.4/a#b", 16, "fragment"},
    {"http://1.2.3.4#b", 14, "nothing may follow"},
    {"http://1.2.3.4/a%2", 16, "hexadecimal"},
    {"http://1.2.3.4/%zz", 15, "hexadecimal"},
    {"http://1.2.3.4/\"", 15, "%XX"},
    {"unix:", 5, "path"},
    {"unix:@", 6, "name"},
    {"unix:///run/x", 5, "one slash"},
    {"unix://host/x", 5, "one slash"},
    {"unix:/a%", 7, "hexadecimal"},
    {"unix:/a%4", 7, "hexadecimal"},
    {"unix:/a%00", 7, "NUL"},
};

/* Not a name that is unknown, but one that cannot be asked for now. */
static void test_interface_without_descriptors(void **state)
{
    struct weir_address_error error = {0};
    struct rlimit limit, low;
    weir_address address;
    int next = dup(0);

    (void)state;
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){(rlim_t)next, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int result = weir_address_parse("tcp://[fe80::1%25weirtest0]:1", &address, &error);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_in_range(-result, 1, 4095); /* the system's word, whatever it is */
    assert_non_null(strstr(error.message, "could not be looked up"));
}

static void test_bad(void **state)
{
    char explained[256];

    for (size_t i = 0; i < COUNT(bads); i++) {
        const struct bad *bad = &bads[i];
        struct weir_address_error error = {0};
        weir_address address, zero = {0};
        int result = weir_address_parse(bad->text, &address, &error);

        if (result != WEIR_EADDRESS)
            fail_msg("\"%s\" gave %d", bad->text, result);
        if (error.offset != bad->offset || strstr(error.message, bad->word) == NULL)
            fail_msg("\"%s\": at %u: %s; expected at %u: %s", bad->text, error.offset,
                     error.message, bad->offset, bad->word);
        assert_memory_equal(&address, &zero, sizeof address);
        assert_true(weir_address_explain(bad->text, &error, explained, sizeof explained) > 0);
        assert_int_equal(weir_address_parse(bad->text, &address, NULL), WEIR_EADDRESS);
    }
}

/* A long text is cut to what is near the mistake, and never within a character. */
static void test_explain_cuts_between_characters(void **state)
{
    char text[400], out[600];

    (void)state;
    for (size_t before = 0; before < 3; before++) {
        for (size_t at = 100; at < 106; at++) {
            struct weir_address_error error = {.offset = at, .message = "here"};
            size_t used = before;

            memset(text, 'x', before);
            while (used < 300) { /* characters of three bytes */
                memcpy(text + used, "\xe2\x82\xac", 3);
                used += 3;
            }
            text[used] = 0;
            assert_true(weir_address_explain(text, &error, out, sizeof out) > 0);
            assert_memory_equal(out, "...", 3);
            char *end = strstr(out + 3, "...\n");
            assert_non_null(end);
            assert_true(end - out > 80 && end - out < 110);
            assert_int_equal((unsigned char)out[3], 0xe2);
            for (const char *next = out + 3; next < end;) {
                uint32_t code;
                unsigned size = utf8_next(next, (size_t)(end - next), &code);

                assert_int_not_equal(size, 0);
                next += size;
            }
        }
    }
}

static void test_explain(void **state)
{
    struct weir_address_error error;
    weir_address address;
    char out[256], text[9000];

    weir_address_parse("tcp://[::1:80", &address, &error);
    assert_int_equal(weir_address_explain("tcp://[::1:80", &error, out, sizeof out), 35);
    assert_string_equal(out, "tcp://[::1:80\n          ^ missing ]");
    assert_int_equal(weir_address_explain("tcp://[::1:80", &error, out, 35), WEIR_ETOOBIG);
    assert_string_equal(out, "");

    /* Characters of several bytes count once, control characters are not passed on. */
    weir_address_parse("tcp://\xc3\xa4\x1b:80", &address, &error);
    assert_true(weir_address_explain("tcp://\xc3\xa4\x1b:80", &error, out, sizeof out) > 0);
    assert_string_equal(out, "tcp://\xc3\xa4?:80\n       ^ no control characters in an address");

    /* Of a long text the part around the mistake is shown. */
    memset(text, 'a', sizeof text);
    memcpy(text, "unix:/", 6);
    text[200] = '\n';
    text[400] = '\0';
    weir_address_parse(text, &address, &error);
    assert_int_equal(error.offset, 200);
    assert_true(weir_address_explain(text, &error, out, sizeof out) > 0);
    assert_int_equal(strchr(strchr(out, '\n') + 1, '^') - strchr(out, '\n') - 1, 3 + 48);
    assert_non_null(strstr(out, "aaa?aaa"));

    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(weir_address_parse(text, &address, &error), WEIR_EADDRESS);
    assert_int_equal(error.offset, 8191);
    assert_int_equal(weir_address_parse(NULL, &address, &error), WEIR_EADDRESS);
    assert_int_equal(error.offset, 0);
}

static void test_target(void **state)
{
    const char *text = "http://1.2.3.4:8080/a/b?c";
    weir_address address;

    assert_int_equal(weir_address_parse(text, &address, NULL), 0);
    assert_string_equal(text + address.target_offset, "/a/b?c");
    assert_int_equal(address.target_size, 6);
    assert_int_equal(weir_address_parse("http://1.2.3.4/", &address, NULL), 0);
    assert_int_equal(address.target_size, 1);
    assert_int_equal(weir_address_parse("http://1.2.3.4", &address, NULL), 0);
    assert_int_equal(address.target_size, 0);
}

static void test_expand(void **state)
{
    weir_address address, out[2];
    char text[WEIR_ADDRESS_TEXT_MAX];

    assert_int_equal(weir_address_parse("http://localhost:8080", &address, NULL), 0);
    assert_int_equal(weir_address_expand(&address, out, 0), 0);
    assert_int_equal(weir_address_expand(&address, out, 2), 2);
    assert_string_equal(written(&out[0], text), "http://127.0.0.1:8080");
    assert_string_equal(written(&out[1], text), "http://[::1]:8080");
    assert_int_equal(weir_address_expand(&out[1], out, 2), 1);
    assert_string_equal(written(&out[0], text), "http://[::1]:8080");

    assert_int_equal(weir_address_set_port(&address, 65536), WEIR_EINVALID);
    assert_int_equal(weir_address_set_port(&address, 7), 0);
    assert_int_equal(weir_address_port(&address), 7);
    assert_int_equal(weir_address_parse("unix:x", &address, NULL), 0);
    assert_int_equal(weir_address_set_port(&address, 7), WEIR_EINVALID);
}

/* The longest names fit, one byte more does not; the longest text that format writes fits. */
static void test_unix_length(void **state)
{
    char text[400], out[WEIR_ADDRESS_TEXT_MAX];
    struct weir_address_error error;
    weir_address address;

    for (int abstract = 0; abstract < 2; abstract++) {
        int head = snprintf(text, sizeof text, abstract ? "unix:@" : "unix:/");
        int rest = abstract ? 107 : 106;

        memset(text + head, 'x', (size_t)rest);
        text[head + rest] = '\0';
        assert_int_equal(weir_address_parse(text, &address, NULL), 0);
        assert_int_equal(address.socket_size, sizeof(struct sockaddr_un));
        assert_string_equal(written(&address, out), text);
        strcat(text, "x");
        assert_int_equal(weir_address_parse(text, &address, &error), WEIR_EADDRESS);
        assert_int_equal(error.offset, head + rest);
    }
    strcpy(text, "unix:@");
    for (int i = 0; i < 107; i++)
        strcat(text, "%01");
    assert_int_equal(weir_address_parse(text, &address, NULL), 0);
    assert_string_equal(written(&address, out), text);
    for (size_t size = 0; size <= strlen(text); size++)
        assert_int_equal(weir_address_format(&address, out, size), WEIR_ETOOBIG);
}

static void test_sockaddr(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    weir_address address;
    char text[WEIR_ADDRESS_TEXT_MAX];

    /* A client that has no name. */
    assert_int_equal(
        weir_address_from_sockaddr((struct sockaddr *)&un, head, WEIR_TRANSPORT_UNIX, &address), 0);
    assert_string_equal(written(&address, text), "unix:");

    /* A path of 108 bytes without a NUL, as the kernel reports it: with one byte more. */
    memset(un.sun_path, 'p', sizeof un.sun_path);
    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&un, sizeof un + 1,
                                                WEIR_TRANSPORT_UNIX, &address),
                     0);
    assert_int_equal(weir_address_format(&address, text, sizeof text), 5 + 108);
    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&un, sizeof un + 2,
                                                WEIR_TRANSPORT_UNIX, &address),
                     WEIR_EADDRESS);

    /* What stands behind a path's NUL is no part of it. */
    strcpy(un.sun_path, "a");
    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&un, sizeof un,
                                                WEIR_TRANSPORT_UNIX, &address),
                     0);
    assert_int_equal(address.socket_size, head + 2);

    /* One host, one form: a mapped address is the IPv4 one, a scope counts on a link only. */
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr), 1);
    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6,
                                                WEIR_TRANSPORT_TCP, &address),
                     0);
    assert_string_equal(written(&address, text), "tcp://127.0.0.1:9");
    in6.sin6_addr = in6addr_loopback;
    in6.sin6_scope_id = 1;
    in6.sin6_flowinfo = 5;
    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6,
                                                WEIR_TRANSPORT_UDP, &address),
                     0);
    assert_string_equal(written(&address, text), "udp://[::1]:9");

    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6 - 1,
                                                WEIR_TRANSPORT_UDP, &address),
                     WEIR_EADDRESS);
    assert_int_equal(
        weir_address_from_sockaddr((struct sockaddr *)&in6, 0, WEIR_TRANSPORT_UDP, &address),
        WEIR_EADDRESS);
    assert_int_equal(weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6,
                                                WEIR_TRANSPORT_UNIX, &address),
                     WEIR_EADDRESS);
    assert_int_equal(weir_address_format(&address, text, sizeof text), WEIR_EADDRESS);
    assert_string_equal(text, "");
}

static void test_equal(void **state)
{
    weir_address left, right;

    assert_int_equal(weir_address_parse("http://127.0.0.1", &left, NULL), 0);
    assert_int_equal(weir_address_parse("tcp://127.0.0.1:80", &right, NULL), 0);
    assert_true(weir_address_equal(&left, &right));
    assert_int_equal(weir_address_parse("udp://127.0.0.1:80", &right, NULL), 0);
    assert_false(weir_address_equal(&left, &right));
    assert_int_equal(weir_address_parse("tcp://127.0.0.1:81", &right, NULL), 0);
    assert_false(weir_address_equal(&left, &right));
    assert_string_equal(weir_scheme_name(WEIR_SCHEME_HTTPS), "https");
    assert_string_equal(weir_scheme_name(WEIR_SCHEME_NONE), "none");
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Texts made of the characters that matter are taken or refused exactly as inet_pton does. */
static void test_ip_like_inet_pton(void **state)
{
    static const char letters[] = "::::::0012fF.g";
    uint32_t seed = 42;
    unsigned taken = 0;

    for (int round = 0; round < 400000; round++) {
        char text[24];
        size_t size = next_random(&seed) % (round % 2 ? 10 : sizeof text);
        unsigned char expected[16], found[16];
        struct ip_fault fault = {0};
        bool ours, theirs;

        for (size_t i = 0; i < size; i++)
            text[i] = letters[next_random(&seed) % (sizeof letters - 1)];
        text[size] = '\0';
        theirs = inet_pton(AF_INET6, text, expected) == 1;
        ours = weir__ip6_parse(text, text + size, (struct in6_addr *)found, &fault);
        if (ours != theirs)
            fail_msg("\"%s\": %d, inet_pton %d (%s)", text, ours, theirs,
                     ours ? "" : fault.message);
        if (ours)
            assert_memory_equal(found, expected, 16);
        else
            assert_true(fault.at >= text && fault.at <= text + size && fault.message != NULL);
        taken += ours;

        for (size_t i = 0; i < size; i++)
            text[i] = "0123.."[next_random(&seed) % 6];
        theirs = inet_pton(AF_INET, text, expected) == 1;
        ours = weir__ip4_parse(text, text + size, (struct in_addr *)found, &fault);
        assert_int_equal(ours, theirs);
        if (ours)
            assert_memory_equal(found, expected, 4);
        taken += ours;
    }
    assert_true(taken > 1000);
}

/* Any bytes that the kernel could report as a name are written and read back as the same. */
static void test_unix_round_trip(void **state)
{
    uint32_t seed = 7;

    for (int round = 0; round < 20000; round++) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        size_t size = 1 + next_random(&seed) % 107;
        weir_address address, again;
        char text[WEIR_ADDRESS_TEXT_MAX];

        for (size_t i = 0; i < size; i++)
            un.sun_path[i] =
                round % 3 == 0 ? "/@%a"[next_random(&seed) % 4] : (char)next_random(&seed);
        if (round % 2) {
            memmove(un.sun_path + 1, un.sun_path, size);
            un.sun_path[0] = '\0';
        } else if (un.sun_path[0] == '\0') {
            continue;
        }
        assert_int_equal(
            weir_address_from_sockaddr((struct sockaddr *)&un,
                                       offsetof(struct sockaddr_un, sun_path) + size + 1,
                                       WEIR_TRANSPORT_UNIX, &address),
            0);
        assert_true(weir_address_format(&address, text, sizeof text) > 0);
        if (weir_address_parse(text, &again, NULL) != 0)
            fail_msg("\"%s\" is written, but not read", text);
        assert_true(weir_address_equal(&address, &again));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_interface_without_descriptors),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_explain_cuts_between_characters),
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_unix_length),
        cmocka_unit_test(test_sockaddr),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_ip_like_inet_pton),
        cmocka_unit_test(test_unix_round_trip),
    };

    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}

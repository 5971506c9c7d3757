/* What proxies are asked, in bytes, and how their answers are read; e2e `via` has the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>

#include "proto/httptunnel.h"
#include "proto/socks5.h"

static void http_asks(void **state)
{
    static const struct {
        const char *user, *password, *base64;
    } rows[] = {{"f", "", "Zjo="},
                {"fo", "", "Zm86"},
                {"foo", "", "Zm9vOg=="},
                {"f", "o", "Zjpv"},
                {"Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}};
    char out[PROXY_ASK_BYTES_MAX], expected[300];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct proxy_ask ask = {
            .user = rows[i].user, .password = rows[i].password, .host = "::1", .port = 8};
        size_t size = httptunnel_write(&ask, out);
        snprintf(
            expected, sizeof expected,
            "CONNECT [::1]:8 HTTP/1.1\r\nHost: [::1]:8\r\nProxy-Authorization: Basic %s\r\n\r\n",
            rows[i].base64);
        assert_int_equal(size, strlen(expected));
        assert_memory_equal(out, expected, size);
    }
}

/* The longest of all that may be asked has room. */
static void longest(void **state)
{
    char text[256], out[PROXY_ASK_BYTES_MAX];
    memset(text, 'x', 255);
    text[255] = '\0';
    struct proxy_ask ask = {.user = text, .password = text, .host = text, .port = 65535};
    assert_in_range(httptunnel_write(&ask, out), 1200, sizeof out - 1);
    struct socks5 socks;
    struct socks5_step step;
    assert_int_equal(socks5_begin(&socks, &ask, (uint8_t *)out), 4);
    assert_memory_equal(out, "\5\2\0\2", 4);
    assert_int_equal(socks5_next(&socks, &ask, (const uint8_t *)"\5\2\1\0", 4, &step), 0);
    assert_int_equal(step.send_size, 1 + 256 + 256 + 4 + 256 + 2);
    assert_memory_equal(step.send + 513, "\5\1\0\3\xff", 5);
    assert_memory_equal(step.send + step.send_size - 2, "\xff\xff", 2);
}

/* Whoever answers early and much is not believed. */
static void all_at_once(void **state)
{
    struct proxy_ask ask = {.host = "a", .port = 1};
    struct socks5 socks;
    struct socks5_step step;
    uint8_t out[PROXY_ASK_BYTES_MAX];
    static const uint8_t answers[] = {5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 'h', 'i'};
    socks5_begin(&socks, &ask, out);
    assert_int_equal(socks5_next(&socks, &ask, answers, sizeof answers, &step), 1);
    assert_int_equal(step.used, sizeof answers - 2);
    struct httptunnel tunnel = {.kept = NULL};
    size_t used;
    char head[HTTPTUNNEL_HEAD_MAX + 1];
    memset(head, 'x', sizeof head);
    memcpy(head, "HTTP/1.1 200 x\r\na:", 18);
    assert_int_equal(
        httptunnel_next(&tunnel, (const uint8_t *)head, HTTPTUNNEL_HEAD_MAX - 1, &used), 0);
    assert_int_equal(httptunnel_next(&tunnel, (const uint8_t *)"x", 1, &used), WEIR_EPROXYREPLY);
    httptunnel_end(&tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(http_asks), cmocka_unit_test(longest),
                                       cmocka_unit_test(all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

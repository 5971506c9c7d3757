/* iperf3's protocol without a network: what is counted of datagrams, and odd results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>

#include "app/iperf/iperf.h"
#include "base/alloc.h"

static void datagrams_are_counted(void **state)
{
    struct iperf_stream stream = {0};
    /* 6 and 7 are lost; 3 and 5 were taken for lost, and are late. */
    static const uint64_t numbers[] = {1, 2, 4, 3, 8, 5};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        iperf_udp_count(&stream, numbers[i], (double)i, (double)i, 100);
    assert_int_equal(stream.now.packets, 8);
    assert_int_equal(stream.now.lost, 2);
    assert_int_equal(stream.now.unordered, 2);
    assert_int_equal(stream.now.bytes, 600);
    assert_true(stream.jitter_s == 0); /* each took as long as the one before it */
}

static void jitter_is_that_of_rfc_3550(void **state)
{
    struct iperf_stream stream = {0};
    static const double transits_s[] = {0.5, 0.5, 0.516, 0.5, 0.532};
    double jitter_s = 0;
    for (unsigned i = 0; i < 5; i++) {
        double left_s = 10.0 + i;
        iperf_udp_count(&stream, i + 1, left_s, left_s + transits_s[i], 100);
        double apart_s = i != 0 ? transits_s[i] - transits_s[i - 1] : 0;
        apart_s = apart_s < 0 ? -apart_s : apart_s;
        jitter_s += i != 0 ? (apart_s - jitter_s) / 16 : 0;
    }
    double apart_s = stream.jitter_s - jitter_s;
    assert_true(apart_s < 1e-9 && apart_s > -1e-9);
    assert_true(stream.jitter_s > 0.003 && stream.jitter_s < 0.005);
}

static void results_of_iperf3_are_read(void **state)
{
    /* -1 as 3.12 writes it, and packets without what was omitted of them. */
    static const char text[] =
        "{\"cpu_util_total\":1.5,\"cpu_util_user\":1,\"cpu_util_system\":0.5,"
        "\"sender_has_retransmits\":18446744073709551615,\"streams\":[{\"id\":1,\"bytes\":7,"
        "\"retransmits\":18446744073709551615,\"jitter\":0.25,\"errors\":3,\"packets\":40}]}";
    struct iperf_results *results = weir__zalloc(sizeof *results);
    struct iperf_report report;
    assert_int_equal(iperf_results_read(text, strlen(text), results, &report), 0);
    assert_false(results->has_resent);
    assert_int_equal(results->count, 1);
    assert_int_equal(results->rows[0].resent, -1);
    assert_int_equal(results->rows[0].lost, 3);
    assert_int_equal(results->rows[0].packets, 40);
    assert_false(results->rows[0].tells_omitted);
    assert_null(report.text);
    weir__free((void *)(uintptr_t)report.values);
    weir__free(results);
}

static void parameters_have_bounds(void **state)
{
    static const struct {
        const char *text;
        int result;
    } table[] = {
        {"{\"tcp\":true,\"time\":1}", 0},
        {"{\"time\":1,\"parallel\":128,\"len\":1048576}", 0},
        {"{\"udp\":true,\"time\":86400,\"len\":65507}", 0},
        {"{\"udp\":true,\"time\":86401,\"len\":65507}", WEIR_EPROTO},
        {"{\"udp\":true,\"time\":1,\"len\":65508}", WEIR_EPROTO},
        {"{\"udp\":true,\"time\":1,\"len\":15}", WEIR_EPROTO},
        {"{\"time\":1,\"parallel\":129}", WEIR_EPROTO},
        {"{\"time\":1,\"len\":1048577}", WEIR_EPROTO},
        {"{\"time\":1,\"reverse\":true,\"bidirectional\":true}", WEIR_EPROTO},
        {"{\"time\":0}", WEIR_EPROTO},
        {"{\"num\":1,\"blockcount\":1}", WEIR_EPROTO},
        {"{\"time\":1,\"sctp\":true}", WEIR_EPROTO},
        {"[]", WEIR_EPROTO},
        {"", WEIR_EPROTO},
    };
    struct iperf_params params;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(iperf_params_read(table[i].text, strlen(table[i].text), &params),
                         table[i].result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagrams_are_counted),
        cmocka_unit_test(jitter_is_that_of_rfc_3550),
        cmocka_unit_test(results_of_iperf3_are_read),
        cmocka_unit_test(parameters_have_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <weir/load.h>
#include <weir/load_datagram.h>

static void messages_are_read_as_they_were_written(void **state)
{
    const weir_load_head head = {.message = WEIR_LOAD_MESSAGE_BEGIN,
                                 .counts = true,
                                 .load = 0x1122334455667788,
                                 .number = UINT64_MAX,
                                 .mark = 3};
    const weir_load_begin begin = {.cookie = 5,
                                   .socket = 7,
                                   .ask = WEIR_LOAD_ASK_BOTH,
                                   .bytes = 1400,
                                   .answer_bytes = 32,
                                   .rate_bytes_s = 1ull << 40,
                                   .stream_bytes = 9};
    const weir_load_report report = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1};
    uint8_t bytes[WEIR_LOAD_REPORT_BYTES];
    weir_load_head head_read;
    weir_load_begin begin_read;
    weir_load_report report_read;

    weir_load_begin_write(&head, &begin, bytes);
    assert_memory_equal(bytes, "WBD1\x03\x01\0\0\x88\x77\x66\x55\x44\x33\x22\x11", 16);
    assert_true(weir_load_head_read(bytes, WEIR_LOAD_BEGIN_BYTES, &head_read));
    assert_int_equal(head_read.message, head.message);
    assert_true(head_read.counts);
    assert_true(head_read.load == head.load && head_read.number == head.number);
    assert_int_equal(head_read.mark, 3);
    assert_true(weir_load_begin_read(bytes, WEIR_LOAD_BEGIN_BYTES, &begin_read));
    assert_true(begin_read.cookie == 5 && begin_read.socket == 7 && begin_read.bytes == 1400);
    assert_true(begin_read.answer_bytes == 32 && begin_read.rate_bytes_s == 1ull << 40);
    assert_true(begin_read.ask == WEIR_LOAD_ASK_BOTH && begin_read.stream_bytes == 9);
    weir_load_report_write(&head, &report, bytes);
    assert_true(weir_load_report_read(bytes, sizeof bytes, &report_read));
    assert_memory_equal(&report_read, &report, sizeof report);
}

static void what_is_no_message_is_refused(void **state)
{
    weir_load_head head = {.message = WEIR_LOAD_MESSAGE_BEGIN};
    weir_load_begin begin = {.ask = WEIR_LOAD_ASK_TAKE, .bytes = 32, .answer_bytes = 65507};
    uint8_t bytes[WEIR_LOAD_REPORT_BYTES] = {0};
    weir_load_report report;

    weir_load_begin_write(&head, &begin, bytes);
    assert_true(weir_load_begin_read(bytes, WEIR_LOAD_BEGIN_BYTES, &begin));
    assert_false(weir_load_begin_read(bytes, WEIR_LOAD_BEGIN_BYTES - 1, &begin));
    assert_false(weir_load_report_read(bytes, WEIR_LOAD_REPORT_BYTES - 1, &report));
    assert_false(weir_load_head_read(bytes, WEIR_LOAD_HEAD_BYTES - 1, &head));
    const struct {
        unsigned at;
        uint8_t byte;
    } heads[] = {{0, 'w'}, {3, '2'}, {4, 0}, {4, 10}, {5, 2}},
      begins[] = {{44, 0}, {44, 5}, {48, 31}};
    for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
        uint8_t before = bytes[heads[i].at];
        bytes[heads[i].at] = heads[i].byte;
        assert_false(weir_load_head_read(bytes, sizeof bytes, &head));
        bytes[heads[i].at] = before;
    }
    for (unsigned i = 0; i < sizeof begins / sizeof *begins; i++) {
        uint8_t before = bytes[begins[i].at];
        bytes[begins[i].at] = begins[i].byte;
        assert_false(weir_load_begin_read(bytes, sizeof bytes, &begin));
        bytes[begins[i].at] = before;
    }
    assert_true(weir_load_head_read(bytes, sizeof bytes, &head));
    bytes[54] = 1; /* an answer larger than a datagram */
    assert_false(weir_load_begin_read(bytes, sizeof bytes, &begin));
}

static void lost_late_and_second_ones_are_told_apart(void **state)
{
    weir_load_arrivals a = {0};
    static const uint64_t numbers[] = {1, 2, 4, 3, 3, 7, 6, 4, 10};
    static const bool fresh[] = {true, true, true, true, false, true, true, false, true};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_int_equal(weir_load_arrive(&a, numbers[i], 100, i, i), fresh[i]);
    assert_int_equal(a.datagrams, 7);
    assert_int_equal(a.bytes, 700);
    assert_int_equal(a.reordered, 2);
    assert_int_equal(a.duplicates, 2);
    assert_int_equal(a.highest, 10);
    assert_int_equal(weir_load_arrivals_lost(&a, 0), 3);
    assert_int_equal(weir_load_arrivals_lost(&a, 12), 5);
    assert_false(weir_load_arrive(&a, 0, 100, 0, 0));
    assert_false(weir_load_arrive(&a, 11ull + UINT32_MAX, 100, 0, 0)); /* nobody can be there */
    assert_int_equal(a.highest, 10);
}

static void the_window_moves(void **state)
{
    weir_load_arrivals a = {0};
    for (uint64_t n = 1; n <= 5000; n++)
        assert_true(n % 7 == 0 || weir_load_arrive(&a, n, 1, n, n));
    assert_int_equal(weir_load_arrivals_lost(&a, 0), 5000 / 7);
    assert_true(weir_load_arrive(&a, 4998, 1, 0, 9000)); /* 714 * 7 */
    assert_false(weir_load_arrive(&a, 4998, 1, 0, 9000));
    assert_false(weir_load_arrive(&a, 5000 - 1023, 1, 0, 9000));
    assert_true(weir_load_arrive(&a, 7, 1, 0, 9000)); /* too old to know whether it had come */
    /* Such a one takes no newer one's place: 4942 is 706 * 7, and has not come yet. */
    assert_true(weir_load_arrive(&a, 4942 - 4 * 1024, 1, 0, 9000));
    assert_true(weir_load_arrive(&a, 4942, 1, 0, 9000));
    assert_int_equal(a.reordered, 4);
    assert_int_equal(a.duplicates, 2);
    /* A leap empties it: the places of old numbers are those of new ones. */
    assert_true(weir_load_arrive(&a, 5000 + 1024, 1, 0, 9000));
    for (uint64_t n = 5001; n < 5000 + 1024; n++)
        assert_true(weir_load_arrive(&a, n, 1, 0, 9000));
    assert_true(weir_load_arrive(&a, 7000, 1, 0, 9000));
    assert_true(weir_load_arrive(&a, 6100, 1, 0, 9000));
    assert_false(weir_load_arrive(&a, 6100, 1, 0, 9000));
    assert_false(weir_load_arrive(&a, 6024, 1, 0, 9000));
}

static void a_restart_counts_only_what_is_newer(void **state)
{
    weir_load_arrivals a = {0};
    for (uint64_t n = 1; n <= 10; n++)
        assert_int_equal(weir_load_arrive(&a, n, 5, n, n), true);
    weir_load_arrivals_restart(&a);
    assert_int_equal(a.datagrams + a.bytes + weir_load_arrivals_lost(&a, 0), 0);
    assert_false(weir_load_arrive(&a, 9, 5, 11, 11));
    assert_true(weir_load_arrive(&a, 13, 5, 12, 12));
    assert_int_equal(a.datagrams, 1);
    assert_int_equal(weir_load_arrivals_lost(&a, 0), 2);
}

/* RFC 3550 A.8: with differences of D it goes towards D, a sixteenth of the way each time. */
static void the_jitter_follows_the_differences(void **state)
{
    weir_load_arrivals a = {0};
    assert_int_equal(weir_load_arrivals_jitter_ns(&a), 0);
    for (uint64_t n = 1; n <= 100; n++) /* the clocks are far apart, and that does not matter */
        weir_load_arrive(&a, n, 1, (n + 1000) * 1000, n * 1000);
    assert_int_equal(weir_load_arrivals_jitter_ns(&a), 0);
    weir_load_arrive(&a, 101, 1, 1101 * 1000, 101 * 1000 + 1600);
    assert_int_equal(weir_load_arrivals_jitter_ns(&a), 100);
    for (uint64_t n = 102; n <= 500; n++)
        weir_load_arrive(&a, n, 1, (n + 1000) * 1000, n * 1000 + (n % 2) * 1600);
    assert_in_range(weir_load_arrivals_jitter_ns(&a), 1590, 1610);
}

/* The marks are the sender's, who may write what he likes: half of all numbers apart, time and
 * again. */
static void the_jitter_of_nonsense_stays_in_bounds(void **state)
{
    weir_load_arrivals a = {0};
    for (uint64_t n = 1; n <= 5000; n++)
        weir_load_arrive(&a, n, 1, n % 2 << 63, 1);
    assert_in_range(weir_load_arrivals_jitter_ns(&a), (1ull << 58) - 64, 1ull << 58);
    for (uint64_t n = 5001; n <= 6000; n++)
        weir_load_arrive(&a, n, 1, 1, 1);
    assert_in_range(weir_load_arrivals_jitter_ns(&a), 0, 1);
}

static void bytes_on_the_wire(void **state)
{
    static const struct {
        uint64_t bytes;
        int family;
        uint64_t wire;
    } rows[] = {
        {0, AF_INET, 64},
        {18, AF_INET, 64},
        {19, AF_INET, 65},
        {64, AF_INET, 110},
        {1472, AF_INET, 1518},
        {1473, AF_INET, 1518 + 64},
        {64, AF_INET6, 130},
        {1452, AF_INET6, 1518},
        {1453, AF_INET6, 1448 + 66 + 13 + 66},
        {1400, AF_UNIX, 0},
        {2000, AF_INET, 2008 + 76},
        {2952, AF_INET, 1518 * 2},
        {2953, AF_INET, 1518 * 2 + 64},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(weir_load_wire_bytes(rows[i].bytes, rows[i].family), rows[i].wire);
}

static void a_cookie_belongs_to_an_address(void **state)
{
    struct sockaddr_in one = {.sin_family = AF_INET, .sin_port = htons(1)}, two = one;
    const struct sockaddr *first = (const struct sockaddr *)&one,
                          *second = (const struct sockaddr *)&two;
    two.sin_port = htons(2);
    uint64_t cookie = weir_load_cookie(first, sizeof one);
    assert_true(cookie != 0);
    assert_true(cookie == weir_load_cookie(first, sizeof one));
    assert_true(cookie != weir_load_cookie(second, sizeof two));
    assert_true(cookie != weir_load_cookie(first, sizeof one - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_read_as_they_were_written),
        cmocka_unit_test(what_is_no_message_is_refused),
        cmocka_unit_test(lost_late_and_second_ones_are_told_apart),
        cmocka_unit_test(the_window_moves),
        cmocka_unit_test(a_restart_counts_only_what_is_newer),
        cmocka_unit_test(the_jitter_follows_the_differences),
        cmocka_unit_test(the_jitter_of_nonsense_stays_in_bounds),
        cmocka_unit_test(bytes_on_the_wire),
        cmocka_unit_test(a_cookie_belongs_to_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

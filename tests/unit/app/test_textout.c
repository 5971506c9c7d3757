#include "app_test.h"

static void pieces_become_one_text(void **state)
{
    struct sink sink = {.most = 1 << 20};
    struct textout out;
    static char big[5000];

    memset(big, 'b', sizeof(big));
    textout_init(&out, sink_write, &sink);
    textout_str(&out, "<");
    textout_escaped(&out, weir__escape_html, T("a<b"));
    textout_number(&out, 0);
    textout_number(&out, UINT64_MAX);
    textout_put(&out, big, sizeof(big));
    textout_put(&out, NULL, 0);
    textout_str(&out, ">");
    assert_int_equal(textout_end(&out), 0);
    assert_memory_equal(sink.text, "<a&lt;b018446744073709551615bbb", 30);
    assert_int_equal(sink.size, 1 + 6 + 1 + 20 + 5000 + 1);
    assert_int_equal(out.made_bytes, sink.size);
    assert_int_equal(sink.text[sink.size - 1], '>');
    assert_in_range(sink.calls, 1, 6);
    assert_int_equal(textout_end(&out), 0); /* nothing twice */
    assert_int_equal(out.made_bytes, sink.size);
    free(sink.text);
}

static void first_error_stays(void **state)
{
    struct sink sink = {.most = 1500};
    struct textout out;
    unsigned calls;

    textout_init(&out, sink_write, &sink);
    for (int i = 0; i < 300; i++)
        textout_str(&out, "0123456789");
    calls = sink.calls;
    for (int i = 0; i < 300; i++)
        textout_str(&out, "0123456789");
    assert_int_equal(textout_end(&out), -7);
    assert_int_equal(calls, 2);
    assert_int_equal(sink.calls, 2); /* not asked again */
    assert_int_equal(sink.size, TEXTOUT_HELD_MAX);
    free(sink.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_become_one_text),
        cmocka_unit_test(first_error_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "app_test.h"

#include "app/http/welcome.h"

static struct sink sink;

static const char *page(const struct welcome_facts *facts)
{
    struct textout out;

    sink.size = 0;
    sink.most = 1 << 20;
    textout_init(&out, sink_write, &sink);
    weir__welcome_write(facts, &out);
    assert_int_equal(textout_end(&out), 0);
    return sink.text;
}

static void says_what_runs_and_what_to_try(void **state)
{
    const struct welcome_facts facts = {"0.1.0",   "http://127.0.0.1:8080",
                                        "uring",   "the kernel has all that it needs",
                                        "threads", 2};
    const char *text = page(&facts);
    static const char *const parts[] = {
        "<dd>0.1.0</dd>",
        "<dd>http://127.0.0.1:8080</dd>",
        "<dd>uring &ndash; the kernel has all that it needs</dd>",
        "<dd>threads</dd>",
        "<dt>Loops</dt><dd>2</dd>",
        "<code>weir serve DIR</code>",
        "<code>weir backends</code>",
        "<code>weir limits</code>",
        "<code>curl -i http://127.0.0.1:8080/</code>",
        "<code>wrk -t2 -c64 -d5s http://127.0.0.1:8080/</code>",
        "</html>\n",
    };

    for (size_t i = 0; i < COUNT(parts); i++)
        assert_non_null(strstr(text, parts[i]));
    assert_null(strstr(text, "src="));
    assert_null(strstr(text, "href="));
    assert_null(strstr(text, "url("));
    assert_true(strlen(text) < 8192);
}

static void facts_are_optional_and_escaped(void **state)
{
    const struct welcome_facts none = {0};
    const struct welcome_facts hostile = {.url = "http://[::1]:80/\"><script>", .reason = "x"};

    page(&none);
    assert_null(strstr(sink.text, "<dt>"));
    page(&hostile);
    assert_null(strstr(sink.text, "<script"));
    assert_non_null(strstr(sink.text, "curl -i http://[::1]:80/&quot;&gt;&lt;script&gt;/</code>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_runs_and_what_to_try),
        cmocka_unit_test(facts_are_optional_and_escaped),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    free(sink.text);
    return failed;
}

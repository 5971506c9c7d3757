#include "app_test.h"

#include "app/http/errorpage.h"
#include "proto/httpstatus.h"

static char body[ERRORPAGE_MAX];

static void usual_words(void **state)
{
    size_t length = weir__errorpage_write(404, NULL, NULL, body);

    assert_string_equal(body, "404 Not Found\n"
                              "cause: there is nothing under this path\n"
                              "fix: check the path; names that begin with a dot are not served "
                              "unless the operator allows it\n");
    assert_int_equal(length, strlen(body));
    weir__errorpage_write(416, "the file has 100 bytes", NULL, body);
    assert_string_equal(body, "416 Range Not Satisfiable\n"
                              "cause: the file has 100 bytes\n"
                              "fix: see Content-Range for its length; without Range the whole "
                              "file is sent\n");
    weir__errorpage_write(400, "a", "b", body);
    assert_string_equal(body, "400 Bad Request\ncause: a\nfix: b\n");
    weir__errorpage_write(204, NULL, NULL, body);
    assert_string_equal(body, "204 No Content\n");
    weir__errorpage_write(299, NULL, NULL, body);
    assert_string_equal(body, "299\n");
}

static void every_error_that_weir_sends_has_words(void **state)
{
    static const int statuses[] = {400, 403, 404, 405, 406, 408, 411, 412, 413, 414,
                                   416, 417, 421, 431, 500, 501, 502, 503, 504, 505};

    for (size_t i = 0; i < COUNT(statuses); i++) {
        weir__errorpage_write(statuses[i], NULL, NULL, body);
        assert_non_null(strstr(body, "\ncause: "));
        assert_non_null(strstr(body, "\nfix: "));
        assert_true(http_status_text((unsigned)statuses[i]).length > 0);
    }
    for (int status = 0; status < 1000; status++)
        assert_in_range(weir__errorpage_write(status, NULL, NULL, body), 2, 300);
}

static void words_are_bounded(void **state)
{
    char words[2000];
    size_t length;

    memset(words, 'w', sizeof(words));
    words[sizeof(words) - 1] = '\0';
    length = weir__errorpage_write(431, words, words, body);
    assert_int_equal(length, strlen(body));
    assert_true(length < ERRORPAGE_MAX);
    assert_non_null(strstr(body, "ww...\nfix: ww"));
    weir__errorpage_write(400, "a\r\nb\x1b[1m", "\x7f", body);
    assert_string_equal(body, "400 Bad Request\ncause: a  b [1m\nfix:  \n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_words),
        cmocka_unit_test(every_error_that_weir_sends_has_words),
        cmocka_unit_test(words_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

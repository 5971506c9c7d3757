#include "app_test.h"

#include <weir/error.h>

#include "app/http/accesslog.h"

static struct accesslog_record record;
static char line[ACCESSLOG_LINE_MAX + 1];

static int set_up(void **state)
{
    record = (struct accesslog_record){
        .peer = T("127.0.0.1"),
        .user = T("frank"),
        .method = T("GET"),
        .target = T("/apache_pb.gif"),
        .version = T("HTTP/1.0"),
        .referer = T("http://www.example.com/start.html"),
        .agent = T("Mozilla/4.08 [en] (Win98; I ;Nav)"),
        .time_ns = 971211336123456789,
        .duration_ns = 1234567,
        .body_bytes = 2326,
        .status = 200,
    };
    return 0;
}

static const char *write_line(enum accesslog_format format)
{
    size_t length;

    memset(line, '!', sizeof(line));
    length = accesslog_write(&record, format, line);
    assert_in_range(length, 1, ACCESSLOG_LINE_MAX);
    assert_int_equal(line[length], '!'); /* no byte behind the line was touched */
    assert_int_equal(line[length - 1], '\n');
    line[length] = '\0';
    /* One line, of printable ASCII. */
    for (size_t i = 0; i + 1 < length; i++)
        assert_in_range(line[i], 0x20, 0x7E);
    return line;
}

static void formats(void **state)
{
    assert_string_equal(write_line(ACCESSLOG_COMMON),
                        "127.0.0.1 - frank [10/Oct/2000:20:55:36 +0000] "
                        "\"GET /apache_pb.gif HTTP/1.0\" 200 2326\n");
    assert_string_equal(write_line(ACCESSLOG_COMBINED),
                        "127.0.0.1 - frank [10/Oct/2000:20:55:36 +0000] "
                        "\"GET /apache_pb.gif HTTP/1.0\" 200 2326 "
                        "\"http://www.example.com/start.html\" "
                        "\"Mozilla/4.08 [en] (Win98; I ;Nav)\"\n");
    assert_string_equal(write_line(ACCESSLOG_JSON),
                        "{\"time\":\"2000-10-10T20:55:36.123Z\",\"peer\":\"127.0.0.1\","
                        "\"user\":\"frank\",\"method\":\"GET\",\"target\":\"/apache_pb.gif\","
                        "\"version\":\"HTTP/1.0\","
                        "\"referer\":\"http://www.example.com/start.html\","
                        "\"agent\":\"Mozilla/4.08 [en] (Win98; I ;Nav)\",\"status\":200,"
                        "\"body_bytes\":2326,\"duration_ns\":1234567}\n");
}

static void absent_fields(void **state)
{
    record = (struct accesslog_record){.status = 400};
    assert_string_equal(write_line(ACCESSLOG_COMBINED),
                        "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 400 0 \"-\" \"-\"\n");
    assert_string_equal(write_line(ACCESSLOG_JSON),
                        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"peer\":null,\"user\":null,"
                        "\"method\":null,\"target\":null,\"version\":null,\"referer\":null,"
                        "\"agent\":null,\"status\":400,\"body_bytes\":0,\"duration_ns\":0}\n");
    record.time_ns = -1; /* before 1970 time runs forward too */
    assert_non_null(strstr(write_line(ACCESSLOG_JSON), "1969-12-31T23:59:59.999Z"));
}

static void nothing_can_be_forged(void **state)
{
    record.target = T("/\" 200 1\n10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200");
    record.user = T("a b\"]\r\n");
    record.method = T("G T");
    record.agent = T("\x1b]0;title\a\xC2\x9B\xFF\\\"");
    assert_string_equal(write_line(ACCESSLOG_COMMON),
                        "127.0.0.1 - a\\x20b\\\"]\\x0D\\x0A [10/Oct/2000:20:55:36 +0000] "
                        "\"G\\x20T /\\\"\\x20200\\x201\\x0A10.0.0.1\\x20-\\x20-\\x20[x]\\x20"
                        "\\\"GET\\x20/\\x20HTTP/1.1\\\"\\x20200 HTTP/1.0\" 200 2326\n");
    assert_non_null(
        strstr(write_line(ACCESSLOG_COMBINED), " \"\\x1B]0;title\\x07\\xC2\\x9B\\xFF\\\\\\\"\"\n"));
    assert_non_null(strstr(write_line(ACCESSLOG_JSON),
                           "\"agent\":\"\\u001b]0;title\\u0007\\u009b\\ufffd\\\\\\\"\""));
    assert_true(is_json(line, 1));
}

/* Fields of one byte value, of every length around their bound: the line stays within its own. */
static void long_fields_are_cut(void **state)
{
    static char text[8192];
    static const unsigned char bytes[] = {'a', '"', 0x01, 0xFF, ' '};

    for (size_t b = 0; b < COUNT(bytes); b++) {
        memset(text, bytes[b], sizeof(text));
        for (size_t length = 1; length < sizeof(text); length += length < 40 ? 1 : 613) {
            struct http_text all = {text, length};
            record.peer = record.user = record.method = record.target = record.version = all;
            record.referer = record.agent = all;
            record.status = UINT16_MAX;
            record.body_bytes = record.duration_ns = UINT64_MAX;
            for (int format = ACCESSLOG_COMMON; format <= ACCESSLOG_JSON; format++)
                write_line((enum accesslog_format)format);
            assert_true(is_json(line, 1));
            assert_int_equal(strstr(line, "truncated") != NULL,
                             length * (size_t)(bytes[b] == 'a' || bytes[b] == ' ' ? 1
                                               : bytes[b] == '"'                  ? 2
                                                                                  : 6) >
                                 16);
        }
    }
}

static void truncation_is_marked(void **state)
{
    char text[64];

    memset(text, 'v', sizeof(text));
    record.version = (struct http_text){text, 16};
    assert_non_null(strstr(write_line(ACCESSLOG_JSON), "\"version\":\"vvvvvvvvvvvvvvvv\""));
    assert_null(strstr(line, "truncated"));
    record.version.length = 17;
    assert_non_null(strstr(write_line(ACCESSLOG_JSON), "\"version\":\"vvvvvvvvvvvvv...\""));
    assert_non_null(strstr(line, "\"truncated\":[\"version\"]}"));
    assert_non_null(strstr(write_line(ACCESSLOG_COMMON), " vvvvvvvvvvvvv...\" 200"));
    /* An escape is cut whole. */
    text[12] = text[13] = '\n';
    assert_non_null(strstr(write_line(ACCESSLOG_COMMON), " vvvvvvvvvvvv...\" 200"));
    record.method = (struct http_text){text, 64};
    assert_non_null(strstr(write_line(ACCESSLOG_JSON), "\"truncated\":[\"method\",\"version\"]}"));
}

static void names(void **state)
{
    assert_int_equal(weir__accesslog_format_find("common"), ACCESSLOG_COMMON);
    assert_int_equal(weir__accesslog_format_find("combined"), ACCESSLOG_COMBINED);
    assert_int_equal(weir__accesslog_format_find("json"), ACCESSLOG_JSON);
    assert_int_equal(weir__accesslog_format_find("JSON"), WEIR_EINVALID);
    assert_int_equal(weir__accesslog_format_find(""), WEIR_EINVALID);
    assert_string_equal(weir__accesslog_format_names(), "common, combined, json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(formats, set_up),
        cmocka_unit_test_setup(absent_fields, set_up),
        cmocka_unit_test_setup(nothing_can_be_forged, set_up),
        cmocka_unit_test_setup(long_fields_are_cut, set_up),
        cmocka_unit_test_setup(truncation_is_marked, set_up),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

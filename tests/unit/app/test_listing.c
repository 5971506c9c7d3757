#include "app_test.h"

#include <weir/error.h>

#include "app/http/listing.h"
#include "app/http/page.h"

static struct listing listing;
static struct sink sink;
static struct scarce memory;

static int set_up(void **state)
{
    listing_init(&listing, NULL);
    sink = (struct sink){.most = 1 << 24};
    return 0;
}

static int tear_down(void **state)
{
    listing_free(&listing);
    free(sink.text);
    return 0;
}

static void add(struct http_text name, enum listing_kind kind)
{
    assert_int_equal(listing_add(&listing, name, kind, 1000, 784111777), 0);
}

static const char *html(const char *prefix, const char *path)
{
    struct textout out;
    sink.size = 0;
    textout_init(&out, sink_write, &sink);
    listing_write_html(&listing, prefix, text_of(path), &out);
    assert_int_equal(textout_end(&out), 0);
    return sink.text;
}

static const char *json(const char *prefix, const char *path)
{
    struct textout out;
    sink.size = 0;
    textout_init(&out, sink_write, &sink);
    listing_write_json(&listing, prefix, text_of(path), &out);
    assert_int_equal(textout_end(&out), 0);
    assert_true(is_json(sink.text, 0));
    return sink.text;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        print_error("not there: %s\n", part);
    assert_non_null(strstr(text, part));
}

static void order(void **state)
{
    /* The first two are directories. */
    static const char *const sorted[] = {"_d",
                                         "Z",
                                         "0",
                                         "A1",
                                         "a01",
                                         "a1",
                                         "a1b",
                                         "a2",
                                         "a10",
                                         "a10b",
                                         "A11",
                                         "b",
                                         "file 9",
                                         "file 010",
                                         "file 11",
                                         "x-99999999999999999999999",
                                         "x-100000000000000000000000",
                                         "\xC3\xA9"};
    size_t count = COUNT(sorted);

    /* Every rotation, both ways round, comes out the same. */
    for (size_t turn = 0; turn < 2 * count; turn++) {
        listing_free(&listing);
        listing_init(&listing, NULL);
        for (size_t i = 0; i < count; i++) {
            size_t j = turn < count ? (i + turn) % count : (2 * count - i - turn % count) % count;
            add(text_of(sorted[j]), j < 2 ? LISTING_DIRECTORY : LISTING_FILE);
        }
        listing_sort(&listing);
        assert_int_equal(listing.count, count);
        for (size_t i = 0; i < count; i++) {
            const struct listing_entry *entry = &listing.entries[i];
            assert_int_equal(entry->name_length, strlen(sorted[i]));
            assert_memory_equal(listing.names + entry->name_at, sorted[i], entry->name_length);
        }
    }
}

static void what_is_shown(void **state)
{
    char name[300];

    memset(name, 'n', sizeof(name));
    add(T("."), LISTING_DIRECTORY);
    add(T(".."), LISTING_DIRECTORY);
    add(T(".hidden"), LISTING_FILE);
    add(T(""), LISTING_FILE);
    add(T("a/b"), LISTING_FILE);
    add((struct http_text){name, 256}, LISTING_FILE);
    assert_int_equal(listing.count, 0);
    add((struct http_text){name, 255}, LISTING_FILE);
    assert_int_equal(listing.count, 1);
    listing.config.hidden = true;
    add(T("."), LISTING_DIRECTORY);
    add(T(".."), LISTING_DIRECTORY);
    add(T(".hidden"), LISTING_FILE);
    add(T("..."), LISTING_FILE);
    assert_int_equal(listing.count, 3);
    assert_int_equal(listing.omitted, 0);
}

static void limits(void **state)
{
    const struct listing_config config = {.entries = 3, .name_bytes = 300};
    char name[255];

    listing_init(&listing, &config);
    memset(name, 'n', sizeof(name));
    add((struct http_text){name, 255}, LISTING_FILE);
    add((struct http_text){name, 46}, LISTING_FILE); /* one byte too many */
    assert_int_equal(listing.count, 1);
    assert_int_equal(listing.omitted, 1);
    add((struct http_text){name, 45}, LISTING_FILE);
    assert_int_equal(listing.count, 2);
    add(T("x"), LISTING_FILE);
    assert_int_equal(listing.count, 2);
    assert_int_equal(listing.omitted, 2);
    has(html("", "."), "2 more entries are not shown");
    has(json("", "."), "\"omitted\":2");

    listing_free(&listing);
    listing_init(&listing, &config);
    for (int i = 0; i < 5000; i++)
        add(T("x"), LISTING_FILE);
    assert_int_equal(listing.count, 3);
    assert_int_equal(listing.omitted, 4997);

    /* The default takes a large directory, and no more. */
    listing_free(&listing);
    listing_init(&listing, NULL);
    for (int i = 0; i < LISTING_ENTRIES + 1; i++)
        add(T("name"), LISTING_FILE);
    assert_int_equal(listing.count, LISTING_ENTRIES);
    has(html("", "."), "1 more entry is not shown");
}

static void hostile_names(void **state)
{
    add(T("<script>alert('\"')&.txt"), LISTING_FILE);
    add(T("javascript:alert(1)"), LISTING_FILE);
    add(T("a b%?#"), LISTING_DIRECTORY);
    add(T("\xFF\n\xE2\x80\xAEgpj"), LISTING_FILE);
    add(T("\xE4\xB8\xAD\xE6\x96\x87"), LISTING_FILE);
    listing_sort(&listing);

    const char *page = html("", "x<y/\"z\"");
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "x<y"));
    assert_null(strstr(page, "\"z\""));
    has(page, "<title>Index of /x&lt;y/&quot;z&quot;</title>");
    has(page, "<a href=\"/x%3Cy/\"><bdi>x&lt;y</bdi>/</a>");
    has(page, "<a href=\"/x%3Cy/%22z%22/\"><bdi>&quot;z&quot;</bdi>/</a>");
    has(page, "<a href=\"/x%3Cy/\">../</a>");
    has(page, "<a href=\"./%3Cscript%3Ealert%28%27%22%27%29%26.txt\">"
              "<bdi>&lt;script&gt;alert(&#39;&quot;&#39;)&amp;.txt</bdi></a>");
    has(page, "<a href=\"./javascript%3Aalert%281%29\">");
    has(page, "<a href=\"./a%20b%25%3F%23/\"><bdi>a b%?#</bdi>/</a>");
    has(page, "<a href=\"./%FF%0A%E2%80%AEgpj\">"
              "<bdi>\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDgpj</bdi></a>");
    has(page, "<bdi>\xE4\xB8\xAD\xE6\x96\x87</bdi>");

    page = json("/files", "x<y");
    has(page, "{\"path\":\"/files/x%3Cy/\",\"entries\":[\n");
    has(page, "{\"name\":\"a b%?#\",\"href\":\"./a%20b%25%3F%23/\",\"type\":\"directory\","
              "\"modified\":\"1994-11-06T08:49:37Z\"}");
    has(page, "{\"name\":\"\xEF\xBF\xBD\\u000a\\u202egpj\",\"href\":\"./%FF%0A%E2%80%AEgpj\","
              "\"type\":\"file\",\"size_bytes\":1000,\"modified\":\"1994-11-06T08:49:37Z\"}");
    has(page, "alert('\\\"')");
    has(page, "],\"omitted\":0}\n");
}

static void root_and_parents(void **state)
{
    const char *page = html("", ".");

    assert_null(strstr(page, "../"));
    has(page, "<h1>Index of <a href=\"/\">/</a></h1>");
    has(page, "<title>Index of /</title>");
    has(page, "This directory is empty.");
    page = html("/s", ".");
    has(page, "<h1>Index of <a href=\"/s/\">/s/</a></h1>");
    page = html("/s", "a");
    has(page, "<a href=\"/s/\">../</a>");
    page = html("/s", "a/b c/d");
    has(page, "<a href=\"/s/a/b%20c/\">../</a>");
    assert_string_equal(json("", "."), "{\"path\":\"/\",\"entries\":[],\"omitted\":0}\n");
}

static void sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1, "1 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1025, "1.1 KiB"},
        {1536, "1.5 KiB"},
        {10 * 1024 - 1, "10 KiB"},
        {10 * 1024 + 1, "11 KiB"},
        {1023 * 1024, "1023 KiB"},
        {1023 * 1024 + 1, "1.0 MiB"},
        {1048576, "1.0 MiB"},
        {(10u << 20) + 1, "11 MiB"},
        {5ull << 30, "5.0 GiB"},
        {7ull << 40, "7.0 TiB"},
        {1ull << 50, "1.0 PiB"},
        {UINT64_MAX, "16 EiB"},
    };
    char cell[64];

    for (size_t i = 0; i < COUNT(cases); i++) {
        listing_free(&listing);
        listing_init(&listing, NULL);
        assert_int_equal(listing_add(&listing, T("f"), LISTING_FILE, cases[i].bytes, 0), 0);
        snprintf(cell, sizeof(cell), "title=\"%llu bytes\">%s</td>",
                 (unsigned long long)cases[i].bytes, cases[i].text);
        has(html("", "."), cell);
    }
    /* A sum that does not fit stays at the largest. */
    assert_int_equal(listing_add(&listing, T("g"), LISTING_FILE, UINT64_MAX, 0), 0);
    assert_true(listing.total_bytes == UINT64_MAX);
    has(html("", "."), "0 directories, 2 files, 16 EiB</footer>");
    add(T("d"), LISTING_DIRECTORY);
    has(html("", "."), "1 directory, 2 files");
}

/* Every tag that is opened is closed, in order. */
static void tags_are_balanced(void **state)
{
    static const char *const single[] = {"!doctype", "meta"};
    char open[32][16];
    unsigned depth = 0;

    add(T("a<b>&c"), LISTING_FILE);
    add(T("dir"), LISTING_DIRECTORY);
    for (const char *at = html("/p", "x/y"); (at = strchr(at, '<')) != NULL; at++) {
        size_t length = strcspn(at + 1, " >\n");
        char name[16];
        assert_true(length < sizeof(name));
        memcpy(name, at + 1, length);
        name[length] = '\0';
        if (strcmp(name, single[0]) == 0 || strcmp(name, single[1]) == 0)
            continue;
        if (name[0] == '/') {
            assert_true(depth > 0);
            assert_string_equal(name + 1, open[--depth]);
        } else {
            assert_true(depth < COUNT(open));
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
    /* Nothing is fetched from anywhere. */
    assert_null(strstr(sink.text, "http:"));
    assert_null(strstr(sink.text, "https:"));
    assert_null(strstr(sink.text, "url("));
    assert_null(strstr(sink.text, "src="));
}

static void bound_of_the_sink(void **state)
{
    struct textout out;

    for (int i = 0; i < 100; i++)
        add(T("some name"), LISTING_FILE);
    sink.most = 4096;
    textout_init(&out, sink_write, &sink);
    listing_write_html(&listing, "", T("."), &out);
    assert_int_equal(textout_end(&out), -7);
    assert_in_range(sink.size, 1, 4096);
}

static void out_of_memory(void **state)
{
    for (unsigned long n = 1; n < 20; n++) {
        memory.calls = 0;
        memory.fail_at = n;
        for (unsigned i = 0; i < 3000; i++) {
            uint32_t before = listing.count;
            int error = listing_add(&listing, T("name"), LISTING_FILE, 1, 0);
            assert_true(error == 0 || error == WEIR_ENOMEM);
            assert_int_equal(listing.count, before + (error == 0));
        }
        memory.fail_at = 0;
        listing_sort(&listing);
        has(json("", "."), "],\"omitted\":0}");
        listing_free(&listing);
        listing_init(&listing, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(root_and_parents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tags_are_balanced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bound_of_the_sink, set_up, tear_down),
        cmocka_unit_test_setup_teardown(out_of_memory, set_up, tear_down),
    };

    if (scarce_set(&memory) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

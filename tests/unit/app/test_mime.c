#include "app_test.h"

#include "app/http/mime.h"

static void table_is_sorted_and_found(void **state)
{
    char path[64];

    assert_true(weir__mime_count() >= 150);
    for (size_t i = 0; i < weir__mime_count(); i++) {
        const char *extension = weir__mime_extension(i);
        if (i > 0)
            assert_true(strcmp(weir__mime_extension(i - 1), extension) < 0);
        snprintf(path, sizeof(path), "some/file.%s", extension);
        assert_string_equal(weir__mime_of(text_of(path)), weir__mime_type(i));
        for (char *at = path; *at; at++)
            if (*at >= 'a' && *at <= 'z')
                *at = (char)(*at - 'a' + 'A');
        assert_string_equal(weir__mime_of(text_of(path)), weir__mime_type(i));
    }
}

static void types_are_well_formed(void **state)
{
    for (size_t i = 0; i < weir__mime_count(); i++) {
        const char *type = weir__mime_type(i);
        size_t length = strcspn(type, ";");
        assert_int_equal(strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789+-./"), length);
        assert_non_null(memchr(type, '/', length));
        if (strncmp(type, "text/", 5) == 0)
            assert_string_equal(type + length, "; charset=utf-8");
        else
            assert_string_equal(type + length, "");
    }
}

static void extension_is_the_last_of_the_last_segment(void **state)
{
    static const struct {
        const char *path, *type;
    } cases[] = {
        {"index.html", "text/html; charset=utf-8"},
        {"a.html/b.css", "text/css; charset=utf-8"},
        {"a.html/b", MIME_DEFAULT},
        {"archive.tar.gz", "application/gzip"},
        {"app.min.JS", "text/javascript; charset=utf-8"},
        {"site.webmanifest", "application/manifest+json"},
        {".html", MIME_DEFAULT},
        {"dir/.html", MIME_DEFAULT},
        {".config.json", "application/json"},
        {"x.html.", MIME_DEFAULT},
        {"x.", MIME_DEFAULT},
        {".", MIME_DEFAULT},
        {"", MIME_DEFAULT},
        {"README", MIME_DEFAULT},
        {"x.unheardof", MIME_DEFAULT},
        {"x.webmanifestx", MIME_DEFAULT},
        {"x.htmlx", MIME_DEFAULT},
        {"x.htm l", MIME_DEFAULT},
        {"x.c", "text/x-c; charset=utf-8"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(weir__mime_of(text_of(cases[i].path)), cases[i].type);
    assert_string_equal(weir__mime_of(T("x.css\0")), MIME_DEFAULT);
    assert_string_equal(weir__mime_of((struct http_text){"x.cssx", 5}), "text/css; charset=utf-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_sorted_and_found),
        cmocka_unit_test(types_are_well_formed),
        cmocka_unit_test(extension_is_the_last_of_the_last_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "app_test.h"

#include <stdio.h>

#include <weir/error.h>

#include "app/http/multipart.h"

static const unsigned char random_bytes[MULTIPART_RANDOM_SIZE] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xAB, 0xCD, 0xEF, 0xFF, 0x10, 0x80};

static void whole_answer(void **state)
{
    struct multipart multipart;
    struct range_set set = {2, {{0, 500}, {7000, 1000}}};
    char text[2048] = "", out[MULTIPART_HEAD_SIZE];
    uint64_t total;
    size_t length;

    assert_int_equal(multipart_init(&multipart, random_bytes, T("text/plain"), 8000), 0);
    for (uint32_t i = 0; i < set.count; i++) {
        length = multipart_head(&multipart, set.part[i], i == 0, out);
        assert_int_equal(length, strlen(out));
        strcat(text, out);
    }
    length = multipart_tail(&multipart, out);
    assert_int_equal(length, strlen(out));
    strcat(text, out);
    assert_string_equal(text, "--00010203040506070809abcdefff1080\r\n"
                              "Content-Type: text/plain\r\n"
                              "Content-Range: bytes 0-499/8000\r\n\r\n"
                              "\r\n--00010203040506070809abcdefff1080\r\n"
                              "Content-Type: text/plain\r\n"
                              "Content-Range: bytes 7000-7999/8000\r\n\r\n"
                              "\r\n--00010203040506070809abcdefff1080--\r\n");
    assert_int_equal(multipart_total(&multipart, &set, &total), 0);
    assert_int_equal(total, strlen(text) + 1500);
    length = multipart_content_type(&multipart, out);
    assert_int_equal(length, strlen(out));
    assert_string_equal(out, "multipart/byteranges; boundary=00010203040506070809abcdefff1080");
}

static void bounds(void **state)
{
    char type[MULTIPART_TYPE_MAX + 2], head[MULTIPART_HEAD_SIZE];
    struct multipart multipart;
    struct range_set set = {1, {{0, UINT64_MAX - 10}}};
    struct range last = {UINT64_MAX - 1, 1};
    uint64_t total;
    size_t length;

    memset(type, 'x', sizeof(type));
    assert_int_equal(multipart_init(&multipart, random_bytes,
                                    (struct http_text){type, MULTIPART_TYPE_MAX + 1}, 1),
                     WEIR_ETOOBIG);
    assert_int_equal(multipart_init(&multipart, random_bytes, T(""), 1), WEIR_EINVALID);
    assert_int_equal(multipart_init(&multipart, random_bytes, T("a/b\r\nX: y"), 1), WEIR_EINVALID);
    assert_int_equal(multipart_init(&multipart, random_bytes,
                                    (struct http_text){type, MULTIPART_TYPE_MAX}, UINT64_MAX),
                     0);
    /* The longest head fits, with its NUL. */
    length = multipart_head(&multipart, last, false, head);
    assert_int_equal(length, strlen(head));
    assert_memory_equal(head + strlen(head) - 4, "\r\n\r\n", 4);
    assert_int_equal(multipart_total(&multipart, &set, &total), WEIR_ETOOBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answer),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

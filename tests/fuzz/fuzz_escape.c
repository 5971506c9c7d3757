/* Text from outside where it is quoted: nothing of it ends the quotation, the line or the field, or
 * steers a terminal. Input: any bytes, for the escapes; the same bytes cut by NULs, as the fields
 * of a line in the access log and as names in a listing. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/json.h>

#include "app/http/accesslog.h"
#include "app/http/escape.h"
#include "app/http/listing.h"
#include "proto/httpuri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 4096, VALUES = 4096 };

static char out[MOST * ESCAPE_STEP_MAX + 3];

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static size_t escape(weir__escape_fn *step, const uint8_t *data, size_t size, size_t at)
{
    while (size > 0) {
        size_t made, taken = step(data, size, out + at, &made);

        expect(taken >= 1 && taken <= 4 && taken <= size && made >= 1 && made <= ESCAPE_STEP_MAX);
        expect(memchr(out + at, '\0', made) == NULL);
        data += taken;
        size -= taken;
        at += made;
    }
    return at;
}

static void check_html(const uint8_t *data, size_t size)
{
    size = escape(weir__escape_html, data, size, 0);
    for (size_t i = 0; i < size; i++)
        expect((unsigned char)out[i] >= ' ' && !strchr("<>\"'\x7F", out[i]));
}

static void check_json(weir__escape_fn *step, const uint8_t *data, size_t size)
{
    static weir_json_value value[1];

    out[0] = '"';
    size = escape(step, data, size, 1);
    out[size++] = '"';
    expect(weir_json_read(out, size, value, 1) == 1 && value->kind == WEIR_JSON_TEXT);
    for (size_t i = 0; i < size; i++)
        expect((unsigned char)out[i] >= ' ' &&
               (step != weir__escape_json_ascii || (unsigned char)out[i] < 0x7F));
}

static void check_path(weir__escape_fn *step, const uint8_t *data, size_t size)
{
    static char decoded[MOST + 1];
    size_t length = escape(step, data, size, 0), at = 0;

    for (size_t i = 0; i < length; i++) {
        char byte = out[i];

        expect(byte > ' ' && byte < 0x7F && !strchr("<>\"'\\^`{|}#?", byte));
        expect(byte != '/' || step == weir__escape_path);
        if (byte == '%') {
            char digits[3] = {out[i + 1], out[i + 2], '\0'};

            byte = (char)strtoul(digits, NULL, 16);
            i += 2;
        }
        decoded[at++] = byte;
    }
    expect(at == size && memcmp(decoded, data, size) == 0);
}

static void check_log(weir__escape_fn *step, const uint8_t *data, size_t size)
{
    size = escape(step, data, size, 0);
    for (size_t i = 0; i < size; i++) {
        expect(out[i] >= ' ' && out[i] < 0x7F && (out[i] != ' ' || step == weir__escape_log));
        if (out[i] == '\\')
            i++;
        else
            expect(out[i] != '"');
    }
}

static struct http_text cut(const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size > 0 ? memchr(*data, '\0', *size) : NULL;
    struct http_text text = {(const char *)*data, end != NULL ? (size_t)(end - *data) : *size};
    size_t used = text.length + (end != NULL);

    *data += used;
    *size -= used;
    return text;
}

static void check_line(const uint8_t *data, size_t size)
{
    static weir_json_value values[64];
    char line[ACCESSLOG_LINE_MAX];
    struct accesslog_record record = {.time_ns = 1700000000123456789, .status = 200};

    record.target = cut(&data, &size);
    record.agent = cut(&data, &size);
    record.referer = cut(&data, &size);
    record.user = cut(&data, &size);
    record.method = cut(&data, &size);
    record.peer = cut(&data, &size);
    record.version = cut(&data, &size);
    for (enum accesslog_format format = ACCESSLOG_COMMON; format <= ACCESSLOG_JSON; format++) {
        size_t length = accesslog_write(&record, format, line);

        expect(length > 1 && length <= sizeof line && line[length - 1] == '\n');
        for (size_t i = 0; i + 1 < length; i++)
            expect(line[i] >= ' ' && line[i] < 0x7F);
        if (format == ACCESSLOG_JSON)
            expect(weir_json_read(line, length, values, 64) > 0);
    }
}

struct page {
    char text[1 << 18];
    size_t size;
};

static int page_write(void *arg, const char *text, size_t size)
{
    struct page *page = arg;

    if (size > sizeof page->text - page->size)
        return -1;
    memcpy(page->text + page->size, text, size);
    page->size += size;
    return 0;
}

static void check_listing(const uint8_t *data, size_t size)
{
    static weir_json_value values[VALUES];
    static struct page page;
    struct listing_config config = {.entries = 30, .name_bytes = 3000, .hidden = true};
    struct listing listing;
    struct textout text;
    struct http_text path = {"a/b", 3};

    listing_init(&listing, &config);
    for (unsigned i = 0; size > 0; i++) {
        struct http_text name = cut(&data, &size);

        if (memchr(name.at, '/', name.length) == NULL)
            expect(listing_add(&listing, name, i % 3 == 0 ? LISTING_DIRECTORY : LISTING_FILE,
                               i * 1000003ull, 1700000000) == 0);
    }
    listing_sort(&listing);
    expect(listing.count <= config.entries);
    page.size = 0;
    textout_init(&text, page_write, &page);
    listing_write_json(&listing, "/static", path, &text);
    expect(textout_end(&text) == 0);
    expect(weir_json_read(page.text, page.size, values, VALUES) > 0);
    page.size = 0;
    textout_init(&text, page_write, &page);
    listing_write_html(&listing, "/static", path, &text);
    expect(textout_end(&text) == 0);
    listing_free(&listing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MOST)
        return 0;
    check_html(data, size);
    check_json(weir__escape_json, data, size);
    check_json(weir__escape_json_ascii, data, size);
    check_path(weir__escape_segment, data, size);
    check_path(weir__escape_path, data, size);
    check_log(weir__escape_log, data, size);
    check_log(weir__escape_log_word, data, size);
    check_line(data, size);
    check_listing(data, size);
    return 0;
}

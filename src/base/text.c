#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"

void text_init(struct text *text, char *data, size_t room)
{
    WEIR_ASSERT(room > 0);
    *text = (struct text){.data = data, .room = room};
    data[0] = '\0';
}

void text_clear(struct text *text)
{
    text_init(text, text->data, text->room);
}

/* Where a beginning of at most `size` bytes may end without halving a character. */
static size_t whole_characters(const char *bytes, size_t size)
{
    for (size_t back = 1; back <= 4 && back <= size; back++) {
        unsigned char byte = (unsigned char)bytes[size - back];
        if (byte < 0x80)
            break;
        if (byte >= 0xc0) { /* the last one begins here */
            size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
            return length > back ? size - back : size;
        }
    }
    return size;
}

void text_add_bytes(struct text *text, const void *bytes, size_t size)
{
    if (text->cut)
        return;
    size_t left = text->room - 1 - text->size;
    if (size > left) {
        text->cut = true;
        size = whole_characters(bytes, left);
    }
    if (size > 0)
        memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void text_add(struct text *text, const char *string)
{
    text_add_bytes(text, string, strlen(string));
}

void text_add_char(struct text *text, char byte)
{
    text_add_bytes(text, &byte, 1);
}

void text_addv(struct text *text, const char *format, va_list args)
{
    if (text->cut)
        return;
    char *end = text->data + text->size;
    size_t left = text->room - text->size;
    int size = vsnprintf(end, left, format, args);
    if (size >= 0 && (size_t)size < left) {
        text->size += (size_t)size;
        return;
    }
    text->cut = true; /* also when it could not be formatted */
    text->size += size < 0 ? 0 : whole_characters(end, left - 1);
    text->data[text->size] = '\0';
}

void text_addf(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_addv(text, format, args);
    va_end(args);
}

/* The short escape of a character, or NULL. */
static const char *json_escape(uint32_t code)
{
    switch (code) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

void text_add_json_bytes(struct text *text, const char *bytes, size_t size)
{
    text_add_char(text, '"');
    while (size > 0 && !text->cut) {
        uint32_t code = 0;
        unsigned length = utf8_next(bytes, size, &code);
        const char *escape = json_escape(code);
        if (length == 0) {
            text_add(text, "\\ufffd");
            length = 1;
        } else if (escape != NULL) {
            text_add(text, escape);
        } else if (code < 0x20 || code == 0x7f) {
            text_addf(text, "\\u%04" PRIx32, code);
        } else {
            text_add_bytes(text, bytes, length);
        }
        bytes += length;
        size -= length;
    }
    text_add_char(text, '"');
}

void text_add_json_string(struct text *text, const char *string)
{
    if (string == NULL)
        text_add(text, "null");
    else
        text_add_json_bytes(text, string, strlen(string));
}

void text_add_size(struct text *text, uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    size_t unit = 0;
    while (unit < 6 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    if (unit == 0)
        text_addf(text, "%" PRIu64 "B", bytes);
    else
        text_addf(text, "%" PRIu64 "%ciB", bytes, units[unit - 1]);
}

void text_add_duration(struct text *text, uint64_t ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"d", 86400000000000}, {"h", 3600000000000}, {"m", 60000000000},
                 {"s", 1000000000},     {"ms", 1000000},      {"us", 1000}};
    if (ns == UINT64_MAX) {
        text_add(text, "never");
        return;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (ns != 0 && ns % units[i].ns == 0) {
            text_addf(text, "%" PRIu64 "%s", ns / units[i].ns, units[i].name);
            return;
        }
    }
    text_addf(text, "%" PRIu64 "%s", ns, ns == 0 ? "s" : "ns");
}

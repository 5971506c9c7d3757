/* Writes JSON: brackets, commas and escapes are kept right here. */
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <weir/error.h>
#include <weir/json.h>

#include "base/alloc.h"
#include "base/utf8.h"

enum { FIRST_BYTES = 1024, INDENT = 2 };
#define DEFAULT_LIMIT ((size_t)64 << 20)

static char *room_for(weir_json_writer *out, size_t size)
{
    size_t limit = out->limit != 0 ? out->limit : DEFAULT_LIMIT;
    if (out->error != 0)
        return NULL;
    if (size >= limit || out->size >= limit - size) {
        out->error = WEIR_ETOOBIG;
        return NULL;
    }
    if (out->room <= out->size + size) {
        size_t room = out->room != 0 ? out->room : FIRST_BYTES;
        while (room <= out->size + size)
            room *= 2;
        char *grown = weir__realloc(out->data, room);
        if (grown == NULL) {
            out->error = WEIR_ENOMEM;
            return NULL;
        }
        out->data = grown;
        out->room = room;
    }
    return out->data + out->size;
}

static void add(weir_json_writer *out, const char *bytes, size_t size)
{
    char *at = room_for(out, size);
    if (at == NULL)
        return;
    memcpy(at, bytes, size);
    out->size += size;
    out->data[out->size] = '\0';
}

static void add_char(weir_json_writer *out, char byte)
{
    add(out, &byte, 1);
}

static void line(weir_json_writer *out)
{
    add_char(out, '\n');
    for (uint32_t i = 0; i < out->depth * INDENT; i++)
        add_char(out, ' ');
}

/* A character as JSON wants it: itself, or its escape in `escape`. Returns the escape's length. */
static size_t escape_of(uint32_t code, char escape[8])
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = code < 0x80 && code != 0 ? strchr(plain, (int)code) : NULL;
    if (found != NULL)
        return (size_t)snprintf(escape, 8, "\\%c", letters[found - plain]);
    if (code < 0x20 || code == 0x7f)
        return (size_t)snprintf(escape, 8, "\\u%04" PRIx32, code);
    return 0;
}

static void add_quoted(weir_json_writer *out, const char *text)
{
    add_char(out, '"');
    for (size_t left = strlen(text); left > 0;) {
        char escape[8];
        uint32_t code = 0;
        unsigned length = utf8_next(text, left, &code);
        size_t escaped = length != 0 ? escape_of(code, escape) : 0;
        if (length == 0)
            add(out, "\\ufffd", 6);
        else if (escaped != 0)
            add(out, escape, escaped);
        else
            add(out, text, length);
        length += length == 0;
        text += length;
        left -= length;
    }
    add_char(out, '"');
}

/* What stands before every value: comma, line, name. */
static void begin_value(weir_json_writer *out, const char *name)
{
    if (out->more)
        add_char(out, ',');
    if (out->indent && out->depth != 0)
        line(out);
    bool in_object = out->depth != 0 && (out->objects >> (out->depth - 1) & 1) != 0;
    if (in_object != (name != NULL) || (out->depth == 0 && out->size != 0)) {
        out->error = out->error != 0 ? out->error : WEIR_EMISUSE;
        return;
    }
    if (name != NULL) {
        add_quoted(out, name);
        add(out, ": ", out->indent ? 2 : 1);
    }
    out->more = true;
}

static void open_bracket(weir_json_writer *out, const char *name, bool object)
{
    begin_value(out, name);
    if (out->depth == WEIR_JSON_DEPTH_MAX) {
        out->error = out->error != 0 ? out->error : WEIR_ETOOBIG;
        return;
    }
    add_char(out, object ? '{' : '[');
    out->objects = (out->objects & ~(1u << out->depth)) | (uint32_t)object << out->depth;
    out->depth++;
    out->more = false;
}

void weir_json_object(weir_json_writer *out, const char *name)
{
    open_bracket(out, name, true);
}

void weir_json_array(weir_json_writer *out, const char *name)
{
    open_bracket(out, name, false);
}

void weir_json_end(weir_json_writer *out)
{
    if (out->depth == 0) {
        out->error = out->error != 0 ? out->error : WEIR_EMISUSE;
        return;
    }
    bool object = (out->objects >> (out->depth - 1) & 1) != 0;
    out->depth--;
    if (out->indent && out->more)
        line(out);
    add_char(out, object ? '}' : ']');
    out->more = true;
}

void weir_json_text(weir_json_writer *out, const char *name, const char *text)
{
    begin_value(out, name);
    if (text == NULL)
        add(out, "null", 4);
    else
        add_quoted(out, text);
}

void weir_json_number(weir_json_writer *out, const char *name, uint64_t number)
{
    char digits[24];
    begin_value(out, name);
    add(out, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number));
}

void weir_json_signed(weir_json_writer *out, const char *name, int64_t number)
{
    char digits[24];
    begin_value(out, name);
    add(out, digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, number));
}

/* The point is that of the locale, which a program may have changed: JSON has but one. */
void weir_json_real(weir_json_writer *out, const char *name, double number)
{
    char digits[32];
    begin_value(out, name);
    int size = snprintf(digits, sizeof digits, "%.15g", number);
    if (!(number <= DBL_MAX && number >= -DBL_MAX)) {
        add(out, "null", 4);
        return;
    }
    for (int i = 0; i < size; i++)
        if (strchr("+-e0123456789", digits[i]) == NULL)
            digits[i] = '.';
    add(out, digits, (size_t)size);
}

void weir_json_bool(weir_json_writer *out, const char *name, bool value)
{
    begin_value(out, name);
    add(out, value ? "true" : "false", value ? 4 : 5);
}

int weir_json_done(weir_json_writer *out)
{
    if (out->error == 0 && (out->depth != 0 || out->size == 0))
        out->error = WEIR_EMISUSE;
    add_char(out, '\n');
    return out->error;
}

void weir_json_free(weir_json_writer *out)
{
    weir__free(out->data);
    out->data = NULL;
    out->size = out->room = 0;
}

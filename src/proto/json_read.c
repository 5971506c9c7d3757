/* Reads JSON (RFC 8259) strictly into an array of values, in one pass, without recursion. */
#include <float.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/json.h>

#include "base/utf8.h"

struct reader {
    const char *text;
    size_t size, at;
    weir_json_value *values;
    unsigned capacity, count;
    uint32_t open[WEIR_JSON_DEPTH_MAX]; /* indices of the brackets around here */
    unsigned depth;
};

static int peek(const struct reader *r)
{
    return r->at < r->size ? (unsigned char)r->text[r->at] : -1;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->size && memchr(" \t\n\r", r->text[r->at], 4) != NULL)
        r->at++;
}

static int hex4(const char *digits, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (uint32_t)((c | 32) - 'a') + 10;
        else
            return WEIR_EPROTO;
        *code = *code << 4 | digit;
    }
    return 0;
}

/* One escape at *at, which points at the backslash and is moved behind it. Half a surrogate pair is
 * not a character: refused. */
static int read_escape(const char *text, size_t size, size_t *at, uint32_t *code)
{
    static const char letters[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    if (size - *at < 2)
        return WEIR_EPROTO;
    const char *found = text[*at + 1] != '\0' ? strchr(letters, text[*at + 1]) : NULL;
    if (found != NULL) {
        *code = (unsigned char)plain[found - letters];
        *at += 2;
        return 0;
    }
    if (text[*at + 1] != 'u' || size - *at < 6 || hex4(text + *at + 2, code) < 0)
        return WEIR_EPROTO;
    *at += 6;
    if (*code >= 0xdc00 && *code <= 0xdfff)
        return WEIR_EPROTO;
    if (*code < 0xd800 || *code > 0xdbff)
        return 0;
    uint32_t low;
    if (size - *at < 6 || text[*at] != '\\' || text[*at + 1] != 'u' ||
        hex4(text + *at + 2, &low) < 0 || low < 0xdc00 || low > 0xdfff)
        return WEIR_EPROTO;
    *at += 6;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

/* A text at its opening quote; checked here, decoded only when somebody wants it. */
static int read_text(struct reader *r, weir_json_value *value)
{
    size_t from = ++r->at;
    while (peek(r) != '"') {
        uint32_t code;
        if (r->at >= r->size || (unsigned char)r->text[r->at] < 0x20)
            return WEIR_EPROTO;
        if (r->text[r->at] == '\\') {
            if (read_escape(r->text, r->size, &r->at, &code) < 0)
                return WEIR_EPROTO;
            continue;
        }
        unsigned length = utf8_next(r->text + r->at, r->size - r->at, &code);
        if (length == 0)
            return WEIR_EPROTO;
        r->at += length;
    }
    value->kind = WEIR_JSON_TEXT;
    value->text = r->text + from;
    value->size = (uint32_t)(r->at++ - from);
    return 0;
}

static size_t digits(struct reader *r)
{
    size_t from = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at - from;
}

static int read_number(struct reader *r, weir_json_value *value)
{
    size_t from = r->at;
    r->at += peek(r) == '-';
    bool zero = peek(r) == '0';
    size_t count = digits(r);
    if (count == 0 || (zero && count > 1))
        return WEIR_EPROTO;
    if (peek(r) == '.') {
        r->at++;
        if (digits(r) == 0)
            return WEIR_EPROTO;
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->at++;
        r->at += peek(r) == '+' || peek(r) == '-';
        if (digits(r) == 0)
            return WEIR_EPROTO;
    }
    value->kind = WEIR_JSON_NUMBER;
    value->size = (uint32_t)(r->at - from);
    return 0;
}

static int read_word(struct reader *r, weir_json_value *value)
{
    static const struct {
        const char *word;
        uint8_t size, kind;
        bool truth;
    } words[] = {{"null", 4, WEIR_JSON_NULL, false},
                 {"true", 4, WEIR_JSON_BOOL, true},
                 {"false", 5, WEIR_JSON_BOOL, false}};
    for (unsigned i = 0; i < 3; i++) {
        if (r->size - r->at < words[i].size ||
            memcmp(r->text + r->at, words[i].word, words[i].size) != 0)
            continue;
        value->kind = words[i].kind;
        value->truth = words[i].truth;
        value->size = words[i].size;
        r->at += words[i].size;
        return 0;
    }
    return WEIR_EPROTO;
}

static weir_json_value *new_value(struct reader *r)
{
    if (r->count == r->capacity)
        return NULL;
    weir_json_value *value = &r->values[r->count++];
    *value = (weir_json_value){.text = r->text + r->at, .next = r->count};
    return value;
}

/* One value; a bracket is only opened. */
static int read_value(struct reader *r)
{
    weir_json_value *value = new_value(r);
    int first = peek(r);
    if (value == NULL)
        return WEIR_ETOOBIG;
    if (first == '{' || first == '[') {
        if (r->depth == WEIR_JSON_DEPTH_MAX)
            return WEIR_ETOOBIG;
        value->kind = first == '{' ? WEIR_JSON_OBJECT : WEIR_JSON_ARRAY;
        r->open[r->depth++] = r->count - 1;
        r->at++;
        return 0;
    }
    if (first == '"')
        return read_text(r, value);
    if (first == '-' || (first >= '0' && first <= '9'))
        return read_number(r, value);
    return read_word(r, value);
}

/* In an object: the name and its colon. */
static int read_name(struct reader *r)
{
    weir_json_value *name = peek(r) == '"' ? new_value(r) : NULL;
    if (name == NULL)
        return peek(r) == '"' ? WEIR_ETOOBIG : WEIR_EPROTO;
    int result = read_text(r, name);
    skip_space(r);
    if (result < 0 || peek(r) != ':')
        return WEIR_EPROTO;
    r->at++;
    skip_space(r);
    return 0;
}

/* Behind a value: closes the brackets that end here. 1: another value follows, 0: that was all. */
static int after_value(struct reader *r)
{
    while (r->depth != 0) {
        weir_json_value *bracket = &r->values[r->open[r->depth - 1]];
        int end = bracket->kind == WEIR_JSON_OBJECT ? '}' : ']';
        bool empty = r->open[r->depth - 1] + 1 == r->count;
        skip_space(r);
        if (empty && peek(r) != end)
            return 1; /* just opened */
        if (peek(r) == ',') {
            r->at++;
            skip_space(r);
            return 1;
        }
        if (peek(r) != end)
            return WEIR_EPROTO;
        r->at++;
        bracket->size = (uint32_t)(r->text + r->at - bracket->text);
        bracket->next = r->count;
        r->depth--;
    }
    return 0;
}

int weir_json_read(const char *text, size_t size, weir_json_value *values, unsigned capacity)
{
    struct reader r = {.text = text, .size = size, .values = values, .capacity = capacity};
    int more = 1;
    if (text == NULL || size > UINT32_MAX)
        return text == NULL ? WEIR_EINVALID : WEIR_ETOOBIG;
    skip_space(&r);
    while (more == 1) {
        weir_json_value *bracket = r.depth != 0 ? &values[r.open[r.depth - 1]] : NULL;
        int result = bracket != NULL && bracket->kind == WEIR_JSON_OBJECT ? read_name(&r) : 0;
        if (result == 0)
            result = read_value(&r);
        if (result < 0)
            return result;
        if (bracket != NULL)
            bracket->count++;
        more = after_value(&r);
    }
    skip_space(&r);
    if (more < 0 || r.at != size)
        return WEIR_EPROTO;
    return (int)r.count;
}

const weir_json_value *weir_json_first(const weir_json_value *values,
                                       const weir_json_value *bracket)
{
    if (bracket == NULL || bracket->kind < WEIR_JSON_ARRAY || bracket->count == 0)
        return NULL;
    return bracket + 1;
}

const weir_json_value *weir_json_next(const weir_json_value *values, const weir_json_value *bracket,
                                      const weir_json_value *value)
{
    return value->next < bracket->next ? &values[value->next] : NULL;
}

const weir_json_value *weir_json_find(const weir_json_value *values, const weir_json_value *object,
                                      const char *name)
{
    if (object == NULL || object->kind != WEIR_JSON_OBJECT)
        return NULL;
    const weir_json_value *at = weir_json_first(values, object);
    while (at != NULL) {
        const weir_json_value *value = &values[at->next];
        if (at->size == strlen(name) && memcmp(at->text, name, at->size) == 0)
            return value;
        at = weir_json_next(values, object, value);
    }
    return NULL;
}

int weir_json_to_number(const weir_json_value *value, uint64_t *out)
{
    uint64_t number = 0;
    if (value == NULL || value->kind != WEIR_JSON_NUMBER)
        return WEIR_EINVALID;
    for (uint32_t i = 0; i < value->size; i++) {
        if (value->text[i] < '0' || value->text[i] > '9' ||
            __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(value->text[i] - '0'), &number))
            return WEIR_EINVALID;
    }
    *out = number;
    return 0;
}

/* The text is a number by RFC 8259 already; only the point may be another one in this locale. */
int weir_json_to_real(const weir_json_value *value, double *out)
{
    char digits[64], *end;
    if (value == NULL || value->kind != WEIR_JSON_NUMBER || value->size >= sizeof digits)
        return WEIR_EINVALID;
    memcpy(digits, value->text, value->size);
    digits[value->size] = '\0';
    char *point = strchr(digits, '.');
    if (point != NULL)
        *point = localeconv()->decimal_point[0];
    double number = strtod(digits, &end);
    if (*end != '\0' || !(number <= DBL_MAX && number >= -DBL_MAX))
        return WEIR_EINVALID;
    *out = number;
    return 0;
}

static unsigned encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    unsigned length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (unsigned i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(0xf00u >> length | code);
    return length;
}

int weir_json_to_text(const weir_json_value *value, char *out, size_t size)
{
    size_t used = 0;
    if (value == NULL || value->kind != WEIR_JSON_TEXT)
        return WEIR_EINVALID;
    for (size_t at = 0; at < value->size;) {
        char bytes[4] = {value->text[at]};
        uint32_t code = 1;
        unsigned length = 1;
        if (value->text[at] == '\\') {
            if (read_escape(value->text, value->size, &at, &code) < 0)
                return WEIR_EINVALID;
            length = encode(code, bytes);
        } else {
            at++;
        }
        if (code == 0)
            return WEIR_EINVALID;
        if (size - used <= length || size <= used)
            return WEIR_ETOOBIG;
        memcpy(out + used, bytes, length);
        used += length;
    }
    if (used >= size)
        return WEIR_ETOOBIG;
    out[used] = '\0';
    return (int)used;
}

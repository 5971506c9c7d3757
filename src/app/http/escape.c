#include "app/http/escape.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

static const char hex_upper[] = "0123456789ABCDEF";
static const char hex_lower[] = "0123456789abcdef";

/* What stands for bytes that are no text: U+FFFD, the replacement character. */
static const char replacement[] = "\xEF\xBF\xBD";

/* Characters that steer a terminal, a line, or the writing direction: a name must not be able to
 * show itself as another one. */
static bool is_steering(uint32_t character)
{
    return character < 0x20 || (character >= 0x7F && character < 0xA0) ||
           (character >= 0x2028 && character <= 0x202E) ||
           (character >= 0x2066 && character <= 0x2069) || character == 0xFEFF;
}

static size_t put(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return size;
}

size_t weir__escape_html(const unsigned char *text, size_t size, char *out, size_t *made)
{
    uint32_t character;
    unsigned length = utf8_next((const char *)text, size, &character);
    const char *instead = NULL;

    if (length == 0 || is_steering(character))
        instead = replacement;
    else if (character == '&')
        instead = "&amp;";
    else if (character == '<')
        instead = "&lt;";
    else if (character == '>')
        instead = "&gt;";
    else if (character == '"')
        instead = "&quot;";
    else if (character == '\'')
        instead = "&#39;";
    *made = instead ? put(out, instead, strlen(instead)) : put(out, (const char *)text, length);
    return length ? length : 1;
}

static size_t put_unicode(char *out, uint32_t unit)
{
    out[0] = '\\';
    out[1] = 'u';
    for (int i = 0; i < 4; i++)
        out[2 + i] = hex_lower[unit >> (12 - 4 * i) & 15];
    return 6;
}

static size_t escape_json(const unsigned char *text, size_t size, char *out, size_t *made,
                          bool ascii)
{
    uint32_t character;
    unsigned length = utf8_next((const char *)text, size, &character);

    if (length == 0) {
        *made = ascii ? put_unicode(out, 0xFFFD) : put(out, replacement, 3);
        return 1;
    }
    if (character == '"' || character == '\\') {
        out[0] = '\\';
        out[1] = (char)character;
        *made = 2;
    } else if (!is_steering(character) && (character < 0x80 || !ascii)) {
        *made = put(out, (const char *)text, length);
    } else if (character < 0x10000) {
        *made = put_unicode(out, character);
    } else {
        *made = put_unicode(out, 0xD800 + ((character - 0x10000) >> 10));
        *made += put_unicode(out + *made, 0xDC00 + ((character - 0x10000) & 0x3FF));
    }
    return length;
}

size_t weir__escape_json(const unsigned char *text, size_t size, char *out, size_t *made)
{
    return escape_json(text, size, out, made, false);
}

size_t weir__escape_json_ascii(const unsigned char *text, size_t size, char *out, size_t *made)
{
    return escape_json(text, size, out, made, true);
}

static bool is_unreserved(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

size_t weir__escape_segment(const unsigned char *text, size_t size, char *out, size_t *made)
{
    out[0] = (char)text[0];
    *made = 1;
    if (!is_unreserved(text[0])) {
        out[0] = '%';
        out[1] = hex_upper[text[0] >> 4];
        out[2] = hex_upper[text[0] & 15];
        *made = 3;
    }
    return 1;
}

size_t weir__escape_path(const unsigned char *text, size_t size, char *out, size_t *made)
{
    if (text[0] != '/')
        return weir__escape_segment(text, size, out, made);
    out[0] = '/';
    *made = 1;
    return 1;
}

size_t weir__escape_log(const unsigned char *text, size_t size, char *out, size_t *made)
{
    unsigned char byte = text[0];

    if (byte == '"' || byte == '\\') {
        out[0] = '\\';
        out[1] = (char)byte;
        *made = 2;
    } else if (byte >= 0x20 && byte < 0x7F) {
        out[0] = (char)byte;
        *made = 1;
    } else {
        out[0] = '\\';
        out[1] = 'x';
        out[2] = hex_upper[byte >> 4];
        out[3] = hex_upper[byte & 15];
        *made = 4;
    }
    return 1;
}

size_t weir__escape_log_word(const unsigned char *text, size_t size, char *out, size_t *made)
{
    if (text[0] != ' ')
        return weir__escape_log(text, size, out, made);
    *made = put(out, "\\x20", 4);
    return 1;
}

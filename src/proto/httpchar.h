/* Classes of characters, one table for every parser that goes byte by byte. */
#ifndef WEIR_PROTO_HTTPCHAR_H
#define WEIR_PROTO_HTTPCHAR_H

#include <stdbool.h>
#include <stdint.h>

enum http_class {
    HTTP_CLASS_TOKEN = 0x01, /* tchar, RFC 9110 5.6.2 */
    /*
     * What may stand in a path and in a query: visible ASCII without the characters that no URI
     * has and that people fight with (" < > #), and in a path also without ? and the backslash,
     * which some take for a slash. RFC 3986 alone would refuse [ ] { } | ^ ` too, but browsers
     * send those as they are (the WHATWG URL standard does not escape them everywhere).
     */
    HTTP_CLASS_PATH = 0x02,
    HTTP_CLASS_QUERY = 0x04,
    HTTP_CLASS_TEXT = 0x08,   /* field-value, RFC 9110 5.5: all but controls, though with HTAB */
    HTTP_CLASS_HOST = 0x10,   /* letters, digits, - . _ ~ */
    HTTP_CLASS_SCHEME = 0x20, /* letters, digits, + - . */
    HTTP_CLASS_DIGIT = 0x40,
    HTTP_CLASS_HEX = 0x80,
};

extern const uint8_t http_char[256];

static inline bool http_char_is(uint8_t c, enum http_class set)
{
    return (http_char[c] & set) != 0;
}

/* Gives 0 to 15 for a hexadecimal digit; the caller knows that it is one. */
static inline unsigned http_char_hex(uint8_t c)
{
    return (c & 15u) + (c >> 6) * 9u;
}

static inline uint8_t http_char_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

#endif

/* The forms of field values that several fields share (RFC 9110 5.6). */
#ifndef WEIR_PROTO_HTTPFIELD_H
#define WEIR_PROTO_HTTPFIELD_H

#include "proto/httpname.h"

#include <stdbool.h>

/* Whether two runs of text are the same, ASCII letters compared without case. */
bool http_text_same(struct http_text text, const char *other, size_t length);

/* The same with a literal. */
#define http_text_is(text, literal) http_text_same(text, literal, sizeof(literal) - 1)

/* Takes off spaces and tabs at both ends. */
struct http_text http_text_trim(struct http_text text);

/* Whether it is a token, of one character at least. */
bool http_text_is_token(struct http_text text);

/*
 * Reads a decimal number, of digits only and at least one; false otherwise, and where it does not
 * fit into 63 bits.
 */
bool http_text_number(struct http_text text, uint64_t *number);

/*
 * Takes the next element off the front of a list "a, b": 1 with the element, without white space
 * around it and with whatever parameters it has, and *list what is left; 0 at the end. Empty
 * elements are passed over (RFC 9110 5.6.1.2), commas within quoted strings do not part elements.
 * -1 for a quoted string that does not end. The element itself is not checked.
 */
int http_list_next(struct http_text *list, struct http_text *element);

/* As http_list_next, and -1 for an element that is not a token: Connection, Upgrade, Vary. */
int http_token_list_next(struct http_text *list, struct http_text *token);

/*
 * Takes the next parameter off the front of ";a=b;c="d e"": 1 with name and value (a quoted one
 * without its quotes, escapes still in it, and *quoted set), 0 at the end, -1 when malformed. A
 * parameter without a value gives an empty one.
 */
int http_parameter_next(struct http_text *parameters, struct http_text *name,
                        struct http_text *value, bool *quoted);

/* One element of Accept, Accept-Encoding, Accept-Language, TE. */
struct http_preference {
    struct http_text value;      /* "gzip", "text/html", "*" */
    struct http_text parameters; /* between the value and q, from its semicolon on */
    uint16_t quality;            /* thousandths: 1000 without a q */
};

/* Takes the next preference off the front of a list: 1, 0 at the end, -1 when malformed. */
int http_preference_next(struct http_text *list, struct http_preference *preference);

/*
 * Gives the quality in thousandths that an Accept-Encoding (or Accept-Charset) value gives to
 * `name`, counting "*"; -1 where it says nothing of it. A list that is malformed says nothing.
 * A name listed twice has its first quality.
 */
int http_quality_of(struct http_text list, const char *name, size_t length);

#endif

/* Names of DNS: as text, and as they stand in messages. */
#ifndef WEIR_DNS_NAME_H
#define WEIR_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/address.h>

enum {
    NAME_WIRE_MAX = 255,  /* RFC 1035 section 2.3.4 */
    NAME_TEXT_MAX = 1024, /* room for any name with all of its bytes written \DDD, and a NUL */
    NAME_PLAIN_MAX = 253, /* characters of a name that is written without \DDD */
    NAME_LABEL_MAX = 63,
    NAME_JUMPS_MAX = 127, /* pointers in one name: it has no more parts to point to */
};

/* A name as in a message, uncompressed, its letters small. */
struct dns_name {
    uint8_t size; /* 1: the root */
    uint8_t wire[NAME_WIRE_MAX];
};

/* Reads a name that a program gave; a dot at its end is allowed. 0 or WEIR_EADDRESS. */
int name_from_text(struct dns_name *out, const char *text, size_t size);

/* Writes it with a NUL, without a dot at its end (the root is "."). Returns the length. */
size_t name_to_text(const struct dns_name *name, char out[NAME_TEXT_MAX]);

/* Reads a name at *at of a message, follows its pointers, and sets *at behind it. 0 or WEIR_EPROTO:
 * it leaves the message, is longer than 255 bytes, points forward, round in circles, or on and on.
 */
int name_from_message(struct dns_name *out, const uint8_t *message, size_t size, size_t *at);

bool name_equal(const struct dns_name *a, const struct dns_name *b);

/* The name under which an address' PTR records are: RFC 1035 section 3.5, RFC 3596 section 2.5. 0
 * or WEIR_EADDRESS. */
int name_of_address(struct dns_name *out, const weir_address *address);

static inline char name_small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

#endif

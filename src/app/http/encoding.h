/* Which of the forms of a file to send: itself, or a compressed neighbour (RFC 9110
 * section 12.5.3). */
#ifndef WEIR_APP_HTTP_ENCODING_H
#define WEIR_APP_HTTP_ENCODING_H

#include <stdint.h>

#include "proto/httpname.h"

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_BR, CODINGS };

#define CODING_BIT(coding) (1u << (coding))

/* The codings that a request accepts, the best first. */
struct coding_order {
    uint8_t count; /* 0: not even identity: answer 406 */
    uint8_t coding[CODINGS];
};

/* Reads the value of Accept-Encoding; several fields come joined by commas, at NULL means that
 * there is none. Higher qualities come first; among equals br, then gzip, then identity. A coding
 * that is not named is not sent, but identity is acceptable, as the last choice, until it is
 * refused. A field that is absent, empty or malformed leaves identity alone.
 *
 * Where neighbours are looked for at all, each answer (304 and 406 too) carries
 * "Vary: Accept-Encoding", also one for which none was found or wanted: the next request for the
 * same path may get another form. Any thread. */
struct coding_order weir__encoding_order(struct http_text accept_encoding);

/* The first coding of the order that is among `available` (a set of CODING_BIT), or -1. */
int weir__encoding_choose(const struct coding_order *order, unsigned available);

/* What a file's name has at its end ("", ".gz", ".br"), and the value of Content-Encoding (NULL for
 * identity, which is never sent). Static text. */
const char *weir__coding_suffix(enum coding coding);
const char *weir__coding_name(enum coding coding);

#endif

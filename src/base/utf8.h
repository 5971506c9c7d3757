/* UTF-8, strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF (RFC 3629). */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length in bytes (1 to 4) of the character at the beginning of `text`, and its number in
 * *code; 0 when there is no whole and valid one. */
unsigned utf8_next(const char *text, size_t size, uint32_t *code);

#endif

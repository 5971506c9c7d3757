/* Text on its way out, through a small buffer of its own to a callback that bounds it: a page can
 * be made without its size being known, and whoever takes it says when it is too much. */
#ifndef WEIR_APP_HTTP_TEXTOUT_H
#define WEIR_APP_HTTP_TEXTOUT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/httpname.h"

#include "app/http/escape.h"

/* Takes `size` bytes that are valid during the call only. Returns 0, or a negative error (its own
 * bound reached: WEIR_ETOOBIG), after which it is not called again. */
typedef int textout_write_fn(void *arg, const char *data, size_t size);

enum { TEXTOUT_HELD_MAX = 1024 };

struct textout {
    textout_write_fn *write;
    void *arg;
    uint64_t made_bytes; /* all that was put, also what is still held */
    int error;           /* the first one that `write` returned; everything after it is dropped */
    uint32_t held_size;
    char held[TEXTOUT_HELD_MAX];
};

/* Begins. One thread at a time. */
void textout_init(struct textout *out, textout_write_fn *write, void *arg);

/* Bytes as they are. Errors wait for textout_end. */
void textout_put(struct textout *out, const char *data, size_t size);

/* A string of our own as it is. */
void textout_str(struct textout *out, const char *text);

/* A number in decimal. */
void textout_number(struct textout *out, uint64_t number);

/* Foreign text, made harmless by `escape`. */
void textout_escaped(struct textout *out, weir__escape_fn *escape, struct http_text text);

/* Hands over what is held. Returns 0, or the first error: then the text is incomplete. */
int textout_end(struct textout *out);

#endif

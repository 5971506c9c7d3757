/* A text that grows at its end within memory that the caller gives: messages, tables, JSON. */
#ifndef WEIR_BASE_TEXT_H
#define WEIR_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data;        /* the caller's; ends with a NUL that `size` does not count */
    size_t size, room; /* bytes; room counts the NUL */
    bool cut; /* something did not fit: data is the beginning, and nothing is added any more */
};

/* Empty, in `room` bytes (at least 1) at `data`, which stay the caller's. */
void text_init(struct text *text, char *data, size_t room);
void text_clear(struct text *text);

/* Each adds at the end. What does not fit is cut (at the end of a UTF-8 character), which `cut`
 * tells once all is added; so none of them needs to be checked by itself. */
void text_add(struct text *text, const char *string);
void text_add_bytes(struct text *text, const void *bytes, size_t size);
void text_add_char(struct text *text, char byte);
void text_addf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_addv(struct text *text, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* A JSON string with its quotes (RFC 8259). Bytes that are no UTF-8 become U+FFFD. NULL: null. */
void text_add_json_string(struct text *text, const char *string);
void text_add_json_bytes(struct text *text, const char *bytes, size_t size);

/* As units.h reads them, in the largest unit that is exact: "64KiB", "1000B"; "250ms", "never". */
void text_add_size(struct text *text, uint64_t bytes);
void text_add_duration(struct text *text, uint64_t ns);

#endif

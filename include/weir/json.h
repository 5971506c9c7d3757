/* JSON (RFC 8259) as weir's control socket and the command's --json speak it: a writer that keeps
 * brackets and commas right, and a strict reader into a flat array of values. Both are bounded. */
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>

/* Brackets within brackets, for writer and reader. */
enum { WEIR_JSON_DEPTH_MAX = 32 };

/* Text being written. Zeroed it is ready for use; set .indent for a text that people read, .limit
 * for the most bytes (0: 64 MiB). Errors are kept: nothing is added any more, and weir_json_done
 * tells. */
typedef struct weir_json_writer {
    char *data;  /* allocated here; free it with weir_json_free */
    size_t size; /* bytes, without the NUL behind them */
    size_t room, limit;
    int error;
    uint32_t depth, objects; /* bit n of objects: the bracket n is an object, from 0 */
    bool indent, more;
} weir_json_writer;

enum weir_json_kind {
    WEIR_JSON_NULL,
    WEIR_JSON_BOOL,
    WEIR_JSON_NUMBER,
    WEIR_JSON_TEXT,
    WEIR_JSON_ARRAY,
    WEIR_JSON_OBJECT
};

/* One value of a text that was read. A bracket's values stand behind it; in an object each value
 * stands behind its name. */
typedef struct weir_json_value {
    const char *text; /* where it begins in the text; of texts: behind the quote */
    uint32_t size;    /* bytes; of texts: without the quotes, as it was written */
    uint32_t next;    /* index of the value behind it and behind all that is in it */
    uint32_t count;   /* brackets: of values, names not counted */
    uint8_t kind;     /* enum weir_json_kind */
    bool truth;       /* of a bool */
} weir_json_value;

WEIR_BEGIN

/* ---- writing: `name` is NULL in arrays and for the outermost value. Any thread. ---- */

WEIR_API void weir_json_object(weir_json_writer *out, const char *name);
WEIR_API void weir_json_array(weir_json_writer *out, const char *name);
WEIR_API void weir_json_end(weir_json_writer *out); /* the innermost bracket */
/* NULL is written as null. What is not UTF-8 becomes U+FFFD. */
WEIR_API void weir_json_text(weir_json_writer *out, const char *name, const char *text);
WEIR_API void weir_json_number(weir_json_writer *out, const char *name, uint64_t number);
WEIR_API void weir_json_signed(weir_json_writer *out, const char *name, int64_t number);
/* With up to 15 digits that count; what is no finite number is written as null. */
WEIR_API void weir_json_real(weir_json_writer *out, const char *name, double number);
WEIR_API void weir_json_bool(weir_json_writer *out, const char *name, bool value);
/* Ends the text with a newline. 0; WEIR_ENOMEM; WEIR_ETOOBIG: beyond the limit; WEIR_EMISUSE: a
 * bracket was left open, or closed too often. */
WEIR_API int weir_json_done(weir_json_writer *out);
WEIR_API void weir_json_free(weir_json_writer *out);

/* ---- reading ---- */

/* Reads one value with nothing but white space around it. The values point into `text`. Returns how
 * many there are; WEIR_EPROTO: it is not JSON (that a name stands twice
 * in an object is not looked for);
 * WEIR_ETOOBIG: more than `capacity` values, or brackets too deep. Any thread. */
WEIR_API int weir_json_read(const char *text, size_t size, weir_json_value *values,
                            unsigned capacity);

/* The value of a name (plain, without escapes) in an object; NULL: it has none. */
WEIR_API const weir_json_value *weir_json_find(const weir_json_value *values,
                                               const weir_json_value *object, const char *name);
/* The first value in a bracket, and the one behind a value in the same bracket; NULL: none. In an
 * object the names are among them. */
WEIR_API const weir_json_value *weir_json_first(const weir_json_value *values,
                                                const weir_json_value *bracket);
WEIR_API const weir_json_value *weir_json_next(const weir_json_value *values,
                                               const weir_json_value *bracket,
                                               const weir_json_value *value);
/* A whole number from 0 on: 0, or WEIR_EINVALID when it is none. NULL is none. */
WEIR_API int weir_json_to_number(const weir_json_value *value, uint64_t *out);
/* Any finite number, as the nearest double: 0, or WEIR_EINVALID when it is none, or one that no
 * double holds. NULL is none. */
WEIR_API int weir_json_to_real(const weir_json_value *value, double *out);
/* Decodes a text to UTF-8 with a NUL: its length, WEIR_EINVALID when it is no text or holds a NUL,
 * WEIR_ETOOBIG when `size` bytes do not hold it. NULL is no text. */
WEIR_API int weir_json_to_text(const weir_json_value *value, char *out, size_t size);

WEIR_END
#endif

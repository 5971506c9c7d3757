/* Making text from outside harmless where it is quoted: in HTML, JSON, a URL, a line of a log. */
#ifndef WEIR_APP_HTTP_ESCAPE_H
#define WEIR_APP_HTTP_ESCAPE_H

#include <stddef.h>
#include <stdint.h>

/* The most that one step writes (a surrogate pair in JSON). */
enum { ESCAPE_STEP_MAX = 12 };

/* One step: takes 1 to 4 bytes from `text` (size > 0), writes what stands for them at `out` (at
 * most ESCAPE_STEP_MAX, never cut, no NUL), stores how many that were in *made and returns how many
 * bytes were taken. Any thread. */
typedef size_t weir__escape_fn(const unsigned char *text, size_t size, char *out, size_t *made);

/* For HTML text and quoted attributes: UTF-8 stays, & < > " ' become references; bytes that are no
 * UTF-8, control characters and the overrides of writing direction become U+FFFD. */
weir__escape_fn weir__escape_html;

/* For the inside of a JSON string (RFC 8259 section 7): UTF-8 stays except what a terminal or a
 * script could trip over, which becomes \uXXXX; bytes that are no UTF-8 become U+FFFD. */
weir__escape_fn weir__escape_json;

/* The same with nothing but printable ASCII in the result. */
weir__escape_fn weir__escape_json_ascii;

/* For one segment of a path in a URL (RFC 3986 section 3.3): unreserved characters stay, every
 * other byte becomes %XX, so that the result is safe in HTML and in a header too. */
weir__escape_fn weir__escape_segment;

/* The same for a whole path: '/' stays as well. */
weir__escape_fn weir__escape_path;

/* For a quoted field of a log: printable ASCII stays, but " and \ get a backslash and every other
 * byte becomes \xHH. */
weir__escape_fn weir__escape_log;

/* For a field of a log that is not quoted: space becomes \x20 as well. */
weir__escape_fn weir__escape_log_word;

#endif

/* Conditional requests: whether to send a representation, a part of it, or only that the client
 * has it already (RFC 9110 section 13). */
#ifndef WEIR_APP_HTTP_CONDITIONAL_H
#define WEIR_APP_HTTP_CONDITIONAL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/httpname.h"

#include "app/http/range.h"

/* What is known about the selected representation, which is the one that a 200 would carry: after
 * the choice of a content coding. */
struct validators {
    bool exists;        /* false: the method would create it; a GET gets 404 without asking here */
    bool has_modified;  /* modified_s counts */
    bool modified_weak; /* see weir__etag_is_young: If-Range does not trust the date */
    struct http_text etag; /* with quotes, and W/ when weak; at NULL: none */
    int64_t modified_s;    /* Last-Modified, seconds since 1970 */
    uint64_t total_bytes;  /* its length, for ranges */
};

/* The request's fields; at NULL where one is absent. One that came in several lines is passed
 * joined by commas (section 5.3): for those that may not repeat, that makes it invalid. */
struct conditional {
    struct http_text if_match, if_none_match, if_modified_since, if_unmodified_since, if_range,
        range;
    int64_t now_s; /* settles the century of a date whose year has two digits */
};

/* Returns 200 (go on with the method), 206 (`set` holds the parts), 304, 412 or 416, by the
 * precedence of section 13.2.2. Ask only where the answer without conditions would be 2xx.
 *
 * Comparison of tags is strong for If-Match and If-Range, weak for If-None-Match. Dates that are
 * not valid are ignored. A malformed list of tags fails safe: If-Match does not hold; If-None-Match
 * sends the whole answer to a GET and stops everything else. Ranges are for GET alone. CONNECT,
 * OPTIONS and TRACE know no conditions. Any thread. */
int conditional_judge(const struct conditional *conditional, enum http_method method,
                      const struct validators *validators, struct range_set *set);

#endif

/* Reading along the value of a header field, one step at a time. */
#ifndef WEIR_APP_HTTP_CURSOR_H
#define WEIR_APP_HTTP_CURSOR_H

#include <stdbool.h>

#include "proto/httpname.h"

struct cursor {
    const char *at, *end;
};

static inline struct cursor cursor_from(struct http_text text)
{
    struct cursor cursor;
    cursor.at = text.at ? text.at : "";
    cursor.end = cursor.at + (text.at ? text.length : 0);
    return cursor;
}

/* Optional white space: spaces and tabs (RFC 9110 section 5.6.3). */
static inline void cursor_skip_blank(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t'))
        cursor->at++;
}

static inline bool cursor_skip_byte(struct cursor *cursor, char byte)
{
    if (cursor->at == cursor->end || *cursor->at != byte)
        return false;
    cursor->at++;
    return true;
}

/* Goes to the next member of a comma-separated list; empty members count for nothing (RFC 9110
 * section 5.6.1). Returns false at the end of the list. */
static inline bool cursor_next_member(struct cursor *cursor)
{
    do
        cursor_skip_blank(cursor);
    while (cursor_skip_byte(cursor, ','));
    return cursor->at < cursor->end;
}

/* True when a member has been read to its end: nothing but white space before a comma or the end of
 * the list. */
static inline bool cursor_ends_member(struct cursor *cursor)
{
    cursor_skip_blank(cursor);
    return cursor->at == cursor->end || *cursor->at == ',';
}

#endif

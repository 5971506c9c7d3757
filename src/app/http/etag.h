/* Entity tags: made from what stat says, read and compared (RFC 9110 section 8.8.3). */
#ifndef WEIR_APP_HTTP_ETAG_H
#define WEIR_APP_HTTP_ETAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/httpname.h"

#include "app/http/cursor.h"

/* Room for a tag that weir makes, with its quotes, W/ and NUL. */
enum { ETAG_SIZE = 40 };

/* Makes the tag of a file: its size, and a mix of its time and inode (an inode in plain sight tells
 * more about the server than a client needs). `weak` puts W/ before it. Returns the length without
 * the NUL. Any thread. */
size_t weir__etag_make(uint64_t size_bytes, int64_t mtime_ns, uint64_t inode, bool weak,
                       char out[ETAG_SIZE]);

/* True when a file was changed so recently that it may change again without its time showing it: a
 * file system's clock ticks every few milliseconds, an old one's every second or two. Such a file's
 * tag is to be weak, and its date no strong validator (section 8.8.2.2). Both times are of
 * CLOCK_REALTIME. Any thread. */
bool weir__etag_is_young(int64_t mtime_ns, int64_t now_ns);

struct etag {
    struct http_text opaque; /* with its quotes */
    bool weak;
};

/* Reads one tag; false when there is none that is well formed. Any thread. */
bool weir__etag_read(struct cursor *cursor, struct etag *tag);

/* Strong comparison: both strong and equal. Weak comparison: equal but for W/. Section 8.8.3.2. */
bool weir__etag_same_strong(struct etag a, struct etag b);
bool weir__etag_same_weak(struct etag a, struct etag b);

#endif

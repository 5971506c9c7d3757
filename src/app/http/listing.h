/* A directory as a page, and as JSON. */
#ifndef WEIR_APP_HTTP_LISTING_H
#define WEIR_APP_HTTP_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/http/textout.h"

/* How much of a directory is kept when the configuration says 0; the rest is counted and said. */
enum { LISTING_ENTRIES = 10000, LISTING_NAME_BYTES = 1 << 20 };

enum listing_kind { LISTING_FILE, LISTING_DIRECTORY };

struct listing_config {
    uint32_t entries;    /* at most so many entries */
    uint32_t name_bytes; /* and so many bytes of names; 255 or more */
    bool hidden;         /* names with a leading dot are shown */
};

struct listing_entry {
    uint64_t size_bytes;
    int64_t mtime_s;
    uint32_t name_at; /* into listing.names */
    uint16_t name_length;
    uint8_t kind; /* enum listing_kind */
};

struct listing {
    struct listing_config config;
    struct listing_entry *entries;
    char *names;
    uint32_t count, room;
    uint32_t names_size, names_room;
    uint64_t omitted; /* entries that the limits left no room for */
    uint32_t directories;
    uint64_t total_bytes; /* of all files that are shown; stays at the largest when it overflows */
};

/* Begins with nothing; NULL for the defaults. One thread at a time. */
void listing_init(struct listing *listing, const struct listing_config *config);

void listing_free(struct listing *listing);

/* Adds a name as the directory has it (copied), unless it is "." or "..", hidden, empty, or too
 * long for a file system. `mtime_s` is in seconds since 1970. What the limits refuse is counted. 0
 * or WEIR_ENOMEM. */
int listing_add(struct listing *listing, struct http_text name, enum listing_kind kind,
                uint64_t size_bytes, int64_t mtime_s);

/* Sorts: directories first, then by name, letters of either case alike and numbers by value, so
 * that "part 9" comes before "part 10". */
void listing_sort(struct listing *listing);

/* Writes the listing as a page (see page.h for its type and policy) or as a JSON object. `prefix`
 * is where the root is mounted ("" or "/static", as in a URL), `path` the directory as filepath_map
 * gives it ("." is the root, which has no link to a parent). Names that are no UTF-8 are shown with
 * U+FFFD; their links are exact. Errors wait in `out`. */
void listing_write_html(const struct listing *listing, const char *prefix, struct http_text path,
                        struct textout *out);
void listing_write_json(const struct listing *listing, const char *prefix, struct http_text path,
                        struct textout *out);

#endif

/* Small files kept in memory. A pure data structure: whoever owns it opens, reads and stats files,
 * and tells what it found. One cache belongs to one loop and is not shared.
 *
 * A file is looked up, sent, and given back; an entry that was evicted or found changed meanwhile
 * lives until it is given back by all. Each entry is trusted for an interval; then one lookup (and
 * not all those that come while the answer is awaited) is told that it is stale, stats the file and
 * confirms or drops it. So a change is noticed within the interval and the time of one stat. */
#ifndef WEIR_APP_HTTP_FILECACHE_H
#define WEIR_APP_HTTP_FILECACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/http/etag.h"
#include "base/list.h"
#include "proto/httpname.h"

/* Longer paths are not kept. */
enum { FILECACHE_KEY_MAX = 1024 };

/* XX(name, default): 0 in the configuration means the default. */
#define FILECACHE_LIMITS(XX)                                                                      \
    XX(total_bytes, 64u << 20) /* contents, entries and keys together, evicted ones in use too */ \
    XX(file_bytes, 2u << 20)   /* largest file that is kept */                                    \
    XX(files, 8192)            /* entries of files */                                             \
    XX(absences, 1024)         /* entries that say only what status to answer */                  \
    XX(fresh_ms, 1000)         /* how long an entry is trusted without a look at the file */      \
    XX(absence_ms, 500)        /* how long it is trusted that a file is not there */

/* Gets memory of a content back, once. */
typedef void filecache_release_fn(void *content, uint64_t content_bytes, void *arg);

struct filecache_config {
#define XX(name, value) uint64_t name;
    FILECACHE_LIMITS(XX)
#undef XX
    uint64_t seed[2]; /* random: keeps others from choosing paths that collide */
    filecache_release_fn *release;
    void *release_arg;
};

/* What stat said when the content was read. */
struct filecache_file {
    uint64_t size_bytes, inode, device;
    int64_t mtime_ns;
};

struct filecache_entry {
    /* What a lookup touches stands together. */
    uint64_t hash;
    uint64_t checked_ms; /* when it was last known to be true */
    uint32_t references;
    uint16_t key_length;
    uint8_t coding;
    bool used;       /* looked up since the eviction last passed by */
    bool attached;   /* still to be found; false: lives only for those who hold it */
    bool young;      /* see filecache_addition */
    uint16_t status; /* 200, or what an absence answers */
    uint32_t etag_length;
    void *content; /* the owner's; NULL: only what is known about the file is kept */
    uint64_t content_bytes;
    const char *mime;
    struct filecache_file file;
    char etag[ETAG_SIZE];
    struct list link;        /* in the order of eviction */
    struct filecache *cache; /* whose it is: who gives it back may know nothing else */
    char key[];
};

/* What the owner found. The content belongs to the cache when filecache_add succeeded. */
struct filecache_addition {
    struct filecache_file file;
    void *content;
    uint64_t content_bytes;
    const char *mime; /* static text */
    bool young;       /* weir__etag_is_young when it was read: such an entry is never confirmed, for
                         a change in the same tick would not show, and its tag is weak */
};

struct filecache_stats {
    uint64_t bytes; /* all memory that is held, also by evicted entries still in use */
    uint32_t files, absences;
    uint64_t hits, stales, absence_hits, misses, evictions, refusals;
};

struct filecache;

/* NULL when out of memory. */
struct filecache *filecache_new(const struct filecache_config *config);

/* Ends the cache. Entries that are held live on; the last one given back frees the rest. */
void filecache_free(struct filecache *cache);

enum filecache_answer {
    FILECACHE_MISS,
    FILECACHE_FRESH, /* *entry is held for the caller: filecache_release */
    FILECACHE_STALE, /* the same, and the caller is the one to look at the file now:
                        filecache_confirm or filecache_drop, then use it or not, then release it */
    FILECACHE_ABSENT /* answer (*entry)->status; not held, valid until the next call */
};

/* Looks a file up by its path beneath the root and its content coding. `now_ms` is monotonic. Never
 * allocates when it hits. */
enum filecache_answer filecache_find(struct filecache *cache, struct http_text path, uint8_t coding,
                                     uint64_t now_ms, struct filecache_entry **entry);

/* Adds a file, in the place of an older entry of that name, and holds it for the caller. 0;
 * WEIR_ETOOBIG (content or path too large to be kept), WEIR_EFULL (too much is in use to make
 * room), WEIR_ENOMEM: the content stays the caller's, who serves it without the cache. */
int filecache_add(struct filecache *cache, struct http_text path, uint8_t coding, uint64_t now_ms,
                  const struct filecache_addition *addition, struct filecache_entry **entry);

/* Remembers for a short time that this path gives `status` (404, 403, a redirect). Makes room among
 * its like only: a flood of bad paths evicts no file. Errors as filecache_add. */
int filecache_add_absence(struct filecache *cache, struct http_text path, uint8_t coding,
                          uint64_t now_ms, uint16_t status);

/* True when the file is still the one that was read: the entry is fresh again. Otherwise the entry
 * is dropped. Either way the caller still holds it. */
bool filecache_confirm(struct filecache *cache, struct filecache_entry *entry,
                       const struct filecache_file *file, uint64_t now_ms);

/* The look at the file came to nothing: the next one that asks is to look. The caller still holds
 * it. */
void filecache_doubt(struct filecache *cache, struct filecache_entry *entry, uint64_t now_ms);

/* Takes an entry out of the cache: its file changed or is gone. The caller still holds it. */
void filecache_drop(struct filecache *cache, struct filecache_entry *entry);

/* Holds an entry once more (a second send of the same bytes), and gives it back. */
void filecache_retain(struct filecache_entry *entry);
void filecache_release(struct filecache *cache, struct filecache_entry *entry);

void filecache_read_stats(const struct filecache *cache, struct filecache_stats *stats);

#endif

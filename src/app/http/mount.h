/* A directory served as files: what the application keeps for all loops, what one loop keeps of it,
 * and how a request goes from its path to a form of the file that can be sent. */
#ifndef WEIR_APP_HTTP_MOUNT_H
#define WEIR_APP_HTTP_MOUNT_H

#include <stdatomic.h>
#include <sys/stat.h>

#include <weir/stats.h>

#include "app/http/encoding.h"
#include "app/http/filecache.h"
#include "app/http/filepath.h"
#include "app/http/range.h"
#include "app/http/server.h"
#include "co/co_file.h"

enum {
    MOUNT_INDEX_SIZE = 10,
    FILE_HEAD_ROOM = 384,
};
#define MOUNT_INDEX "index.html"

/* Counted: an operation that outlives its waiter still names the root. */
struct mount {
    weir_http_files options;
    _Atomic uint32_t refs;
    unsigned index; /* in app->mounts and server->caches */
    int root_fd;
    uint64_t resolve; /* for openat2 */
    char *prefix_url; /* "" or "/static", encoded */
};

/* What one mount on one loop reads into memory now. Counted, and apart: a read that outlives its
 * waiter, and the server, holds its memory until it is over. */
struct file_loads {
    uint32_t refs;
    uint64_t bytes, max_bytes;
};

struct mount_cache { /* of one mount on one loop */
    struct mount *mount;
    struct http_server *server;
    struct filecache *cache;  /* NULL: none */
    uint64_t small_bytes;     /* larger files are sent from the system's cache, not from ours */
    struct file_loads *loads; /* with a cache */
};

/* The fields that each answer about a form of a file carries, written once. */
struct file_head {
    uint16_t lasting_size; /* ETag, Last-Modified, Vary: what a 304 repeats too */
    uint16_t plain_size;   /* with Accept-Ranges and Content-Encoding */
    uint16_t size;         /* with Content-Type */
    uint8_t etag_size;
    uint8_t neighbours; /* of a file itself: which compressed forms lie beside it, CODING_BIT */
    bool has_data;
    bool has_modified;
    char text[FILE_HEAD_ROOM];
};

/* What the cache keeps as content: the head, and the bytes of a small file. */
struct file_content {
    struct file_head head;
    uint8_t data[];
};

/* A form of a file, found: held in the cache, or opened, or only known. */
struct found {
    struct filecache_entry *entry; /* held; NULL: not in the cache */
    const struct file_head *head;  /* the entry's, or own_head */
    struct filecache_file file;
    bool young;
    int fd; /* -1: not open */
    struct file_head own_head;
};

/* A request on its way. */
struct visit {
    weir_exchange handle;
    struct exchange *x;
    struct mount_cache *mc;
    struct coding_order order;
    bool insists;          /* on the data of what it looks for: no other form will do any more */
    struct filepath *path; /* of the file, or of the index once that is looked for */
};

/* ---- fileload.c: operations off the loop, for a coroutine; negative errors ---- */

/* One file's operations and what they work on. On WEIR_ECANCELED the job is gone. */
struct file_job {
    struct co_file wait;
    struct mount *mount;
    struct mount_cache *mc; /* only while its coroutine is there */
    int fd;
    struct statx status;
    struct file_content *content; /* being read */
    uint64_t content_bytes;       /* of its data */
    struct file_loads *loads;     /* where they are counted; NULL: nowhere */
    char path[FILEPATH_MAX + 8];
};
struct file_job *file_job_new(struct mount_cache *mc, const struct filepath *path,
                              enum coding coding);
void file_job_free(struct file_job *job); /* closes job->fd when it is not -1 */
/* Opens the path with these flags of open(2), in the place of what was open. */
int file_job_open(struct file_job *job, uint64_t flags);
/* Opens a file to be read, and asks what it is: 0, or an error; -EISDIR, -ENXIO (no file). */
int file_job_look(struct file_job *job, struct filecache_file *file);
/* Reads the whole file into new content: 0; WEIR_EFULL: not now, or not at all (it has changed
 * meanwhile). The head is left to the caller. */
int file_job_read(struct file_job *job, uint64_t size);
void file_loads_release(struct file_loads *loads);

/* ---- filefind.c ---- */

/* Finds a file's own form: 0 and *found, which is to be given back; or the status to answer with;
 * or WEIR_ECANCELED. It may be known only (no data, not open): file_fetch then gets it. */
int file_find(struct visit *v, struct found *found);
/* The same for a compressed neighbour. */
int file_find_neighbour(struct visit *v, enum coding coding, struct found *found);
/* Gets data or an open file for a form that is only known; *found is replaced. Results as above. */
int file_fetch_again(struct visit *v, enum coding coding, struct found *found);
void found_release(struct visit *v, struct found *found);
/* The status that is remembered for a path: 0 when there is none. */
int absence_find(struct visit *v, struct http_text key);
void absence_add(struct visit *v, struct http_text key, int status);

/* ---- fileserve.c ---- */

/* Answers with a form of a file. False: the body is wanted, and neither in memory nor open. Takes
 * found->fd when it is used. */
bool file_serve(struct visit *v, struct found *found);
/* fileparts.c: several ranges */
void file_serve_parts(struct visit *v, struct found *found, const struct range_set *set);
/* A part in memory; the entry is held once more when it is lent. */
weir_view file_part_view(struct visit *v, struct found *found, struct range part);

/* ---- listturn.c ---- */

enum {
    LIST_TEXT_MAX = 16 << 20,   /* a page */
    LISTS_WAIT_MS = 10000,      /* for one's turn, then 503 */
    LISTS_BYTES_MAX = 64 << 20, /* of pages that are being sent and are not in the cache */
    LISTS_CACHED_MAX = 4 << 20, /* a page of more than that is not put there */
};

/* What is counted for the listings of one loop; counted itself, since a worker may be at one that
 * nobody waits for any more. */
struct lists {
    uint32_t refs;
    bool busy;
    struct list waiting;
    uint64_t bytes;
};
struct lists *lists_new(void);
void lists_release(struct lists *lists);
/* Waits for the turn of this exchange: 0, and lists_leave ends it; WEIR_ETIMEDOUT, WEIR_EGONE,
 * WEIR_ECANCELED. */
int lists_enter(struct lists *lists, struct exchange *x);
void lists_leave(struct lists *lists);

/* ---- filelist.c ---- */

/* Answers for a directory that has no index: a listing, or 403, or why not. */
void directory_serve(struct visit *v);

/* ---- files.c ---- */

/* Adds what this server's caches count. */
void mount_stats(const struct http_server *server, weir_http_stats *stats);
void mount_hold(struct mount *mount);
void mount_release(struct mount *mount);
void file_answer_status(struct visit *v, int status);

static inline const struct file_content *found_content(const struct found *found)
{
    return found->entry->content;
}

#endif

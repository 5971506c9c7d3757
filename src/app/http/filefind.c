/* From a path to a form of a file: out of the cache when it is fresh there, otherwise by a look at
 * the file system, which then fills the cache. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "app/http/etag.h"
#include "app/http/mime.h"
#include "app/http/mount.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "proto/httpdate.h"

static struct http_text key_of(const struct visit *v)
{
    return (struct http_text){v->path->text, v->path->size};
}

static uint64_t now_ms(const struct visit *v)
{
    return v->mc->server->loop->now_ns / WEIR_MS;
}

void found_release(struct visit *v, struct found *found)
{
    if (found->entry != NULL)
        filecache_release(v->mc->cache, found->entry);
    if (found->fd >= 0)
        close(found->fd);
    found->entry = NULL;
    found->fd = -1;
}

static void found_entry(struct found *found, struct filecache_entry *entry)
{
    found->entry = entry;
    found->head = &((struct file_content *)entry->content)->head;
    found->file = entry->file;
    found->young = entry->young;
}

int absence_find(struct visit *v, struct http_text key)
{
    struct filecache_entry *entry;
    struct filecache *cache = v->mc->cache;
    if (cache == NULL)
        return 0;
    switch (filecache_find(cache, key, CODING_IDENTITY, now_ms(v), &entry)) {
    case FILECACHE_ABSENT:
        return entry->status;
    case FILECACHE_FRESH:
    case FILECACHE_STALE:
        filecache_release(cache, entry);
        return 0;
    default:
        return 0;
    }
}

void absence_add(struct visit *v, struct http_text key, int status)
{
    if (v->mc->cache != NULL && (status == 404 || status == 403 || status == 301))
        filecache_add_absence(v->mc->cache, key, CODING_IDENTITY, now_ms(v), (uint16_t)status);
}

static int64_t floor_seconds(int64_t ns)
{
    return ns >= 0 ? ns / 1000000000 : -((-ns + 999999999) / 1000000000);
}

/* Writes the fields once: every answer copies them. */
static void head_write(struct visit *v, struct file_head *head, const struct filecache_file *file,
                       enum coding coding, bool young)
{
    struct http1_writer w = http1_writer_on(head->text, sizeof head->text);
    char etag[ETAG_SIZE], date[HTTP_DATE_BYTES];
    int64_t modified_s = floor_seconds(file->mtime_ns);
    const char *type = weir__mime_of(key_of(v)), *name = weir__coding_name(coding);
    *head = (struct file_head){.neighbours = 0};
    head->etag_size =
        (uint8_t)weir__etag_make(file->size_bytes, file->mtime_ns, file->inode, young, etag);
    http1_write_literal(&w, "ETag: ");
    http1_write_raw(&w, etag, head->etag_size);
    http1_write_literal(&w, "\r\n");
    /* A date in the future would be no date of ours (RFC 9110 section 8.8.2.1). */
    head->has_modified = modified_s <= (int64_t)(weir__clock_wall_ns() / WEIR_S);
    if (head->has_modified) {
        http_date_format(modified_s, date);
        http1_write_literal(&w, "Last-Modified: ");
        http1_write_raw(&w, date, sizeof date);
        http1_write_literal(&w, "\r\n");
    }
    if (!v->mc->mount->options.no_precompressed)
        http1_write_literal(&w, "Vary: Accept-Encoding\r\n");
    head->lasting_size = (uint16_t)(w.at - w.begin);
    http1_write_literal(&w, "Accept-Ranges: bytes\r\n");
    if (name != NULL)
        http1_write_field(&w, (struct http_text){"Content-Encoding", 16},
                          (struct http_text){name, strlen(name)});
    head->plain_size = (uint16_t)(w.at - w.begin);
    http1_write_field(&w, (struct http_text){"Content-Type", 12},
                      (struct http_text){type, strlen(type)});
    head->size = (uint16_t)(w.at - w.begin);
}

/* Which compressed forms lie beside the file: a set of CODING_BIT, or WEIR_ECANCELED. */
static int neighbours_look(struct visit *v)
{
    struct filecache_file file;
    int set = 0;
    if (v->mc->mount->options.no_precompressed)
        return 0;
    for (unsigned coding = CODING_IDENTITY + 1; coding < CODINGS; coding++) {
        /* What is not remembered is asked for those only that this client takes. */
        if (v->mc->cache == NULL && weir__encoding_choose(&v->order, CODING_BIT(coding)) < 0)
            continue;
        struct file_job *job = file_job_new(v->mc, v->path, (enum coding)coding);
        if (job == NULL)
            return set;
        int result = file_job_look(job, &file);
        if (result == WEIR_ECANCELED)
            return result;
        if (result == 0)
            set |= (int)CODING_BIT(coding);
        file_job_free(job);
    }
    return set;
}

/* Puts what was found into the cache: with its data when job->content has it, else only what is
 * known. True: it is held there. */
static bool remember(struct visit *v, struct file_job *job, enum coding coding, struct found *found)
{
    struct filecache *cache = v->mc->cache;
    struct filecache_entry *entry;
    struct file_content *content = job->content;
    if (cache == NULL)
        return false;
    if (content == NULL)
        content = weir__alloc(sizeof *content);
    if (content == NULL)
        return false;
    content->head = found->own_head;
    content->head.has_data = job->content != NULL;
    struct filecache_addition addition = {
        .file = found->file,
        .content = content,
        .content_bytes = sizeof *content + (job->content != NULL ? job->content_bytes : 0),
        .mime = weir__mime_of(key_of(v)),
        .young = found->young,
    };
    int result = filecache_add(cache, key_of(v), (uint8_t)coding, now_ms(v), &addition, &entry);
    job->content = NULL;
    if (result < 0) {
        weir__free(content);
        return false;
    }
    found_entry(found, entry);
    return true;
}

/* Whether this form's data is what the client will get. */
static bool data_wanted(const struct visit *v, enum coding coding, unsigned neighbours)
{
    return v->x->request.method == HTTP_GET &&
           (v->insists || coding != CODING_IDENTITY ||
            weir__encoding_choose(&v->order, neighbours | CODING_BIT(CODING_IDENTITY)) ==
                CODING_IDENTITY);
}

/* The file is open and known: read when it is small, remembered, handed over. */
static int take_file(struct visit *v, struct file_job *job, enum coding coding, unsigned neighbours,
                     struct found *found)
{
    bool wanted = data_wanted(v, coding, neighbours);
    found->young = weir__etag_is_young(found->file.mtime_ns, (int64_t)weir__clock_wall_ns());
    if (wanted && v->mc->cache != NULL && found->file.size_bytes <= v->mc->small_bytes) {
        int result = file_job_read(job, found->file.size_bytes);
        if (result == WEIR_ECANCELED)
            return result;
        if (result < 0 && result != WEIR_EFULL) {
            file_job_free(job);
            return filepath_status(result);
        }
    }
    head_write(v, &found->own_head, &found->file, coding, found->young);
    found->own_head.neighbours = (uint8_t)neighbours;
    found->head = &found->own_head;
    found->entry = NULL;
    bool has_data = job->content != NULL;
    bool held = remember(v, job, coding, found);
    if (wanted && !(held && has_data)) {
        found->fd = job->fd;
        job->fd = -1;
    }
    file_job_free(job);
    return 0;
}

/* An entry whose file is still the same is good for another while. Gives it back otherwise. */
static bool still_same(struct visit *v, struct filecache_entry *entry,
                       const struct filecache_file *file)
{
    if (entry == NULL)
        return false;
    if (filecache_confirm(v->mc->cache, entry, file, now_ms(v)))
        return true;
    filecache_release(v->mc->cache, entry);
    return false;
}

static int look_failed(struct visit *v, struct file_job *job, enum coding coding,
                       struct filecache_entry *entry, int error)
{
    int status = error == -EISDIR ? 301 : filepath_status(error);
    file_job_free(job);
    if (entry != NULL) {
        filecache_drop(v->mc->cache, entry);
        filecache_release(v->mc->cache, entry);
    }
    if (coding == CODING_IDENTITY)
        absence_add(v, key_of(v), status);
    return status;
}

static int canceled(struct visit *v, struct filecache_entry *entry)
{
    if (entry != NULL) {
        /* Or a client that always leaves in time would keep others from seeing a change. */
        filecache_doubt(v->mc->cache, entry, now_ms(v));
        filecache_release(v->mc->cache, entry);
    }
    return WEIR_ECANCELED;
}

/* Looks at the file itself. `entry`: held, what the cache knew of it, or NULL; used up. */
static int fetch(struct visit *v, enum coding coding, struct filecache_entry *entry,
                 struct found *found)
{
    struct file_job *job = file_job_new(v->mc, v->path, coding);
    if (job == NULL) {
        canceled(v, entry);
        return 503;
    }
    found->fd = -1;
    found->entry = NULL;
    int result = file_job_look(job, &found->file);
    if (result == WEIR_ECANCELED)
        return canceled(v, entry);
    if (result < 0)
        return look_failed(v, job, coding, entry, result);
    /* Who insists has chosen already. */
    int neighbours = coding != CODING_IDENTITY ? 0
                     : v->insists && entry != NULL
                         ? ((struct file_content *)entry->content)->head.neighbours
                         : neighbours_look(v);
    if (neighbours < 0) {
        file_job_free(job);
        return canceled(v, entry);
    }
    if (!still_same(v, entry, &found->file))
        return take_file(v, job, coding, (unsigned)neighbours, found);
    struct file_content *content = entry->content;
    content->head.neighbours = (uint8_t)neighbours;
    bool wanted = data_wanted(v, coding, (unsigned)neighbours) && !content->head.has_data;
    if (wanted && found->file.size_bytes <= v->mc->small_bytes) { /* now with its data */
        filecache_release(v->mc->cache, entry);
        return take_file(v, job, coding, (unsigned)neighbours, found);
    }
    found_entry(found, entry);
    if (wanted) {
        found->fd = job->fd;
        job->fd = -1;
    }
    file_job_free(job);
    return 0;
}

static int find(struct visit *v, enum coding coding, struct found *found)
{
    struct filecache_entry *entry = NULL;
    found->fd = -1;
    found->entry = NULL;
    if (v->mc->cache == NULL)
        return fetch(v, coding, NULL, found);
    switch (filecache_find(v->mc->cache, key_of(v), (uint8_t)coding, now_ms(v), &entry)) {
    case FILECACHE_FRESH:
        found_entry(found, entry);
        return 0;
    case FILECACHE_ABSENT:
        return entry->status;
    case FILECACHE_STALE:
        return fetch(v, coding, entry, found);
    default:
        return fetch(v, coding, NULL, found);
    }
}

int file_find(struct visit *v, struct found *found)
{
    return find(v, CODING_IDENTITY, found);
}

int file_find_neighbour(struct visit *v, enum coding coding, struct found *found)
{
    return find(v, coding, found);
}

int file_fetch_again(struct visit *v, enum coding coding, struct found *found)
{
    struct filecache_entry *entry = found->entry;
    found->entry = NULL;
    found_release(v, found);
    v->insists = true;
    int result = fetch(v, coding, entry, found);
    v->insists = false;
    return result;
}

/* A directory without an index: its listing, made by a worker because reading a directory may take
 * as long as it likes, or the refusal to show one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/http/listing.h"
#include "app/http/mount.h"
#include "app/http/page.h"
#include "base/alloc.h"
#include "proto/httpfield.h"

enum { LIST_TEXT_FIRST = 16 << 10 };

struct list_job {
    struct co_file wait;
    struct mount *mount;
    struct lists *lists; /* its turn lasts until the worker is done */
    bool json;
    uint32_t path_size;
    struct file_content *page; /* with room for `room` bytes, of which `size` are there */
    size_t size, room;
    char path[FILEPATH_MAX +
              256]; /* of the directory, and of a link in it while that is looked at */
};

static void list_free(struct list_job *job)
{
    weir__free(job->page);
    mount_release(job->mount);
    lists_leave(job->lists);
    lists_release(job->lists);
    weir__free(job);
}

static void list_drop(struct co_file *file, int result)
{
    list_free(weir_container(file, struct list_job, wait));
}

/* ---- on a worker ---- */

static int list_write(void *arg, const char *data, size_t size)
{
    struct list_job *job = arg;
    if (size > LIST_TEXT_MAX - job->size)
        return WEIR_ETOOBIG;
    if (size > job->room - job->size) {
        size_t room = job->room != 0 ? job->room * 2 : LIST_TEXT_FIRST;
        while (room < job->size + size)
            room *= 2;
        struct file_content *grown = weir__realloc(job->page, sizeof *job->page + room);
        if (grown == NULL)
            return WEIR_ENOMEM;
        job->page = grown;
        job->room = room;
    }
    memcpy(job->page->data + job->size, data, size);
    job->size += size;
    return 0;
}

static int open_beneath(const struct list_job *job, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = job->mount->resolve};
    long fd = syscall(SYS_openat2, job->mount->root_fd, job->path, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
}

/* What a link leads to, as a request for it would be served; -ENOENT: it would not be. */
static int stat_link(struct list_job *job, const char *name, struct stat *status)
{
    size_t size = strlen(name);
    if (!job->mount->options.symlinks || job->path_size + 1 + size >= sizeof job->path)
        return -ENOENT;
    job->path[job->path_size] = '/';
    memcpy(job->path + job->path_size + 1, name, size + 1);
    int fd = open_beneath(job, O_PATH);
    job->path[job->path_size] = 0;
    if (fd < 0)
        return fd;
    int result = fstat(fd, status) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

static int list_name(struct list_job *job, struct listing *listing, int directory, const char *name)
{
    struct http_text text = {name, strlen(name)};
    struct stat status = {.st_mode = S_IFREG};
    if (name[0] == '.' && !listing->config.hidden)
        return 0;
    if (listing->count < listing->config.entries) { /* the others are only counted */
        if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            return 0; /* gone meanwhile */
        if (S_ISLNK(status.st_mode) && stat_link(job, name, &status) < 0)
            return 0;
    }
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return 0;
    return listing_add(listing, text, S_ISDIR(status.st_mode) ? LISTING_DIRECTORY : LISTING_FILE,
                       (uint64_t)status.st_size, status.st_mtim.tv_sec);
}

static int list_read(struct list_job *job, struct listing *listing)
{
    int fd = open_beneath(job, O_RDONLY | O_DIRECTORY), result = 0;
    if (fd < 0)
        return fd;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        result = -errno;
        close(fd);
        return result;
    }
    const struct dirent *entry = NULL;
    do {
        errno = 0;
        entry = readdir(directory);
        result = entry != NULL ? list_name(job, listing, fd, entry->d_name) : -errno;
    } while (entry != NULL && result == 0);
    closedir(directory);
    return result;
}

static int list_make(void *arg)
{
    struct list_job *job = arg;
    struct listing listing;
    struct textout out;
    struct http_text path = {job->path, job->path_size};
    listing_init(&listing, &(struct listing_config){.hidden = job->mount->options.hidden});
    int result = list_read(job, &listing);
    if (result == 0) {
        listing_sort(&listing);
        textout_init(&out, list_write, job);
        if (job->json)
            listing_write_json(&listing, job->mount->prefix_url, path, &out);
        else
            listing_write_html(&listing, job->mount->prefix_url, path, &out);
        result = textout_end(&out);
    }
    listing_free(&listing);
    return result;
}

/* ---- on the loop ---- */

static bool wants_json(struct visit *v)
{
    struct http_text list;
    struct http_preference preference;
    unsigned json = 0, html = 0;
    if (!request_field(v->x, HTTP_ACCEPT, &list) || list.at == NULL)
        return false;
    while (http_preference_next(&list, &preference) == 1) {
        if (http_text_is(preference.value, "application/json"))
            json = preference.quality;
        else if (http_text_is(preference.value, "text/html"))
            html = preference.quality;
    }
    return json > html;
}

/* A page that is not in the cache, while it is being sent. */
struct loan {
    struct lists *lists;
    struct file_content *page;
    size_t size;
};

static void loan_end(const void *data, size_t size, void *arg)
{
    struct loan *loan = arg;
    loan->lists->bytes -= loan->size;
    lists_release(loan->lists);
    weir__free(loan->page);
    weir__free(loan);
}

static void page_answer(struct visit *v, bool json, weir_view view)
{
    static const char policy[] = PAGE_POLICY;
    int result = answer_field(v->x, "Vary", (struct http_text){"Accept", 6});
    if (result == 0)
        result = answer_field(v->x, "X-Content-Type-Options", (struct http_text){"nosniff", 7});
    if (result == 0 && !json)
        result = answer_field(v->x, "Content-Security-Policy",
                              (struct http_text){policy, sizeof policy - 1});
    if (weir_http_respond(v->handle, 200, json ? "application/json" : PAGE_TYPE, view) < 0)
        answer_error(v->x, 503, NULL, NULL);
}

/* From the cache: whoever asks for the same page shares it. */
static void page_answer_entry(struct visit *v, bool json, struct filecache_entry *entry)
{
    struct found found = {.entry = entry, .fd = -1};
    if (answer_possible(v->x))
        page_answer(v, json, file_part_view(v, &found, (struct range){0, entry->file.size_bytes}));
}

static void page_answer_loan(struct visit *v, struct list_job *job)
{
    struct lists *lists = job->lists;
    if (!answer_possible(v->x))
        return;
    struct loan *loan =
        job->size <= LISTS_BYTES_MAX - lists->bytes ? weir__alloc(sizeof *loan) : NULL;
    if (loan == NULL) {
        answer_busy(v->x, "too many listings are being sent");
        return;
    }
    *loan = (struct loan){lists, job->page, job->size};
    lists->refs++;
    lists->bytes += job->size;
    job->page = NULL;
    page_answer(v, job->json, weir_own(loan->page->data, loan->size, loan_end, loan));
}

/* A request for a page: where it stands in the cache, and what stood there before. */
struct wish {
    struct http_text key;
    uint8_t coding;
    bool json;
    struct filecache_entry *stale; /* held */
};

static void stale_leave(struct visit *v, struct wish *wish)
{
    if (wish->stale != NULL) {
        filecache_doubt(v->mc->cache, wish->stale, v->mc->server->loop->now_ns / WEIR_MS);
        filecache_release(v->mc->cache, wish->stale);
    }
    wish->stale = NULL;
}

/* True: answered out of the cache. */
static bool page_find(struct visit *v, struct wish *wish)
{
    struct filecache *cache = v->mc->cache;
    struct filecache_entry *entry;
    uint64_t now_ms = v->mc->server->loop->now_ns / WEIR_MS;
    if (cache == NULL || wish->stale != NULL)
        return false;
    switch (filecache_find(cache, wish->key, wish->coding, now_ms, &entry)) {
    case FILECACHE_FRESH:
        page_answer_entry(v, wish->json, entry);
        filecache_release(cache, entry);
        return true;
    case FILECACHE_STALE:
        wish->stale = entry;
        return false;
    default:
        return false;
    }
}

/* A page that has not changed stays the one that others are being sent. True: it was that. */
static bool page_confirm(struct visit *v, struct wish *wish, const struct list_job *job)
{
    struct filecache_entry *stale = wish->stale;
    if (stale == NULL)
        return false;
    const struct file_content *page = stale->content;
    bool same =
        stale->file.size_bytes == job->size && memcmp(page->data, job->page->data, job->size) == 0;
    if (same) {
        filecache_confirm(v->mc->cache, stale, &stale->file, v->mc->server->loop->now_ns / WEIR_MS);
        page_answer_entry(v, wish->json, stale);
    } else {
        filecache_drop(v->mc->cache, stale);
    }
    filecache_release(v->mc->cache, stale);
    wish->stale = NULL;
    return same;
}

/* The page of a directory, made: into the cache, if it has room, and to the client. */
static void page_take(struct visit *v, struct wish *wish, struct list_job *job)
{
    struct filecache_entry *entry;
    struct filecache *cache = v->mc->cache;
    if (page_confirm(v, wish, job))
        return;
    struct file_content *fitting = weir__realloc(job->page, sizeof *job->page + job->size);
    if (fitting != NULL)
        job->page = fitting;
    struct filecache_addition addition = {
        .file = {.size_bytes = job->size},
        .content = job->page,
        .content_bytes = sizeof *job->page + job->size,
        .mime = wish->json ? "application/json" : PAGE_TYPE,
    };
    if (cache == NULL || job->size > LISTS_CACHED_MAX ||
        filecache_add(cache, wish->key, wish->coding, v->mc->server->loop->now_ns / WEIR_MS,
                      &addition, &entry) < 0) {
        page_answer_loan(v, job);
        return;
    }
    job->page = NULL;
    page_answer_entry(v, wish->json, entry);
    filecache_release(cache, entry);
}

/* With the turn, which the job takes over. */
static void page_make(struct visit *v, struct wish *wish)
{
    struct lists *lists = v->mc->server->lists;
    struct list_job *job = weir__alloc(sizeof *job);
    if (job == NULL) {
        lists_leave(lists);
        stale_leave(v, wish);
        answer_busy(v->x, "out of memory");
        return;
    }
    memset(job, 0, offsetof(struct list_job, path));
    job->mount = v->mc->mount;
    mount_hold(job->mount);
    job->lists = lists;
    lists->refs++;
    job->json = wish->json;
    job->path_size = v->path->size;
    memcpy(job->path, v->path->text, v->path->size);
    job->path[job->path_size] = 0;
    job->wait.drop = list_drop;
    job->wait.io = (struct io_file){.verb = IO_FILE_CALL, .call = list_make, .arg = job};
    int result = co_file_wait(&job->wait);
    if (result == 0)
        page_take(v, wish, job);
    else if (result != WEIR_ECANCELED && wish->stale != NULL)
        filecache_drop(v->mc->cache, wish->stale);
    stale_leave(v, wish);
    if (result == WEIR_ECANCELED)
        return; /* the job is not ours any more */
    if (result < 0)
        file_answer_status(v, filepath_status(result));
    list_free(job);
}

static void list_serve(struct visit *v)
{
    struct filepath *path = v->path;
    struct wish wish = {.key = {path->text, path->size + 1}, .json = wants_json(v)};
    wish.coding = (uint8_t)(CODINGS + wish.json); /* beside those of files */
    path->text[path->size] = '/';                 /* a key that no file has */
    int result = page_find(v, &wish) ? 1 : lists_enter(v->mc->server->lists, v->x);
    if (result < 0) {
        stale_leave(v, &wish);
        if (result == WEIR_ETIMEDOUT)
            answer_busy(v->x, "many directories are being listed");
    } else if (result == 0 && page_find(v, &wish)) { /* whoever was before us has made it */
        lists_leave(v->mc->server->lists);
    } else if (result == 0) {
        page_make(v, &wish);
    }
    path->text[path->size] = 0;
}

void directory_serve(struct visit *v)
{
    struct filepath *path = v->path;
    struct http_text key = {path->text, path->size + 1};
    path->text[path->size] = '/'; /* a key that no file has */
    int status = absence_find(v, key);
    path->text[path->size] = 0;
    if (status == 0 && v->mc->mount->options.listing) {
        list_serve(v);
        return;
    }
    if (status == 0) {
        struct file_job *job = file_job_new(v->mc, path, CODING_IDENTITY);
        int result = job != NULL ? file_job_open(job, O_PATH | O_DIRECTORY) : WEIR_ENOMEM;
        if (result == WEIR_ECANCELED)
            return;
        status = result == 0 ? 403 : filepath_status(result);
        if (job != NULL)
            file_job_free(job);
        path->text[path->size] = '/';
        absence_add(v, key, status);
        path->text[path->size] = 0;
    }
    file_answer_status(v, status);
}

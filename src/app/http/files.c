/* Directories served as files: how they are opened and routed, and the way of a request through
 * them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/http/escape.h"
#include "app/http/mount.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/random.h"

enum {
    MOUNTS_MAX = 64,
    LOCATION_MAX = 2048,
    CACHE_DEFAULT_BYTES = 64 << 20,
    SMALL_BYTES = 2 << 20
};

void mount_hold(struct mount *mount)
{
    atomic_fetch_add_explicit(&mount->refs, 1, memory_order_relaxed);
}

void mount_release(struct mount *mount)
{
    if (atomic_fetch_sub_explicit(&mount->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (mount->root_fd >= 0)
        close(mount->root_fd);
    weir__free(mount->prefix_url);
    weir__free(mount);
}

/* ---- a request ---- */

/* To the directory's own address, with its slash: links in its page are relative to it. */
static void answer_redirect(struct visit *v, const struct filepath *path)
{
    struct exchange *x = v->x;
    char location[LOCATION_MAX];
    struct http_text query = http1_text(&x->request.fields, x->request.query);
    if (!x->request.has_query)
        query.at = NULL;
    int size = filepath_redirect(path, v->mc->mount->prefix_url, query, location, sizeof location);
    if (size > 0 && answer_field(x, "Location", (struct http_text){location, (size_t)size}) == 0)
        answer_error(x, 301, NULL, NULL);
    else
        answer_error(x, 414, NULL, NULL);
}

void file_answer_status(struct visit *v, int status)
{
    if (!answer_possible(v->x))
        return;
    if (status == 301)
        answer_redirect(v, v->path);
    else
        answer_error(v->x, (unsigned)status, NULL, NULL);
}

/* One form of the file; false: it is not there after all. */
static bool serve_form(struct visit *v, enum coding coding, struct found *found)
{
    if (file_serve(v, found))
        return true;
    int status = file_fetch_again(v, coding, found);
    if (status == 0)
        file_serve(v, found);
    else if (status != WEIR_ECANCELED && coding != CODING_IDENTITY)
        return false;
    else if (status != WEIR_ECANCELED)
        file_answer_status(v, status);
    return true;
}

static void answer_unacceptable(struct visit *v)
{
    if (!answer_possible(v->x))
        return;
    answer_field(v->x, "Vary", (struct http_text){"Accept-Encoding", 15});
    answer_error(v->x, 406, NULL, NULL);
}

/* A form that was there a moment ago and is not now: the next one is what the client gets. */
static void coding_leave(struct coding_order *order, unsigned i)
{
    order->count--;
    memmove(&order->coding[i], &order->coding[i + 1], order->count - i);
}

/* The best form that is there and that the client takes. */
static void serve_best(struct visit *v, struct found *own)
{
    unsigned neighbours = own->head->neighbours;
    for (unsigned i = 0; i < v->order.count; i++) {
        enum coding coding = (enum coding)v->order.coding[i];
        struct found found;
        if (coding == CODING_IDENTITY) {
            serve_form(v, coding, own);
            return;
        }
        if ((neighbours & CODING_BIT(coding)) == 0)
            continue;
        int status = file_find_neighbour(v, coding, &found);
        if (status == WEIR_ECANCELED)
            return;
        bool served = status == 0 && serve_form(v, coding, &found);
        found_release(v, &found);
        if (served)
            return;
        coding_leave(&v->order, i--);
    }
    answer_unacceptable(v);
}

/* Serves the file that the path names: 0, or a status that is left to the caller. */
static int serve_file(struct visit *v)
{
    struct found found;
    int status = file_find(v, &found);
    if (status != 0)
        return status == WEIR_ECANCELED ? 0 : status;
    serve_best(v, &found);
    found_release(v, &found);
    return 0;
}

/* Its index, or the directory itself. */
static void serve_directory(struct visit *v)
{
    struct filepath *path = v->path;
    uint32_t size = path->size;
    char first = path->text[0];
    int status = 404;
    if (filepath_append(path, (struct http_text){MOUNT_INDEX, MOUNT_INDEX_SIZE}) == 0) {
        status = serve_file(v);
        path->size = size;
        path->text[0] = first;
        path->text[size] = 0;
    }
    if (status == 404 || status == 301) /* none, or that is a directory too */
        directory_serve(v);
    else if (status != 0)
        file_answer_status(v, status);
}

static bool visit_begin(struct visit *v, weir_exchange handle, struct mount *mount)
{
    v->handle = handle;
    v->x = exchange_of(handle);
    v->mc = &v->x->server->caches[mount->index];
    v->order = (struct coding_order){1, {CODING_IDENTITY}};
    if (mount->options.no_precompressed ||
        !http1_fields_have(&v->x->request.fields, HTTP_ACCEPT_ENCODING))
        return true;
    struct http_text accepted;
    if (!request_field(v->x, HTTP_ACCEPT_ENCODING, &accepted))
        return false;
    v->order = weir__encoding_order(accepted);
    return true;
}

static void files_handle(weir_exchange handle, void *user)
{
    struct mount *mount = user;
    struct filepath path;
    struct visit v = {.path = &path};
    if (!visit_begin(&v, handle, mount)) {
        answer_error(v.x, 431, NULL, NULL);
        return;
    }
    const struct http1_request *request = &v.x->request;
    /* The route's one parameter; a slash stands before it. */
    const char *rest = v.x->room->params[v.x->param_count - 1].value - 1;
    int result = filepath_map(&path, (struct http_text){rest, strlen(rest)},
                              http1_text(&request->fields, request->path), mount->options.hidden);
    if (result < 0) {
        file_answer_status(&v, filepath_status(result));
        return;
    }
    if (path.directory) {
        serve_directory(&v);
        return;
    }
    int status = serve_file(&v);
    if (status != 0)
        file_answer_status(&v, status);
}

/* The prefix without a slash behind it. */
static void prefix_handle(weir_exchange handle, void *user)
{
    struct filepath root = {.size = 1, .directory = true, .text = "."};
    struct visit v = {.path = &root};
    visit_begin(&v, handle, user);
    answer_redirect(&v, &root);
}

/* ---- the application's side ---- */

static int open_root(const char *directory)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int error = -errno;
        const char *fix = error == -ENOENT    ? "make it, or name another"
                          : error == -ENOTDIR ? "name a directory, not a file"
                          : error == -EACCES  ? "give this user the right to search it"
                                              : "see open(2)";
        weir__log(WEIR_LOG_ERROR, error, 0, "cannot serve directory %s: %s; %s", directory,
                  weir_error_text(error), fix);
        return error;
    }
    long probe = syscall(SYS_openat2, fd, ".", &how, sizeof how);
    if (probe >= 0) {
        close((int)probe);
        return fd;
    }
    int error = -errno;
    close(fd);
    weir__log(WEIR_LOG_ERROR, error, 0,
              "cannot serve directory %s: openat2 is not to be had (%s), and without it nothing "
              "keeps requests beneath the directory; use kernel 5.6 or newer, and allow it in the "
              "sandbox",
              directory, weir_error_text(error));
    return error == -ENOSYS ? WEIR_ENOTSUP : error;
}

/* "/static" for "/static/", "" for "/". NULL: out of memory. */
static char *prefix_of(const char *prefix)
{
    size_t size = strlen(prefix);
    while (size != 0 && prefix[size - 1] == '/')
        size--;
    char *copy = weir__alloc(size + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, prefix, size);
    copy[size] = 0;
    return copy;
}

static char *url_of(const char *prefix)
{
    size_t size = strlen(prefix), at = 0, used = 0;
    char *url = weir__alloc(size * 3 + ESCAPE_STEP_MAX + 1);
    while (url != NULL && at < size) {
        size_t made;
        at += weir__escape_path((const unsigned char *)prefix + at, size - at, url + used, &made);
        used += made;
    }
    if (url != NULL)
        url[used] = 0;
    return url;
}

static int mount_route(weir_http_app *app, struct mount *mount, const char *prefix)
{
    static const char rest[] = "/{path...}";
    size_t size = strlen(prefix);
    char *pattern = weir__alloc(size + sizeof rest);
    if (pattern == NULL)
        return WEIR_ENOMEM;
    memcpy(pattern, prefix, size);
    memcpy(pattern + size, rest, sizeof rest);
    int result = strpbrk(prefix, "{}") != NULL ? WEIR_EINVALID
                                               : weir_http_get(app, pattern, files_handle, mount);
    if (result == 0 && size != 0)
        result = weir_http_get(app, prefix, prefix_handle, mount);
    weir__free(pattern);
    return result;
}

static struct mount *mount_new(weir_http_app *app, const char *prefix, const char *directory,
                               const weir_http_files *options, int *error)
{
    struct mount *mount = weir__zalloc(sizeof *mount);
    *error = WEIR_ENOMEM;
    if (mount == NULL)
        return NULL;
    mount->options = *options;
    mount->refs = 1;
    mount->root_fd = -1;
    mount->index = app->mount_count;
    mount->resolve = filepath_resolve_flags(options->symlinks);
    mount->prefix_url = url_of(prefix);
    if (mount->prefix_url != NULL)
        *error = mount->root_fd = open_root(directory);
    if (*error < 0) {
        mount->root_fd = -1;
        mount_release(mount);
        return NULL;
    }
    return mount;
}

int weir__http_files(weir_http_app *app, const char *prefix, const char *directory,
                     const weir_http_files *options, size_t size)
{
    weir_http_files known = {0};
    int error = WEIR_ENOMEM;
    if (app == NULL || prefix == NULL || directory == NULL || (prefix[0] != 0 && prefix[0] != '/'))
        return WEIR_EINVALID;
    if (app->mount_count == MOUNTS_MAX)
        return WEIR_EFULL;
    if (options != NULL)
        memcpy(&known, options, size < sizeof known ? size : sizeof known);
    struct mount **grown = weir__realloc(app->mounts, (app->mount_count + 1) * sizeof *app->mounts);
    if (grown == NULL)
        return WEIR_ENOMEM;
    app->mounts = grown;
    char *plain = prefix_of(prefix);
    struct mount *mount = plain != NULL ? mount_new(app, plain, directory, &known, &error) : NULL;
    if (mount != NULL) { /* kept even when a route is refused: the other one may know it */
        app->mounts[app->mount_count++] = mount;
        error = mount_route(app, mount, plain);
    }
    weir__free(plain);
    return error;
}

void mounts_free(weir_http_app *app)
{
    for (unsigned i = 0; i < app->mount_count; i++)
        mount_release(app->mounts[i]);
    weir__free(app->mounts);
}

/* ---- one loop's side ---- */

static void content_free(void *content, uint64_t size, void *arg)
{
    weir__free(content);
}

static int cache_start(struct http_server *server, struct mount_cache *mc, struct mount *mount)
{
    uint64_t total = mount->options.cache_bytes;
    mc->mount = mount;
    mc->server = server;
    if (total == UINT64_MAX)
        return 0;
    if (total == 0)
        total = CACHE_DEFAULT_BYTES;
    mc->loads = weir__alloc(sizeof *mc->loads);
    if (mc->loads == NULL)
        return WEIR_ENOMEM;
    *mc->loads = (struct file_loads){.refs = 1, .max_bytes = total / 4};
    mc->small_bytes = total / 8 < SMALL_BYTES ? total / 8 : SMALL_BYTES;
    struct filecache_config config = {
        .total_bytes = total,
        .file_bytes = (mc->small_bytes > LISTS_CACHED_MAX || total < 8 * (uint64_t)LISTS_CACHED_MAX
                           ? mc->small_bytes
                           : LISTS_CACHED_MAX) +
                      sizeof(struct file_content),
        .release = content_free,
    };
    weir__random_bytes(config.seed, sizeof config.seed);
    mc->cache = filecache_new(&config);
    return mc->cache != NULL ? 0 : WEIR_ENOMEM;
}

int mount_start(struct http_server *server)
{
    const weir_http_app *app = server->app;
    int result = 0;
    if (app->mount_count == 0)
        return 0;
    server->caches = weir__zalloc(app->mount_count * sizeof *server->caches);
    server->lists = lists_new();
    if (server->caches == NULL || server->lists == NULL)
        return WEIR_ENOMEM;
    for (unsigned i = 0; i < app->mount_count && result == 0; i++)
        result = cache_start(server, &server->caches[i], app->mounts[i]);
    return result;
}

void mount_stop(struct http_server *server)
{
    for (unsigned i = 0; server->caches != NULL && i < server->app->mount_count; i++) {
        filecache_free(server->caches[i].cache);
        file_loads_release(server->caches[i].loads);
    }
    weir__free(server->caches);
    server->caches = NULL;
    lists_release(server->lists);
    server->lists = NULL;
}

void mount_stats(const struct http_server *server, weir_http_stats *stats)
{
    for (unsigned i = 0; server->caches != NULL && i < server->app->mount_count; i++) {
        struct filecache_stats cache;
        if (server->caches[i].cache == NULL)
            continue;
        filecache_read_stats(server->caches[i].cache, &cache);
        stats->http_files_cached += cache.hits + cache.absence_hits;
        stats->http_files_looked += cache.misses + cache.stales;
        stats->http_files_bytes += cache.bytes;
    }
}

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

enum { LIST_TEXT_FIRST = 16 << 10, LIST_TEXT_MAX = 16 << 20 };

struct list_job {
    struct co_file wait;
    struct mount *mount;
    bool json;
    uint32_t path_size;
    char *text; /* the page; its size and room */
    size_t size, room;
    char path[FILEPATH_MAX +
              256]; /* of the directory, and of a link in it while that is looked at */
};

static void list_free(struct list_job *job)
{
    weir__free(job->text);
    mount_release(job->mount);
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
        char *grown = weir__realloc(job->text, room);
        if (grown == NULL)
            return WEIR_ENOMEM;
        job->text = grown;
        job->room = room;
    }
    memcpy(job->text + job->size, data, size);
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

static void text_free(const void *data, size_t size, void *arg)
{
    weir__free(arg);
}

static void list_answer(struct visit *v, struct list_job *job)
{
    static const char policy[] = PAGE_POLICY;
    char *text = job->text;
    if (!answer_possible(v->x))
        return;
    answer_field(v->x, "Vary", (struct http_text){"Accept", 6});
    answer_field(v->x, "X-Content-Type-Options", (struct http_text){"nosniff", 7});
    if (!job->json)
        answer_field(v->x, "Content-Security-Policy",
                     (struct http_text){policy, sizeof policy - 1});
    job->text = NULL;
    if (weir_http_respond(v->handle, 200, job->json ? "application/json" : PAGE_TYPE,
                          weir_own(text, job->size, text_free, text)) < 0)
        answer_error(v->x, 503, NULL, NULL);
}

static void list_serve(struct visit *v)
{
    struct list_job *job = weir__alloc(sizeof *job);
    if (job == NULL) {
        file_answer_status(v, 503);
        return;
    }
    memset(job, 0, offsetof(struct list_job, path));
    job->mount = v->mc->mount;
    mount_hold(job->mount);
    job->json = wants_json(v);
    job->path_size = v->path->size;
    memcpy(job->path, v->path->text, v->path->size + 1);
    job->wait.drop = list_drop;
    job->wait.io = (struct io_file){.verb = IO_FILE_CALL, .call = list_make, .arg = job};
    int result = co_file_wait(&job->wait);
    if (result == WEIR_ECANCELED)
        return;
    if (result == 0)
        list_answer(v, job);
    else
        file_answer_status(v, filepath_status(result));
    list_free(job);
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

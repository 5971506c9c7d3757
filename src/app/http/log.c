/* The file of the access log: opened, opened again, closed. */
#include "app/http/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/run.h"

static int log_failed(const char *name, int error)
{
    const char *fix = error == -ENOENT   ? "make its directory first"
                      : error == -EACCES ? "give the user that writes it the right to write there"
                      : error == -EISDIR ? "name a file, not a directory"
                      : error == -EROFS  ? "name a file on a file system that can be written"
                      : error == -ENXIO  ? "start the reader of this pipe first"
                                         : "name another file";
    weir__log(WEIR_LOG_ERROR, error, 0, "cannot open access log %s: %s; %s", name,
              weir_error_text(error), fix);
    return error;
}

static bool is_stream(int fd)
{
    struct stat status;
    return fstat(fd, &status) != 0 || !S_ISREG(status.st_mode);
}

enum { LOG_OPEN = O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* Standard output. Where a shell has put a file behind it, everybody who has it appends from now
 * on: otherwise what we write and what the shell's next command writes would lie on each other. A
 * pipe or a terminal is opened once more, so that O_NONBLOCK is ours alone. */
static int log_standard(void)
{
    if (is_stream(STDOUT_FILENO)) {
        int own = open("/proc/self/fd/1", LOG_OPEN);
        if (own >= 0)
            return own; /* else it is a socket, another user's, or there is no /proc */
    }
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd >= 0 && !is_stream(fd))
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND);
    return fd >= 0 ? fd : -errno;
}

/* A descriptor for the log, or a negative error. O_NONBLOCK keeps a pipe that nobody reads from
 * holding us when it is opened, and from holding a write that nobody could take back at the end. */
static int file_open(const char *name)
{
    int fd = open(name, LOG_OPEN | O_CREAT, 0640);
    if (fd < 0)
        return -errno;
    if (!is_stream(fd))
        fcntl(fd, F_SETFL, O_APPEND);
    return fd;
}

/* A file, for a privileged process too, with the rights of whom it is for: a folder where workers
 * may write could have a link to somewhere else in this place. */
static int log_open(const struct accesslog *log)
{
    if (log->name == NULL)
        return log_standard();
    return log->whom.drop ? privileges_lend(&log->whom, file_open, log->name)
                          : run_as_workers(file_open, log->name);
}

static struct accesslog *log_new(const char *name, int format)
{
    struct accesslog *log = weir__zalloc(sizeof *log);
    bool standard = strcmp(name, "-") == 0;
    if (log == NULL)
        return NULL;
    log->refs = 1;
    log->fd = -1;
    log->format = (enum accesslog_format)format;
    log->name = standard ? NULL : weir__strdup(name);
    if (!standard && log->name == NULL) {
        accesslog_release(log);
        return NULL;
    }
    return log;
}

int accesslog_open(weir_http_app *app)
{
    const weir_http_options *o = &app->options;
    int format = o->access_format != NULL ? weir__accesslog_format_find(o->access_format)
                                          : ACCESSLOG_COMBINED;
    if (format < 0) {
        weir__log(WEIR_LOG_ERROR, format, 0, "access log format %s is not known; use one of %s",
                  o->access_format, weir__accesslog_format_names());
        return format;
    }
    struct accesslog *log = log_new(o->access_log, format);
    if (log == NULL)
        return WEIR_ENOMEM;
    int result =
        log->name != NULL ? privileges_find(&log->whom, o->access_user, o->access_group) : 0;
    if (result < 0) {
        accesslog_release(log);
        return result;
    }
    int fd = log_open(log);
    if (fd < 0) {
        accesslog_release(log);
        return log_failed(o->access_log, fd);
    }
    log->fd = fd;
    log->stream = is_stream(fd);
    app->access = log;
    return 0;
}

/* The new file takes the old one's number: a write that is under way goes to the one or the other,
 * and nobody has to be asked to let go. */
void weir_http_reopen_logs(weir_http_app *app)
{
    if (app == NULL || app->access == NULL || app->access->name == NULL)
        return;
    struct accesslog *log = app->access;
    int fd = log_open(log);
    if (fd < 0 || dup3(fd, log->fd, O_CLOEXEC) < 0)
        log_failed(log->name, fd < 0 ? fd : -errno); /* the old one is written on */
    else
        log->stream = is_stream(fd);
    if (fd >= 0)
        close(fd);
}

void accesslog_release(struct accesslog *log)
{
    if (atomic_fetch_sub_explicit(&log->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (log->fd >= 0)
        close(log->fd);
    weir__free(log->name);
    weir__free(log);
}

void accesslog_close(weir_http_app *app)
{
    if (app->access != NULL)
        accesslog_release(app->access);
    app->access = NULL;
}

#include "net/unix_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"
#include "net/proc.h"

#define LOCK_TRIES    10
#define LOCK_PAUSE_NS 5000000u

/* A path with a NUL behind it even where it fills all of sun_path, and how people see it: nothing
 * unprintable in an error's text. */
struct path {
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    char shown[WEIR_ADDRESS_TEXT_MAX];
};

static struct path path_of(const weir_address *address)
{
    const struct sockaddr_un *socket = (const struct sockaddr_un *)&address->socket;
    struct path path = {0};

    memcpy(path.text, socket->sun_path, sizeof socket->sun_path);
    weir_address_format(address, path.shown, sizeof path.shown);
    return path;
}

bool weir__unix_is_path(const weir_address *address)
{
    return address->socket.ss_family == AF_UNIX &&
           address->socket_size > offsetof(struct sockaddr_un, sun_path) &&
           ((const struct sockaddr_un *)&address->socket)->sun_path[0] != '\0';
}

void weir__unix_lock(const weir_address *address, struct unix_lock *lock)
{
    struct path folder = path_of(address);
    char *slash = strrchr(folder.text, '/');

    if (slash == NULL)
        strcpy(folder.text, ".");
    else if (slash == folder.text)
        slash[1] = '\0';
    else
        *slash = '\0';
    lock->fd = open(folder.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; lock->fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0)
            return;
        if (errno != EWOULDBLOCK)
            break; /* this file system has no locks */
        weir__clock_sleep_ns(LOCK_PAUSE_NS);
    }
    weir__unix_unlock(lock);
}

void weir__unix_unlock(struct unix_lock *lock)
{
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
}

enum found { FOUND_NOTHING, FOUND_STALE, FOUND_LIVE, FOUND_OTHER };

/* Says who listens on the path, from the descriptor connected to it. */
static void name_listener(int fd, const struct path *path, struct weir__socket_error *error)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    char name[17];

    /* Of a datagram socket the kernel does not tell whose it is. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0) {
        weir__socket_fail(error, -EADDRINUSE, "bind",
                          "%s is taken (EADDRINUSE): a process listens there: stop it, or "
                          "choose another path",
                          path->shown);
        return;
    }
    weir__process_name(peer.pid, name, sizeof name);
    weir__socket_fail(error, -EADDRINUSE, "bind",
                      "%s is taken (EADDRINUSE): %s (pid %d%s) listens there: stop it, or "
                      "choose another path",
                      path->shown, name, (int)peer.pid,
                      peer.pid == getpid() ? ", this process" : "");
}

/* Finds out by connecting whether anybody listens: the only test that cannot be wrong about who
 * has the name. The listener sees a connection that closes at once. */
static enum found try_connect(const weir_address *address, const struct path *path,
                              struct weir__socket_error *error)
{
    int type = address->transport == WEIR_TRANSPORT_UNIX_DGRAM       ? SOCK_DGRAM
               : address->transport == WEIR_TRANSPORT_UNIX_SEQPACKET ? SOCK_SEQPACKET
                                                                     : SOCK_STREAM;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), reason;

    if (fd < 0) {
        weir__socket_fail(error, -errno, "socket", "%s: %s", path->shown, weir_error_text(-errno));
        return FOUND_OTHER;
    }
    reason = connect(fd, (const struct sockaddr *)&address->socket, address->socket_size) == 0
                 ? 0
                 : errno;
    if (reason == 0 || reason == EAGAIN || reason == EINPROGRESS)
        name_listener(fd, path, error);
    close(fd);
    if (reason == 0 || reason == EAGAIN || reason == EINPROGRESS)
        return FOUND_LIVE; /* EAGAIN: its backlog is full */
    if (reason == ENOENT)
        return FOUND_NOTHING;
    if (reason == ECONNREFUSED)
        return FOUND_STALE;
    if (reason == EPROTOTYPE)
        weir__socket_fail(error, -EEXIST, "bind",
                          "%s is taken by a socket of another type: stop its program, or "
                          "choose another path",
                          path->shown);
    else
        weir__socket_fail(error, -reason, "bind",
                          "%s is taken, and whether anybody listens there cannot be told: %s "
                          "(%s): remove it, or choose another path",
                          path->shown, weir_error_text(-reason), weir_error_name(-reason));
    return FOUND_OTHER;
}

static bool same_file(const struct stat *left, const struct stat *right)
{
    return left->st_dev == right->st_dev && left->st_ino == right->st_ino &&
           left->st_ctim.tv_sec == right->st_ctim.tv_sec &&
           left->st_ctim.tv_nsec == right->st_ctim.tv_nsec;
}

/* Looks at what stands at the path and removes it if it is a socket that nobody listens on.
 * Returns 0 when bind may be tried again, or error->code. */
static int clear_path(const weir_address *address, const struct path *path,
                      struct weir__socket_error *error)
{
    struct stat before, after;

    if (lstat(path->text, &before) < 0)
        return errno == ENOENT ? 0
                               : weir__socket_fail(error, -errno, "bind", "%s: %s", path->shown,
                                                   weir_error_text(-errno));
    if (!S_ISSOCK(before.st_mode))
        return weir__socket_fail(error, -EEXIST, "bind",
                                 "%s exists and is no socket (%s): it is left alone; remove "
                                 "it, or choose another path",
                                 path->shown,
                                 S_ISLNK(before.st_mode)   ? "a symbolic link"
                                 : S_ISDIR(before.st_mode) ? "a folder"
                                 : S_ISREG(before.st_mode) ? "a regular file"
                                                           : "another kind of file");
    switch (try_connect(address, path, error)) {
    case FOUND_NOTHING:
        return 0;
    case FOUND_LIVE:
    case FOUND_OTHER:
        return error->code;
    case FOUND_STALE:
        break;
    }
    /* Somebody without our lock may have replaced it since it refused us. */
    if (lstat(path->text, &after) < 0 || !same_file(&before, &after))
        return 0;
    if (unlink(path->text) < 0 && errno != ENOENT)
        return weir__socket_fail(error, -errno, "bind",
                                 "%s is a stale socket that cannot be removed: %s: remove it, "
                                 "or allow writing in its folder",
                                 path->shown, weir_error_text(-errno));
    return 0;
}

/* Mode and owner of the file that was just bound, through a descriptor of that very file: whoever
 * may rename files in the folder must not lead chmod elsewhere. */
static int set_access(const struct path *path, const weir_socket_options *options,
                      struct weir__socket_file *file, struct weir__socket_error *error)
{
    int fd = open(path->text, O_PATH | O_NOFOLLOW | O_CLOEXEC), code = 0;
    uid_t owner = options->unix_owner != 0 ? options->unix_owner - 1 : (uid_t)-1;
    gid_t group = options->unix_group != 0 ? options->unix_group - 1 : (gid_t)-1;
    const char *what = "unix_owner";
    struct stat stat;
    char link[64];

    if (fd < 0 || fstat(fd, &stat) < 0 || !S_ISSOCK(stat.st_mode)) {
        if (fd >= 0)
            close(fd);
        return weir__socket_fail(error, -ESTALE, "bind",
                                 "%s was replaced while it was made: somebody else writes in "
                                 "its folder; choose one that only you can write in",
                                 path->shown);
    }
    file->device = stat.st_dev;
    file->inode = stat.st_ino;
    if ((options->unix_owner != 0 || options->unix_group != 0) &&
        fchownat(fd, "", owner, group, AT_EMPTY_PATH) < 0)
        code = -errno;
    if (code == 0 && options->unix_mode != 0) {
        what = "unix_mode";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (chmod(link, options->unix_mode) < 0)
            code = -errno;
    }
    close(fd);
    if (code == 0)
        return 0;
    return weir__socket_fail(error, code, what, "option %s was refused for %s: %s (%s)%s", what,
                             path->shown, weir_error_text(code), weir_error_name(code),
                             code == -EPERM ? ": giving a file away needs CAP_CHOWN, a group "
                                              "must be one of your own"
                                            : "");
}

static int explain_bind(const struct path *path, int code, struct weir__socket_error *error)
{
    const char *fix = "";

    if (code == -ENOENT)
        fix = ": make its folder first";
    else if (code == -ENOTDIR)
        fix = ": a part of the path is no folder";
    else if (code == -EACCES || code == -EPERM)
        fix = ": allow this user to write in its folder";
    else if (code == -EROFS)
        fix = ": the file system is read-only; choose another folder";
    return weir__socket_fail(error, code, "bind", "cannot listen on %s: %s (%s)%s", path->shown,
                             weir_error_text(code), weir_error_name(code), fix);
}

/* The folder is tried three times: somebody else may take the path between removal and bind. */
#define BIND_TRIES 3

int weir__unix_bind(int fd, const weir_address *address, const weir_socket_options *options,
                    struct weir__socket_file *file, struct weir__socket_error *error)
{
    struct path path = path_of(address);
    int result;

    memset(file, 0, sizeof *file);
    /* The file is made with the socket's own mode, less the umask: so it is never open to more
     * than was asked, not even before chmod. */
    if (options->unix_mode != 0 && fchmod(fd, options->unix_mode) < 0)
        return weir__socket_fail(error, -errno, "unix_mode", "option unix_mode was refused: %s",
                                 weir_error_text(-errno));
    for (int i = 0; i < BIND_TRIES; i++) {
        if (bind(fd, (const struct sockaddr *)&address->socket, address->socket_size) == 0) {
            result = set_access(&path, options, file, error);
            if (result < 0)
                weir__socket_unlink(address, file);
            return result;
        }
        if (errno != EADDRINUSE)
            return explain_bind(&path, -errno, error);
        result = clear_path(address, &path, error);
        if (result < 0)
            return result;
    }
    return weir__socket_fail(error, -EADDRINUSE, "bind",
                             "%s is taken (EADDRINUSE) again and again: another program "
                             "makes it; choose another path",
                             path.shown);
}

int weir__socket_unlink(const weir_address *address, const struct weir__socket_file *file)
{
    struct path path = path_of(address);
    struct unix_lock lock;
    struct stat stat;
    int result = 0;

    if (!weir__unix_is_path(address) || (file->device == 0 && file->inode == 0))
        return 0;
    weir__unix_lock(address, &lock);
    if (lstat(path.text, &stat) < 0)
        result = errno == ENOENT ? 0 : -errno;
    else if (stat.st_dev != file->device || stat.st_ino != file->inode)
        result = -ESTALE;
    else if (unlink(path.text) < 0)
        result = -errno;
    weir__unix_unlock(&lock);
    return result;
}

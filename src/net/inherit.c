/* Sockets that are already open when the program begins. Everything about them comes from outside,
 * and is looked at before it is believed. */
#include "net/inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/env.h"
#include "base/log.h"
#include "loop/limits.h"
#include "net/socket.h"

enum { FIRST_FD = 3 }; /* sd_listen_fds(3) */

/* What stands behind "SCHEME+", or the URL itself. */
static const char *without_scheme(const char *url, enum weir_scheme *scheme)
{
    static const struct {
        const char *text;
        enum weir_scheme scheme;
    } schemes[] = {{"tcp+", WEIR_SCHEME_TCP},
                   {"http+", WEIR_SCHEME_HTTP},
                   {"https+", WEIR_SCHEME_HTTPS},
                   {"tls+", WEIR_SCHEME_TLS}};
    *scheme = WEIR_SCHEME_NONE;
    for (unsigned i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t size = strlen(schemes[i].text);
        if (strncmp(url, schemes[i].text, size) != 0)
            continue;
        *scheme = schemes[i].scheme;
        return url + size;
    }
    return url;
}

bool inherit_is(const char *url)
{
    enum weir_scheme scheme;
    const char *rest = without_scheme(url, &scheme);
    return strncmp(rest, "fd:", 3) == 0 || strncmp(rest, "systemd:", 8) == 0;
}

static bool number_of(const char *text, size_t size, int most, int *out)
{
    int number = 0;
    if (size == 0 || size > 9)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (text[i] - '0');
    }
    *out = number;
    return number <= most;
}

static int refuse(const char *what, int code, const char *why)
{
    weir__log(WEIR_LOG_ERROR, code, 0, "cannot listen on %s: %s", what, why);
    return code;
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -errno;
}

int inherit_check(int fd, const char *what, weir_address *out)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return refuse(what, -errno,
                      "there is no such descriptor: who starts this program opens it");
    if (!S_ISSOCK(status.st_mode))
        return refuse(what, -ENOTSOCK, "that descriptor is no socket");
    int family = option_of(fd, SO_DOMAIN);
    if (option_of(fd, SO_TYPE) != SOCK_STREAM)
        return refuse(what, WEIR_ENOTSUP,
                      "its socket is not one of streams: ListenStream= in a unit of systemd");
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return refuse(what, -EAFNOSUPPORT, "its socket is neither IPv4, IPv6 nor unix");
    if (family != AF_UNIX && option_of(fd, SO_PROTOCOL) != IPPROTO_TCP)
        return refuse(what, -EPROTONOSUPPORT, "its socket is not one of TCP");
    if (option_of(fd, SO_ACCEPTCONN) != 1)
        return refuse(what, WEIR_EINVALID,
                      "its socket does not listen, but may be a connection: Accept=no in a unit of "
                      "systemd");
    int result = weir__socket_local(fd, out);
    return result == 0 ? 0 : refuse(what, result, "its address cannot be had");
}

static int take(int fd, const char *url, enum weir_scheme scheme,
                int (*fn)(const weir_address *address, int fd, void *arg), void *arg)
{
    weir_address address;
    int result = inherit_check(fd, url, &address);
    if (result < 0)
        return result;
    bool secure = scheme == WEIR_SCHEME_HTTPS || scheme == WEIR_SCHEME_TLS;
    if (secure && address.transport == WEIR_TRANSPORT_UNIX)
        return refuse(url, WEIR_ENOTSUP, "it is a unix socket, on which TLS is not spoken");
    if (scheme != WEIR_SCHEME_NONE && address.transport == WEIR_TRANSPORT_TCP)
        address.scheme = (uint8_t)scheme;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -errno;
    return fn(&address, fd, arg);
}

/* How many descriptors the manager has passed to this very process, or an error. */
static int passed_count(const char *url)
{
    const char *pid = weir__getenv("LISTEN_PID"), *fds = weir__getenv("LISTEN_FDS");
    int number, count;
    if (pid == NULL || fds == NULL)
        return refuse(url, WEIR_EINVALID,
                      "no service manager has passed sockets (LISTEN_FDS is not set): start it by "
                      "its socket unit, or try it with systemd-socket-activate");
    if (!number_of(pid, strlen(pid), INT32_MAX, &number) || number != getpid())
        return refuse(url, WEIR_EINVALID,
                      "the sockets that were passed are for another process "
                      "(LISTEN_PID is not this one)");
    if (!number_of(fds, strlen(fds), LIMIT_LISTENERS_MAX, &count) || count == 0)
        return refuse(url, WEIR_EINVALID, "LISTEN_FDS is no number of sockets");
    return count;
}

/* The n-th of the names, as "web:admin"; those left out are "unknown". */
static bool name_is(const char *names, int n, const char *wanted)
{
    const char *at = names != NULL ? names : "";
    for (int i = 0; i < n && at != NULL; i++) {
        at = strchr(at, ':');
        at = at != NULL ? at + 1 : NULL;
    }
    size_t size = at != NULL ? strcspn(at, ":") : 0;
    if (size == 0) {
        at = "unknown";
        size = strlen(at);
    }
    return wanted[0] == '\0' || (strlen(wanted) == size && memcmp(at, wanted, size) == 0);
}

static int by_name(const char *url, const char *wanted, enum weir_scheme scheme,
                   int (*fn)(const weir_address *address, int fd, void *arg), void *arg)
{
    const char *names = weir__getenv("LISTEN_FDNAMES");
    int count = passed_count(url), taken = 0;
    for (int i = 0; i < count; i++) {
        if (!name_is(names, i, wanted))
            continue;
        int result = take(FIRST_FD + i, url, scheme, fn, arg);
        if (result < 0)
            return result;
        taken++;
    }
    if (count > 0 && taken == 0)
        return refuse(url, WEIR_EADDRESS,
                      "none of the sockets that were passed has that name (FileDescriptorName= in "
                      "the socket unit)");
    return count < 0 ? count : taken;
}

int inherit_addresses(const char *url, int (*fn)(const weir_address *address, int fd, void *arg),
                      void *arg)
{
    enum weir_scheme scheme;
    const char *rest = without_scheme(url, &scheme);
    int fd;
    if (strncmp(rest, "systemd:", 8) == 0)
        return by_name(url, rest + 8, scheme, fn, arg);
    if (!number_of(rest + 3, strlen(rest + 3), INT32_MAX, &fd) || fd < FIRST_FD)
        return refuse(url, WEIR_EADDRESS, "behind fd: comes a number from 3 on");
    int result = take(fd, url, scheme, fn, arg);
    return result < 0 ? result : 1;
}

void inherit_notify(const char *lines)
{
    const char *path = weir__getenv("NOTIFY_SOCKET");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t size = path != NULL ? strlen(path) : 0;
    if (size < 2 || size > sizeof name.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(name.sun_path, path, size);
    if (path[0] == '@')
        name.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    ssize_t sent = sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (struct sockaddr *)&name, length);
    if (sent < 0)
        weir__log(WEIR_LOG_WARN, -errno, 0, "the service manager is not told: %s",
                  weir_error_text(-errno));
    close(fd);
}

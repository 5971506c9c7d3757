/* The way to the server: its socket, one line there, one line back. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/error.h>

#include "cmd/command.h"
#include "cmd/ctl/ctl.h"
#include "cmd/ctlpath.h"

enum { WAIT_S = 5, ANSWER_MAX = 64 << 20, FIRST_BYTES = 65536, NAMES_MAX = 16 };

/* A connected socket, or a negative error. */
static int connect_to(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timeval wait = {.tv_sec = WAIT_S};
    if (strlen(path) >= sizeof name.sun_path)
        return -ENAMETOOLONG;
    strcpy(name.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static int say_connect(const char *path, int error)
{
    switch (error) {
    case -ENOENT:
        return say(EX_NOINPUT, "no control socket at %s: is the server running, with --ctl?", path);
    case -ECONNREFUSED:
        return say(EX_UNAVAILABLE, "nobody listens on %s: its server has ended", path);
    case -EACCES:
    case -EPERM:
        return say(EX_NOPERM, "no permission to use %s: run as the user of the server", path);
    default:
        return say(EX_UNAVAILABLE, "cannot connect to %s: %s", path, weir_error_text(error));
    }
}

static bool ends_in_ctl(const char *name)
{
    size_t size = strlen(name);
    return size > 4 && strcmp(name + size - 4, ".ctl") == 0;
}

struct search {
    char names[NAMES_MAX][CTLPATH_MAX];
    unsigned count;
    int fd;
};

/* The servers of this user that answer. */
static void search_folder(const char *folder, struct search *search)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    search->fd = -1;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char path[CTLPATH_MAX];
        if (!ends_in_ctl(entry->d_name) || search->count == NAMES_MAX ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path)
            continue;
        int fd = connect_to(path);
        if (fd < 0)
            continue;
        if (search->fd >= 0)
            close(search->fd);
        search->fd = fd;
        snprintf(search->names[search->count++], CTLPATH_MAX, "%.*s",
                 (int)(strlen(entry->d_name) - 4), entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
}

/* The one server that there is. Its descriptor, or -1 with *code. */
static int find_server(int *code)
{
    char folder[CTLPATH_MAX], names[512] = "";
    struct search search = {.fd = -1};
    int error = ctlpath_folder(folder, sizeof folder, false);
    if (error == 0)
        search_folder(folder, &search);
    if (search.count == 1)
        return search.fd;
    if (search.fd >= 0)
        close(search.fd);
    for (unsigned i = 0; i < search.count; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i != 0 ? ", " : "",
                 search.names[i]);
    if (search.count != 0)
        *code = say(EX_USAGE, "%u servers are running: choose one of %s with --socket",
                    search.count, names);
    else if (error == -ENOENT && getenv("XDG_RUNTIME_DIR") == NULL)
        *code = say(EX_UNAVAILABLE, "XDG_RUNTIME_DIR is not set, so there is no place to look for "
                                    "servers: name the control socket with --socket");
    else
        *code = say(EX_UNAVAILABLE, "no server of this user is running: start weir serve, or name "
                                    "its control socket with --socket");
    return -1;
}

static int open_server(const struct ctl *ctl, int *code)
{
    char path[2 * CTLPATH_MAX];
    if (ctl->socket == NULL)
        return find_server(code);
    if (strchr(ctl->socket, '/') != NULL) {
        snprintf(path, sizeof path, "%s", ctl->socket);
    } else { /* a name in the folder */
        int error = ctlpath_folder(path, CTLPATH_MAX, false);
        size_t used = error == 0 ? strlen(path) + 1 : 0;
        if (used != 0)
            path[used - 1] = '/';
        snprintf(path + used, sizeof path - used, "%s%s", ctl->socket,
                 ends_in_ctl(ctl->socket) ? "" : ".ctl");
    }
    int fd = connect_to(path);
    if (fd < 0)
        *code = say_connect(path, fd);
    return fd;
}

/* Reads up to the newline. 0 or a negative error. */
static int read_line(int fd, struct answer *answer)
{
    size_t room = 0;
    do {
        if (answer->size + 1 >= room) {
            room = room != 0 ? room * 2 : FIRST_BYTES;
            char *grown = room <= ANSWER_MAX ? realloc(answer->line, room) : NULL;
            if (grown == NULL)
                return room > ANSWER_MAX ? WEIR_ETOOBIG : WEIR_ENOMEM;
            answer->line = grown;
        }
        ssize_t got = recv(fd, answer->line + answer->size, room - answer->size - 1, 0);
        if (got <= 0)
            return got == 0 ? WEIR_EPROTO : errno == EAGAIN ? WEIR_ETIMEDOUT : -errno;
        answer->size += (size_t)got;
    } while (answer->line[answer->size - 1] != '\n');
    answer->line[answer->size] = '\0';
    return 0;
}

static int parse(struct answer *answer)
{
    unsigned capacity = 1024;
    int count;
    do {
        capacity *= 2;
        weir_json_value *grown = realloc(answer->values, capacity * sizeof *grown);
        if (grown == NULL)
            return WEIR_ENOMEM;
        answer->values = grown;
        count = weir_json_read(answer->line, answer->size, answer->values, capacity);
    } while (count == WEIR_ETOOBIG && capacity < 1u << 24);
    return count < 0 ? count : 0;
}

static int check_ok(const struct answer *answer)
{
    char error[256] = "no reason given", fix[256] = "";
    const weir_json_value *ok = weir_json_find(answer->values, answer->values, "ok");
    if (ok != NULL && ok->kind == WEIR_JSON_BOOL && ok->truth)
        return EX_OK;
    weir_json_to_text(weir_json_find(answer->values, answer->values, "error"), error, sizeof error);
    weir_json_to_text(weir_json_find(answer->values, answer->values, "fix"), fix, sizeof fix);
    return say(EX_UNAVAILABLE, "the server refuses: %s%s%s", error, *fix != '\0' ? "; " : "", fix);
}

int ctl_call(const struct ctl *ctl, const char *request, struct answer *answer)
{
    int code = EX_OK, fd = open_server(ctl, &code);
    size_t size = strlen(request);
    *answer = (struct answer){0};
    if (fd < 0)
        return code;
    int result = send(fd, request, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -errno;
    if (result == 0)
        result = read_line(fd, answer);
    close(fd);
    if (result == 0)
        result = parse(answer);
    if (result == 0)
        code = check_ok(answer);
    else if (result == WEIR_ETIMEDOUT)
        code = say(EX_TEMPFAIL, "the server did not answer within %d s: its first loop is held",
                   WAIT_S);
    else
        code = say(EX_PROTOCOL, "no answer that can be understood: %s", weir_error_text(result));
    if (code != EX_OK)
        answer_end(answer);
    return code;
}

void answer_end(struct answer *answer)
{
    free(answer->line);
    free(answer->values);
    *answer = (struct answer){0};
}

#include "app/http/filepath.h"

#include <errno.h>
#include <linux/openat2.h>
#include <string.h>

#include <weir/error.h>

#include "app/http/escape.h"

/* Longest name of one file that a file system of Linux keeps (NAME_MAX). */
enum { SEGMENT_MAX = 255 };

/* True when the undecoded path has a slash that was escaped: after decoding, it looks like one that
 * divides segments. */
static bool hides_slash(struct http_text raw)
{
    const char *at = raw.at;
    const char *end = at ? at + raw.length : at;

    while (at && end - at >= 3 && (at = memchr(at, '%', (size_t)(end - at) - 2)) != NULL) {
        if (at[1] == '2' && (at[2] | 0x20) == 'f')
            return true;
        at++;
    }
    return false;
}

static int append(struct filepath *path, const char *segment, size_t size)
{
    size_t slash = path->size > 0;

    if (size > SEGMENT_MAX || path->size + slash + size >= FILEPATH_MAX)
        return -ENAMETOOLONG;
    path->text[path->size] = '/';
    memcpy(path->text + path->size + slash, segment, size);
    path->size += (uint32_t)(slash + size);
    return 0;
}

/* One segment that is not empty. */
static int map_segment(struct filepath *path, const char *segment, size_t size, bool hidden)
{
    static const char well_known[] = ".well-known";

    path->directory = false;
    if (segment[0] == '.') {
        if (size == 1) {
            path->directory = true;
            return 0;
        }
        if (size == 2 && segment[1] == '.')
            return -EINVAL;
        if (!hidden && !(path->size == 0 && size == sizeof(well_known) - 1 &&
                         memcmp(segment, well_known, size) == 0))
            return -ENOENT;
    }
    return append(path, segment, size);
}

int filepath_map(struct filepath *path, struct http_text decoded, struct http_text raw, bool hidden)
{
    const char *at = decoded.at;
    const char *end = at ? at + decoded.length : at;

    path->size = 0;
    path->directory = false;
    if (at == end || *at != '/' || memchr(at, '\0', decoded.length))
        return -EINVAL;
    if (memchr(at, '\\', decoded.length) || hides_slash(raw))
        return -ENOENT;
    while (at < end) {
        const char *slash, *next;
        if (*at == '/') {
            path->directory = true;
            at++;
            continue;
        }
        slash = memchr(at, '/', (size_t)(end - at));
        next = slash ? slash : end;
        int error = map_segment(path, at, (size_t)(next - at), hidden);
        if (error < 0)
            return error;
        at = next;
    }
    if (path->size == 0)
        path->text[path->size++] = '.';
    path->text[path->size] = '\0';
    return 0;
}

static bool is_root(const struct filepath *path)
{
    return path->size == 1 && path->text[0] == '.';
}

int filepath_append(struct filepath *path, struct http_text name)
{
    uint32_t size = path->size;
    int error;

    if (is_root(path))
        path->size = 0;
    error = append(path, name.at, name.length);
    if (error < 0)
        path->size = size; /* nothing was written: the root's dot is still there */
    else
        path->directory = false;
    path->text[path->size] = '\0';
    return error;
}

struct room {
    char *at, *end; /* at stays below end, where the NUL has its place */
    bool full;
};

static void put(struct room *room, const char *text, size_t size)
{
    if (room->full || size >= (size_t)(room->end - room->at)) {
        room->full = true;
        return;
    }
    memcpy(room->at, text, size);
    room->at += size;
}

/* The query goes back as it came, percent signs and all, but for bytes that have no place in a URL:
 * they must not be able to end a header line. */
static void put_query(struct room *room, struct http_text query)
{
    const unsigned char *text = (const unsigned char *)query.at;

    put(room, "?", 1);
    for (size_t i = 0; i < query.length; i++) {
        char made[ESCAPE_STEP_MAX];
        size_t made_size = 1;
        made[0] = (char)text[i];
        if (text[i] <= 0x20 || text[i] >= 0x7F || strchr("\"<>\\^`{|}#", text[i]))
            weir__escape_segment(text + i, 1, made, &made_size);
        put(room, made, made_size);
    }
}

int filepath_redirect(const struct filepath *path, const char *prefix, struct http_text query,
                      char *out, size_t out_size)
{
    struct room room = {out, out + out_size, out_size == 0};

    put(&room, prefix, strlen(prefix));
    put(&room, "/", 1);
    if (!is_root(path)) {
        for (size_t i = 0; i < path->size; i++) {
            char made[ESCAPE_STEP_MAX];
            size_t made_size;
            weir__escape_path((const unsigned char *)path->text + i, 1, made, &made_size);
            put(&room, made, made_size);
        }
        put(&room, "/", 1);
    }
    if (query.at)
        put_query(&room, query);
    if (room.full)
        return WEIR_ETOOBIG;
    *room.at = '\0';
    return (int)(room.at - out);
}

int filepath_status(int error)
{
    switch (error) {
    case -EINVAL:
        return 400;
    case -EACCES:
    case -EPERM:
        return 403;
    case -ENOENT:
    case -ENOTDIR:
    case -ENAMETOOLONG:
    case -EXDEV:
    case -ELOOP:
    case -ENXIO: /* a socket, or a pipe that nobody reads */
        return 404;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -EAGAIN:  /* the tree was renamed under the kernel's feet: openat2(2) */
    case -ENOBUFS: /* too much is asked of the file system at once */
    case WEIR_EFULL:
    case WEIR_ENOMEM:
        return 503;
    default:
        return 500;
    }
}

uint64_t filepath_resolve_flags(bool symlinks)
{
    return RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (symlinks ? 0 : RESOLVE_NO_SYMLINKS);
}

/* The path of a request on its way to the kernel and back into a Location. Input: a byte of
 * options, the undecoded path, NUL, the query. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "app/http/filepath.h"
#include "proto/httpuri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int holds)
{
    if (!holds)
        abort();
}

/* No segment is empty or leads anywhere but down. */
static void check_path(const struct filepath *path, bool hidden)
{
    const char *at = path->text;

    expect(path->size > 0 && path->size < FILEPATH_MAX && strlen(at) == path->size);
    if (strcmp(at, ".") == 0)
        return;
    for (;;) {
        size_t length = strcspn(at, "/");
        expect(length > 0 && length <= 255);
        expect(!(length == 1 && at[0] == '.') && !(length == 2 && memcmp(at, "..", 2) == 0));
        expect(!memchr(at, '\\', length));
        if (at[0] == '.' && !hidden)
            expect(at == path->text && length == 11 && memcmp(at, ".well-known", 11) == 0);
        if (at[length] == '\0')
            break;
        at += length + 1;
    }
}

/* It names a path of this host, is one line of printable ASCII, and leads back to the same file. */
static void check_location(const char *location, int length, const struct filepath *path)
{
    static char decoded[4 * FILEPATH_MAX];
    static struct filepath again;
    size_t path_length = strcspn(location, "?");
    ssize_t size;

    expect(length > 0 && strlen(location) == (size_t)length);
    expect(location[0] == '/' && location[1] != '/');
    for (const char *at = location; *at; at++)
        expect(*at > 0x20 && *at < 0x7F && !strchr("\"<>\\^`{|}#", *at));
    size =
        http_path_decode((struct http_text){location, path_length}, decoded, sizeof(decoded), NULL);
    expect(size > 0 && decoded[size - 1] == '/');
    expect(filepath_map(&again, (struct http_text){decoded, (size_t)size},
                        (struct http_text){location, path_length}, true) == 0);
    expect(again.directory && strcmp(again.text, path->text) == 0);
}

static void check_all(struct http_text decoded, struct http_text raw, struct http_text query,
                      bool hidden)
{
    static char location[3 * FILEPATH_MAX + 8192];
    static struct filepath path;
    int length;

    if (filepath_map(&path, decoded, raw, hidden) < 0)
        return;
    check_path(&path, hidden);
    length = filepath_redirect(&path, "", query, location, sizeof(location));
    if (length > 0)
        check_location(location, length, &path);
    else
        expect(query.at && 3 * query.length + 3 * path.size + 3 >= sizeof(location));
    if (filepath_append(&path, (struct http_text){"index.html", 10}) == 0)
        expect(!path.directory && strcmp(path.text + path.size - 10, "index.html") == 0);
    check_path(&path, hidden);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char memory[65536];
    struct http_text raw, query = {NULL, 0};
    const char *end;
    ssize_t decoded;

    if (size < 1 || size > sizeof(memory))
        return 0;
    raw = (struct http_text){(const char *)data + 1, size - 1};
    end = memchr(raw.at, '\0', raw.length);
    if (end) {
        query.at = end + 1;
        query.length = raw.length - (size_t)(end + 1 - raw.at);
        raw.length = (size_t)(end - raw.at);
    }
    decoded = http_path_decode(raw, memory, sizeof(memory), NULL);
    if (decoded >= 0)
        check_all((struct http_text){memory, (size_t)decoded}, raw, query, data[0] & 1);
    /* And bytes that no decoder would let through. */
    check_all((struct http_text){(const char *)data + 1, size - 1}, (struct http_text){NULL, 0},
              query, data[0] & 1);
    return 0;
}

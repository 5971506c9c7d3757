/* Reads the cases of tests/corpus/http1; the format stands in the README there. */
#ifndef WEIR_TEST_HTTP1_CORPUS_H
#define WEIR_TEST_HTTP1_CORPUS_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct corpus_case {
    char name[520]; /* folder/file */
    char *text;     /* the file, cut into the strings below */
    const char *expect, *reason, *method, *path, *query, *host, *body, *trailers;
    uint8_t *data;
    size_t size;
};

typedef void corpus_fn(const struct corpus_case *item, void *arg);

static void corpus_die(const char *name, const char *what)
{
    fprintf(stderr, "%s: %s\n", name, what);
    exit(1);
}

struct corpus_bytes {
    uint8_t *data;
    size_t size, room;
};

static void corpus_put(struct corpus_bytes *bytes, uint8_t byte)
{
    if (bytes->size == bytes->room) {
        bytes->room = bytes->room ? bytes->room * 2 : 256;
        bytes->data = realloc(bytes->data, bytes->room);
        if (!bytes->data)
            abort();
    }
    bytes->data[bytes->size++] = byte;
}

/* Decodes escaped text up to `end`, appending to bytes. */
static void corpus_unescape(const char *name, const char *p, const char *end,
                            struct corpus_bytes *bytes)
{
    static const char letters[] = "rnt0\\", meant[] = "\r\n\t\0\\";

    while (p < end) {
        char *stop;
        const char *letter;
        unsigned long number;

        if (*p != '\\') {
            if (*p != '\n')
                corpus_put(bytes, (uint8_t)*p);
            p++;
            continue;
        }
        if (++p == end)
            corpus_die(name, "a backslash at the end");
        letter = strchr(letters, *p);
        if (*p != '\0' && letter) {
            corpus_put(bytes, (uint8_t)meant[letter - letters]);
            p++;
        } else if (*p == 'x' && end - p > 2) {
            char digits[3] = {p[1], p[2], '\0'};

            corpus_put(bytes, (uint8_t)strtoul(digits, &stop, 16));
            if (*stop)
                corpus_die(name, "a bad \\x");
            p += 3;
        } else if (*p == '{') {
            const char *close = memchr(p, '}', (size_t)(end - p));

            number = strtoul(p + 1, &stop, 10);
            if (!close || *stop != '*')
                corpus_die(name, "a bad repetition");
            while (number-- > 0)
                corpus_unescape(name, stop + 1, close, bytes);
            p = close + 1;
        } else {
            corpus_die(name, "a bad escape");
        }
    }
}

static char *corpus_read(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 17);
    size_t size;

    if (!file || !text)
        corpus_die(path, "cannot be read");
    size = fread(text, 1, (1 << 17) - 1, file);
    if (size == (1 << 17) - 1)
        corpus_die(path, "too large");
    fclose(file);
    return text;
}

static void corpus_key(struct corpus_case *item, char *line)
{
    const struct {
        const char *key;
        const char **to;
    } keys[] = {
        {"expect", &item->expect}, {"reason", &item->reason},     {"method", &item->method},
        {"path", &item->path},     {"query", &item->query},       {"host", &item->host},
        {"body", &item->body},     {"trailers", &item->trailers},
    };
    char *colon = strchr(line, ':');

    if (line[0] == '#')
        return;
    if (!colon)
        corpus_die(item->name, "a line without a colon");
    *colon++ = '\0';
    if (*colon == ' ')
        colon++;
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        if (strcmp(line, keys[i].key) == 0) {
            *keys[i].to = colon;
            return;
        }
    }
    corpus_die(item->name, "an unknown key");
}

static void corpus_load(const char *root, const char *folder, const char *file, corpus_fn *fn,
                        void *arg)
{
    struct corpus_case item = {.text = NULL};
    struct corpus_bytes bytes = {NULL, 0, 0};
    char path[2048], *line, *next;

    snprintf(item.name, sizeof(item.name), "%s/%s", folder, file);
    snprintf(path, sizeof(path), "%s/%s", root, item.name);
    item.text = corpus_read(path);
    for (line = item.text; strncmp(line, "---\n", 4) != 0; line = next) {
        next = strchr(line, '\n');
        if (!next)
            corpus_die(item.name, "no line ---");
        *next++ = '\0';
        corpus_key(&item, line);
    }
    if (!item.expect)
        corpus_die(item.name, "nothing expected");
    line += 4;
    corpus_unescape(item.name, line, line + strlen(line), &bytes);
    item.data = bytes.data;
    item.size = bytes.size;
    fn(&item, arg);
    free(item.text);
    free(bytes.data);
}

/* Calls fn for every case; gives their number. */
static inline unsigned corpus_each(const char *root, corpus_fn *fn, void *arg)
{
    struct dirent **folders, **files;
    int folder_count = scandir(root, &folders, NULL, alphasort);
    unsigned count = 0;

    if (folder_count < 0)
        corpus_die(root, "no such folder");
    for (int i = 0; i < folder_count; i++) {
        char path[2048];
        int file_count;

        snprintf(path, sizeof(path), "%s/%s", root, folders[i]->d_name);
        file_count = folders[i]->d_type == DT_DIR && folders[i]->d_name[0] != '.' &&
                             folders[i]->d_name[0] != '_'
                         ? scandir(path, &files, NULL, alphasort)
                         : -1;
        for (int k = 0; k < file_count; k++) {
            size_t length = strlen(files[k]->d_name);

            if (length > 4 && strcmp(files[k]->d_name + length - 4, ".txt") == 0) {
                corpus_load(root, folders[i]->d_name, files[k]->d_name, fn, arg);
                count++;
            }
            free(files[k]);
        }
        if (file_count >= 0)
            free(files);
        free(folders[i]);
    }
    free(folders);
    return count;
}

/* The corpus's folder, seen from a test's own source file: the include of this header. */
#define CORPUS_HTTP1_OF(file) corpus_beside(file, "../../corpus/http1")

static inline const char *corpus_beside(const char *file, const char *relative)
{
    static char path[2048];
    const char *slash = strrchr(file, '/');

    snprintf(path, sizeof(path), "%.*s/%s", slash ? (int)(slash - file) : 1, slash ? file : ".",
             relative);
    return path;
}

#endif

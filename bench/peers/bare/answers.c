#include "answers.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BATCH = 256, SMALL = 1024 };

char answers_body[ANSWERS_LARGE];
static char tiny[2][BATCH * 256]; /* kept alive, closed; repeated BATCH times */
static char large_head[256], small[256 + SMALL];
static size_t tiny_size[2], large_head_size, small_size;

static size_t head(char *out, const char *date, int length)
{
    return (size_t)snprintf(out, 256,
                            "HTTP/1.1 200 OK\r\nServer: bare\r\nDate: %s\r\n"
                            "Content-Length: %d\r\nConnection: keep-alive\r\n\r\n",
                            date, length);
}

void answers_make(void)
{
    static time_t made;
    time_t now = time(NULL);
    char date[64];

    if (now == made)
        return;
    if (made == 0)
        memset(answers_body, 'x', sizeof(answers_body));
    made = now;
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    for (int closing = 0; closing < 2; closing++) {
        size_t size = (size_t)snprintf(
            tiny[closing], 256,
            "HTTP/1.1 200 OK\r\nServer: bare-epoll\r\nDate: %s\r\nContent-Type: text/plain\r\n"
            "Content-Length: 14\r\nConnection: %s\r\n\r\nHello, World!\n",
            date, closing ? "close" : "keep-alive");

        tiny_size[closing] = size;
        for (size_t i = 1; i < BATCH; i++)
            memcpy(tiny[closing] + i * size, tiny[closing], size);
    }
    large_head_size = head(large_head, date, ANSWERS_LARGE);
    small_size = head(small, date, SMALL);
    memset(small + small_size, 'x', SMALL);
    small_size += SMALL;
}

/* Where the first whole request ends, or NULL. */
static const char *end_of(const char *data, size_t size)
{
    const char *end = memmem(data, size, "\r\n\r\n", 4);

    return end != NULL ? end + 4 : NULL;
}

size_t answers_for(const char *data, size_t size, struct answer *out)
{
    size_t done = 0, count = 0;
    const char *end = end_of(data, size);

    *out = (struct answer){0};
    if (end == NULL)
        return 0;
    if (memcmp(data, "GET /1", 6) == 0) {
        out->large = data[6] == 'm';
        out->data = out->large ? large_head : small;
        out->size = out->large ? large_head_size : small_size;
        return (size_t)(end - data);
    }
    while (end != NULL && count < BATCH) {
        bool closing = memmem(data + done, (size_t)(end - data) - done, "close", 5) != NULL;

        if (closing && count > 0)
            break; /* an answer of its own */
        done = (size_t)(end - data);
        count++;
        out->closing = closing;
        if (closing)
            break;
        end = end_of(data + done, size - done);
    }
    out->data = tiny[out->closing];
    out->size = tiny_size[out->closing] * count;
    return done;
}

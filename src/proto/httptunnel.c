#include "proto/httptunnel.h"

#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/text.h"

enum { KEPT_FIRST = 512 };

/* RFC 4648, section 4. */
static void add_base64(struct text *out, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (left > 1)
            group |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2)
            group |= bytes[i + 2];
        text_add_char(out, digits[group >> 18]);
        text_add_char(out, digits[group >> 12 & 63]);
        text_add_char(out, left > 1 ? digits[group >> 6 & 63] : '=');
        text_add_char(out, left > 2 ? digits[group & 63] : '=');
    }
}

size_t httptunnel_write(const struct proxy_ask *ask, char out[PROXY_ASK_BYTES_MAX])
{
    const char *open = strchr(ask->host, ':') != NULL ? "[" : "", *close = *open ? "]" : "";
    struct text text;

    WEIR_ASSERT(strlen(ask->host) <= PROXY_ASK_HOST_MAX);
    text_init(&text, out, PROXY_ASK_BYTES_MAX);
    text_addf(&text, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n", open, ask->host, close,
              ask->port, open, ask->host, close, ask->port);
    if (ask->user != NULL) {
        char pair[2 * PROXY_ASK_SECRET_MAX + 2];
        struct text secret;
        text_init(&secret, pair, sizeof pair);
        text_addf(&secret, "%s:%s", ask->user, ask->password);
        text_add(&text, "Proxy-Authorization: Basic ");
        add_base64(&text, (const uint8_t *)pair, secret.size);
        text_add(&text, "\r\n");
        WEIR_ASSERT(!secret.cut);
    }
    text_add(&text, "\r\n");
    WEIR_ASSERT(!text.cut);
    return text.size;
}

/* RFC 9110, section 15. */
static int refusal(unsigned status)
{
    switch (status) {
    case 401:
    case 407:
        return WEIR_EPROXYAUTH;
    case 403:
        return WEIR_EPROXYRULES;
    case 405:
    case 501:
        return WEIR_EPROXYVERB;
    case 502:
        return WEIR_EPROXYHOST;
    case 504:
        return WEIR_EPROXYTIME;
    default:
        return WEIR_EPROXYFAILED;
    }
}

/* A head at the front: 0: it is not whole; 1: it was the last one; 2: another follows. */
static int take(struct httptunnel *tunnel, const uint8_t *data, size_t size, size_t *used)
{
    struct http1_field rows[HTTP1_FIELDS];
    struct http1_response response = {.fields = {.row = rows, .capacity = HTTP1_FIELDS}};
    ssize_t head = http1_parse_response(data, size, &tunnel->resume, NULL, HTTP_CONNECT, &response);

    if (head < 0)
        return WEIR_EPROXYREPLY;
    if (head == 0)
        return 0;
    *used = (size_t)head;
    if (response.interim)
        return ++tunnel->interims > HTTPTUNNEL_INTERIMS ? WEIR_EPROXYREPLY : 2;
    tunnel->status = response.status;
    if (response.status / 100 == 2)
        return 1;
    return response.status == 101 ? WEIR_EPROXYREPLY : refusal(response.status);
}

/* Keeps what has come of a head. 0 or an error. */
static int keep(struct httptunnel *tunnel, const uint8_t *data, size_t size)
{
    if (tunnel->kept_room - tunnel->kept_bytes < size) {
        uint32_t room = tunnel->kept_room != 0 ? tunnel->kept_room : KEPT_FIRST;
        while (room - tunnel->kept_bytes < size)
            room *= 2;
        uint8_t *kept = weir__realloc(tunnel->kept, room);
        if (kept == NULL)
            return WEIR_ENOMEM;
        tunnel->kept = kept;
        tunnel->kept_room = room;
    }
    memcpy(tunnel->kept + tunnel->kept_bytes, data, size);
    tunnel->kept_bytes += (uint32_t)size;
    return 0;
}

int httptunnel_next(struct httptunnel *tunnel, const uint8_t *data, size_t size, size_t *used)
{
    *used = 0;
    while (*used < size) {
        size_t before = tunnel->kept_bytes, head = 0;
        size_t room = HTTPTUNNEL_HEAD_MAX - before;
        size_t part = size - *used < room ? size - *used : room;
        int result = before != 0 ? keep(tunnel, data + *used, part) : 0;
        if (result < 0)
            return result;
        if (before != 0)
            result = take(tunnel, tunnel->kept, tunnel->kept_bytes, &head);
        else
            result = take(tunnel, data + *used, part, &head);
        if (result < 0)
            return result;
        if (result == 0) {
            if (part == room)
                return WEIR_EPROXYREPLY;
            *used = size;
            return before == 0 ? keep(tunnel, data + size - part, part) : 0;
        }
        *used += head - before;
        tunnel->kept_bytes = 0;
        if (result == 1)
            return 1;
    }
    return 0;
}

void httptunnel_end(struct httptunnel *tunnel)
{
    weir__free(tunnel->kept);
    tunnel->kept = NULL;
}

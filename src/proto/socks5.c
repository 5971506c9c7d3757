#include "proto/socks5.h"

#include <arpa/inet.h>
#include <string.h>

#include <weir/error.h>

#include "base/assert.h"

enum { VERSION = 5, AUTH_VERSION = 1, CONNECT = 1 };
enum { METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_REFUSED = 0xff };
enum { KIND_IP4 = 1, KIND_NAME = 3, KIND_IP6 = 4 };
enum { WAIT_METHOD, WAIT_AUTH, WAIT_REPLY };

size_t socks5_begin(struct socks5 *socks, const struct proxy_ask *ask,
                    uint8_t out[PROXY_ASK_BYTES_MAX])
{
    size_t size = 2;

    *socks = (struct socks5){.state = WAIT_METHOD};
    out[0] = VERSION;
    out[size++] = METHOD_NONE;
    if (ask->user != NULL)
        out[size++] = METHOD_PASSWORD;
    out[1] = (uint8_t)(size - 2);
    return size;
}

static size_t put_text(uint8_t *out, const char *text)
{
    size_t size = strlen(text);

    WEIR_ASSERT(size <= 255);
    out[0] = (uint8_t)size;
    memcpy(out + 1, text, size);
    return size + 1;
}

/* RFC 1929, section 2. */
static size_t put_auth(const struct proxy_ask *ask, uint8_t *out)
{
    size_t size = 1;

    out[0] = AUTH_VERSION;
    size += put_text(out + size, ask->user);
    size += put_text(out + size, ask->password);
    return size;
}

/* RFC 1928, section 4. */
static size_t put_request(const struct proxy_ask *ask, uint8_t *out)
{
    size_t size = 4;

    memcpy(out, (const uint8_t[]){VERSION, CONNECT, 0, KIND_NAME}, size);
    if (inet_pton(AF_INET, ask->host, out + size) == 1) {
        out[3] = KIND_IP4;
        size += 4;
    } else if (inet_pton(AF_INET6, ask->host, out + size) == 1) {
        out[3] = KIND_IP6;
        size += 16;
    } else {
        size += put_text(out + size, ask->host);
    }
    out[size++] = (uint8_t)(ask->port >> 8);
    out[size++] = (uint8_t)ask->port;
    return size;
}

/* How long the message that is begun is, as far as it can be told: at least one byte more than
 * there are, unless it is whole. 0: it is none. */
static size_t message_size(const struct socks5 *socks)
{
    const uint8_t *in = socks->input;

    if (socks->state != WAIT_REPLY)
        return 2;
    if (socks->have >= 2 && in[1] != 0) /* refused: some proxies say nothing more */
        return 2;
    if (socks->have < 4)
        return 4;
    switch (in[3]) {
    case KIND_IP4:
        return 4 + 4 + 2;
    case KIND_IP6:
        return 4 + 16 + 2;
    case KIND_NAME:
        return socks->have < 5 ? 5 : 4u + 1 + in[4] + 2;
    default:
        return 0;
    }
}

/* RFC 1928, section 6. */
static int refusal(uint8_t reply)
{
    static const int errors[] = {0,
                                 WEIR_EPROXYFAILED,
                                 WEIR_EPROXYRULES,
                                 WEIR_EPROXYNET,
                                 WEIR_EPROXYHOST,
                                 WEIR_EPROXYREFUSED,
                                 WEIR_EPROXYTIME,
                                 WEIR_EPROXYVERB,
                                 WEIR_EPROXYKIND};
    return reply < sizeof errors / sizeof errors[0] ? errors[reply] : WEIR_EPROXYFAILED;
}

/* A message is whole: what follows from it. 1: the last one. */
static int take(struct socks5 *socks, const struct proxy_ask *ask, struct socks5_step *step)
{
    const uint8_t *in = socks->input;
    uint8_t *out = step->send + step->send_size;

    switch (socks->state) {
    case WAIT_METHOD:
        if (in[1] == METHOD_REFUSED)
            return WEIR_EPROXYAUTH;
        if (in[1] != METHOD_NONE && (in[1] != METHOD_PASSWORD || ask->user == NULL))
            return WEIR_EPROXYREPLY; /* it was not offered */
        if (in[1] == METHOD_PASSWORD) {
            socks->state = WAIT_AUTH;
            step->send_size += put_auth(ask, out);
            return 0;
        }
        break;
    case WAIT_AUTH:
        if (in[1] != 0)
            return WEIR_EPROXYAUTH;
        break;
    default:
        return in[1] != 0 ? refusal(in[1]) : 1;
    }
    socks->state = WAIT_REPLY;
    step->send_size += put_request(ask, out);
    return 0;
}

int socks5_next(struct socks5 *socks, const struct proxy_ask *ask, const uint8_t *data, size_t size,
                struct socks5_step *step)
{
    step->used = step->send_size = 0;
    while (step->used < size) {
        socks->input[socks->have++] = data[step->used++];
        /* The first byte tells at once that somebody else speaks here. */
        if (socks->input[0] != (socks->state == WAIT_AUTH ? AUTH_VERSION : VERSION))
            return WEIR_EPROXYREPLY;
        size_t whole = message_size(socks);
        if (whole == 0)
            return WEIR_EPROXYREPLY;
        if (socks->have < whole)
            continue;
        int result = take(socks, ask, step);
        socks->have = 0;
        if (result != 0)
            return result;
    }
    return 0;
}

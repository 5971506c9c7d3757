/* What a proxy answers, in SOCKS5 or HTTP: bounded, and the same whether it comes whole or in
 * pieces. Input: one byte for the protocol and whether there is a password, one for the size of the
 * pieces, then what the proxy says. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "proto/httptunnel.h"
#include "proto/socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

struct outcome {
    int result;
    size_t used, sent;
    uint64_t sum; /* of what was sent */
};

static void add(struct outcome *o, const uint8_t *p, size_t n)
{
    o->sent += n;
    while (n-- > 0)
        o->sum = (o->sum ^ *p++) * 1099511628211u;
}

static struct outcome say(const struct proxy_ask *ask, bool http, const uint8_t *data, size_t size,
                          size_t piece)
{
    struct outcome o = {0};
    struct socks5 socks;
    struct httptunnel tunnel = {.kept = NULL};
    struct socks5_step step = {0};
    uint8_t first[PROXY_ASK_BYTES_MAX];

    if (!http)
        add(&o, first, socks5_begin(&socks, ask, first));
    for (size_t at = 0; at < size && o.result == 0; at += piece) {
        size_t part = size - at < piece ? size - at : piece, used;
        uint8_t *exact = malloc(part); /* so that a byte too many is seen */
        expect(exact != NULL);
        memcpy(exact, data + at, part);
        if (http) {
            o.result = httptunnel_next(&tunnel, exact, part, &used);
        } else {
            o.result = socks5_next(&socks, ask, exact, part, &step);
            used = step.used;
            expect(step.send_size <= sizeof step.send);
            if (o.result >= 0)
                add(&o, step.send, step.send_size);
        }
        free(exact);
        expect(o.result == 0 || o.result == 1 || o.result <= WEIR_EPROXYAUTH);
        expect(used <= part && (o.result != 0 || used == part));
        o.used = o.result > 0 ? at + used : 0;
    }
    expect(tunnel.kept_room <= 2 * HTTPTUNNEL_HEAD_MAX);
    httptunnel_end(&tunnel);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct proxy_ask ask = {.user = (data[0] & 2) != 0 ? "user" : NULL,
                            .password = "secret",
                            .host = "example.com",
                            .port = 443};
    bool http = (data[0] & 1) != 0;
    size_t piece = data[1] % 16 + 1;
    struct outcome whole = say(&ask, http, data + 2, size - 2, size);
    struct outcome pieces = say(&ask, http, data + 2, size - 2, piece);

    expect(whole.result == pieces.result && whole.used == pieces.used);
    expect(whole.result < 0 || (whole.sent == pieces.sent && whole.sum == pieces.sum));
    return 0;
}

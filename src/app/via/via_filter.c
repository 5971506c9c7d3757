/* What asks a proxy for a connection, as filters: the layer above opens when the proxy has
 * answered, and from then on they stand aside. */
#include <stdio.h>
#include <string.h>

#include <weir/error.h>
#include <weir/log.h>

#include "app/via/via.h"
#include "base/alloc.h"
#include "base/log.h"
#include "proto/httptunnel.h"
#include "proto/socks5.h"

struct handshake {
    struct proxy_ask ask;
    char host[PROXY_ASK_HOST_MAX + 1];
    union {
        struct socks5 socks;
        struct httptunnel tunnel;
    };
};

struct via {
    struct handshake *handshake; /* NULL: over */
    const struct via_hop *hop;
};

/* Whom the proxy is asked for. 0 or an error. */
static int via_begin(weir_filter_at *at, struct via *via, const struct via_hop *hop, bool client)
{
    if (!client || hop == NULL)
        return WEIR_EINVALID;
    struct handshake *h = weir__zalloc(sizeof *h);
    if (h == NULL)
        return WEIR_ENOMEM;
    via->hop = hop;
    via->handshake = h;
    h->ask.user = hop->user[0] != '\0' ? hop->user : NULL;
    h->ask.password = hop->password;
    h->ask.host = h->host;
    if (hop->next != NULL) {
        memcpy(h->host, hop->next->host, sizeof h->host);
        h->ask.port = hop->next->port;
        return 0;
    }
    int result = weir_filter_host(at, h->host, sizeof h->host);
    if (result >= 0)
        result = weir_filter_port(at);
    h->ask.port = (uint16_t)result;
    return result < 0 ? result : 0;
}

static void via_end(struct via *via)
{
    if (via->handshake != NULL && !via->hop->socks)
        httptunnel_end(&via->handshake->tunnel);
    weir__free(via->handshake);
    via->handshake = NULL;
}

/* The proxy has answered: what is behind it goes up. */
static int via_over(weir_filter_at *at, struct via *via, weir_view rest)
{
    via_end(via);
    weir_filter_ready(at);
    return rest.size > 0 ? weir_filter_up(at, rest) : 0;
}

static int via_refused(weir_filter_at *at, const struct via *via, int error)
{
    const struct handshake *h = via->handshake;
    char status[32] = "";
    if (!via->hop->socks && h->tunnel.status != 0)
        snprintf(status, sizeof status, " (HTTP status %u)", h->tunnel.status);
    weir__log(WEIR_LOG_INFO, error, weir_filter_conn(at), "proxy %s:%u, asked for %s:%u: %s%s",
              via->hop->host, via->hop->port, h->host, h->ask.port, weir_error_text(error), status);
    return error;
}

static int socks_open(weir_filter_at *at, void *state, void *config, bool client)
{
    struct via *via = state;
    uint8_t out[PROXY_ASK_BYTES_MAX];
    int result = via_begin(at, via, config, client);
    if (result < 0)
        return result;
    size_t size = socks5_begin(&via->handshake->socks, &via->handshake->ask, out);
    return weir_filter_down(at, weir_bytes(out, size));
}

static int socks_input(weir_filter_at *at, void *state, weir_view data)
{
    struct via *via = state;
    struct handshake *h = via->handshake;
    struct socks5_step step;

    if (h == NULL)
        return weir_filter_up(at, data);
    int result = socks5_next(&h->socks, &h->ask, data.data, data.size, &step);
    if (result < 0)
        return via_refused(at, via, result);
    int sent = step.send_size > 0 ? weir_filter_down(at, weir_bytes(step.send, step.send_size)) : 0;
    if (sent < 0 || result == 0)
        return sent;
    return via_over(at, via, weir_slice(data, step.used, data.size - step.used));
}

static int http_open(weir_filter_at *at, void *state, void *config, bool client)
{
    char out[PROXY_ASK_BYTES_MAX];
    struct via *via = state;
    int result = via_begin(at, via, config, client);
    if (result < 0)
        return result;
    return weir_filter_down(at, weir_bytes(out, httptunnel_write(&via->handshake->ask, out)));
}

static int http_input(weir_filter_at *at, void *state, weir_view data)
{
    struct via *via = state;
    size_t used;

    if (via->handshake == NULL)
        return weir_filter_up(at, data);
    int result = httptunnel_next(&via->handshake->tunnel, data.data, data.size, &used);
    if (result < 0)
        return via_refused(at, via, result);
    return result == 0 ? 0 : via_over(at, via, weir_slice(data, used, data.size - used));
}

static int via_input_end(weir_filter_at *at, void *state)
{
    const struct via *via = state;
    if (via->handshake != NULL)
        return via_refused(at, via, WEIR_EPROXYCUT);
    weir_filter_up_end(at);
    return 0;
}

static int64_t via_output(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    int result = weir_filter_down(at, data);
    return result < 0 ? result : (int64_t)data.size;
}

static void via_close(weir_filter_at *at, void *state)
{
    via_end(state);
}

const weir_filter via_socks5 = {
    .name = "socks5",
    .state_size = sizeof(struct via),
    .open = socks_open,
    .input = socks_input,
    .input_end = via_input_end,
    .output = via_output,
    .close = via_close,
};

const weir_filter via_http = {
    .name = "http-connect",
    .state_size = sizeof(struct via),
    .open = http_open,
    .input = http_input,
    .input_end = via_input_end,
    .output = via_output,
    .close = via_close,
};

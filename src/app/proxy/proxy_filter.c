/* The PROXY protocol as filters: a header taken off, or put in front of, a stream. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <weir/error.h>
#include <weir/proxy.h>

#include "base/alloc.h"

/* --- in --------------------------------------------------------------------------------------- */

struct proxy_in {
    uint8_t *held; /* a header that has not come whole; or NULL */
    size_t held_bytes;
    bool passes; /* the header is taken, or none is due */
    bool has_header;
    weir_proxy_header header;
};

/* Whether an address is in a network: "10.0.0.0/8", "192.0.2.1", "2001:db8::/32". Negative: the
 * text makes no sense. */
static int in_network(const char *text, size_t size, const weir_address *address)
{
    char host[64];
    uint8_t network[16];
    const char *slash = memchr(text, '/', size);
    size_t host_size = slash != NULL ? (size_t)(slash - text) : size;
    unsigned bits = 0;

    if (host_size >= sizeof host)
        return WEIR_EINVALID;
    memcpy(host, text, host_size);
    host[host_size] = '\0';
    bool ip6 = strchr(host, ':') != NULL;
    unsigned most = ip6 ? 128 : 32;
    if (inet_pton(ip6 ? AF_INET6 : AF_INET, host, network) != 1)
        return WEIR_EINVALID;
    if (slash == NULL)
        bits = most;
    if (slash != NULL && (slash + 1 == text + size || slash + 4 < text + size))
        return WEIR_EINVALID;
    for (const char *c = slash != NULL ? slash + 1 : text + size; c < text + size; c++) {
        if (*c < '0' || *c > '9')
            return WEIR_EINVALID;
        bits = bits * 10 + (unsigned)(*c - '0');
    }
    if (bits > most)
        return WEIR_EINVALID;
    if (address->socket.ss_family != (ip6 ? AF_INET6 : AF_INET))
        return 0;
    const uint8_t *own =
        ip6 ? ((const struct sockaddr_in6 *)&address->socket)->sin6_addr.s6_addr
            : (const uint8_t *)&((const struct sockaddr_in *)&address->socket)->sin_addr;
    unsigned rest = bits % 8;
    if (memcmp(own, network, bits / 8) != 0)
        return 0;
    return rest == 0 || ((own[bits / 8] ^ network[bits / 8]) >> (8 - rest)) == 0;
}

static int in_networks(const char *text, const weir_address *address)
{
    bool found = false;
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        int result = size > 0 ? in_network(text, size, address) : 0;
        if (result < 0)
            return result;
        found |= result > 0;
        text += size + (text[size] != '\0');
    }
    return found;
}

static int in_open(weir_filter_at *at, void *state, void *config, bool client)
{
    struct proxy_in *in = state;
    const weir_proxy_in_options *options = config;
    weir_address peer;

    if (client)
        return WEIR_EINVALID;
    if (options == NULL || options->from == NULL)
        return 0;
    int result = weir_conn_peer((weir_conn){weir_filter_conn(at)}, &peer);
    if (result == 0)
        result = in_networks(options->from, &peer);
    if (result < 0)
        return result;
    in->passes = result == 0;
    if (in->passes)
        weir_filter_ready(at);
    return 0;
}

/* The header is whole: what is behind it goes up. */
static int in_header(weir_filter_at *at, struct proxy_in *in, weir_view rest)
{
    in->passes = in->has_header = true;
    weir__free(in->held);
    in->held = NULL;
    weir_filter_ready(at);
    return rest.size > 0 ? weir_filter_up(at, rest) : 0;
}

static int in_input(weir_filter_at *at, void *state, weir_view data)
{
    struct proxy_in *in = state;

    if (in->passes)
        return weir_filter_up(at, data);
    if (in->held == NULL) {
        int used = weir_proxy_parse(data.data, data.size, &in->header);
        if (used < 0)
            return used;
        if (used > 0)
            return in_header(at, in, weir_slice(data, (size_t)used, data.size - (size_t)used));
        in->held = weir__alloc(WEIR_PROXY_HEADER_MAX);
        if (in->held == NULL)
            return WEIR_ENOMEM;
    }
    size_t before = in->held_bytes, room = WEIR_PROXY_HEADER_MAX - before;
    size_t taken = data.size < room ? data.size : room;
    memcpy(in->held + before, data.data, taken);
    in->held_bytes += taken;
    int used = weir_proxy_parse(in->held, in->held_bytes, &in->header);
    if (used <= 0) /* a header that is not whole fits */
        return used == 0 && taken < data.size ? WEIR_EPROTO : used;
    size_t mine = (size_t)used - before; /* of this view */
    return in_header(at, in, weir_slice(data, mine, data.size - mine));
}

static int in_input_end(weir_filter_at *at, void *state)
{
    const struct proxy_in *in = state;
    if (!in->passes)
        return WEIR_EPROTO;
    weir_filter_up_end(at);
    return 0;
}

static int64_t pass_down(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    int result = weir_filter_down(at, data);
    return result < 0 ? result : (int64_t)data.size;
}

static void in_close(weir_filter_at *at, void *state)
{
    struct proxy_in *in = state;
    weir__free(in->held);
}

const weir_filter weir_proxy_in = {
    .name = "proxy-in",
    .state_size = sizeof(struct proxy_in),
    .open = in_open,
    .input = in_input,
    .input_end = in_input_end,
    .output = pass_down,
    .close = in_close,
};

int weir_proxy_get(weir_conn conn, weir_proxy_header *out)
{
    if (!weir_conn_alive(conn))
        return WEIR_EGONE;
    const struct proxy_in *in = weir_filter_find(conn, &weir_proxy_in);
    if (in == NULL || !in->has_header)
        return WEIR_ENODATA;
    *out = in->header;
    return 0;
}

/* --- out -------------------------------------------------------------------------------------- */

static int out_open(weir_filter_at *at, void *state, void *config, bool client)
{
    const weir_proxy_out_options *options = config;
    weir_conn conn = {weir_filter_conn(at)};
    weir_proxy_header header = {0};
    uint8_t bytes[WEIR_PROXY_WRITE_MAX];
    int result = client ? 0 : WEIR_EINVALID;

    if (options == NULL || options->header == NULL)
        header.unknown = true;
    else if (result == 0)
        result = options->header(conn, weir_conn_user(conn), &header);
    if (result < 0)
        return result;
    header.version = options != NULL && options->version != 0 ? options->version : 2;
    result = weir_proxy_write(&header, bytes, sizeof bytes);
    if (result > 0)
        result = weir_filter_down(at, weir_bytes(bytes, (size_t)result));
    if (result < 0)
        return result;
    weir_filter_ready(at);
    return 0;
}

static int out_input(weir_filter_at *at, void *state, weir_view data)
{
    return weir_filter_up(at, data);
}

const weir_filter weir_proxy_out = {
    .name = "proxy-out",
    .open = out_open,
    .input = out_input,
    .output = pass_down,
};

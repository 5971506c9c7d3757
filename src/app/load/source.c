/* Where connections come from, and what they say first. */
#include "app/load/load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { SOURCES_MAX = 64, RANGE_BITS_MAX = 24 };

static bool read_address(const char *text, enum weir_transport transport, weir_address *out)
{
    struct sockaddr_in ip4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &ip4.sin_addr) == 1)
        return weir_address_from_sockaddr((const struct sockaddr *)&ip4, sizeof ip4, transport,
                                          out) == 0;
    return inet_pton(AF_INET6, text, &ip6.sin6_addr) == 1 &&
           weir_address_from_sockaddr((const struct sockaddr *)&ip6, sizeof ip6, transport, out) ==
               0;
}

/* "ADDRESS" or "ADDRESS/BITS"; of a range of IPv4 all but the first and the last. */
static int read_source(const char *text, enum weir_transport transport, struct load_source *out,
                       const struct load_why *why)
{
    char address[64];
    const char *slash = strchr(text, '/');
    size_t size = slash != NULL ? (size_t)(slash - text) : strlen(text);
    uint64_t bits = 32;

    *out = (struct load_source){.count = 1};
    snprintf(address, sizeof address, "%.*s", (int)size, text);
    if (size >= sizeof address || !read_address(address, transport, &out->first))
        return load_fail(why, WEIR_EADDRESS, "the source %s is no address of this host", text);
    if (slash == NULL)
        return 0;
    if (out->first.socket.ss_family != AF_INET ||
        weir_number_parse(slash + 1, 32 - RANGE_BITS_MAX, 30, &bits, NULL, 0) < 0)
        return load_fail(why, WEIR_EADDRESS,
                         "the source %s is no range: an IPv4 address, a slash, and 8 to 30 bits",
                         text);
    struct sockaddr_in ip4;
    memcpy(&ip4, &out->first.socket, sizeof ip4);
    uint32_t mask = ~(uint32_t)0 << (32 - bits);
    ip4.sin_addr.s_addr = htonl((ntohl(ip4.sin_addr.s_addr) & mask) + 1);
    memcpy(&out->first.socket, &ip4, sizeof ip4);
    out->count = ~mask - 1;
    return 0;
}

int load_sources_make(struct load *load, const struct load_why *why)
{
    const char *const *texts = load->options.sources;
    while (texts != NULL && texts[load->source_count] != NULL)
        load->source_count++;
    if (load->source_count == 0)
        return 0;
    if (load->source_count > SOURCES_MAX)
        return load_fail(why, WEIR_EINVALID, "at most %d sources", SOURCES_MAX);
    load->sources = weir__zalloc(load->source_count * sizeof *load->sources);
    if (load->sources == NULL)
        return load_fail(why, WEIR_ENOMEM, "out of memory");
    for (unsigned i = 0; i < load->source_count; i++) {
        int result = read_source(
            texts[i], load_is_dgram(&load->options) ? WEIR_TRANSPORT_UDP : WEIR_TRANSPORT_TCP,
            &load->sources[i], why);
        if (result < 0)
            return result;
        load->source_sum += load->sources[i].count;
    }
    return 0;
}

const weir_address *load_source_of(const struct load_conn *conn, weir_address *out)
{
    const struct load_loop *loop = conn->loop;
    const struct load *load = loop->load;
    if (load->source_sum == 0)
        return NULL;
    uint64_t number = (uint64_t)(conn - loop->conns) * load->loop_count + loop->index;
    /* Each connect of a connection has the next address, far from its neighbours' ones. */
    uint64_t at = (number + (uint64_t)conn->turns * load->options.conns) % load->source_sum;
    unsigned i = 0;
    while (at >= load->sources[i].count)
        at -= load->sources[i++].count;
    *out = load->sources[i].first;
    if (out->socket.ss_family != AF_INET)
        return out;
    struct sockaddr_in ip4;
    memcpy(&ip4, &out->socket, sizeof ip4);
    ip4.sin_addr.s_addr = htonl(ntohl(ip4.sin_addr.s_addr) + (uint32_t)at);
    memcpy(&out->socket, &ip4, sizeof ip4);
    return out;
}

/* ---- hello ---- */

bool load_says_hello(const weir_load_options *options)
{
    if (options->plain)
        return false;
    return options->kind == WEIR_LOAD_STREAM ||
           (options->kind == WEIR_LOAD_RR &&
            (options->close || options->answer_bytes != options->request_bytes));
}

static void put(uint8_t *out, unsigned bytes, uint64_t number)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (uint8_t)(number >> 8 * i);
}

void load_hello(const struct load *load, uint8_t out[WEIR_LOAD_HELLO_BYTES])
{
    static const uint8_t asks[] = {[WEIR_LOAD_UP] = WEIR_LOAD_ASK_TAKE,
                                   [WEIR_LOAD_DOWN] = WEIR_LOAD_ASK_SEND,
                                   [WEIR_LOAD_BOTH] = WEIR_LOAD_ASK_BOTH};
    const weir_load_options *options = &load->options;
    bool stream = options->kind == WEIR_LOAD_STREAM;
    memset(out, 0, WEIR_LOAD_HELLO_BYTES);
    memcpy(out, "WEIRBNC1", 8);
    out[8] = stream ? asks[options->way] : WEIR_LOAD_ASK_ANSWER;
    out[9] = options->close;
    if (stream && options->way != WEIR_LOAD_UP)
        put(out + 10, 6, options->stream_rate);
    else
        put(out + 12, 4, options->request_bytes);
    put(out + 16, 8, stream ? options->stream_bytes : options->answer_bytes);
    put(out + 24, 8, load->id);
}

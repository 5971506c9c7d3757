/* What is sent where: URLs become addresses, and requests to each in the order of their weights. */
#include "app/load/load.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"

enum { LOOK_MS = 1000 };

int load_fail(const struct load_why *why, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (why->size != 0)
        vsnprintf(why->text, why->size, format, args);
    va_end(args);
    return error;
}

/* A URL taken apart. */
struct load_url {
    weir_address address;
    struct http_text host, target; /* as written: "example.org:8080", "/path?query" */
};

/* One URL while the plan is made. */
struct planned {
    struct load_url url;
    struct load_request request;
    uint32_t weight, group;
    int64_t current; /* of the even round robin by weight */
};

/* Whether somebody answers there: of several addresses of a name the first such is taken. */
static bool answers(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t size = sizeof error;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    bool open =
        fd >= 0 && (connect(fd, address->ai_addr, address->ai_addrlen) == 0 ||
                    (errno == EINPROGRESS && poll(&wait, 1, LOOK_MS) == 1 &&
                     getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0));
    if (fd >= 0)
        close(fd);
    return open;
}

/* Looks up "host" or "host:port" and makes an address of the answer. */
static int resolve(const char *url, struct http_text host, const char *port, bool udp,
                   weir_address *out, const struct load_why *why)
{
    struct addrinfo hints = {.ai_socktype = udp ? SOCK_DGRAM : SOCK_STREAM}, *found = NULL;
    char name[256], digits[8];
    const char *colon = memrchr(host.at, ':', host.length);
    uint64_t number;

    if (colon != NULL) {
        snprintf(digits, sizeof digits, "%.*s", (int)(host.at + host.length - colon - 1),
                 colon + 1);
        port = digits;
        host.length = (size_t)(colon - host.at);
    }
    if (host.length == 0 || host.length >= sizeof name || port == NULL)
        return load_fail(why, WEIR_EADDRESS, "%s: %s", url,
                         port == NULL ? "a port is missing: HOST:PORT" : "a host is missing");
    if (weir_number_parse(port, 1, 65535, &number, NULL, 0) < 0)
        return load_fail(why, WEIR_EADDRESS, "%s: the port is not a number from 1 to 65535", url);
    snprintf(name, sizeof name, "%.*s", (int)host.length, host.at);
    int code = getaddrinfo(name, port, &hints, &found);
    if (code != 0)
        return load_fail(why, WEIR_EADDRESS, "%s: cannot look up %s: %s", url, name,
                         gai_strerror(code));
    const struct addrinfo *take = found;
    /* Of datagrams nobody can tell without a word to the program there. localhost is 127.0.0.1, as
     * in weir_dgram_open. */
    while (udp && take != NULL && strcmp(name, "localhost") == 0 && take->ai_family != AF_INET)
        take = take->ai_next;
    while (!udp && found->ai_next != NULL && take != NULL && !answers(take))
        take = take->ai_next;
    take = take != NULL ? take : found;
    int result = weir_address_from_sockaddr(take->ai_addr, take->ai_addrlen,
                                            udp ? WEIR_TRANSPORT_UDP : WEIR_TRANSPORT_TCP, out);
    freeaddrinfo(found);
    return result < 0 ? load_fail(why, result, "%s: %s", url, weir_error_text(result)) : 0;
}

/* The part of a URL behind "scheme://" up to its path, and the path. */
static void split(const char *url, struct load_url *out)
{
    const char *host = strstr(url, "://");
    host = host != NULL ? host + 3 : url;
    size_t size = strcspn(host, "/?#");
    out->host = (struct http_text){host, size};
    out->target = (struct http_text){host + size, strcspn(host + size, "#")};
}

static int read_url(const weir_load_options *options, const char *url, struct load_url *out,
                    const struct load_why *why)
{
    struct weir_address_error error;
    bool http = options->kind == WEIR_LOAD_HTTP, dgram = load_is_dgram(options);
    bool local = strncmp(url, "unix", 4) == 0; /* no host to look up */
    int result = weir_address_parse(url, &out->address, &error);

    split(url, out);
    bool secure = strncmp(url, "https:", 6) == 0 || strncmp(url, "tls:", 4) == 0;
    if (secure && options->tls == NULL)
        return load_fail(why, WEIR_ENOTSUP, "%s: there is no TLS here", url);
    if (secure && options->unix_socket != NULL)
        return load_fail(why, WEIR_EADDRESS, "%s: unix sockets are without TLS", url);
    if (http && strncmp(url, "unix:", 5) == 0) {
        out->host = (struct http_text){"localhost", 9};
        out->target = (struct http_text){"/", 1};
    } else if (http && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        return load_fail(why, WEIR_EADDRESS, "%s: not http[s]://HOST[:PORT][/PATH]", url);
    } else if (dgram && strncmp(url, "unix-dgram:", 11) != 0 && strncmp(url, "udp://", 6) != 0) {
        return load_fail(why, WEIR_EADDRESS, "%s: not udp://HOST:PORT or unix-dgram:/PATH", url);
    } else if (!http && !dgram && strncmp(url, "unix:", 5) != 0 && strncmp(url, "tcp://", 6) != 0 &&
               strncmp(url, "tls://", 6) != 0) {
        return load_fail(why, WEIR_EADDRESS,
                         "%s: not tcp://HOST:PORT, tls://HOST:PORT or unix:/PATH", url);
    }
    if (http && out->target.length != 0 && out->target.at[0] == '?')
        return load_fail(why, WEIR_EADDRESS, "%s: write the path / before the question mark", url);
    if (http && options->unix_socket != NULL) {
        if (weir_address_parse(options->unix_socket, &out->address, &error) < 0 ||
            out->address.transport != WEIR_TRANSPORT_UNIX)
            return load_fail(why, WEIR_EADDRESS, "%s: not unix:/PATH", options->unix_socket);
        return 0;
    }
    if (result == 0 && !(out->address.flags & (WEIR_ADDRESS_LOCALHOST | WEIR_ADDRESS_ANY)))
        return 0;
    if (result < 0 && (local || (http && out->host.length == 0)))
        return load_fail(why, WEIR_EADDRESS, "%s: %s", url, error.message);
    const char *port = !http ? NULL : secure ? "443" : "80";
    result = resolve(url, out->host, port, dgram, &out->address, why);
    if (result == 0 && secure)
        out->address.scheme = WEIR_SCHEME_TLS;
    return result;
}

/* ---- requests in their order ---- */

static uint32_t divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The next of a group's URLs: each is as evenly spread as its weight allows. */
static unsigned next_of(struct planned *all, unsigned count, unsigned group, uint32_t sum)
{
    unsigned best = count;
    for (unsigned i = 0; i < count; i++) {
        if (all[i].group != group || all[i].weight == 0)
            continue;
        all[i].current += all[i].weight;
        if (best == count || all[i].current > all[best].current)
            best = i;
    }
    all[best].current -= sum;
    return best;
}

static int lay_out(const struct load *load, struct load_group *group, struct planned *all,
                   unsigned count, unsigned number, const struct load_why *why)
{
    uint32_t sum = 0, most = 0, pipeline = load->options.pipeline;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < count; i++)
        most = all[i].group == number ? divisor(all[i].weight, most) : most;
    for (unsigned i = 0; i < count; i++)
        if (all[i].group == number)
            sum += all[i].weight /= most;
    if (sum > LOAD_CYCLE_MAX)
        return load_fail(why, WEIR_EINVALID, "the weights of %s add up to more than %d",
                         group->shown, LOAD_CYCLE_MAX);
    group->cycle = sum;
    group->weight = sum * most;
    group->offsets = weir__zalloc((sum + pipeline + 1) * sizeof *group->offsets);
    group->methods = weir__zalloc(sum);
    uint32_t *order = weir__zalloc((sum + pipeline) * sizeof *order);
    for (uint32_t i = 0; order != NULL && i < sum + pipeline; i++) {
        order[i] = i < sum ? next_of(all, count, number, sum) : order[i - sum];
        bytes += all[order[i]].request.size;
    }
    group->bytes = bytes <= LOAD_BYTES_MAX ? weir__alloc(bytes) : NULL;
    if (order == NULL || group->offsets == NULL || group->methods == NULL || group->bytes == NULL) {
        weir__free(order);
        return load_fail(why, WEIR_ENOMEM,
                         "no memory for the requests (%llu bytes): a smaller body or fewer in the "
                         "pipeline",
                         (unsigned long long)bytes);
    }
    for (uint32_t i = 0; i < sum + pipeline; i++) {
        const struct load_request *request = &all[order[i]].request;
        memcpy(group->bytes + group->offsets[i], request->bytes, request->size);
        group->offsets[i + 1] = group->offsets[i] + (uint32_t)request->size;
        if (i < sum)
            group->methods[i] = request->method;
    }
    weir__free(order);
    return 0;
}

/* Deals the connections out: one to each address, and the others by weight. */
static int deal(struct load *load, const struct load_why *why)
{
    uint32_t conns = load->options.conns;
    int64_t owed[LOAD_GROUPS_MAX] = {0}, sum = 0;
    if (conns < load->group_count)
        return load_fail(why, WEIR_EINVALID, "%u connections are not enough for %u addresses",
                         conns, load->group_count);
    load->dealt = weir__alloc(conns);
    if (load->dealt == NULL)
        return load_fail(why, WEIR_ENOMEM, "out of memory for %u connections", conns);
    for (unsigned i = 0; i < load->group_count; i++)
        sum += load->groups[i].weight;
    for (uint32_t conn = 0; conn < conns; conn++) {
        unsigned best = 0;
        for (unsigned i = 0; i < load->group_count; i++) {
            owed[i] += load->groups[i].weight;
            best = owed[i] > owed[best] ? i : best;
        }
        if (conn < load->group_count)
            best = conn;
        owed[best] -= sum;
        load->dealt[conn] = (uint8_t)best;
    }
    return 0;
}

/* ---- the plan ---- */

/* What is sent when it is not HTTP: the same bytes again and again. */
static int plain_request(const weir_load_options *options, struct load_request *out,
                         const struct load_why *why)
{
    bool raw = options->kind == WEIR_LOAD_RAW;
    /* A stream's piece is lent to the connection, and is not a request. */
    out->size = raw ? options->body.size : options->request_bytes;
    out->bytes = weir__alloc(out->size);
    if (out->bytes == NULL)
        return load_fail(why, WEIR_ENOMEM, "out of memory for a request of %zu bytes", out->size);
    for (size_t i = 0; !raw && i < out->size; i++)
        out->bytes[i] = (uint8_t)("weir"[i % 4]);
    if (raw)
        memcpy(out->bytes, options->body.data, out->size);
    return 0;
}

static int find_group(struct load *load, const struct load_url *url, uint32_t *number,
                      const struct load_why *why)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    int size = weir_address_format(&url->address, text, sizeof text);
    if (size < 0)
        return load_fail(why, size, "cannot connect to %.*s", (int)url->host.length, url->host.at);
    for (*number = 0; *number < load->group_count; ++*number)
        if (strcmp(load->groups[*number].url, text) == 0)
            return 0;
    if (load->group_count == LOAD_GROUPS_MAX)
        return load_fail(why, WEIR_EINVALID, "more than %d addresses", LOAD_GROUPS_MAX);
    struct load_group *group = &load->groups[load->group_count++];
    memcpy(group->url, text, sizeof text);
    memcpy(group->shown, text, sizeof text);
    group->secure =
        url->address.scheme == WEIR_SCHEME_TLS || url->address.scheme == WEIR_SCHEME_HTTPS;
    load->secure |= group->secure;
    return 0;
}

static int plan_urls(struct load *load, struct planned *all, unsigned count,
                     const struct load_why *why)
{
    const weir_load_options *options = &load->options;
    for (unsigned i = 0; i < count; i++) {
        struct planned *one = &all[i];
        one->weight = options->weights != NULL ? options->weights[i] : 1;
        if (one->weight == 0 || one->weight > LOAD_CYCLE_MAX)
            return load_fail(why, WEIR_EINVALID, "a weight must be from 1 to %d", LOAD_CYCLE_MAX);
        int result = read_url(options, options->urls[i], &one->url, why);
        if (result == 0)
            result = find_group(load, &one->url, &one->group, why);
        if (result == 0)
            result =
                options->kind == WEIR_LOAD_HTTP
                    ? load_request_make(options, one->url.host, one->url.target, &one->request, why)
                    : plain_request(options, &one->request, why);
        if (result < 0)
            return result;
    }
    for (unsigned i = 0; i < load->group_count; i++) {
        int result = lay_out(load, &load->groups[i], all, count, i, why);
        if (result < 0)
            return result;
    }
    return deal(load, why);
}

int load_plan_make(struct load *load, const struct load_why *why)
{
    unsigned count = 0;
    while (load->options.urls != NULL && load->options.urls[count] != NULL)
        count++;
    if (count == 0)
        return load_fail(why, WEIR_EINVALID, "no URL was given");
    struct planned *all = weir__zalloc(count * sizeof *all);
    load->groups = weir__zalloc(LOAD_GROUPS_MAX * sizeof *load->groups);
    int result = all == NULL || load->groups == NULL ? load_fail(why, WEIR_ENOMEM, "out of memory")
                                                     : plan_urls(load, all, count, why);
    for (unsigned i = 0; all != NULL && i < count; i++)
        weir__free(all[i].request.bytes);
    weir__free(all);
    return result;
}

void load_plan_free(struct load *load)
{
    for (unsigned i = 0; i < load->group_count; i++) {
        weir__free(load->groups[i].bytes);
        weir__free(load->groups[i].offsets);
        weir__free(load->groups[i].methods);
    }
    weir__free(load->groups);
    weir__free(load->dealt);
    weir__free(load->sources);
}

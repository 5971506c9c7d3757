/* The PROXY protocol's header, versions 1 and 2 (haproxy, proxy-protocol.txt). Strict: what it says
 * is trusted with who a client is. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <weir/error.h>
#include <weir/proxy.h>

enum { V1_MAX = 107, V2_HEAD = 16, V2_REST_MAX = WEIR_PROXY_HEADER_MAX - V2_HEAD };
enum { TLV_CRC32C = 3 };

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                      0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* --- version 1 -------------------------------------------------------------------------------- */

struct words {
    const char *at, *end;
};

/* The next word, ended by exactly one space or by the end of the line, with a NUL; only characters
 * of numeric addresses. */
static bool word_next(struct words *words, char *out, size_t room, bool last)
{
    size_t size = 0;
    while (words->at < words->end && *words->at != ' ') {
        if (size + 1 >= room || strchr("0123456789abcdefABCDEF:.", *words->at) == NULL ||
            *words->at == '\0')
            return false;
        out[size++] = *words->at++;
    }
    out[size] = '\0';
    if (last)
        return size > 0 && words->at == words->end;
    return size > 0 && words->at++ < words->end;
}

static bool port_read(const char *text, unsigned *out)
{
    *out = 0;
    if (text[0] == '0' && text[1] != '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *out = *out * 10 + (unsigned)(*text - '0');
        if (*out > 65535)
            return false;
    }
    return true;
}

static bool host_read(const char *text, bool ip6, weir_address *out)
{
    char url[80];
    snprintf(url, sizeof url, ip6 ? "tcp://[%s]:0" : "tcp://%s:0", text);
    return (strchr(text, ':') != NULL) == ip6 && weir_address_parse(url, out, NULL) == 0;
}

static int v1_parse(const char *data, size_t size, weir_proxy_header *out)
{
    char host[2][48], port[2][8];
    unsigned ports[2];

    if (memcmp(data, "PROXY ", size < 6 ? size : 6) != 0)
        return WEIR_EPROTO;
    const char *line_end = memchr(data, '\n', size < V1_MAX ? size : V1_MAX);
    if (line_end == NULL)
        return size < V1_MAX ? 0 : WEIR_EPROTO;
    int used = (int)(line_end + 1 - data);
    if (used < 8 || line_end[-1] != '\r')
        return WEIR_EPROTO;
    struct words words = {data + 6, line_end - 1};
    size_t left = (size_t)(words.end - words.at);
    out->version = 1;
    if (left >= 7 && memcmp(words.at, "UNKNOWN", 7) == 0 && (left == 7 || words.at[7] == ' ')) {
        out->unknown = true; /* what follows is to be ignored */
        return used;
    }
    bool ip6 = left > 5 && memcmp(words.at, "TCP6 ", 5) == 0;
    if (!ip6 && (left <= 5 || memcmp(words.at, "TCP4 ", 5) != 0))
        return WEIR_EPROTO;
    words.at += 5;
    if (!word_next(&words, host[0], sizeof host[0], false) ||
        !word_next(&words, host[1], sizeof host[1], false) ||
        !word_next(&words, port[0], sizeof port[0], false) ||
        !word_next(&words, port[1], sizeof port[1], true) || !port_read(port[0], &ports[0]) ||
        !port_read(port[1], &ports[1]) || !host_read(host[0], ip6, &out->source) ||
        !host_read(host[1], ip6, &out->destination))
        return WEIR_EPROTO;
    weir_address_set_port(&out->source, ports[0]);
    weir_address_set_port(&out->destination, ports[1]);
    return used;
}

/* --- version 2 -------------------------------------------------------------------------------- */

/* CRC-32C of the header with its own four bytes taken as zero. */
static uint32_t crc32c(const uint8_t *data, size_t size, size_t skip)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= i >= skip && i < skip + 4 ? 0 : data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

static bool extensions_good(const uint8_t *data, size_t at, size_t size)
{
    bool checked = false;
    while (at < size) {
        if (size - at < 3)
            return false;
        size_t length = (size_t)data[at + 1] << 8 | data[at + 2];
        if (size - at - 3 < length)
            return false;
        if (data[at] == TLV_CRC32C) {
            const uint8_t *told = data + at + 3;
            if (length != 4 || checked ||
                crc32c(data, size, at + 3) != ((uint32_t)told[0] << 24 | (uint32_t)told[1] << 16 |
                                               (uint32_t)told[2] << 8 | told[3]))
                return false;
            checked = true;
        }
        at += 3 + length;
    }
    return true;
}

static int address_read(const uint8_t *host, const uint8_t *port, int family, bool datagram,
                        weir_address *out)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    enum weir_transport transport = datagram ? WEIR_TRANSPORT_UDP : WEIR_TRANSPORT_TCP;

    switch (family) {
    case AF_INET:
        memcpy(&in4.sin_addr, host, 4);
        memcpy(&in4.sin_port, port, 2);
        return weir_address_from_sockaddr((struct sockaddr *)&in4, sizeof in4, transport, out);
    case AF_INET6:
        memcpy(&in6.sin6_addr, host, 16);
        memcpy(&in6.sin6_port, port, 2);
        return weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6, transport, out);
    default:
        memcpy(un.sun_path, host, sizeof un.sun_path);
        transport = datagram ? WEIR_TRANSPORT_UNIX_DGRAM : WEIR_TRANSPORT_UNIX;
        /* Padded with zeros: an abstract name's length is lost, one without a name has none. */
        size_t size = un.sun_path[0] == '\0' && un.sun_path[1] == '\0'
                          ? offsetof(struct sockaddr_un, sun_path)
                          : sizeof un;
        if (un.sun_path[0] == '\0' && un.sun_path[1] != '\0')
            size = offsetof(struct sockaddr_un, sun_path) + 1 +
                   strnlen(un.sun_path + 1, sizeof un.sun_path - 1);
        return weir_address_from_sockaddr((struct sockaddr *)&un, size, transport, out);
    }
}

static int v2_parse(const uint8_t *data, size_t size, weir_proxy_header *out)
{
    static const struct {
        int family;
        size_t host_bytes, bytes;
    } kinds[] = {{AF_UNSPEC, 0, 0}, {AF_INET, 4, 12}, {AF_INET6, 16, 36}, {AF_UNIX, 108, 216}};

    if (memcmp(data, signature, size < sizeof signature ? size : sizeof signature) != 0)
        return WEIR_EPROTO;
    if (size < V2_HEAD)
        return 0;
    unsigned command = data[12], kind = data[13] >> 4, protocol = data[13] & 15;
    size_t rest = (size_t)data[14] << 8 | data[15];
    if ((command != 0x20 && command != 0x21) || kind > 3 || protocol > 2 || rest > V2_REST_MAX)
        return WEIR_EPROTO;
    if (size < V2_HEAD + rest)
        return 0;
    out->version = 2;
    if (command == 0x20 || data[13] == 0) { /* whatever it carries is to be ignored */
        out->unknown = true;
        return (int)(V2_HEAD + rest);
    }
    if (kind == 0 || protocol == 0 || rest < kinds[kind].bytes)
        return WEIR_EPROTO;
    const uint8_t *hosts = data + V2_HEAD, *ports = hosts + 2 * kinds[kind].host_bytes;
    if (address_read(hosts, ports, kinds[kind].family, protocol == 2, &out->source) < 0 ||
        address_read(hosts + kinds[kind].host_bytes, ports + 2, kinds[kind].family, protocol == 2,
                     &out->destination) < 0 ||
        !extensions_good(data, V2_HEAD + kinds[kind].bytes, V2_HEAD + rest))
        return WEIR_EPROTO;
    return (int)(V2_HEAD + rest);
}

int weir_proxy_parse(const void *data, size_t size, weir_proxy_header *out)
{
    int result = 0;

    memset(out, 0, sizeof *out);
    if (size > 0)
        result =
            *(const uint8_t *)data == 'P' ? v1_parse(data, size, out) : v2_parse(data, size, out);
    if (result <= 0)
        memset(out, 0, sizeof *out);
    return result;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int family_of(const weir_address *address)
{
    return address->socket.ss_family;
}

static int v1_write(const weir_proxy_header *header, char *out, size_t size)
{
    char hosts[2][WEIR_ADDRESS_TEXT_MAX];
    const weir_address *ends[2] = {&header->source, &header->destination};
    const char *kind = "TCP4";
    int length;

    if (header->unknown) {
        length = snprintf(out, size, "PROXY UNKNOWN\r\n");
        return (size_t)length < size ? length : WEIR_ETOOBIG;
    }
    for (int i = 0; i < 2; i++) {
        weir_address bare = *ends[i];
        if (bare.transport != WEIR_TRANSPORT_TCP ||
            family_of(ends[i]) != family_of(&header->source))
            return WEIR_EINVALID;
        bare.scheme = WEIR_SCHEME_TCP;
        bare.flags = 0;                     /* numbers, not "localhost" or "*" */
        if (family_of(&bare) == AF_INET6) { /* no place for a scope */
            ((struct sockaddr_in6 *)&bare.socket)->sin6_scope_id = 0;
            kind = "TCP6";
        }
        weir_address_set_port(&bare, 0);
        if (weir_address_format(&bare, hosts[i], sizeof hosts[i]) < 0)
            return WEIR_EINVALID;
    }
    bool ip6 = family_of(&header->source) == AF_INET6; /* tcp://HOST:0, tcp://[HOST]:0 */
    int skip = ip6 ? 7 : 6, cut = ip6 ? 10 : 8;
    length = snprintf(out, size, "PROXY %s %.*s %.*s %d %d\r\n", kind, (int)strlen(hosts[0]) - cut,
                      hosts[0] + skip, (int)strlen(hosts[1]) - cut, hosts[1] + skip,
                      weir_address_port(ends[0]), weir_address_port(ends[1]));
    return (size_t)length < size ? length : WEIR_ETOOBIG;
}

/* Host and port of one end; an IPv4 host as IPv6 where the other end is that. */
static void end_write(const weir_address *address, uint8_t *host, uint8_t *port, bool ip6)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->socket;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->socket;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->socket;
    int number = weir_address_port(address);

    if (family_of(address) == AF_UNIX) {
        memcpy(host, un->sun_path, sizeof un->sun_path);
        return;
    }
    if (family_of(address) == AF_INET6) {
        memcpy(host, &in6->sin6_addr, 16);
    } else if (ip6) {
        memset(host, 0, 16);
        host[10] = host[11] = 0xff;
        memcpy(host + 12, &in4->sin_addr, 4);
    } else {
        memcpy(host, &in4->sin_addr, 4);
    }
    port[0] = (uint8_t)(number >> 8);
    port[1] = (uint8_t)number;
}

static int v2_write(const weir_proxy_header *header, uint8_t *out, size_t size)
{
    const weir_address *source = &header->source, *destination = &header->destination;
    bool is_unix = family_of(source) == AF_UNIX;
    bool ip6 = family_of(source) == AF_INET6 || family_of(destination) == AF_INET6;
    size_t host_bytes = is_unix ? 108 : ip6 ? 16 : 4;
    size_t rest = header->unknown ? 0 : 2 * host_bytes + (is_unix ? 0 : 4);

    if (size < V2_HEAD + rest)
        return WEIR_ETOOBIG;
    memcpy(out, signature, sizeof signature);
    memset(out + sizeof signature, 0, V2_HEAD + rest - sizeof signature);
    out[12] = header->unknown ? 0x20 : 0x21;
    out[15] = (uint8_t)rest;
    if (header->unknown)
        return V2_HEAD;
    bool stream =
        source->transport == WEIR_TRANSPORT_TCP || source->transport == WEIR_TRANSPORT_UNIX;
    bool datagram =
        source->transport == WEIR_TRANSPORT_UDP || source->transport == WEIR_TRANSPORT_UNIX_DGRAM;
    if ((!stream && !datagram) || source->transport != destination->transport)
        return WEIR_EINVALID;
    out[13] = (uint8_t)((is_unix ? 0x30 : ip6 ? 0x20 : 0x10) | (stream ? 1 : 2));
    uint8_t *hosts = out + V2_HEAD, *ports = hosts + 2 * host_bytes;
    end_write(source, hosts, ports, ip6);
    end_write(destination, hosts + host_bytes, ports + 2, ip6);
    return (int)(V2_HEAD + rest);
}

int weir_proxy_write(const weir_proxy_header *header, void *out, size_t size)
{
    if (header->version == 1)
        return v1_write(header, out, size);
    return header->version == 2 ? v2_write(header, out, size) : WEIR_EINVALID;
}

#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

#include <weir/error.h>

#include "net/ip.h"

/* A text is read in one pass by functions that move `at` forward or fail with a fault. */
struct reader {
    const char *text, *at, *end;
    struct ip_fault fault;
    weir_address *out;
    uint16_t default_port; /* 0: the port must be written */
    bool has_target, has_optional;
};

static int fail(struct reader *reader, const char *at, const char *message)
{
    reader->fault.at = at;
    reader->fault.message = message;
    return WEIR_EADDRESS;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_alpha(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit, or -1. */
static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether [at, end) is `word`, whatever the case of its letters. */
static bool is_word(const char *at, const char *end, const char *word)
{
    for (; at < end && *word != '\0'; at++, word++)
        if (lower(*at) != *word)
            return false;
    return at == end && *word == '\0';
}

/* Refuses what can stand nowhere in an address, before anything else is said about it. */
static int check_characters(struct reader *reader)
{
    for (const char *at = reader->text; at < reader->end; at++) {
        if (*at == ' ')
            return fail(reader, at, "no spaces in an address; in a unix path write %20");
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return fail(reader, at, "no control characters in an address");
    }
    return 0;
}

/* Reads "tcp:" and the like; `at` moves behind the colon. */
static int read_scheme(struct reader *reader)
{
    const struct weir__scheme *scheme;
    const char *colon = reader->text;

    while (colon < reader->end &&
           (is_alpha(*colon) || is_digit(*colon) || (*colon != '\0' && strchr("+-.", *colon))))
        colon++;
    if (colon == reader->end || *colon != ':' || !is_alpha(*reader->text))
        return fail(reader, reader->text, "a scheme must come first, such as tcp://");
    for (unsigned i = 0; (scheme = weir__scheme_at(i)) != NULL; i++) {
        if (!is_word(reader->text, colon, scheme->name))
            continue;
        reader->out->scheme = scheme->scheme;
        reader->out->transport = scheme->transport;
        reader->default_port = scheme->default_port;
        reader->has_target = scheme->has_target;
        reader->has_optional = scheme->has_optional;
        reader->at = colon + 1;
        return 0;
    }
    return fail(reader, reader->text,
                "unknown scheme: use tcp, tls, udp, unix, http, https, icmp or raw");
}

/* Where the host or port that begins at `at` ends at the latest. */
static const char *authority_end(const struct reader *reader, const char *at)
{
    while (at < reader->end && *at != '/' && *at != '?' && *at != '#')
        at++;
    return at;
}

/* The number in [at, end), digits only and not 0, or 0. */
static uint32_t scope_number(const char *at, const char *end)
{
    uint64_t value = 0;

    if (*at == '0' || end - at > 10)
        return 0;
    for (; at < end; at++) {
        if (!is_digit(*at))
            return 0;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    return value <= UINT32_MAX ? (uint32_t)value : 0;
}

/* The interface named in [at, end): by its name first, since a name may consist of digits. */
static int read_scope(struct reader *reader, const char *at, const char *end, uint32_t *scope)
{
    char name[IF_NAMESIZE];

    if (at == end)
        return fail(reader, at, "the name of a network interface is missing after %");
    if (end - at >= IF_NAMESIZE)
        return fail(reader, at + IF_NAMESIZE - 1, "an interface's name has at most 15 characters");
    memcpy(name, at, (size_t)(end - at));
    name[end - at] = '\0';
    *scope = if_nametoindex(name);
    if (*scope != 0)
        return 0;
    if (errno != ENODEV && errno != ENXIO && errno != EINVAL) {
        int error = errno;

        fail(reader, at, "the network interface could not be looked up");
        return -error;
    }
    *scope = scope_number(at, end);
    if (*scope == 0)
        return fail(reader, at, "no network interface of this name (see: ip link)");
    return 0;
}

/* Without a ] the mistake is where it should stand: before the port if the rest is an address. */
static const char *missing_bracket(const struct reader *reader, const char *end)
{
    struct in6_addr host;
    struct ip_fault fault;
    const char *colon = end;

    while (colon > reader->at && colon[-1] != ':')
        colon--;
    if (colon > reader->at + 1 && weir__ip6_parse(reader->at, colon - 1, &host, &fault))
        return colon - 1;
    return end;
}

/* Reads an IPv6 address; `at` stands behind the [ and moves behind the ]. */
static int read_brackets(struct reader *reader)
{
    const char *end = authority_end(reader, reader->at);
    const char *close = memchr(reader->at, ']', (size_t)(end - reader->at));
    const char *percent, *host_end;
    struct in6_addr host;
    uint32_t scope = 0;
    int error;

    if (close == NULL)
        return fail(reader, missing_bracket(reader, end), "missing ]");
    percent = memchr(reader->at, '%', (size_t)(close - reader->at));
    host_end = percent != NULL ? percent : close;
    if (!weir__ip6_parse(reader->at, host_end, &host, &reader->fault))
        return WEIR_EADDRESS;
    if (percent != NULL) {
        if (!weir__address_takes_scope(&host))
            return fail(reader, percent, "only link-local addresses (fe80::) have a scope");
        error = read_scope(reader, percent + 1, close, &scope);
        if (error < 0)
            return error;
    }
    weir__address_set_ip6(reader->out, &host, scope);
    reader->at = close + 1;
    return 0;
}

/* Says what is wrong with [at, end), which is neither a number nor localhost. */
static int refuse_name(struct reader *reader, const char *at, const char *end)
{
    for (const char *c = at; c < end; c++) {
        if (*c == '@')
            return fail(reader, c, "no user name or password in an address");
        if (!is_alpha(*c) && !is_digit(*c) && (*c == '\0' || strchr("-._", *c) == NULL))
            return fail(reader, c, "this character cannot stand in a host");
    }
    return fail(reader, at, "names need the resolver: write the address in numbers, or localhost");
}

static bool is_ip4_like(const char *at, const char *end)
{
    for (; at < end; at++)
        if (!is_digit(*at) && *at != '.')
            return false;
    return true;
}

/* Reads a host without brackets; `at` moves to the colon of the port, or to the end. */
static int read_plain_host(struct reader *reader)
{
    const char *start = reader->at, *end = authority_end(reader, start), *last;
    const char *colon = memchr(start, ':', (size_t)(end - start));

    if (memchr(start, '@', (size_t)(end - start)) != NULL)
        return refuse_name(reader, memchr(start, '@', (size_t)(end - start)), end);
    if (start == end)
        return fail(reader, start, "a host is missing; * is any address of this host");
    last = colon != NULL ? colon : end;
    if (colon != NULL && memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
        return fail(reader, start, "an IPv6 address stands in brackets, such as [::1]");
    reader->at = last;
    if (start == last || (last - start == 1 && *start == '*')) {
        weir__address_set_ip6(reader->out, &in6addr_any, 0);
        reader->out->flags = WEIR_ADDRESS_ANY;
    } else if (is_word(start, last, "localhost")) {
        weir__address_set_ip4(reader->out, (struct in_addr){htonl(INADDR_LOOPBACK)});
        reader->out->flags = WEIR_ADDRESS_LOCALHOST;
    } else if (is_ip4_like(start, last)) {
        struct in_addr host;

        if (!weir__ip4_parse(start, last, &host, &reader->fault))
            return WEIR_EADDRESS;
        weir__address_set_ip4(reader->out, host);
    } else {
        return refuse_name(reader, start, last);
    }
    return 0;
}

/* Reads ":80", or takes the scheme's default. */
static int read_port(struct reader *reader)
{
    const char *start;
    unsigned port = 0;

    if (reader->at == reader->end || *reader->at != ':') {
        if (reader->has_optional && reader->at == reader->end)
            return 0;
        if (reader->default_port == 0 && reader->at == reader->end)
            return fail(reader, reader->at, "a port is missing, such as :80");
        if (reader->at < reader->end && *reader->at != '/' && *reader->at != '?' &&
            *reader->at != '#')
            return fail(reader, reader->at, "only a colon and a port may follow the host");
        if (reader->default_port == 0)
            return fail(reader, reader->at, "a port is missing before this, such as :80");
        weir_address_set_port(reader->out, reader->default_port);
        return 0;
    }
    start = ++reader->at;
    while (reader->at < reader->end && is_digit(*reader->at)) {
        port = port * 10 + (unsigned)(*reader->at++ - '0');
        if (port > 65535)
            return fail(reader, start, "a port is at most 65535");
        if (*start == '0' && reader->at - start > 1)
            return fail(reader, start, "a leading zero in the port");
    }
    if (reader->at == start)
        return fail(reader, start, "a port is a number from 0 to 65535 (0: the kernel chooses)");
    if (reader->out->transport == WEIR_TRANSPORT_RAW && (port == 0 || port > 255))
        return fail(reader, start, "the number is an IP protocol: 1 to 255");
    weir_address_set_port(reader->out, port);
    return 0;
}

/* Checks the path and query of a URL (RFC 3986, sections 3.3 and 3.4) and notes where they are. */
static int read_target(struct reader *reader)
{
    const char *start = reader->at;

    if (start == reader->end)
        return 0;
    if (!reader->has_target || (*start != '/' && *start != '?'))
        return fail(reader, start, "nothing may follow the port");
    for (; reader->at < reader->end; reader->at++) {
        const char *at = reader->at;

        if (*at == '#')
            return fail(reader, at, "no fragment (#) in an address");
        if (*at == '%' && (reader->end - at < 3 || hex_value(at[1]) < 0 || hex_value(at[2]) < 0))
            return fail(reader, at, "two hexadecimal digits must follow %");
        if (*at != '%' && !is_alpha(*at) && !is_digit(*at) &&
            strchr("-._~!$&'()*+,;=:@/?", *at) == NULL)
            return fail(reader, at, "this character cannot stand in a URL; write its %XX code");
    }
    reader->out->target_offset = (uint32_t)(start - reader->text);
    reader->out->target_size = (uint32_t)(reader->end - start);
    return 0;
}

static int read_inet(struct reader *reader)
{
    int error;

    if (reader->end - reader->at < 2 || memcmp(reader->at, "//", 2) != 0)
        return fail(reader, reader->at, "// must follow the scheme");
    reader->at += 2;
    if (reader->at < reader->end && *reader->at == '[') {
        reader->at++;
        error = read_brackets(reader);
    } else {
        error = read_plain_host(reader);
    }
    if (error == 0)
        error = read_port(reader);
    if (error == 0)
        error = read_target(reader);
    return error;
}

/* Reads what follows "unix:"; bytes may be written as %XX. A path has at most 107 bytes, so that
 * programs which end it with a NUL can reach it too; an abstract name has as many after its NUL. */
static int read_unix(struct reader *reader)
{
    struct sockaddr_un *socket = (struct sockaddr_un *)&reader->out->socket;
    const size_t most = sizeof socket->sun_path - 1;
    bool abstract = reader->at < reader->end && *reader->at == '@';
    size_t size = 0;

    socket->sun_family = AF_UNIX;
    if (reader->end - reader->at >= 2 && memcmp(reader->at, "//", 2) == 0)
        return fail(reader, reader->at, "unix: has no host: write unix:/run/x.sock with one slash");
    if (abstract)
        reader->at++;
    if (reader->at == reader->end)
        return fail(reader, reader->at, abstract ? "a name is missing" : "a path is missing");
    while (reader->at < reader->end) {
        const char *at = reader->at++;
        char byte = *at;

        if (byte == '%') {
            if (reader->end - at < 3 || hex_value(at[1]) < 0 || hex_value(at[2]) < 0)
                return fail(reader, at, "two hexadecimal digits must follow %; % itself is %25");
            byte = (char)(hex_value(at[1]) << 4 | hex_value(at[2]));
            reader->at = at + 3;
        }
        if (byte == '\0' && !abstract)
            return fail(reader, at, "no NUL in a path");
        if (size == most)
            return fail(reader, at, "longer than a unix socket's name can be (107 bytes)");
        socket->sun_path[abstract + size++] = byte;
    }
    /* A path counts with its NUL, an abstract name with the NUL before it. */
    reader->out->socket_size = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    return 0;
}

int weir_address_parse(const char *text, weir_address *out, struct weir_address_error *error)
{
    struct reader reader = {.text = text, .at = text, .out = out};
    int result;

    memset(out, 0, sizeof *out);
    if (text == NULL)
        reader.text = reader.at = text = "";
    reader.end = text + strnlen(text, ADDRESS_TEXT_LIMIT + 1);
    if (reader.end - text > ADDRESS_TEXT_LIMIT) {
        reader.end = text + ADDRESS_TEXT_LIMIT;
        result = fail(&reader, reader.end, "longer than 8191 bytes");
    } else {
        result = check_characters(&reader);
    }
    if (result == 0)
        result = read_scheme(&reader);
    if (result == 0)
        result = weir__transport_is_unix(out->transport) ? read_unix(&reader) : read_inet(&reader);
    if (result == 0)
        return 0;
    memset(out, 0, sizeof *out);
    if (error != NULL)
        *error = (struct weir_address_error){.offset = (uint32_t)(reader.fault.at - text),
                                             .message = reader.fault.message};
    return result;
}

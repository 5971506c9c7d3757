/* The URLs of proxies. */
#include <stdio.h>
#include <string.h>

#include <weir/address.h>
#include <weir/error.h>
#include <weir/log.h>

#include "app/via/via.h"
#include "base/alloc.h"
#include "base/log.h"
#include "net/conn.h"

enum { SOCKS_PORT = 1080, HTTP_PORT = 8080, WIRE_URL_BYTES = PROXY_ASK_HOST_MAX + 16 };

struct way {
    weir_via via;
    weir_layer layers[WEIR_VIA_MAX];
    struct via_hop hops[WEIR_VIA_MAX];
    char wire_url[WIRE_URL_BYTES];
};

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A user name or a password: [at, end) with its codes undone. What it says is wrong, or NULL. */
static const char *read_secret(const char *at, const char *end, char out[PROXY_ASK_SECRET_MAX + 1])
{
    size_t size = 0;

    for (; at < end; at++) {
        int byte = (unsigned char)*at;
        if (*at == '%') {
            if (end - at < 3 || hex(at[1]) < 0 || hex(at[2]) < 0)
                return "two hexadecimal digits must follow %";
            byte = hex(at[1]) << 4 | hex(at[2]);
            at += 2;
        }
        if (byte < ' ' || byte == 0x7f) /* no proxy takes them, and in a field they end a line */
            return "a control character in user name or password";
        if (size == PROXY_ASK_SECRET_MAX)
            return "a user name, or a password, of more than 255 bytes";
        out[size++] = (char)byte;
    }
    out[size] = '\0';
    return NULL;
}

static const char *read_secrets(const char *at, const char *end, struct via_hop *hop)
{
    const char *colon = memchr(at, ':', (size_t)(end - at));
    const char *wrong = read_secret(at, colon != NULL ? colon : end, hop->user);

    if (wrong == NULL && colon != NULL)
        wrong = read_secret(colon + 1, end, hop->password);
    if (wrong == NULL && hop->user[0] == '\0')
        wrong = "an empty user name";
    if (wrong == NULL && hop->socks && hop->password[0] == '\0')
        wrong = "SOCKS5 has no user without a password (RFC 1929)";
    if (wrong == NULL && !hop->socks && strchr(hop->user, ':') != NULL)
        wrong = "a colon in the user name, which HTTP does not take (RFC 7617)";
    return wrong;
}

/* HOST[:PORT] as weir_connect takes it, checked by its parser. */
static const char *read_host(const char *at, size_t size, struct via_hop *hop)
{
    char url[WIRE_URL_BYTES + 8], name[NAME_TEXT_BYTES] = "";
    weir_address parsed;
    const char *close = memchr(at, ']', size);
    const char *last = close != NULL ? close : at;
    bool has_port = memchr(last, ':', size - (size_t)(last - at)) != NULL;
    bool brackets = size > 0 && at[0] == '[' && close != NULL;

    if (size > PROXY_ASK_HOST_MAX)
        return "longer than a host can be";
    snprintf(url, sizeof url, "tcp://%.*s", (int)size, at);
    if (!has_port)
        snprintf(url + strlen(url), 8, ":%d", hop->socks ? SOCKS_PORT : HTTP_PORT);
    int result = weir_address_parse(url, &parsed, NULL);
    if (result == WEIR_EADDRESS)
        result = address_parse_name(url, name, &parsed);
    if (result < 0 || (parsed.flags & WEIR_ADDRESS_ANY) != 0 || weir_address_port(&parsed) == 0)
        return "its host or port cannot be understood";
    size_t host_size = brackets   ? (size_t)(close - at) - 1
                       : has_port ? (size_t)((const char *)memchr(at, ':', size) - at)
                                  : size;
    memcpy(hop->host, at + brackets, host_size);
    hop->host[host_size] = '\0';
    hop->port = (uint16_t)weir_address_port(&parsed);
    return NULL;
}

/* What is wrong with a URL, or NULL. */
static const char *read_url(const char *at, size_t size, struct via_hop *hop)
{
    static const struct {
        const char *text;
        bool socks;
    } schemes[] = {{"socks5://", true}, {"socks5h://", true}, {"http://", false}};
    const char *end = at + size;
    size_t scheme = 0;

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && scheme == 0; i++) {
        size_t length = strlen(schemes[i].text);
        if (size >= length && memcmp(at, schemes[i].text, length) == 0) {
            scheme = length;
            hop->socks = schemes[i].socks;
        }
    }
    if (scheme == 0)
        return "it begins with neither socks5:// nor http://";
    at += scheme;
    if (at < end && end[-1] == '/')
        end--;
    const char *secrets = memrchr(at, '@', (size_t)(end - at));
    if (secrets != NULL) {
        const char *wrong = read_secrets(at, secrets, hop);
        if (wrong != NULL)
            return wrong;
        at = secrets + 1;
    }
    return read_host(at, (size_t)(end - at), hop);
}

static int read_urls(struct way *way, const char *urls)
{
    unsigned count = 0;

    while (urls[0] != '\0') {
        size_t size = strcspn(urls, " ");
        if (size > 0 && count == WEIR_VIA_MAX)
            return WEIR_EFULL;
        const char *wrong = size > 0 ? read_url(urls, size, &way->hops[count]) : NULL;
        if (wrong != NULL) {
            weir__log(WEIR_LOG_ERROR, WEIR_EADDRESS, 0, "the URL of proxy %u is wrong: %s",
                      count + 1, wrong);
            return WEIR_EADDRESS;
        }
        count += size > 0;
        urls += size + (urls[size] == ' ');
    }
    if (count == 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EADDRESS, 0, "no proxy is named");
    way->via.layer_count = count;
    return count > 0 ? 0 : WEIR_EADDRESS;
}

int weir_via_new(const weir_via **out, const char *urls)
{
    *out = NULL;
    struct way *way = weir__zalloc(sizeof *way);
    if (way == NULL)
        return WEIR_ENOMEM;
    int result = urls != NULL ? read_urls(way, urls) : WEIR_EINVALID;
    if (result < 0) {
        weir__free(way);
        return result;
    }
    for (unsigned i = 0; i < way->via.layer_count; i++) {
        struct via_hop *hop = &way->hops[i];
        hop->next = i + 1 < way->via.layer_count ? hop + 1 : NULL;
        way->layers[i] = (weir_layer){hop->socks ? &via_socks5 : &via_http, hop};
    }
    const struct via_hop *first = &way->hops[0];
    bool brackets = strchr(first->host, ':') != NULL;
    snprintf(way->wire_url, sizeof way->wire_url, "tcp://%s%s%s:%u", brackets ? "[" : "",
             first->host, brackets ? "]" : "", first->port);
    way->via.url = way->wire_url;
    way->via.layers = way->layers;
    *out = &way->via;
    return 0;
}

void weir_via_free(const weir_via *via)
{
    if (via == NULL)
        return;
    struct way *way = weir_container((weir_via *)(uintptr_t)via, struct way, via);
    for (unsigned i = 0; i < WEIR_VIA_MAX; i++) /* passwords do not stay in free memory */
        explicit_bzero(way->hops[i].password, sizeof way->hops[i].password);
    weir__free(way);
}

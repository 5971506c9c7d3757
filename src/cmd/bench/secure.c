#include "cmd/bench/secure.h"

#include <errno.h>
#include <string.h>

#include "cmd/localcert.h"

static bool is_secure(const char *url)
{
    return strncmp(url, "https://", 8) == 0 || strncmp(url, "tls://", 6) == 0;
}

#if WEIR_HAVE_TLS

#include <weir/tls.h>

enum { NAME_MAX_BYTES = 256, PROTOCOLS_MAX = 8 };

/* What libweir-tls says of files, and a client of failed handshakes, once a second at most. */
static int log_code;

static void log_line(const weir_log_line *line, void *arg)
{
    if (line->level == WEIR_LOG_ERROR && log_code == 0)
        log_code = line->code;
    weir_log_to_fd(line, (void *)(intptr_t)2);
}

static int no_layer(void)
{
    return log_code == -ENOENT ? EX_NOINPUT : log_code == -EACCES ? EX_NOPERM : EX_CONFIG;
}

/* The name in a URL that is no address in numbers; false: there is none. */
static bool host_of(const char *url, char out[static NAME_MAX_BYTES])
{
    weir_address address;
    const char *host = strstr(url, "://") + 3;
    size_t size = strcspn(host, ":/?#");
    if (host[0] == '[' || size == 0 || size >= NAME_MAX_BYTES)
        return false;
    memcpy(out, host, size);
    out[size] = '\0';
    return weir_address_parse(url, &address, NULL) < 0 ||
           (address.flags & WEIR_ADDRESS_LOCALHOST) != 0;
}

/* A load looks names up before it begins and connects to addresses: whose certificate is to come
 * must be said. One name for all. */
static int name_of(const struct bench *bench, char out[static NAME_MAX_BYTES], const char **name)
{
    char other[NAME_MAX_BYTES];
    unsigned secure = 0;
    *name = bench->server_name;
    if (bench->server_name != NULL)
        return EX_OK;
    for (const char *const *url = bench->load.urls; *url != NULL; url++) {
        if (!is_secure(*url))
            continue;
        bool named = host_of(*url, secure == 0 ? out : other);
        if (secure++ == 0)
            *name = named ? out : NULL;
        else if (named != (*name != NULL) || (named && strcasecmp(out, other) != 0))
            return say(EX_USAGE,
                       "bench: these URLs of TLS have several hosts: choose the name that their "
                       "certificates have (--server-name), or ask one after the other");
    }
    return EX_OK;
}

/* "h2,http/1.1" in its parts. */
static bool take_alpn(const char *text, char *room, size_t size, const char *out[PROTOCOLS_MAX + 1])
{
    unsigned count = 0;
    if (strlen(text) >= size)
        return false;
    strcpy(room, text);
    for (char *at = room, *part; (part = strsep(&at, ",")) != NULL;) {
        if (*part == '\0' || count == PROTOCOLS_MAX)
            return false;
        out[count++] = part;
    }
    out[count] = NULL;
    return true;
}

static int look(weir_conn conn, weir_load_secured *out)
{
    weir_tls_info info;
    int result = weir_tls_info_of(conn, &info);
    if (result < 0)
        return result;
    out->version = (uint16_t)info.version;
    out->resumed = info.resumed;
    out->handshake_ns = info.handshake_ns;
    snprintf(out->cipher, sizeof out->cipher, "%s", info.cipher);
    snprintf(out->group, sizeof out->group, "%s", info.group);
    snprintf(out->alpn, sizeof out->alpn, "%s", info.alpn);
    return 0;
}

static int make(struct bench *bench)
{
    static const char *const http[] = {"http/1.1", NULL};
    char name[NAME_MAX_BYTES], room[512];
    const char *protocols[PROTOCOLS_MAX + 1];
    weir_tls_client_options options = {
        .ca_file = bench->ca_file,
        .alpn = bench->load.kind == WEIR_LOAD_HTTP ? http : NULL,
        .insecure = bench->insecure,
        .no_sessions = !bench->resume,
        .limits = {.version_min = (enum weir_tls_version)bench->tls_min,
                   .version_max = (enum weir_tls_version)bench->tls_max},
        .cert = {.cert_file = bench->cert_file, .key_file = bench->key_file},
        .pins = bench->pins.count != 0 ? bench->pins.items : NULL,
    };
    int code = name_of(bench, name, &options.server_name);
    if (code != EX_OK)
        return code;
    if (bench->alpn != NULL && !take_alpn(bench->alpn, room, sizeof room, protocols))
        return say(EX_USAGE, "bench: --alpn %s: up to %d names with commas between them",
                   bench->alpn, PROTOCOLS_MAX);
    if (bench->alpn != NULL)
        options.alpn = protocols;
    weir_log_set(log_line, NULL, WEIR_LOG_WARN);
    bench->secure = weir_tls_client_new(&options);
    if (bench->secure == NULL)
        return no_layer();
    bench->load.tls = weir_tls_layer(bench->secure);
    bench->load.tls_look = look;
    return EX_OK;
}

void bench_secure_end(struct bench *bench)
{
    weir_tls_free(bench->secure);
    bench->secure = NULL;
}

int bench_serve_secure(const struct bench_certs *given, const char *urls, struct weir_tls **out)
{
    bool wanted = strstr(urls, "tls://") != NULL, named = given->certs.count != 0;
    struct localcert local;
    weir_tls_cert certs[OPTION_TEXTS_MAX];
    if (given->keys.count != 0 && given->keys.count != given->certs.count)
        return say(EX_USAGE, "bench serve: --key for each --cert, or none");
    if (named && given->local)
        return say(EX_USAGE, "--tls makes a certificate, --cert names one: not both");
    if (wanted != (named || given->local))
        return say(EX_USAGE, "bench serve: %s",
                   wanted ? "tls:// needs a certificate: --cert FILE --key FILE, or --tls"
                          : "a certificate is for --listen tls://HOST:PORT");
    if (!wanted)
        return EX_OK;
    weir_tls_server_options options = {.certs = certs, .cert_count = 1};
    if (given->local) {
        int code = localcert_make(&local);
        if (code != EX_OK)
            return code;
        certs[0] = (weir_tls_cert){.cert_file = local.cert, .key_file = local.key};
    }
    for (unsigned i = 0; i < given->certs.count; i++)
        certs[i] =
            (weir_tls_cert){.cert_file = given->certs.items[i],
                            .key_file = given->keys.count != 0 ? given->keys.items[i] : NULL};
    if (named)
        options.cert_count = given->certs.count;
    weir_log_set(log_line, NULL, WEIR_LOG_WARN);
    *out = weir_tls_server_new(&options);
    return *out != NULL ? EX_OK : no_layer();
}

const weir_layer *bench_serve_layer(struct weir_tls *tls)
{
    return weir_tls_layer(tls);
}

void bench_serve_secure_end(struct weir_tls *tls)
{
    weir_tls_free(tls);
}

#else

static int make(struct bench *bench)
{
    return say(EX_UNAVAILABLE, "bench: this weir was built without TLS");
}

void bench_secure_end(struct bench *bench)
{
}

int bench_serve_secure(const struct bench_certs *given, const char *urls, struct weir_tls **out)
{
    if (strstr(urls, "tls://") != NULL || given->local || given->certs.count != 0)
        return say(EX_UNAVAILABLE, "bench serve: this weir was built without TLS");
    return EX_OK;
}

const weir_layer *bench_serve_layer(struct weir_tls *tls)
{
    return NULL;
}

void bench_serve_secure_end(struct weir_tls *tls)
{
}

#endif

int bench_secure(struct bench *bench)
{
    unsigned secure = 0;
    bool asked = bench->ca_file != NULL || bench->cert_file != NULL || bench->key_file != NULL ||
                 bench->server_name != NULL || bench->alpn != NULL || bench->pins.count != 0 ||
                 bench->insecure || bench->resume || bench->tls_min != 0 || bench->tls_max != 0 ||
                 bench->hgrm_handshake != NULL;
    for (const char *const *url = bench->load.urls; *url != NULL; url++)
        secure += is_secure(*url);
    if (secure == 0 && asked)
        return say(EX_USAGE, "bench: options for TLS are for https:// and tls://, and no address "
                             "is one");
    if (bench->key_file != NULL && bench->cert_file == NULL)
        return say(EX_USAGE, "bench: --key without the --cert that it is for");
    if (bench->resume && bench->load.kind == WEIR_LOAD_STREAM)
        return say(EX_USAGE, "bench: a stream has one connection, and nothing to --resume");
    return secure != 0 ? make(bench) : EX_OK;
}

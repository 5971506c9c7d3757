#include "cmd/serve/secure.h"

#include "cmd/command.h"

bool secure_is_plain(const char *url)
{
    weir_address address;
    return weir_address_parse(url, &address, NULL) == 0 && address.scheme == WEIR_SCHEME_HTTP;
}

#if WEIR_HAVE_TLS

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include <weir/cert.h>
#include <weir/tls.h>

#include "cmd/localcert.h"

static bool listens_securely(const struct serve *serve)
{
    weir_address address;
    for (unsigned i = 0; i < serve->listen.count; i++)
        if ((weir_address_parse(serve->listen.items[i], &address, NULL) == 0 &&
             address.scheme == WEIR_SCHEME_HTTPS) ||
            strncmp(serve->listen.items[i], "https+", 6) == 0)
            return true;
    return false;
}

/* Browsers told to use https:// alone must not find http:// as well (RFC 6797 section 7.2). */
static int hsts_check(struct serve *serve, bool secure)
{
    unsigned plain = 0;
    for (unsigned i = 0; i < serve->listen.count; i++)
        plain += secure_is_plain(serve->listen.items[i]);
    if (serve->redirect && (!secure || plain == 0))
        return say(EX_USAGE,
                   "--redirect leads from addresses of http:// to one of https://: listen "
                   "on both");
    if (serve->hsts_days == 0)
        return EX_OK;
    if (!secure || (plain != 0 && !serve->redirect))
        return say(EX_USAGE, "--hsts is for a server of https:// alone, or one with --redirect");
    if (serve->headers.count == OPTION_TEXTS_MAX)
        return say(EX_USAGE, "too many times --header");
    snprintf(serve->hsts, sizeof serve->hsts, "Strict-Transport-Security: max-age=%u",
             serve->hsts_days * 86400);
    serve->headers.items[serve->headers.count++] = serve->hsts;
    return EX_OK;
}

int secure_check(struct serve *serve)
{
    bool secure = listens_securely(serve), named = serve->certs.count != 0;
    if (serve->keys.count > serve->certs.count)
        return say(EX_USAGE, "--key without a --cert that it is for");
    if (serve->keys.count != 0 && serve->keys.count != serve->certs.count)
        return say(EX_USAGE,
                   "%u times --cert, but %u times --key: one for each, or none when the "
                   "keys stand in the certificates' files",
                   serve->certs.count, serve->keys.count);
    if (serve->staples.count > serve->certs.count)
        return say(EX_USAGE, "--ocsp without a --cert that it is for");
    if (named && serve->tls)
        return say(EX_USAGE, "--tls makes a certificate, --cert names one: not both");
    if (secure && !named && !serve->tls)
        return say(EX_USAGE,
                   "https:// needs a certificate: --cert FILE --key FILE, or --tls, which "
                   "makes one for localhost");
    if (serve->client_ca != NULL && !secure)
        return say(EX_USAGE, "--client-ca is for addresses of https://, and none is listened on");
    if (serve->handshake_rate != 0 && !secure)
        return say(EX_USAGE, "--handshake-rate is for addresses of https://, and none is listened "
                             "on");
    if (serve->handshake_pool && !secure)
        return say(EX_USAGE, "--handshake-pool is for addresses of https://, and none is listened "
                             "on");
    if (serve->ticket_keys != NULL && !secure)
        return say(EX_USAGE, "--ticket-keys is for addresses of https://, and none is listened on");
    if (!secure && (named || serve->tls))
        return say(
            EX_USAGE,
            "%s is for addresses of https://, and none is listened on: --listen https://:443",
            named ? "--cert" : "--tls");
    return hsts_check(serve, secure);
}

static const char *staple_of(const struct serve *serve, unsigned i)
{
    const char *file = i < serve->staples.count ? serve->staples.items[i] : NULL;
    return file != NULL && strcmp(file, "none") != 0 ? file : NULL;
}

int secure_make(struct serve *serve)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    weir_tls_cert certs[OPTION_TEXTS_MAX];
    unsigned count = serve->certs.count;
    if (!serve->tls && count == 0)
        return EX_OK;
    for (unsigned i = 0; i < count; i++)
        certs[i] = (weir_tls_cert){.cert_file = serve->certs.items[i],
                                   .key_file = serve->keys.count != 0 ? serve->keys.items[i] : NULL,
                                   .ocsp_file = staple_of(serve, i)};
    if (serve->tls) {
        int code = localcert_make(&serve->local);
        if (code != EX_OK)
            return code;
        certs[0] = (weir_tls_cert){.cert_file = serve->local.cert, .key_file = serve->local.key};
        count = 1;
    }
    const weir_tls_server_options options = {
        .certs = certs,
        .cert_count = count,
        .alpn = alpn,
        .limits = {.version_min = (enum weir_tls_version)serve->tls_min},
        .peer_certs =
            serve->client_ca != NULL ? WEIR_TLS_PEER_CERTS_REQUIRE : WEIR_TLS_PEER_CERTS_NONE,
        .peer_ca_file = serve->client_ca,
        .ticket_key_file = serve->ticket_keys,
        .handshake_rate = serve->handshake_rate,
        .handshake_on_pool = serve->handshake_pool};
    serve->secure = weir_tls_server_new(&options);
    if (serve->secure == NULL) /* it was logged */
        return serve->log_code == -ENOENT   ? EX_NOINPUT
               : serve->log_code == -EACCES ? EX_NOPERM
                                            : EX_CONFIG;
    serve->layer = weir_tls_layer(serve->secure);
    return EX_OK;
}

void secure_reload(struct serve *serve)
{
    weir_log_line line = {.level = WEIR_LOG_INFO, .text = "certificates were loaded anew"};
    if (serve->secure == NULL)
        return;
    if (weir_tls_reload(serve->secure) < 0)
        line =
            (weir_log_line){.level = WEIR_LOG_WARN, .text = "the former certificates stay in use"};
    if (weir_log_level_now() >= line.level)
        weir_log_to_fd(&line, (void *)(intptr_t)STDERR_FILENO);
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* One of ours, or the link that a whole folder of mounted secrets is exchanged by. */
static bool is_ours(const struct serve *serve, const char *name)
{
    for (unsigned i = 0; i < serve->certs.count; i++)
        if (strcmp(name, name_of(serve->certs.items[i])) == 0 ||
            (i < serve->keys.count && strcmp(name, name_of(serve->keys.items[i])) == 0) ||
            (i < serve->staples.count && strcmp(name, name_of(serve->staples.items[i])) == 0))
            return true;
    return strcmp(name, "..data") == 0 ||
           (serve->ticket_keys != NULL && strcmp(name, name_of(serve->ticket_keys)) == 0);
}

static void on_settled(weir_timer *timer, void *arg)
{
    secure_reload(arg);
}

/* Certificate and key are written one after the other: so it waits until nothing more comes. */
static void on_files(weir_watch *watch, int events, void *arg)
{
    enum { SETTLE_MS = 1000 };
    struct serve *serve = arg;
    _Alignas(struct inotify_event) char buffer[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    ssize_t size;
    bool ours = false;
    while ((size = read(serve->files_fd, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const void *)(buffer + at);
            ours |= event->len == 0 || is_ours(serve, event->name);
            at += (ssize_t)(sizeof *event + event->len);
        }
    weir_poll(&serve->files, serve->files_fd, POLLIN, on_files, serve); /* each tells once */
    if (ours)
        weir_timer_start(&serve->settled, weir_after(SETTLE_MS * WEIR_MS), on_settled, serve);
}

static void folder_watch(int fd, const char *file)
{
    char folder[PATH_MAX];
    size_t size = (size_t)(name_of(file) - file);
    if (size >= sizeof folder)
        return;
    memcpy(folder, file, size);
    strcpy(folder + size, ".");
    inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE);
}

void secure_watch(struct serve *serve)
{
    serve->files_fd = -1;
    if (serve->secure == NULL || (serve->tls && serve->ticket_keys == NULL))
        return;
    serve->files_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (serve->files_fd < 0)
        return; /* HUP does it, too */
    for (unsigned i = 0; i < serve->certs.count; i++)
        folder_watch(serve->files_fd, serve->certs.items[i]);
    for (unsigned i = 0; i < serve->keys.count; i++)
        folder_watch(serve->files_fd, serve->keys.items[i]);
    for (unsigned i = 0; i < serve->staples.count; i++)
        if (staple_of(serve, i) != NULL)
            folder_watch(serve->files_fd, serve->staples.items[i]);
    if (serve->ticket_keys != NULL)
        folder_watch(serve->files_fd, serve->ticket_keys);
    weir_poll(&serve->files, serve->files_fd, POLLIN, on_files, serve);
}

void secure_end(struct serve *serve)
{
    if (serve->secure != NULL && serve->files_fd > 0)
        close(serve->files_fd);
    weir_tls_free(serve->secure);
    serve->secure = NULL;
}

void secure_banner(const struct serve *serve)
{
    weir_cert_info info;
    char until[32] = "";
    const char *file = serve->tls ? serve->local.cert : serve->certs.items[0];
    if (serve->secure == NULL || weir_cert_look(file, &info) < 0)
        return;
    time_t seconds = (time_t)info.until_s;
    struct tm parts;
    if (gmtime_r(&seconds, &parts) != NULL)
        strftime(until, sizeof until, "%Y-%m-%d", &parts);
    fprintf(stderr, "  TLS       %s, for %s, until %s%s\n",
            serve->tls_min == WEIR_TLS_1_3 ? "1.3" : "1.2 and 1.3",
            info.names[0] != '\0' ? info.names : info.subject, until,
            serve->certs.count > 1 ? ", and others" : "");
    if (serve->tls)
        fprintf(stderr,
                "  trust     %s: curl --cacert it, or for this host\n"
                "            cp it /usr/local/share/ca-certificates/weir.crt; "
                "update-ca-certificates\n",
                serve->local.ca);
}

#else

int secure_check(struct serve *serve)
{
    weir_address address;
    for (unsigned i = 0; i < serve->listen.count; i++)
        if (weir_address_parse(serve->listen.items[i], &address, NULL) == 0 &&
            address.scheme == WEIR_SCHEME_HTTPS)
            return say(EX_USAGE, "cannot listen on %s: this weir was built without TLS",
                       serve->listen.items[i]);
    if (serve->certs.count != 0 || serve->keys.count != 0 || serve->tls || serve->redirect ||
        serve->hsts_days != 0 || serve->staples.count != 0 || serve->ticket_keys != NULL ||
        serve->handshake_rate != 0 || serve->handshake_pool)
        return say(EX_USAGE, "this weir was built without TLS");
    return EX_OK;
}

int secure_make(struct serve *serve)
{
    return EX_OK;
}

void secure_watch(struct serve *serve)
{
}

void secure_reload(struct serve *serve)
{
}

void secure_end(struct serve *serve)
{
}

void secure_banner(const struct serve *serve)
{
}

#endif

/* What handshakes are made with: versions, ciphers, groups, and a context for each certificate. */
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>

#include "tls/tls.h"

/* Forward secrecy and authenticated encryption, no others (RFC 9325 section 4.2). */
static const char ciphers_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                 "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char ciphers_13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
/* No constants, for OpenSSL's macro casts that away. The first needs OpenSSL 3.5; it withstands
 * those who record now and compute later. */
static char groups_new[] = "X25519MLKEM768:X25519:P-256:P-384";
static char groups_old[] = "X25519:P-256:P-384";

static bool refuse(const char *what, const char *value)
{
    char text[TLS_TEXT];
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "TLS: %s%s%s: %s", what, value != NULL ? " " : "",
              value != NULL ? value : "", tls_error_text(text));
    return false;
}

static bool set_strength(SSL_CTX *context, const struct tls_config *config)
{
    /* A seventh option bit of the system's configuration file must not weaken what stands here: all
     * of it is said. Level 2: 112 bits, no SHA-1 in signatures, RSA from 2048 bits on. */
    SSL_CTX_set_security_level(context, 2);
    if (SSL_CTX_set_min_proto_version(context, config->version_min) != 1 ||
        SSL_CTX_set_max_proto_version(context, config->version_max) != 1)
        return refuse("version", NULL);
    const char *ciphers = config->ciphers != NULL ? config->ciphers : ciphers_12;
    if (SSL_CTX_set_cipher_list(context, ciphers) != 1)
        return refuse("no cipher in the list", ciphers);
    if (SSL_CTX_set_ciphersuites(context, ciphers_13) != 1)
        return refuse("ciphers of TLS 1.3", NULL);
    if (config->groups != NULL)
        return SSL_CTX_set1_groups_list(context, config->groups) == 1 ||
               refuse("a group is unknown in the list", config->groups);
    if (SSL_CTX_set1_groups_list(context, groups_new) == 1 ||
        SSL_CTX_set1_groups_list(context, groups_old) == 1) {
        ERR_clear_error();
        return true;
    }
    return refuse("groups", groups_old);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                       const unsigned char *offered, unsigned offered_size, void *arg)
{
    const struct tls_config *config = arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_size, config->alpn_wire, config->alpn_wire_size, offered,
                              offered_size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *tls_context_new(const struct tls_config *config)
{
    static const unsigned char session_id[] = "weir";
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(config->client ? TLS_client_method() : TLS_server_method());
    if (context == NULL) {
        refuse("no context", NULL);
        return NULL;
    }
    SSL_CTX_clear_options(context, SSL_OP_LEGACY_SERVER_CONNECT | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                       SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* An idle connection needs no buffers; and queues move. */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets keep no state */
    if (config->client && !config->no_sessions)
        tls_sessions_use(context);
    SSL_CTX_set_max_early_data(context, 0); /* which can be played again by others */
    SSL_CTX_set_max_cert_list(context, (long)config->handshake_max_bytes);
    bool fine = set_strength(context, config) &&
                (SSL_CTX_set_session_id_context(context, session_id, sizeof session_id - 1) == 1 ||
                 refuse("session", NULL)) &&
                (config->client ||
                 tls_tickets_use(context, config->peer_certs != WEIR_TLS_PEER_CERTS_NONE) ||
                 refuse("tickets", NULL));
    if (fine && config->alpn_wire_size != 0) {
        if (!config->client)
            SSL_CTX_set_alpn_select_cb(context, choose_alpn, (void *)(uintptr_t)config);
        else if (SSL_CTX_set_alpn_protos(context, config->alpn_wire, config->alpn_wire_size) != 0)
            fine = refuse("protocols", NULL); /* 0 is success here, unlike everywhere else */
    }
    if (fine)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

/* The client has named a host: its certificate takes the place of the first one's. */
static int choose_cert(SSL *ssl, int *alert, void *arg)
{
    const struct tls_loaded *loaded = arg;
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    int found = host != NULL ? tls_names_find(&loaded->names, host) : -1;
    if (found < 0)
        return SSL_TLSEXT_ERR_NOACK; /* the first one serves: the client decides what it makes of it
                                      */
    SSL_set_SSL_CTX(ssl, loaded->contexts[found]);
    return SSL_TLSEXT_ERR_OK;
}

static bool load_certs(struct tls_loaded *loaded)
{
    const struct tls_config *config = loaded->config;
    /* A handshake that a reload overtakes gives a ticket to somebody whom the former CA file let
     * in: sessions of clients that are asked who they are go on within one load only. */
    unsigned char id[SSL_MAX_SID_CTX_LENGTH];
    bool asks = config->peer_certs != WEIR_TLS_PEER_CERTS_NONE;
    if (asks && RAND_bytes(id, sizeof id) != 1)
        return refuse("session", NULL);
    for (unsigned i = 0; i < config->cert_count; i++) {
        SSL_CTX *context = loaded->contexts[i] = tls_context_new(config);
        if (context == NULL || !tls_cert_load(context, &config->certs[i], &loaded->names, i) ||
            !tls_trust_clients(context, config))
            return false;
        if (asks && SSL_CTX_set_session_id_context(context, id, sizeof id) != 1)
            return refuse("session", NULL);
        if (config->certs[i].ocsp_file != NULL)
            loaded->staples[i] = tls_staple_load(context, config->certs[i].ocsp_file);
    }
    tls_names_sort(&loaded->names);
    SSL_CTX_set_tlsext_servername_callback(loaded->contexts[0], choose_cert);
    SSL_CTX_set_tlsext_servername_arg(loaded->contexts[0], loaded);
    return true;
}

struct tls_loaded *tls_load(const struct tls_config *config)
{
    struct tls_loaded *loaded = OPENSSL_zalloc(sizeof *loaded);
    unsigned count = config->client ? 1 : config->cert_count;
    if (loaded != NULL)
        loaded->contexts = OPENSSL_zalloc(count * sizeof(SSL_CTX *));
    if (loaded != NULL)
        loaded->staples = OPENSSL_zalloc(count * sizeof(struct tls_staple *));
    if (loaded == NULL || loaded->contexts == NULL || loaded->staples == NULL) {
        if (loaded != NULL) {
            OPENSSL_free(loaded->contexts);
            OPENSSL_free(loaded->staples);
        }
        OPENSSL_free(loaded);
        weir__log(WEIR_LOG_ERROR, WEIR_ENOMEM, 0, "TLS: %s", weir_error_text(WEIR_ENOMEM));
        return NULL;
    }
    atomic_init(&loaded->refs, 1);
    tls_sessions_begin(&loaded->sessions);
    loaded->config = config;
    loaded->count = count;
    bool fine;
    if (config->client) {
        loaded->contexts[0] = tls_context_new(config);
        fine = loaded->contexts[0] != NULL && tls_trust(loaded->contexts[0], config) &&
               (config->cert_count == 0 ||
                tls_cert_load(loaded->contexts[0], &config->certs[0], &loaded->names, 0));
    } else {
        fine = load_certs(loaded);
    }
    if (fine)
        return loaded;
    tls_unref(loaded);
    return NULL;
}

struct tls_loaded *tls_current(weir_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    struct tls_loaded *loaded = tls->current;
    atomic_fetch_add_explicit(&loaded->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&tls->lock);
    return loaded;
}

void tls_unref(struct tls_loaded *loaded)
{
    if (loaded == NULL || atomic_fetch_sub_explicit(&loaded->refs, 1, memory_order_acq_rel) != 1)
        return;
    tls_sessions_end(&loaded->sessions);
    for (unsigned i = 0; i < loaded->count; i++) {
        SSL_CTX_free(loaded->contexts[i]);
        tls_staple_free(loaded->staples[i]);
    }
    OPENSSL_free(loaded->staples);
    tls_names_free(&loaded->names);
    OPENSSL_free(loaded->contexts);
    OPENSSL_free(loaded);
}

int weir_tls_reload(weir_tls *tls)
{
    if (tls == NULL)
        return WEIR_EINVALID;
    struct tls_tickets keys = {.count = 0};
    struct tls_loaded *fresh = NULL;
    if (tls_tickets_read(&tls->config, &keys))
        fresh = tls_load(&tls->config);
    if (fresh == NULL) {
        OPENSSL_cleanse(&keys, sizeof keys);
        return WEIR_EINVALID;
    }
    pthread_mutex_lock(&tls->lock);
    struct tls_loaded *former = tls->current;
    tls->current = fresh;
    if (tls->config.peer_certs != WEIR_TLS_PEER_CERTS_NONE)
        OPENSSL_cleanse(&tls->tickets, sizeof tls->tickets); /* given to whom may be nobody now */
    memcpy(tls->tickets.file_keys, keys.file_keys, sizeof keys.file_keys);
    tls->tickets.file_count = keys.file_count;
    pthread_mutex_unlock(&tls->lock);
    OPENSSL_cleanse(&keys, sizeof keys);
    tls_unref(former);
    return 0;
}

static weir_tls *tls_made(weir_tls *tls, bool fine)
{
    if (fine && tls_tickets_read(&tls->config, &tls->tickets))
        tls->current = tls_load(&tls->config);
    if (tls->current != NULL)
        return tls;
    weir_tls_free(tls);
    return NULL;
}

static weir_tls *tls_new(void)
{
    weir_tls *tls = OPENSSL_zalloc(sizeof *tls);
    if (tls == NULL) {
        weir__log(WEIR_LOG_ERROR, WEIR_ENOMEM, 0, "TLS: %s", weir_error_text(WEIR_ENOMEM));
        return NULL;
    }
    pthread_mutex_init(&tls->lock, NULL);
    atomic_init(&tls->refs, 1);
    tls->jobs_most = TLS_JOBS_MAX;
    tls->layer = (weir_layer){&tls_filter, tls};
    return tls;
}

weir_tls *weir__tls_server_new(const weir_tls_server_options *options, size_t size)
{
    weir_tls_server_options known = {0};
    if (options != NULL)
        memcpy(&known, options, size < sizeof known ? size : sizeof known);
    weir_tls *tls = tls_new();
    return tls != NULL ? tls_made(tls, tls_config_server(&tls->config, &known)) : NULL;
}

weir_tls *weir__tls_client_new(const weir_tls_client_options *options, size_t size)
{
    weir_tls_client_options known = {0};
    if (options != NULL)
        memcpy(&known, options, size < sizeof known ? size : sizeof known);
    weir_tls *tls = tls_new();
    return tls != NULL ? tls_made(tls, tls_config_client(&tls->config, &known)) : NULL;
}

void weir_tls_free(weir_tls *tls)
{
    if (tls == NULL || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
        return;
    tls_unref(tls->current);
    tls_config_free(&tls->config);
    pthread_mutex_destroy(&tls->lock);
    OPENSSL_clear_free(tls, sizeof *tls); /* the tickets' keys are in it */
}

const weir_layer *weir_tls_layer(weir_tls *tls)
{
    return tls != NULL ? &tls->layer : NULL;
}

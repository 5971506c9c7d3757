/* A client's side: whom it trusts, and who the server must be. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls/tls.h"

enum { DEPTH_MAX = 10 };

static bool trust_file(X509_STORE *store, const char *file)
{
    struct tls_pem pem;
    int found;
    unsigned count = 0;
    bool fine = true;
    if (!tls_pem_open(&pem, file))
        return false;
    while (fine && (found = tls_pem_next(&pem)) != 0) {
        X509 *cert = found > 0 && tls_pem_is_cert(&pem) ? tls_pem_cert(&pem) : NULL;
        fine = found > 0 && (cert != NULL || !tls_pem_is_cert(&pem));
        if (cert != NULL && X509_STORE_add_cert(store, cert) != 1) {
            char text[TLS_TEXT];
            weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s, line %u: %s", file, pem.block_line,
                      tls_error_text(text));
            fine = false;
        }
        count += cert != NULL;
        X509_free(cert);
    }
    tls_pem_close(&pem);
    if (fine && count == 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "%s: there is no certificate in it (no line -----BEGIN CERTIFICATE-----)", file);
    return fine && count != 0;
}

bool tls_trust(SSL_CTX *context, const struct tls_config *config)
{
    tls_pins_use(context, config);
    if (config->insecure && config->pin_count != 0) {
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "TLS: of servers' certificates nothing but the key is looked at (.insecure)");
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        return true;
    }
    if (config->insecure) {
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "TLS: servers' certificates are not verified (.insecure): whoever stands between "
                  "can read and change everything");
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        return true;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(context, DEPTH_MAX);
    if (config->ca_file != NULL)
        return trust_file(SSL_CTX_get_cert_store(context), config->ca_file);
    if (SSL_CTX_set_default_verify_paths(context) == 1)
        return true;
    char text[TLS_TEXT];
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "TLS: whom the system trusts: %s",
              tls_error_text(text));
    return false;
}

bool tls_trust_clients(SSL_CTX *context, const struct tls_config *config)
{
    int mode = SSL_VERIFY_PEER;
    if (config->peer_certs == WEIR_TLS_PEER_CERTS_NONE)
        return true;
    if (config->peer_certs == WEIR_TLS_PEER_CERTS_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, NULL);
    SSL_CTX_set_verify_depth(context, DEPTH_MAX);
    if (!trust_file(SSL_CTX_get_cert_store(context), config->ca_file))
        return false;
    STACK_OF(X509_NAME) *issuers = SSL_load_client_CA_file(config->ca_file);
    if (issuers != NULL) /* those whom a client may choose its certificate by */
        SSL_CTX_set_client_CA_list(context, issuers);
    ERR_clear_error();
    return true;
}

static bool is_number(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

bool tls_name_take(char *name)
{
    size_t size = strlen(name);
    if (name[0] == '\0' || name[0] == '.') /* OpenSSL takes that for every name below */
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f || name[i] == '*')
            return false;
    if (name[size - 1] == '.')
        name[size - 1] = '\0';
    return true;
}

int tls_expect(SSL *ssl, weir_filter_at *at, const struct tls_config *config)
{
    char host[TLS_HOST_MAX];
    const char *name = config->server_name;
    if (name == NULL) {
        int result = weir_filter_host(at, host, sizeof host);
        if (result < 0 && config->insecure)
            return 0;
        if (result < 0) {
            weir__log(
                WEIR_LOG_ERROR, result, weir_filter_conn(at),
                "TLS: the connection's URL names no host that a certificate could be for: set "
                ".server_name");
            return WEIR_EINVALID;
        }
        name = host;
        if (!tls_name_take(host)) {
            weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, weir_filter_conn(at),
                      "TLS: \"%s\" in the connection's URL is no host's name", host);
            return WEIR_EINVALID;
        }
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool number = is_number(name);
    /* What a certificate's subject is called is no name of a host (RFC 9525 section 2). */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    int done = number ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
                      : X509_VERIFY_PARAM_set1_host(param, name, 0);
    /* An address is not to be named to the server (RFC 6066 section 3). */
    if (done == 1 && !number)
        done = (int)SSL_set_tlsext_host_name(ssl, (char *)(uintptr_t)name);
    if (done == 1)
        return 0;
    char text[TLS_TEXT];
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, weir_filter_conn(at), "TLS: the name %s: %s", name,
              tls_error_text(text));
    return WEIR_EINVALID;
}

/* A certificate with its chain and its key: read, looked at, and put into a context. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tls/tls.h"

enum { CHAIN_MAX = 16, NAME_TEXT = 256 };

struct pair {
    const weir_tls_cert *files;
    X509 *certs[CHAIN_MAX]; /* our own, then its issuers */
    unsigned lines[CHAIN_MAX];
    unsigned count;
    EVP_PKEY *key;
    unsigned key_line;
};

static const char *name_text(const X509_NAME *name, char out[static NAME_TEXT])
{
    BIO *bio = BIO_new(BIO_s_mem());
    int size = -1;
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
        size = BIO_read(bio, out, NAME_TEXT - 1);
    BIO_free(bio);
    out[size > 0 ? size : 0] = '\0';
    return out;
}

static bool complain(const char *file, unsigned line, const char *what)
{
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s, line %u: %s", file, line, what);
    return false;
}

static bool certs_read(struct pair *pair)
{
    struct tls_pem pem;
    int found;
    bool keys = false, fine = true;
    if (!tls_pem_open(&pem, pair->files->cert_file))
        return false;
    while (fine && (found = tls_pem_next(&pem)) != 0) {
        fine = found > 0;
        keys |= fine && tls_pem_is_key(&pem);
        if (!fine || !tls_pem_is_cert(&pem))
            continue;
        if (pair->count == CHAIN_MAX) {
            fine = complain(pem.file, pem.block_line, "more than 16 certificates in a chain");
            break;
        }
        pair->lines[pair->count] = pem.block_line;
        pair->certs[pair->count] = tls_pem_cert(&pem);
        fine = pair->certs[pair->count] != NULL;
        pair->count += fine;
    }
    tls_pem_close(&pem);
    if (!fine || pair->count != 0)
        return fine;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s: there is no certificate in it%s",
              pair->files->cert_file,
              keys ? ", but a key: are certificate and key exchanged?"
                   : " (no line -----BEGIN CERTIFICATE-----); PEM is needed, not DER or PKCS#12");
    return false;
}

/* A key that others can read is no secret. */
static void key_seen(const char *file)
{
    struct stat status;
    if (stat(file, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & S_IROTH) != 0)
        weir__log(WEIR_LOG_WARN, 0, 0, "%s: everybody on this host can read the key: chmod 600 it",
                  file);
}

static bool key_read(struct pair *pair)
{
    const char *file = pair->files->key_file;
    struct tls_pem pem;
    int found = 0;
    if (!tls_pem_open(&pem, file))
        return false;
    while (pair->key == NULL && (found = tls_pem_next(&pem)) > 0) {
        if (!tls_pem_is_key(&pem))
            continue;
        pair->key_line = pem.block_line;
        pair->key = tls_pem_key(&pem);
        if (pair->key == NULL)
            break;
    }
    tls_pem_close(&pem);
    if (pair->key == NULL && found == 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "%s: there is no key in it (no line -----BEGIN PRIVATE KEY-----)", file);
    if (pair->key != NULL)
        key_seen(file);
    return pair->key != NULL;
}

static void time_told(const struct pair *pair, const char *what, const ASN1_TIME *when)
{
    char text[64] = "";
    BIO *bio = BIO_new(BIO_s_mem());
    int size = bio != NULL && ASN1_TIME_print(bio, when) ? BIO_read(bio, text, sizeof text - 1) : 0;
    BIO_free(bio);
    text[size > 0 ? size : 0] = '\0';
    weir__log(WEIR_LOG_WARN, 0, 0, "%s, line %u: the certificate %s (%s): clients will refuse it",
              pair->files->cert_file, pair->lines[0], what, text);
}

/* Whether the system knows the issuer of what the file ends with. */
static bool issuer_known(X509 *last)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_LOOKUP *folder =
        store != NULL ? X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir()) : NULL;
    X509 *issuer = NULL;
    bool known = false;
    if (folder != NULL && context != NULL &&
        X509_LOOKUP_add_dir(folder, NULL, X509_FILETYPE_DEFAULT) == 1 &&
        X509_STORE_CTX_init(context, store, last, NULL) == 1)
        known = X509_STORE_CTX_get1_issuer(&issuer, context, last) == 1;
    X509_free(issuer);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    ERR_clear_error();
    return known;
}

/* What is no reason not to serve: a clock may be wrong, a root may be private. */
static void warn(const struct pair *pair)
{
    char issuer[NAME_TEXT];
    if (X509_cmp_current_time(X509_get0_notAfter(pair->certs[0])) < 0)
        time_told(pair, "has expired", X509_get0_notAfter(pair->certs[0]));
    if (X509_cmp_current_time(X509_get0_notBefore(pair->certs[0])) > 0)
        time_told(pair, "is not valid yet", X509_get0_notBefore(pair->certs[0]));
    for (unsigned i = 0; i + 1 < pair->count; i++) {
        if (X509_check_issued(pair->certs[i + 1], pair->certs[i]) == X509_V_OK)
            continue;
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "%s, line %u: this certificate has not issued the one before it (line %u), whose "
                  "issuer is %s: the chain is out of order or incomplete",
                  pair->files->cert_file, pair->lines[i + 1], pair->lines[i],
                  name_text(X509_get_issuer_name(pair->certs[i]), issuer));
        return;
    }
    X509 *last = pair->certs[pair->count - 1];
    if (X509_check_issued(last, last) != X509_V_OK && !issuer_known(last))
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "%s, line %u: the issuer of this certificate, %s, is neither behind it nor among "
                  "those that this system trusts: unless clients have it, the chain is incomplete",
                  pair->files->cert_file, pair->lines[pair->count - 1],
                  name_text(X509_get_issuer_name(last), issuer));
}

static bool use(SSL_CTX *context, const struct pair *pair)
{
    char text[TLS_TEXT];
    const char *file = pair->files->cert_file;
    ERR_clear_error();
    if (X509_check_private_key(pair->certs[0], pair->key) != 1) {
        ERR_clear_error();
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "%s, line %u: this key does not match the certificate in %s, line %u",
                  pair->files->key_file, pair->key_line, file, pair->lines[0]);
        return false;
    }
    if (SSL_CTX_use_certificate(context, pair->certs[0]) != 1)
        return complain(file, pair->lines[0], tls_error_text(text));
    if (SSL_CTX_use_PrivateKey(context, pair->key) != 1)
        return complain(pair->files->key_file, pair->key_line, tls_error_text(text));
    for (unsigned i = 1; i < pair->count; i++)
        if (SSL_CTX_add1_chain_cert(context, pair->certs[i]) != 1)
            return complain(file, pair->lines[i], tls_error_text(text));
    return true;
}

bool tls_cert_load(SSL_CTX *context, const weir_tls_cert *files, struct tls_names *names,
                   unsigned index)
{
    struct pair pair = {.files = files};
    bool fine = certs_read(&pair) && key_read(&pair) && use(context, &pair);
    if (fine)
        warn(&pair);
    if (fine && !tls_names_add(names, pair.certs[0], index)) {
        weir__log(WEIR_LOG_ERROR, WEIR_ENOMEM, 0, "TLS: %s", weir_error_text(WEIR_ENOMEM));
        fine = false;
    }
    for (unsigned i = 0; i < pair.count; i++)
        X509_free(pair.certs[i]);
    EVP_PKEY_free(pair.key);
    return fine;
}

/* The keys that session tickets are sealed with: one for all loops, a new one each hour, those that
 * are not three hours old still accepted. A key that was dropped can open no recorded connection of
 * TLS 1.2 any more. Or those of a file, which several processes share and somebody else renews. The
 * sealing itself is OpenSSL's (RFC 5077 section 4). */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "tls/tls.h"

static const weir_time seals_ns = 3600 * WEIR_S; /* so long a key is the newest */
enum { LIFE_S = 7200 }; /* of a ticket: that of a key, less the time in which it seals */

/* Each loop has the time at which its turn began: what another one has made since is from later. */
static weir_time age(weir_time since, weir_time now)
{
    int64_t passed = (int64_t)(now - since);
    return passed > 0 ? (weir_time)passed : 0;
}

/* A file has keys of 80 bytes, as nginx's files of one key are: name, key of the MAC, key of the
 * cipher. */
enum { FILE_NAME = TLS_TICKET_NAME, FILE_MAC = 32, FILE_CIPHER = 32 };
enum { FILE_KEY = FILE_NAME + FILE_MAC + FILE_CIPHER };

static bool file_keys(const struct tls_file *file, struct tls_tickets *out)
{
    static const unsigned char zeroes[FILE_KEY - FILE_NAME];
    const unsigned char *at = file->data;
    for (size_t left = file->size; left != 0; left -= FILE_KEY, at += FILE_KEY) {
        struct tls_ticket_key *key = &out->file_keys[out->file_count];
        if (memcmp(at + FILE_NAME, zeroes, sizeof zeroes) == 0) {
            weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s: key %u is nothing but zeroes",
                      file->name, out->file_count + 1);
            return false;
        }
        memcpy(key->name, at, FILE_NAME);
        memcpy(key->mac, at + FILE_NAME, FILE_MAC);
        memcpy(key->cipher, at + FILE_NAME + FILE_MAC, FILE_CIPHER);
        out->file_count++;
    }
    return true;
}

bool tls_tickets_read(const struct tls_config *config, struct tls_tickets *out)
{
    struct tls_file file = {.name = config->ticket_key_file,
                            .most = TLS_TICKET_FILE_KEYS << 10,
                            .level = WEIR_LOG_ERROR,
                            .secret = true};
    if (config->ticket_key_file == NULL)
        return true;
    if (!tls_file_read(&file, "ticket keys"))
        return false;
    bool fits = file.size != 0 && file.size % FILE_KEY == 0 &&
                file.size <= TLS_TICKET_FILE_KEYS * (size_t)FILE_KEY;
    if (!fits)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "%s: %zu bytes are not 1 to 16 keys of 80 bytes each; openssl rand 80 makes one",
                  file.name, file.size);
    fits = fits && file_keys(&file, out);
    tls_file_close(&file);
    return fits;
}

/* With the lock held. */
static bool renew(struct tls_tickets *tickets, weir_time now)
{
    struct tls_ticket_key fresh;
    while (tickets->count != 0 &&
           age(tickets->keys[tickets->count - 1].since, now) >= TLS_TICKET_KEYS * seals_ns)
        OPENSSL_cleanse(&tickets->keys[--tickets->count], sizeof fresh);
    if (tickets->count != 0 && age(tickets->keys[0].since, now) < seals_ns)
        return true;
    if (RAND_bytes(fresh.name, sizeof fresh.name) != 1 ||
        RAND_priv_bytes(fresh.cipher, sizeof fresh.cipher) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof fresh.mac) != 1)
        return false;
    fresh.since = now;
    memmove(&tickets->keys[1], &tickets->keys[0], (TLS_TICKET_KEYS - 1) * sizeof fresh);
    tickets->keys[0] = fresh;
    tickets->count += tickets->count < TLS_TICKET_KEYS;
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return true;
}

/* The newest key to seal with, or the one of that name. Its place from the newest, or -1. */
static int key_get(weir_tls *tls, const unsigned char *name, struct tls_ticket_key *out)
{
    struct tls_tickets *tickets = &tls->tickets;
    const struct tls_ticket_key *keys = tickets->file_keys;
    int found = -1;
    pthread_mutex_lock(&tls->lock);
    unsigned count = tickets->file_count;
    if (count == 0 && renew(tickets, weir_now())) {
        keys = tickets->keys;
        count = tickets->count;
    }
    for (unsigned i = 0; i < count && found < 0; i++)
        if (name == NULL || memcmp(keys[i].name, name, TLS_TICKET_NAME) == 0)
            found = (int)i;
    if (found >= 0)
        *out = keys[found];
    pthread_mutex_unlock(&tls->lock);
    return found;
}

static bool mac_set(EVP_MAC_CTX *mac, struct tls_ticket_key *key)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3). 0: no ticket, or none that is known: a full handshake.
 */
static int key_wanted(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int sealing)
{
    const struct tls_state *s = SSL_get_app_data(ssl);
    struct tls_ticket_key key;
    int place = key_get(s->tls, sealing ? NULL : name, &key), result = 0;
    if (place < 0)
        return 0;
    if (sealing) {
        memcpy(name, key.name, sizeof key.name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
            EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
            mac_set(mac, &key))
            result = 1;
    } else if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
               mac_set(mac, &key)) {
        /* 2: a new one is given: of an older key, and where a ticket is for one use (RFC 8446
         * appendix C.4). */
        result = place > 0 || SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return result;
}

/* --- clients that have certificates ------------------------------------------------------------*/

/* A ticket that was given for another one tells when the first handshake was, a whole one: TLS 1.3
 * would let a session go on from ticket to ticket for ever. */
static int ticket_made(SSL *ssl, void *arg)
{
    SSL_SESSION *session = SSL_get_session(ssl);
    weir_time began = weir_now();
    void *data = NULL;
    size_t size = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &size) == 1 && size == sizeof began)
        return 1;
    return SSL_SESSION_set1_ticket_appdata(session, &began, sizeof began);
}

/* The chain is not in a ticket, the client's own certificate is. */
static bool is_trusted_yet(SSL *ssl, SSL_SESSION *session)
{
    X509 *cert = SSL_SESSION_get0_peer(session);
    weir_time began, life_ns = (weir_time)SSL_CTX_get_timeout(SSL_get_SSL_CTX(ssl)) * WEIR_S;
    void *data = NULL;
    size_t size = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &size) != 1 || size != sizeof began)
        return false;
    memcpy(&began, data, sizeof began);
    return age(began, weir_now()) < life_ns &&
           (cert == NULL || (X509_cmp_current_time(X509_get0_notBefore(cert)) < 0 &&
                             X509_cmp_current_time(X509_get0_notAfter(cert)) > 0));
}

/* SSL_CTX_set_session_ticket_cb(3). What is ignored leads to a whole handshake. */
static SSL_TICKET_RETURN ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                       size_t name_size, SSL_TICKET_STATUS status, void *arg)
{
    bool opened = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
    if (!opened || !is_trusted_yet(ssl, session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

bool tls_tickets_use(SSL_CTX *context, bool peer_certs)
{
    SSL_CTX_set_timeout(context, LIFE_S);
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, key_wanted) == 1 &&
           (!peer_certs ||
            SSL_CTX_set_session_ticket_cb(context, ticket_made, ticket_opened, NULL) == 1);
}

/* Pinning: keys that a server must have, whoever has issued its certificate. And what insecure
 * clients look at: nothing, or those keys alone. */
#include <string.h>

#include "tls/tls.h"

static const char prefix[] = "sha256//";

bool tls_pin_read(const char *text, unsigned char out[static TLS_PIN])
{
    enum { TEXT = 44 }; /* base64 of 32 bytes, with one '=' */
    unsigned char bytes[TLS_PIN + 1];
    size_t skip = sizeof prefix - 1;
    if (strncmp(text, prefix, skip) != 0 || strlen(text + skip) != TEXT ||
        text[skip + TEXT - 1] != '=' || text[skip + TEXT - 2] == '=' ||
        EVP_DecodeBlock(bytes, (const unsigned char *)text + skip, TEXT) != TLS_PIN + 1)
        return false;
    memcpy(out, bytes, TLS_PIN);
    return true;
}

/* Whether the key of a certificate is one of them (RFC 7469 section 2.4). */
static bool is_pinned(const struct tls_config *config, X509 *cert)
{
    unsigned char digest[TLS_PIN], *der = NULL;
    int size = cert != NULL ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : -1;
    bool found = false;
    if (size > 0 && EVP_Digest(der, (size_t)size, digest, NULL, EVP_sha256(), NULL) == 1)
        for (unsigned i = 0; i < config->pin_count && !found; i++)
            found = memcmp(config->pins[i], digest, sizeof digest) == 0;
    OPENSSL_free(der);
    return found;
}

/* SSL_CTX_set_cert_verify_callback(3). */
static int check(X509_STORE_CTX *store, void *arg)
{
    const struct tls_config *config = arg;
    if (!config->insecure && X509_verify_cert(store) != 1)
        return 0;
    if (config->pin_count == 0)
        return 1;
    /* Of a chain that nobody has verified the first one alone is proven to be the server's. */
    STACK_OF(X509) *chain = config->insecure ? NULL : X509_STORE_CTX_get0_chain(store);
    bool found = chain == NULL && is_pinned(config, X509_STORE_CTX_get0_cert(store));
    for (int i = 0; chain != NULL && i < sk_X509_num(chain) && !found; i++)
        found = is_pinned(config, sk_X509_value(chain, i));
    if (!found)
        X509_STORE_CTX_set_error(store, TLS_NOT_PINNED);
    return found;
}

void tls_pins_use(SSL_CTX *context, const struct tls_config *config)
{
    if (config->pin_count != 0 || config->insecure)
        SSL_CTX_set_cert_verify_callback(context, check, (void *)(uintptr_t)config);
}

/* What a CA says about a server's certificate (OCSP, RFC 6960), stapled to it in the handshake
 * (RFC 6066 section 8). It comes from a file, which somebody else renews; what is wrong with it is
 * a warning, for a server that says nothing is better than none. */
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <string.h>

#include "tls/tls.h"

enum { STAPLE_MAX = 64 << 10, SKEW_S = 300, DAY_S = 86400 };

struct tls_staple {
    struct tls_file file;
    ASN1_GENERALIZEDTIME *from, *until;
    atomic_bool told; /* that it is not sent, and why */
};

static bool doubt(const char *file, const char *what)
{
    weir__log(WEIR_LOG_WARN, WEIR_EINVALID, 0, "%s: %s: no OCSP answer is stapled", file, what);
    return false;
}

/* RFC 6960 section 4.1.1: by hashes of the issuer's name and key, and the number. Without the
 * issuer's certificate its name has to do. */
static bool is_about(OCSP_CERTID *id, X509 *cert, X509 *issuer)
{
    ASN1_OCTET_STRING *name_hash, *key_hash;
    ASN1_OBJECT *kind;
    ASN1_INTEGER *number;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size;
    if (OCSP_id_get0_info(&name_hash, &kind, &key_hash, &number, id) != 1 ||
        ASN1_INTEGER_cmp(number, X509_get0_serialNumber(cert)) != 0)
        return false;
    const EVP_MD *md = EVP_get_digestbyobj(kind);
    if (md == NULL || X509_NAME_digest(X509_get_issuer_name(cert), md, digest, &size) != 1 ||
        (unsigned)ASN1_STRING_length(name_hash) != size ||
        memcmp(ASN1_STRING_get0_data(name_hash), digest, size) != 0)
        return false;
    return issuer == NULL || (X509_pubkey_digest(issuer, md, digest, &size) == 1 &&
                              (unsigned)ASN1_STRING_length(key_hash) == size &&
                              memcmp(ASN1_STRING_get0_data(key_hash), digest, size) == 0);
}

/* Signed by the issuer, or by somebody whom it has certified for that. */
static bool is_signed(OCSP_BASICRESP *answer, X509 *issuer)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *certs = sk_X509_new_null();
    bool fine = store != NULL && certs != NULL && sk_X509_push(certs, issuer) > 0 &&
                X509_STORE_add_cert(store, issuer) == 1 &&
                X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
                OCSP_basic_verify(answer, certs, store, 0) == 1;
    sk_X509_free(certs);
    X509_STORE_free(store);
    return fine;
}

static OCSP_SINGLERESP *part_about(OCSP_BASICRESP *answer, X509 *cert, X509 *issuer)
{
    for (int i = 0; i < OCSP_resp_count(answer); i++) {
        OCSP_SINGLERESP *part = OCSP_resp_get0(answer, i);
        /* The function takes no constant, and changes nothing. */
        if (is_about((OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(part), cert, issuer))
            return part;
    }
    return NULL;
}

static bool answer_look(struct tls_staple *staple, OCSP_BASICRESP *answer, X509 *cert, X509 *issuer)
{
    ASN1_GENERALIZEDTIME *from, *until;
    const char *file = staple->file.name;
    int why;
    OCSP_SINGLERESP *part = part_about(answer, cert, issuer);
    if (part == NULL)
        return doubt(file, "the answer is about another certificate");
    int status = OCSP_single_get0_status(part, &why, NULL, &from, &until);
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return doubt(file, status == V_OCSP_CERTSTATUS_REVOKED ? "the certificate is revoked"
                                                               : "the CA does not know of the "
                                                                 "certificate");
    if (from == NULL || until == NULL)
        return doubt(file, "the answer does not tell when it ends (nextUpdate)");
    if (issuer != NULL && !is_signed(answer, issuer))
        return doubt(file, "the answer is not signed by the certificate's issuer");
    if (issuer == NULL)
        weir__log(WEIR_LOG_INFO, 0, 0,
                  "%s: the answer's signature was not looked at: the issuer is not in the "
                  "certificate's file",
                  file);
    staple->from = ASN1_STRING_dup(from);
    staple->until = ASN1_STRING_dup(until);
    return (staple->from != NULL && staple->until != NULL) ||
           doubt(file, weir_error_text(WEIR_ENOMEM));
}

static bool parse(struct tls_staple *staple, X509 *cert, X509 *issuer)
{
    const unsigned char *at = staple->file.data, *end = at + staple->file.size;
    const char *file = staple->file.name;
    OCSP_RESPONSE *whole = d2i_OCSP_RESPONSE(NULL, &at, (long)staple->file.size);
    OCSP_BASICRESP *answer = NULL;
    bool fine = false;
    if (whole == NULL || at != end)
        doubt(file, "this is no answer of an OCSP responder in DER");
    else if (OCSP_response_status(whole) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        doubt(file, "the responder has refused to answer");
    else if ((answer = OCSP_response_get1_basic(whole)) == NULL)
        doubt(file, "the answer is of an unknown kind");
    else
        fine = answer_look(staple, answer, cert, issuer);
    OCSP_BASICRESP_free(answer);
    OCSP_RESPONSE_free(whole);
    ERR_clear_error();
    return fine;
}

/* Seconds from now; 0: it cannot be read. */
static int64_t seconds_until(const ASN1_GENERALIZEDTIME *when)
{
    int days = 0, seconds = 0;
    return ASN1_TIME_diff(&days, &seconds, NULL, when) == 1 ? (int64_t)days * DAY_S + seconds : 0;
}

/* Clients refuse a connection for an answer that is out of its time, and go on without one. */
static bool is_current(struct tls_staple *staple)
{
    const char *what = NULL;
    if (seconds_until(staple->until) <= 0)
        what = "the answer has expired";
    else if (seconds_until(staple->from) > SKEW_S)
        what = "the answer is from the future";
    if (what != NULL && !atomic_exchange(&staple->told, true))
        doubt(staple->file.name, what);
    return what == NULL;
}

static int staple_wanted(SSL *ssl, void *arg)
{
    struct tls_staple *staple = arg;
    int size = (int)staple->file.size;
    if (!is_current(staple))
        return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(staple->file.data, staple->file.size);
    if (copy == NULL || SSL_set_tlsext_status_ocsp_resp(ssl, copy, size) != 1) {
        OPENSSL_free(copy);
        return SSL_TLSEXT_ERR_NOACK;
    }
    return SSL_TLSEXT_ERR_OK;
}

static X509 *issuer_of(SSL_CTX *context, X509 *cert)
{
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(context, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (X509_check_issued(sk_X509_value(chain, i), cert) == X509_V_OK)
            return sk_X509_value(chain, i);
    return X509_check_issued(cert, cert) == X509_V_OK ? cert : NULL;
}

struct tls_staple *tls_staple_load(SSL_CTX *context, const char *file)
{
    X509 *cert = SSL_CTX_get0_certificate(context);
    struct tls_staple *staple = OPENSSL_zalloc(sizeof *staple);
    if (staple != NULL)
        staple->file = (struct tls_file){.name = file, .most = STAPLE_MAX, .level = WEIR_LOG_WARN};
    if (staple != NULL && tls_file_read(&staple->file, "an OCSP answer") &&
        parse(staple, cert, issuer_of(context, cert))) {
        is_current(staple); /* says so at once, if it is not */
        SSL_CTX_set_tlsext_status_cb(context, staple_wanted);
        SSL_CTX_set_tlsext_status_arg(context, staple);
        return staple;
    }
    tls_staple_free(staple);
    return NULL;
}

void tls_staple_free(struct tls_staple *staple)
{
    if (staple == NULL)
        return;
    tls_file_close(&staple->file);
    ASN1_GENERALIZEDTIME_free(staple->from);
    ASN1_GENERALIZEDTIME_free(staple->until);
    OPENSSL_free(staple);
}

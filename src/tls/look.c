/* What stands in a certificate, in words. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <weir/cert.h>

#include "tls/tls.h"

/* Adds text as far as there is room; what does not fit is told by dots. */
static void add(char out[static WEIR_CERT_TEXT], const char *text, size_t size)
{
    size_t at = strlen(out), blank = at != 0;
    if (at + blank + size >= WEIR_CERT_TEXT) {
        memcpy(out + (at < WEIR_CERT_TEXT - 4 ? at : WEIR_CERT_TEXT - 4), "...", 4);
        return;
    }
    if (blank)
        out[at++] = ' ';
    for (size_t i = 0; i < size; i++) /* whatever the certificate says, it is one line */
        out[at++] = (char)((unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i]);
    out[at] = '\0';
}

static void add_name(char out[static WEIR_CERT_TEXT], const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        long size = BIO_get_mem_data(bio, &text);
        if (size > 0)
            add(out, text, (size_t)size);
    }
    BIO_free(bio);
}

static void add_names(char out[static WEIR_CERT_TEXT], X509 *cert)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        char text[INET6_ADDRSTRLEN];
        if (name->type == GEN_DNS) {
            add(out, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                (size_t)ASN1_STRING_length(name->d.dNSName));
        } else if (name->type == GEN_IPADD) {
            int size = ASN1_STRING_length(name->d.iPAddress);
            if ((size == 4 || size == 16) &&
                inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress),
                          text, sizeof text) != NULL)
                add(out, text, strlen(text));
        }
    }
    GENERAL_NAMES_free(all);
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm parts;
    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

void tls_describe(X509 *cert, weir_cert_info *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    add_name(out->subject, X509_get_subject_name(cert));
    add_name(out->issuer, X509_get_issuer_name(cert));
    add_names(out->names, cert);
    out->from_s = seconds_of(X509_get0_notBefore(cert));
    out->until_s = seconds_of(X509_get0_notAfter(cert));
    out->ca = X509_check_ca(cert) == 1;
    out->self_signed = X509_self_signed(cert, 0) == 1;
    if (X509_digest(cert, EVP_sha256(), digest, &size) != 1)
        size = 0;
    for (unsigned i = 0; i < size && i * 3 + 3 <= sizeof out->fingerprint; i++)
        snprintf(out->fingerprint + (size_t)3 * i, 4, "%02X%s", digest[i], i + 1 < size ? ":" : "");
}

X509 *tls_first_cert(const char *file)
{
    struct tls_pem pem;
    X509 *cert = NULL;
    int found = 0;
    if (!tls_pem_open(&pem, file))
        return NULL;
    while ((found = tls_pem_next(&pem)) > 0 && !tls_pem_is_cert(&pem))
        ;
    if (found > 0)
        cert = tls_pem_cert(&pem);
    else if (found == 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s: there is no certificate in it", file);
    tls_pem_close(&pem);
    return cert;
}

int weir_cert_look(const char *file, weir_cert_info *out)
{
    if (file == NULL || out == NULL)
        return WEIR_EINVALID;
    *out = (weir_cert_info){.from_s = 0};
    X509 *cert = tls_first_cert(file);
    if (cert == NULL)
        return WEIR_EINVALID;
    tls_describe(cert, out);
    X509_free(cert);
    ERR_clear_error();
    return 0;
}

/* New certificates: keys of P-256, signed with SHA-256, version 3 (RFC 5280). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/cert.h>

#include "tls/tls.h"

enum {
    DAYS = 90,
    DAYS_CA = 3650,
    DAY_S = 86400,
    BACK_S = 3600, /* clocks differ */
    NAMES_MAX = 100,
    NAME_MAX_BYTES = 253,
    PATH_ROOM = 4096
};

struct making {
    const weir_cert_want *want;
    EVP_PKEY *key, *signer;
    X509 *cert, *issuer;
};

static int refuse(const char *what, int error)
{
    char text[TLS_TEXT];
    weir__log(WEIR_LOG_ERROR, error, 0, "cannot make a certificate: %s (%s)", what,
              error != WEIR_ETLS ? weir_error_text(error) : tls_error_text(text));
    ERR_clear_error();
    return error;
}

static bool add_extension(struct making *m, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, m->issuer, m->cert, NULL, NULL, 0);
    X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool fine = made != NULL && X509_add_ext(m->cert, made, -1) == 1;
    X509_EXTENSION_free(made);
    return fine;
}

/* Letters, digits, dots and hyphens, a star as the first label: nothing that means something to the
 * text that OpenSSL makes an extension of. */
static bool name_good(const char *name)
{
    size_t size = strlen(name);
    const char *rest = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
    return size != 0 && size <= NAME_MAX_BYTES && rest[0] != '\0' &&
           strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
               strlen(rest);
}

static bool is_number(const char *name, bool *is4)
{
    struct in6_addr address;
    *is4 = inet_pton(AF_INET, name, &address) == 1;
    return *is4 || inet_pton(AF_INET6, name, &address) == 1;
}

/* "DNS:a,IP:::1", or for a CA which names it may issue for. */
static int names_text(const weir_cert_want *want, char *out, size_t room)
{
    size_t at = 0, count = 0;
    if (want->ca)
        at = (size_t)snprintf(out, room, "critical,");
    for (; want->names != NULL && want->names[count] != NULL; count++) {
        const char *name = want->names[count];
        bool is4 = false, number = is_number(name, &is4);
        const char *mask = !want->ca || !number ? ""
                           : is4                ? "/255.255.255.255"
                                                : "/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        if (count == NAMES_MAX || (!number && !name_good(name))) {
            weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                      "cannot make a certificate: \"%s\" is no host name or address", name);
            return WEIR_EINVALID;
        }
        int size = snprintf(out + at, room - at, "%s%s%s:%s%s", count != 0 ? "," : "",
                            want->ca ? "permitted;" : "", number ? "IP" : "DNS", name, mask);
        if (size < 0 || (size_t)size >= room - at)
            return WEIR_ETOOBIG;
        at += (size_t)size;
    }
    return (int)count;
}

static bool extend(struct making *m, const char *names)
{
    const weir_cert_want *want = m->want;
    return add_extension(m, NID_basic_constraints,
                         want->ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
           add_extension(m, NID_key_usage,
                         want->ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
           add_extension(m, NID_subject_key_identifier, "hash") &&
           (m->issuer == m->cert || add_extension(m, NID_authority_key_identifier, "keyid")) &&
           (want->ca ||
            add_extension(m, NID_ext_key_usage, want->client ? "clientAuth" : "serverAuth")) &&
           (names[0] == '\0' ||
            add_extension(m, want->ca ? NID_name_constraints : NID_subject_alt_name, names));
}

static bool fill(struct making *m, const char *names)
{
    unsigned char serial[16];
    const weir_cert_want *want = m->want;
    const char *common = want->common_name != NULL ? want->common_name : want->names[0];
    long days = want->days != 0 ? (long)want->days : want->ca ? DAYS_CA : DAYS;
    if (RAND_bytes(serial, sizeof serial) != 1)
        return false;
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, and all 16 bytes count */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    bool fine =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(m->cert)) != NULL;
    BN_free(number);
    X509_NAME *subject = X509_get_subject_name(m->cert);
    return fine && X509_set_version(m->cert, X509_VERSION_3) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(m->cert), -BACK_S) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(m->cert), (int)days, 0, NULL) != NULL &&
           X509_set_pubkey(m->cert, m->key) == 1 &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(m->cert, X509_get_subject_name(m->issuer)) == 1 &&
           extend(m, names) && X509_sign(m->cert, m->signer, EVP_sha256()) != 0;
}

static EVP_PKEY *first_key(const char *file)
{
    struct tls_pem pem;
    EVP_PKEY *key = NULL;
    int found = 0;
    if (!tls_pem_open(&pem, file))
        return NULL;
    while ((found = tls_pem_next(&pem)) > 0 && !tls_pem_is_key(&pem))
        ;
    if (found > 0)
        key = tls_pem_key(&pem);
    else if (found == 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s: there is no key in it", file);
    tls_pem_close(&pem);
    return key;
}

int weir_cert_pair(const char *cert_file, const char *key_file)
{
    if (cert_file == NULL || key_file == NULL)
        return WEIR_EINVALID;
    ERR_clear_error();
    X509 *cert = tls_first_cert(cert_file);
    EVP_PKEY *key = cert != NULL ? first_key(key_file) : NULL;
    int result = key != NULL && X509_check_private_key(cert, key) == 1 ? 0 : WEIR_EINVALID;
    if (result < 0 && key != NULL)
        weir__log(WEIR_LOG_ERROR, result, 0, "%s: this key does not match the certificate in %s",
                  key_file, cert_file);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return result;
}

static bool issuer_read(struct making *m)
{
    const weir_cert_want *want = m->want;
    m->issuer = m->cert;
    m->signer = m->key;
    if (want->issuer_cert_file == NULL)
        return true;
    m->issuer = tls_first_cert(want->issuer_cert_file);
    m->signer = m->issuer != NULL ? first_key(want->issuer_key_file) : NULL;
    if (m->signer == NULL)
        return false;
    if (X509_check_ca(m->issuer) == 0) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s: this certificate may not issue others",
                  want->issuer_cert_file);
        return false;
    }
    if (X509_check_private_key(m->issuer, m->signer) == 1)
        return true;
    ERR_clear_error();
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s: this key does not match the certificate in %s",
              want->issuer_key_file, want->issuer_cert_file);
    return false;
}

/* Writes a memory BIO to a new file beside the one that it is to be. */
static int file_write(char beside[static PATH_ROOM], const char *path, BIO *from, mode_t mode)
{
    char *data;
    size_t size = (size_t)BIO_get_mem_data(from, &data), done = 0;
    unsigned char number[8];
    if (RAND_bytes(number, sizeof number) != 1)
        return refuse("no random bytes", WEIR_ETLS);
    int length =
        snprintf(beside, PATH_ROOM, "%s.%02x%02x%02x%02x%02x%02x%02x%02x", path, number[0],
                 number[1], number[2], number[3], number[4], number[5], number[6], number[7]);
    if (length < 0 || (size_t)length >= PATH_ROOM) {
        beside[0] = '\0';
        return refuse(path, WEIR_ETOOBIG);
    }
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        int error = refuse(beside, -errno);
        beside[0] = '\0';
        return error;
    }
    int result = 0;
    while (done < size && result == 0) {
        ssize_t wrote = write(fd, data + done, size - done);
        if (wrote >= 0)
            done += (size_t)wrote;
        else if (errno != EINTR)
            result = -errno;
    }
    if (result == 0 && (fchmod(fd, mode) != 0 || fsync(fd) != 0))
        result = -errno;
    close(fd);
    return result == 0 ? 0 : refuse(path, result);
}

/* Both are whole before the first takes its name: a key is of no use without its certificate. */
static int files_write(const weir_cert_want *want, BIO *key, BIO *cert)
{
    char key_new[PATH_ROOM] = "", cert_new[PATH_ROOM] = "";
    int result = file_write(key_new, want->key_file, key, 0600);
    if (result == 0)
        result = file_write(cert_new, want->cert_file, cert, 0644);
    if (result == 0 && rename(key_new, want->key_file) != 0)
        result = refuse(want->key_file, -errno);
    if (result == 0 && rename(cert_new, want->cert_file) != 0)
        result = refuse(want->cert_file, -errno);
    if (result == 0)
        return 0;
    if (key_new[0] != '\0')
        unlink(key_new);
    if (cert_new[0] != '\0')
        unlink(cert_new);
    return result;
}

static int both_write(const struct making *m)
{
    BIO *key = BIO_new(BIO_s_secmem()), *cert = BIO_new(BIO_s_mem());
    int result = WEIR_ENOMEM;
    if (key != NULL && cert != NULL &&
        PEM_write_bio_PrivateKey(key, m->key, NULL, NULL, 0, NULL, NULL) == 1 &&
        PEM_write_bio_X509(cert, m->cert) == 1 &&
        (m->issuer == m->cert || PEM_write_bio_X509(cert, m->issuer) == 1))
        result = files_write(m->want, key, cert);
    else
        refuse("PEM", WEIR_ENOMEM);
    BIO_free(key);
    BIO_free(cert);
    return result;
}

int weir__cert_make(const weir_cert_want *given, size_t size)
{
    weir_cert_want want = {0};
    char names[NAMES_MAX * 64];
    if (given != NULL)
        memcpy(&want, given, size < sizeof want ? size : sizeof want);
    names[0] = '\0';
    bool named = want.names != NULL && want.names[0] != NULL;
    if (want.cert_file == NULL || want.key_file == NULL || (want.common_name == NULL && !named) ||
        (want.issuer_cert_file == NULL) != (want.issuer_key_file == NULL) || want.days > 36500)
        return refuse("what is wanted is not said in full", WEIR_EINVALID);
    int result = named ? names_text(&want, names, sizeof names) : 0;
    if (result < 0)
        return result == WEIR_ETOOBIG ? refuse("too many names", result) : result;
    ERR_clear_error();
    struct making m = {.want = &want, .key = EVP_EC_gen("P-256"), .cert = X509_new()};
    if (m.key == NULL || m.cert == NULL)
        result = refuse("no key", WEIR_ETLS);
    else if (!issuer_read(&m))
        result = WEIR_EINVALID;
    else if (!fill(&m, names))
        result = refuse("it cannot be signed", WEIR_ETLS);
    else
        result = both_write(&m);
    if (m.issuer != m.cert)
        X509_free(m.issuer);
    if (m.signer != m.key)
        EVP_PKEY_free(m.signer);
    X509_free(m.cert);
    EVP_PKEY_free(m.key);
    return result;
}

#include "tls/certs.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];
static weir_tls *servers[2], *clients[2];

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "certificates for tests: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

const char *cert_path(const char *name, const char *suffix)
{
    static char paths[16][128];
    static unsigned used;
    char *out = paths[used++ % 16];
    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "/tmp/weir-certs-XXXXXX");
        must(mkdtemp(folder) != NULL && atexit(certs_end) == 0, "no folder");
    }
    snprintf(out, 128, "%s/%s%s", folder, name, suffix);
    return out;
}

weir_tls_cert cert_files(const char *name)
{
    return (weir_tls_cert){.cert_file = cert_path(name, ".pem"),
                           .key_file = cert_path(name, ".key")};
}

static FILE *file_new(const char *path, int mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    must(file != NULL, path);
    return file;
}

static void extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    must(made != NULL && X509_add_ext(cert, made, -1) == 1, value);
    X509_EXTENSION_free(made);
}

static X509 *read_cert(const char *name)
{
    FILE *file = fopen(cert_path(name, ".pem"), "re");
    X509 *cert = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    must(cert != NULL, name);
    fclose(file);
    return cert;
}

static EVP_PKEY *read_key(const char *name)
{
    FILE *file = fopen(cert_path(name, ".key"), "re");
    EVP_PKEY *key = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    must(key != NULL, name);
    fclose(file);
    return key;
}

void cert_make(const char *name, struct cert_want want)
{
    static long serial = 1000;
    EVP_PKEY *key = want.rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    must(key != NULL && cert != NULL, "no key");
    X509 *issuer = want.issuer != NULL ? read_cert(want.issuer) : cert;
    EVP_PKEY *signer = want.issuer != NULL ? read_key(want.issuer) : key;
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    bool now = want.from_days == 0 && want.to_days == 0;
    X509_gmtime_adj(X509_getm_notBefore(cert), (now ? -1 : want.from_days) * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(cert), (now ? 30 : want.to_days) * 86400L);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    extension(cert, issuer, NID_basic_constraints, want.ca ? "critical,CA:TRUE" : "CA:FALSE");
    extension(cert, issuer, NID_subject_key_identifier, "hash");
    if (!want.ca)
        extension(cert, issuer, NID_ext_key_usage, want.usage != NULL ? want.usage : "serverAuth");
    if (want.alt != NULL)
        extension(cert, issuer, NID_subject_alt_name, want.alt);
    must(X509_sign(cert, signer, EVP_sha256()) != 0, "not signed");
    FILE *file = file_new(cert_path(name, ".pem"), 0644);
    must(PEM_write_X509(file, cert) == 1 && fclose(file) == 0, "not written");
    file = file_new(cert_path(name, ".key"), want.readable ? 0644 : 0600);
    must(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0,
         "not written");
    if (want.issuer != NULL) {
        X509_free(issuer);
        EVP_PKEY_free(signer);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

const char *cert_write(const char *name, const char *const *parts)
{
    const char *path = cert_path(name, "");
    FILE *file = file_new(path, 0600);
    for (; *parts != NULL; parts++)
        fputs(*parts, file);
    must(fclose(file) == 0, path);
    return path;
}

void certs_usual(void)
{
    static bool made;
    if (made)
        return;
    made = true;
    cert_make("ca", (struct cert_want){.ca = true});
    cert_make("server",
              (struct cert_want){.issuer = "ca", .alt = "DNS:localhost,IP:127.0.0.1,IP:::1"});
}

static unsigned which(enum weir_tls_version least)
{
    return least == WEIR_TLS_1_3;
}

weir_tls *usual_server(enum weir_tls_version least)
{
    certs_usual();
    static const char *const alpn[] = {"echo", "http/1.1", NULL};
    weir_tls_cert cert = cert_files("server");
    weir_tls_server_options options = {
        .certs = &cert, .cert_count = 1, .alpn = alpn, .limits = {.version_min = least}};
    weir_tls **tls = &servers[which(least)];
    if (*tls == NULL)
        *tls = weir_tls_server_new(&options);
    must(*tls != NULL, "no server");
    return *tls;
}

weir_tls *usual_client(enum weir_tls_version least)
{
    certs_usual();
    weir_tls_client_options options = {.ca_file = cert_path("ca", ".pem"),
                                       .limits = {.version_min = least}};
    weir_tls **tls = &clients[which(least)];
    if (*tls == NULL)
        *tls = weir_tls_client_new(&options);
    must(*tls != NULL, "no client");
    return *tls;
}

void certs_end(void)
{
    for (unsigned i = 0; i < 2; i++) {
        weir_tls_free(servers[i]);
        weir_tls_free(clients[i]);
        servers[i] = clients[i] = NULL;
    }
    DIR *dir = folder[0] != '\0' ? opendir(folder) : NULL;
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlink(cert_path(entry->d_name, ""));
    if (dir != NULL) {
        closedir(dir);
        rmdir(folder);
    }
}

/* Certificates for tests, made when needed in a folder that goes with the process: a CA, and what
 * it has issued. */
#ifndef WEIR_TESTS_TLS_CERTS_H
#define WEIR_TESTS_TLS_CERTS_H

#include <stdbool.h>

#include <weir/tls.h>

struct cert_want {
    const char *alt;        /* subjectAltName as OpenSSL's configuration has it; NULL: none */
    const char *issuer;     /* the name of another one; NULL: signed by itself */
    const char *usage;      /* extendedKeyUsage; NULL: serverAuth */
    int from_days, to_days; /* from now; 0 and 0: valid now */
    bool ca;
    bool rsa;      /* a key of 2048 bits in place of P-256 */
    bool readable; /* by everybody: the key file */
};

/* Makes NAME.pem and NAME.key. Ends the process when it cannot. */
void cert_make(const char *name, struct cert_want want);
/* The paths of these files; static, for 16 calls. */
const char *cert_path(const char *name, const char *suffix);
/* Both files of a certificate. */
weir_tls_cert cert_files(const char *name);
/* Writes a file in that folder, joined from parts; its path. */
const char *cert_write(const char *name, const char *const *parts);
/* "ca", and "server" for localhost, 127.0.0.1 and ::1, once. */
void certs_usual(void);
/* Servers and clients made of these, once each: with this certificate; trusting the CA. */
weir_tls *usual_server(enum weir_tls_version least);
weir_tls *usual_client(enum weir_tls_version least);
/* Frees those, and the folder; called when the process ends. */
void certs_end(void);

#endif

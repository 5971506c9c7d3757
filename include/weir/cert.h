/* Certificates: made, and looked at; for local use and tests, for a CA of one's own. In
 * libweir-tls. All of these work on files, and so wait: not for handlers. */
#ifndef WEIR_CERT_H
#define WEIR_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>

typedef struct weir_cert_want {
    const char *cert_file; /* to be written, PEM; its issuer is written behind it */
    const char *key_file;  /* a new key (P-256), which only the user can read */
    const char *issuer_cert_file, *issuer_key_file; /* NULL: it signs itself */
    const char *common_name;                        /* NULL: the first of .names */
    const char *const *names; /* hosts and addresses in numbers, NULL-terminated */
    bool ca;                  /* may issue others; .names, if any, are all that it may issue for */
    bool client;              /* is for clients, not for servers */
    uint32_t days;            /* from now; default 90, a CA 3650 */
} weir_cert_want;

enum { WEIR_CERT_TEXT = 512 };

struct weir_cert_info {
    char subject[WEIR_CERT_TEXT], issuer[WEIR_CERT_TEXT]; /* RFC 4514; a longer one ends in "..." */
    char names[WEIR_CERT_TEXT]; /* hosts and addresses, with blanks between */
    char fingerprint[96];       /* SHA-256, "AB:CD:…" */
    int64_t from_s, until_s;    /* since 1970 */
    bool ca, self_signed;
};
typedef struct weir_cert_info weir_cert_info;

WEIR_BEGIN

WEIR_API int weir__cert_make(const weir_cert_want *want, size_t size);
/* Makes a key and a certificate and writes both: new files beside the former ones, which then take
 * their names. 0 or an error, logged. Any thread. */
static inline int weir_cert_make(const weir_cert_want *want)
{
    return weir__cert_make(want, sizeof *want);
}

/* Looks at the first certificate in a file. 0 or an error, logged. Any thread. */
WEIR_API int weir_cert_look(const char *file, weir_cert_info *out);

/* Whether the first key in a file is that of the first certificate in another. 0 or an error,
 * logged. Any thread. */
WEIR_API int weir_cert_pair(const char *cert_file, const char *key_file);

WEIR_END
#endif

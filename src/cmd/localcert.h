/* The certificate for localhost, and the CA that issued it, in the user's state folder. */
#ifndef WEIR_CMD_LOCALCERT_H
#define WEIR_CMD_LOCALCERT_H

enum { LOCALCERT_PATH = 512 };

struct localcert {
    char ca[LOCALCERT_PATH], ca_key[LOCALCERT_PATH];
    char cert[LOCALCERT_PATH], key[LOCALCERT_PATH];
};

/* Finds them, or makes them; a certificate that ends within a month is made anew, its CA stays. One
 * process at a time. An exit code, said. */
int localcert_make(struct localcert *out);

#endif

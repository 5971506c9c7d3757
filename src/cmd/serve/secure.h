/* weir serve's TLS: whose certificate, and where from. */
#ifndef WEIR_CMD_SERVE_SECURE_H
#define WEIR_CMD_SERVE_SECURE_H

#include "cmd/serve/serve.h"

/* Whether the addresses and the options for TLS fit each other: an exit code, said. */
int secure_check(struct serve *serve);
/* Whether it is an address of http://. */
bool secure_is_plain(const char *url);
/* Loads what --cert and --key name, or makes a certificate for localhost; an exit code, said. */
int secure_make(struct serve *serve);
/* The loops run: watches the files, and loads them anew when they change. On the first loop. */
void secure_watch(struct serve *serve);
/* Loads the files anew, says what came of it. */
void secure_reload(struct serve *serve);
void secure_end(struct serve *serve);
/* For the start-up lines: which certificate, until when, and how a client comes to trust it. */
void secure_banner(const struct serve *serve);

#endif

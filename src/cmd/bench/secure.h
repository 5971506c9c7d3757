/* TLS of weir bench: what loads speak it with, and what bench serve does. */
#ifndef WEIR_CMD_BENCH_SECURE_H
#define WEIR_CMD_BENCH_SECURE_H

#include "cmd/bench/bench.h"

/* The options for TLS and the addresses must fit each other; makes what is spoken with. An exit
 * code, said. */
int bench_secure(struct bench *bench);
void bench_secure_end(struct bench *bench);

/* The certificates of bench serve. */
struct bench_certs {
    struct option_texts certs, keys;
    bool local; /* a certificate for localhost is made */
};
/* Has the service speak TLS when an address in `urls` asks for it. An exit code, said. */
int bench_serve_secure(const struct bench_certs *certs, const char *urls, struct weir_tls **out);
const weir_layer *bench_serve_layer(struct weir_tls *tls);
void bench_serve_secure_end(struct weir_tls *tls);

#endif

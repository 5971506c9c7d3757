/* The page that weir shows of itself when it was given nothing to serve. */
#ifndef WEIR_APP_HTTP_WELCOME_H
#define WEIR_APP_HTTP_WELCOME_H

#include <stdint.h>

#include "app/http/textout.h"

/* What the page says about the running server. Texts are escaped here; NULL leaves a line out. */
struct welcome_facts {
    const char *version; /* "0.1.0" */
    const char *url;     /* where it listens, as a client types it: "http://127.0.0.1:8080" */
    const char *backend; /* "uring" */
    const char *reason;  /* why that one was chosen */
    const char *shape;   /* "threads" */
    uint32_t loops;      /* 0: left out */
};

/* Writes the page (see page.h for its type and policy). Errors wait in `out`. */
void weir__welcome_write(const struct welcome_facts *facts, struct textout *out);

#endif

/* A way through proxies, as the filters that speak to them see it. */
#ifndef WEIR_APP_VIA_H
#define WEIR_APP_VIA_H

#include <stdbool.h>

#include <weir/via.h>

#include "proto/proxyask.h"

/* One proxy. */
struct via_hop {
    char user[PROXY_ASK_SECRET_MAX + 1], password[PROXY_ASK_SECRET_MAX + 1]; /* empty: none */
    char host[PROXY_ASK_HOST_MAX + 1];
    uint16_t port;
    bool socks;
    const struct via_hop *next; /* whom it is asked for; NULL: the connection's own aim */
};

extern const weir_filter via_socks5, via_http; /* config: the struct via_hop */

#endif

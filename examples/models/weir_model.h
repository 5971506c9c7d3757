/* For models that are weir's: the same command line, and a service that echoes. */
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include <weir/weir.h>

#include "model.h"

static inline void weir_model_started(void *user)
{
    weir_address address;
    if (weir_run_address(0, &address) < 0)
        exit(1);
    model_announce((unsigned)weir_address_port(&address));
}

static inline int weir_model_run(const struct model *m, weir_service *service,
                                 weir_run_options *options)
{
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", m->port);
    service->listen = url;
    service->conns_max = m->conns_max;
    service->first_byte_ms = service->idle_ms = WEIR_OFF; /* as in the other models */
    service->socket.user_timeout_ms = 30000;
    service->socket.keepalive_idle_s = 30;
    options->on_started = weir_model_started;
    options->drain_ms = 1000;
    return weir_run(service, 1, options) < 0 ? 69 : 0;
}
#endif

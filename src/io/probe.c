/* Back ends by name, and the choice among them. */
#include <errno.h>
#include <string.h>

#include <weir/error.h>

#include "io/io.h"

/* Best first. */
static const struct io_ops *const backends[] = {
#if WEIR_HAVE_URING
    &weir__io_uring,
#endif
    &weir__io_epoll,
    &weir__io_poll,
    &weir__io_select,
};
enum { BACKENDS = sizeof(backends) / sizeof(backends[0]) };

const struct io_ops *weir__io_named(const char *name)
{
    if (strcmp(name, "auto") == 0)
        return backends[0];
    for (size_t i = 0; i < BACKENDS; i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return NULL;
}

int weir__io_open(struct io **io, const char *name, const struct io_config *config,
                  const char **why)
{
    const struct io_ops *ops;
    int error = -ENOSYS;

    if (name && strcmp(name, "auto") != 0) {
        ops = weir__io_named(name);
        if (ops)
            return ops->open(io, config, why);
        *why = "no such back end: known are auto, uring, epoll, poll, select";
        return -EINVAL;
    }
    for (size_t i = 0; i < BACKENDS; i++) {
        error = backends[i]->open(io, config, why);
        if (error == 0 || error == -EINVAL)
            break;
    }
    return error;
}

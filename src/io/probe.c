/* Back ends by name, and the choice among them. */
#include <errno.h>
#include <string.h>

#include "io/io.h"

/* Best first. "auto" stops at epoll, which every kernel has: the two that cost more with every
 * descriptor are for those who name them. */
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
    const char *obstacle = NULL, *one;
    const struct io_ops *ops;
    struct io *better;
    int error = -ENOSYS;

    if (name && strcmp(name, "auto") != 0) {
        ops = weir__io_named(name);
        if (!ops) {
            *why = "no such back end: known are auto, uring, epoll, poll, select";
            return -EINVAL;
        }
        error = ops->open(io, config, &one);
        *why = error ? one : NULL;
        return error;
    }
    for (size_t i = 0; i < BACKENDS; i++) {
        error = backends[i]->open(io, config, &one);
        if (error == 0) {
            one = (*io)->second;
            if (one && weir__io_epoll.open(&better, config, why) == 0) {
                (*io)->ops->close(*io);
                *io = better;
                obstacle = one;
            }
            break;
        }
        if (!obstacle || error == -EINVAL)
            obstacle = one;
        if (error == -EINVAL)
            break;
    }
    *why = obstacle;
    return error;
}

static struct io_fd *find_none(void *owner, uint64_t token)
{
    (void)owner;
    (void)token;
    return NULL;
}

int weir__io_probe(const char *name, struct io_plan *plan)
{
    struct io_config config = {.find = find_none};
    const char *why = NULL;
    struct io *io;
    int error = weir__io_open(&io, name, &config, &why);

    if (error < 0) {
        *plan = (struct io_plan){.backend = name, .rows = 1};
        plan->row[0] = (struct io_plan_row){.feature = "open", .reason = why};
        return error;
    }
    *plan = io->plan;
    io->ops->close(io);
    return 0;
}

/* The plans of back ends, for people: tried out for a moment, or read from a loop. */
#include <errno.h>
#include <string.h>

#include <weir/error.h>
#include <weir/plan.h>

#include "base/env.h"
#include "io/features.h"
#include "loop/limits.h"
#include "loop/loop.h"

_Static_assert((int)IO_PLAN_ROWS <= (int)WEIR_PLAN_ROWS, "a whole plan fits");

static const char *const names[] = {
#if WEIR_HAVE_URING
    "uring",
#endif
    "epoll", "poll", "select", NULL,
};

const char *const *weir_backend_names(void)
{
    return names;
}

const weir_feature *weir_features_table(unsigned *count)
{
#define FEATURE_ROW(name, on, text) {#name, text, on},
    static const weir_feature table[] = {IO_SWITCHES(FEATURE_ROW)};
#undef FEATURE_ROW
    if (count != NULL)
        *count = sizeof table / sizeof *table;
    return table;
}

static void plan_copy(weir_plan *plan, const struct io_plan *from)
{
    plan->backend = from->backend;
    for (int i = 0; i < from->rows && i < WEIR_PLAN_ROWS; i++)
        plan->rows[plan->count++] =
            (weir_plan_row){from->row[i].feature, from->row[i].reason, from->row[i].used};
}

static struct io_fd *find_none(void *owner, uint64_t token)
{
    return NULL;
}

static bool is_auto(const char *name)
{
    return name == NULL || strcmp(name, "auto") == 0;
}

static int try_open(const char *name, const char *features, weir_plan *plan)
{
    struct io_config config = {.find = find_none, .features = features};
    struct io *io;
    *plan = (weir_plan){.backend = is_auto(name) ? "auto" : name};
    config.pool = weir__pool_new(LIMIT_POOL_THREADS, 1); /* starts no thread before its first job */
    plan->error = config.pool != NULL ? weir__io_open(&io, name, &config, &plan->why) : WEIR_ENOMEM;
    if (plan->error == 0) {
        plan_copy(plan, &io->plan);
        io->ops->close(io);
        if (!is_auto(name))
            plan->why = "as asked";
        else if (plan->why == NULL)
            plan->why = "the first choice, and it works here";
    } else if (plan->why == NULL) {
        plan->why = weir_error_name(plan->error);
    }
    weir__pool_free(config.pool);
    return plan->error;
}

int weir__plan_probe(const char *backend, const char *features, weir_plan *out, size_t size)
{
    weir_plan plan;
    if (out == NULL)
        return WEIR_EINVALID;
    const char *forced = weir__getenv("WEIR_BACKEND"), *switches = weir__getenv("WEIR_FEATURES");
    if (switches != NULL)
        features = switches;
    if (is_auto(backend) && !is_auto(forced)) {
        if (try_open(forced, features, &plan) == 0)
            plan.why = "WEIR_BACKEND names it";
    } else {
        try_open(backend, features, &plan);
    }
    memset(out, 0, size);
    memcpy(out, &plan, size < sizeof plan ? size : sizeof plan);
    return plan.error;
}

int weir__plan_of(weir_loop *loop, weir_plan *out, size_t size)
{
    weir_plan plan = {0};
    if (loop == NULL || out == NULL)
        return WEIR_EINVALID;
    plan_copy(&plan, &loop->io->plan);
    plan.why = loop->backend_why;
    memset(out, 0, size);
    memcpy(out, &plan, size < sizeof plan ? size : sizeof plan);
    return 0;
}

/* The plan: what a back end uses on this kernel, and for each feature that it leaves out, why.
 * Features are tried, not guessed from the kernel's version. */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/loop.h>

enum { WEIR_PLAN_ROWS = 48 };

typedef struct weir_plan_row {
    const char *feature; /* "multishot_recv" */
    const char *reason;  /* what it is good for when it is used; why not when it is not */
    bool used;
} weir_plan_row;

/* All texts are static. */
typedef struct weir_plan {
    const char *backend; /* "uring" */
    const char *why;     /* usable: why this one was chosen; not usable: cause and fix */
    int error;           /* 0: it can be used here */
    uint32_t count;      /* rows */
    weir_plan_row rows[WEIR_PLAN_ROWS];
} weir_plan;

/* A switch of WEIR_FEATURES. Texts are static. */
typedef struct weir_feature {
    const char *name;
    const char *what;
    bool on; /* by default, where the kernel has it */
} weir_feature;

WEIR_BEGIN

WEIR_API int weir__plan_probe(const char *backend, const char *features, weir_plan *out,
                              size_t size);
/* Opens a back end for a moment and fills *out with its plan. "auto" or NULL: the one that a loop
 * would choose. The environment counts as it does for a loop: WEIR_BACKEND in place of "auto",
 * WEIR_FEATURES in place of `features` (NULL: none). Returns out->error. Any thread. */
static inline int weir_plan_probe(const char *backend, const char *features, weir_plan *out)
{
    return weir__plan_probe(backend, features, out, sizeof *out);
}

WEIR_API int weir__plan_of(weir_loop *loop, weir_plan *out, size_t size);
/* The plan of a loop, with .why it has this back end. 0 or WEIR_EINVALID. Any thread while the loop
 * lives. */
static inline int weir_plan_of(weir_loop *loop, weir_plan *out)
{
    return weir__plan_of(loop, out, sizeof *out);
}

/* The back ends of this build, best first; NULL behind the last one. Static. Any thread. */
WEIR_API const char *const *weir_backend_names(void);

/* The switches of WEIR_FEATURES; *count of them. Static. Any thread. */
WEIR_API const weir_feature *weir_features_table(unsigned *count);

WEIR_END
#endif

/* Every bound and default of the library, in one list: nothing in weir is unbounded, and this says
 * what the bounds are. */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>

/* Texts are static. Names are never reused for something else. */
typedef struct weir_limit_row {
    const char *group; /* "core", "run", "http", "files", "ctl" */
    const char *name;  /* "idle_ms" */
    const char *unit;  /* "ms", "bytes", "connections", …; what one of the value is */
    const char *what;
    uint64_t value; /* the default; WEIR_NEVER: no limit */
} weir_limit_row;

WEIR_BEGIN

WEIR_API unsigned weir__limits(weir_limit_row *out, unsigned capacity, size_t size);
/* Writes the limits, at most `capacity` of them, and returns how many there are. Some depend on the
 * machine (memory) and are asked for now. Any thread. */
static inline unsigned weir_limits(weir_limit_row *out, unsigned capacity)
{
    return weir__limits(out, capacity, sizeof *out);
}

WEIR_END
#endif

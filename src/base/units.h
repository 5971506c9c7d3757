/* Numbers, sizes and durations as people write them on command lines and in configurations. Each
 * reader returns 0, or WEIR_EINVALID with the reason added to *why (NULL: nobody asks): what was
 * written, what is wrong with it, what would be right. Nothing is rounded. Any thread. */
#ifndef WEIR_BASE_UNITS_H
#define WEIR_BASE_UNITS_H

#include <stdint.h>

#include "base/text.h"

/* A whole decimal number from `least` to `most`: "8080". No sign, no space. */
int units_number(const char *written, uint64_t least, uint64_t most, uint64_t *number,
                 struct text *why);

/* A size in bytes: "512", "512B", "64K" = "64KiB" = 65536, "1.5M", up to E. In either case of the
 * letter. "64KB" is refused, because it means 1000 to some and 1024 to others. */
int units_size(const char *written, uint64_t *bytes, struct text *why);

/* A duration in nanoseconds: "250ms", "1.5s", "2m", "1h30m", units d h m s ms us ns, larger ones
 * first; "0"; "never" is UINT64_MAX (WEIR_NEVER). Another number without a unit is refused. */
int units_duration(const char *written, uint64_t *ns, struct text *why);

#endif

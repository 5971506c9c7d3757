/* Numbers, sizes and durations as people write them on command lines and in configurations:
 * "8080", "64K", "1h30m". Nothing is rounded. */
#ifndef WEIR_UNITS_H
#define WEIR_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>

/* Room for every reason below, with its NUL. */
#define WEIR_UNITS_WHY_MAX 256
/* Room for every size and duration as they are written below, with its NUL. */
#define WEIR_UNITS_TEXT_MAX 32

WEIR_BEGIN

/* Each reader returns 0 with its last-but-two parameter set, or WEIR_EINVALID with the reason in
 * `why`: what was written, what is wrong with it, what would be right. `why` may be NULL with
 * `why_size` 0; a longer reason is cut. Any thread. */

/* A whole decimal number from `least` to `most`: "8080". No sign, no space. */
WEIR_API int weir_number_parse(const char *written, uint64_t least, uint64_t most, uint64_t *number,
                               char *why, size_t why_size);

/* A size in bytes: "512", "512B", "64K" = "64KiB" = 65536, "1.5M", up to E, in either case.
 * "64KB" is refused: it means 1000s to some and 1024s to others. */
WEIR_API int weir_size_parse(const char *written, uint64_t *bytes, char *why, size_t why_size);

/* A duration in nanoseconds: "250ms", "1.5s", "1h30m" with the units d h m s ms us ns, larger ones
 * first; "0"; "never" is WEIR_NEVER. Another number without a unit is refused. */
WEIR_API int weir_duration_parse(const char *written, uint64_t *ns, char *why, size_t why_size);

/* Writes them in the largest unit that is exact: "64KiB", "1000B"; "250ms", "1h30m", "never".
 * Returns the length without the NUL, or WEIR_ETOOBIG when `size` bytes do not hold it. Any
 * thread. */
WEIR_API int weir_size_format(uint64_t bytes, char *out, size_t size);
WEIR_API int weir_duration_format(uint64_t ns, char *out, size_t size);

WEIR_END
#endif

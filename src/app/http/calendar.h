/* Seconds since 1970 as a date in UTC, without the C library's lock on time zones. */
#ifndef WEIR_APP_HTTP_CALENDAR_H
#define WEIR_APP_HTTP_CALENDAR_H

#include <stdint.h>

struct calendar {
    int32_t year;                 /* 0 to 9999 */
    uint8_t month, day;           /* 1 to 12, 1 to 31 */
    uint8_t hour, minute, second; /* 0 to 23, 0 to 59, 0 to 59 */
};

/* The lengths of what is written below, without the NUL. */
enum { CALENDAR_ISO_SIZE = 20, CALENDAR_LOG_SIZE = 26 };

/* The date of `seconds` since 1970 in the Gregorian calendar. Times outside the years 0 to 9999
 * become the first or the last second of those. Any thread. */
struct calendar calendar_from(int64_t seconds);

/* "2026-03-01T09:05:07Z" (RFC 3339). `out` takes CALENDAR_ISO_SIZE bytes, no NUL. */
void calendar_write_iso(struct calendar date, char *out);

/* "01/Mar/2026:09:05:07 +0000", the date of the common log format. `out` takes CALENDAR_LOG_SIZE
 * bytes, no NUL. */
void calendar_write_log(struct calendar date, char *out);

#endif

/* Dates as HTTP writes them (RFC 9110 5.6.7). Pure arithmetic: no locale, no time zone, no clock.
 */
#ifndef WEIR_PROTO_HTTPDATE_H
#define WEIR_PROTO_HTTPDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_DATE_BYTES 29

/*
 * Writes "Sun, 06 Nov 1994 08:49:37 GMT", no NUL. seconds count from 1970 in UTC; what lies
 * outside the years 0 to 9999 is written as the nearest end of them.
 */
void http_date_format(int64_t seconds, char out[HTTP_DATE_BYTES]);

/*
 * Reads any of the three forms: the above, "Sunday, 06-Nov-94 08:49:37 GMT" (RFC 850) and
 * "Sun Nov  6 08:49:37 1994" (asctime). now, in seconds, settles the century of the second form:
 * the year is the one less than fifty years back or at most fifty ahead. The day of the week
 * must be a day's name but need not be the right one. A leap second counts as the second after.
 */
bool http_date_parse(const char *text, size_t length, int64_t now, int64_t *seconds);

#endif

/* Dates of HTTP: what is read is written in the one form and read back as the same second; every
 * second that can be written is read back. Input: 8 bytes of seconds, then a date. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/httpdate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t first = -62167219200, last = 253402300799; /* years 0 to 9999 */

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void check_written(int64_t seconds, int64_t now)
{
    char text[HTTP_DATE_BYTES];
    int64_t again;

    http_date_format(seconds, text);
    expect(http_date_parse(text, sizeof text, now, &again));
    expect(again == (seconds < first ? first : seconds > last ? last : seconds));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t now = 1700000000, seconds;
    char *text;

    if (size < sizeof seconds)
        return 0;
    memcpy(&seconds, data, sizeof seconds);
    check_written(seconds, now);
    check_written(seconds % (last + 1), now);
    size -= sizeof seconds;
    text = malloc(size + 1);
    expect(text != NULL);
    memcpy(text, data + sizeof seconds, size);
    if (http_date_parse(text, size, now, &seconds)) {
        expect(seconds >= first && seconds <= last + 1); /* a leap second is the second after */
        if (seconds <= last)
            check_written(seconds, now);
    }
    free(text);
    return 0;
}

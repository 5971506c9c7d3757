#include "app/http/calendar.h"

#include <string.h>

static const int64_t first_second = -62167219200; /* 0000-01-01T00:00:00Z */
static const int64_t last_second = 253402300799;  /* 9999-12-31T23:59:59Z */

struct calendar calendar_from(int64_t seconds)
{
    struct calendar date;
    uint32_t days, second, century, of_century, year, of_year, month;

    if (seconds < first_second)
        seconds = first_second;
    if (seconds > last_second)
        seconds = last_second;
    /* Years are counted from a March: then the leap day is the last of its year, and months of 31
     * and 30 days alternate in fives that a line of slope 153/5 hits. Day 0 is 1 March of the
     * year -400, so that nothing is negative. */
    seconds -= first_second;
    days = (uint32_t)(seconds / 86400) + 146097 - 60;
    second = (uint32_t)(seconds % 86400);
    century = (4 * days + 3) / 146097;
    of_century = days - 146097 * century / 4;
    year = (4 * of_century + 3) / 1461;
    of_year = of_century - 1461 * year / 4;
    month = (5 * of_year + 2) / 153;
    date.day = (uint8_t)(of_year - (153 * month + 2) / 5 + 1);
    date.month = (uint8_t)(month < 10 ? month + 3 : month - 9);
    date.year = (int32_t)(100 * century + year + (month >= 10)) - 400;
    date.hour = (uint8_t)(second / 3600);
    date.minute = (uint8_t)(second / 60 % 60);
    date.second = (uint8_t)(second % 60);
    return date;
}

static char *put_two(char *out, unsigned number)
{
    out[0] = (char)('0' + number / 10);
    out[1] = (char)('0' + number % 10);
    return out + 2;
}

static char *put_year(char *out, const struct calendar *date)
{
    return put_two(put_two(out, (unsigned)date->year / 100), (unsigned)date->year % 100);
}

static char *put_clock(char *out, const struct calendar *date)
{
    out = put_two(out, date->hour);
    *out++ = ':';
    out = put_two(out, date->minute);
    *out++ = ':';
    return put_two(out, date->second);
}

void calendar_write_iso(struct calendar date, char *out)
{
    out = put_year(out, &date);
    *out++ = '-';
    out = put_two(out, date.month);
    *out++ = '-';
    out = put_two(out, date.day);
    *out++ = 'T';
    out = put_clock(out, &date);
    *out = 'Z';
}

void calendar_write_log(struct calendar date, char *out)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    out = put_two(out, date.day);
    *out++ = '/';
    memcpy(out, names + 3 * (date.month - 1), 3);
    out[3] = '/';
    out = put_year(out + 4, &date);
    *out++ = ':';
    out = put_clock(out, &date);
    memcpy(out, " +0000", 6);
}

#include "proto/httpdate.h"

#include <string.h>

#define DAY 86400

static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char day_endings[7][7] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/*
 * Days since 1970 of a date in the proleptic Gregorian calendar. Years are counted from March, so
 * that a leap day is the last of its year; 146097 days make 400 years, 719468 days lie between
 * the first of March of the year 0 and 1970.
 */
static int64_t days_from_date(int year, unsigned month, unsigned day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

struct date {
    int year;
    unsigned month; /* 1 to 12 */
    unsigned day;
};

/* The inverse of days_from_date, for days from the year 0 on. */
static struct date date_from_days(int64_t days)
{
    int64_t z = days + 719468 + 146097; /* an era on, so that January of the year 0 is not below */
    int64_t era = z / 146097, of_era, year, of_year, month;

    of_era = z - era * 146097;
    year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * year + year / 4 - year / 100);
    month = (5 * of_year + 2) / 153;
    return (struct date){
        .year = (int)(year + (era - 1) * 400 + (month >= 10)),
        .month = (unsigned)(month < 10 ? month + 3 : month - 9),
        .day = (unsigned)(of_year - (153 * month + 2) / 5 + 1),
    };
}

static char *put_two(char *out, unsigned number)
{
    out[0] = (char)('0' + number / 10);
    out[1] = (char)('0' + number % 10);
    return out + 2;
}

static char *put_text(char *out, const char *text, size_t length)
{
    memcpy(out, text, length);
    return out + length;
}

void http_date_format(int64_t seconds, char out[HTTP_DATE_BYTES])
{
    const int64_t least = -62167219200; /* 0000-01-01 */
    const int64_t most = 253402300799;  /* 9999-12-31 23:59:59 */
    struct date date;
    int64_t days, of_day;

    seconds = seconds < least ? least : seconds > most ? most : seconds;
    days = (seconds >= 0 ? seconds : seconds - (DAY - 1)) / DAY;
    of_day = seconds - days * DAY;
    date = date_from_days(days);
    /* 1970 began on a Thursday; the year 0 lies 719528 days before, a multiple of 7 with 4 off. */
    out = put_text(out, day_names[(days + 719528 + 6) % 7], 3);
    out = put_text(out, ", ", 2);
    out = put_two(out, date.day);
    *out++ = ' ';
    out = put_text(out, month_names[date.month - 1], 3);
    *out++ = ' ';
    out = put_two(out, (unsigned)date.year / 100);
    out = put_two(out, (unsigned)date.year % 100);
    *out++ = ' ';
    out = put_two(out, (unsigned)(of_day / 3600));
    *out++ = ':';
    out = put_two(out, (unsigned)(of_day / 60 % 60));
    *out++ = ':';
    out = put_two(out, (unsigned)(of_day % 60));
    put_text(out, " GMT", 4);
}

/* A reader that goes through the text; once something is wrong it stays so. */
struct reader {
    const char *at, *end;
    bool wrong;
};

static void expect(struct reader *reader, const char *text)
{
    size_t length = strlen(text);

    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, text, length) != 0) {
        reader->wrong = true;
        return;
    }
    reader->at += length;
}

static unsigned read_number(struct reader *reader, int digits)
{
    unsigned sum = 0;

    if (reader->end - reader->at < digits) {
        reader->wrong = true;
        return 0;
    }
    while (digits-- > 0) {
        unsigned digit = (uint8_t)*reader->at++ - (unsigned)'0';

        if (digit > 9)
            reader->wrong = true;
        sum = sum * 10 + digit;
    }
    return sum;
}

/* Reads one of the names, of three letters each; gives its number. */
static unsigned read_name(struct reader *reader, const char names[][4], unsigned count)
{
    for (unsigned i = 0; i < count && reader->end - reader->at >= 3; i++) {
        if (memcmp(reader->at, names[i], 3) == 0) {
            reader->at += 3;
            return i;
        }
    }
    reader->wrong = true;
    return 0;
}

struct moment {
    struct date date;
    unsigned hour, minute, second;
};

static void read_clock(struct reader *reader, struct moment *moment)
{
    moment->hour = read_number(reader, 2);
    expect(reader, ":");
    moment->minute = read_number(reader, 2);
    expect(reader, ":");
    moment->second = read_number(reader, 2);
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool is_valid(const struct moment *moment)
{
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const struct date *date = &moment->date;
    unsigned length = lengths[date->month - 1];

    if (date->month == 2 && is_leap(date->year))
        length++;
    return date->day >= 1 && date->day <= length && moment->hour <= 23 && moment->minute <= 59 &&
           moment->second <= 60;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", from the comma on. */
static void read_imf(struct reader *reader, struct moment *moment)
{
    expect(reader, ", ");
    moment->date.day = read_number(reader, 2);
    expect(reader, " ");
    moment->date.month = read_name(reader, month_names, 12) + 1;
    expect(reader, " ");
    moment->date.year = (int)read_number(reader, 4);
    expect(reader, " ");
    read_clock(reader, moment);
    expect(reader, " GMT");
}

/* "Sun Nov  6 08:49:37 1994", from the first space on. */
static void read_asctime(struct reader *reader, struct moment *moment)
{
    expect(reader, " ");
    moment->date.month = read_name(reader, month_names, 12) + 1;
    expect(reader, " ");
    if (reader->at < reader->end && *reader->at == ' ') {
        reader->at++;
        moment->date.day = read_number(reader, 1);
    } else {
        moment->date.day = read_number(reader, 2);
    }
    expect(reader, " ");
    read_clock(reader, moment);
    expect(reader, " ");
    moment->date.year = (int)read_number(reader, 4);
}

/* "Sunday, 06-Nov-94 08:49:37 GMT", from the day's ending on. */
static void read_rfc850(struct reader *reader, unsigned day_name, int64_t now,
                        struct moment *moment)
{
    int this_year;

    expect(reader, day_endings[day_name]);
    expect(reader, ", ");
    moment->date.day = read_number(reader, 2);
    expect(reader, "-");
    moment->date.month = read_name(reader, month_names, 12) + 1;
    expect(reader, "-");
    moment->date.year = (int)read_number(reader, 2);
    expect(reader, " ");
    read_clock(reader, moment);
    expect(reader, " GMT");
    this_year = date_from_days(now / DAY).year;
    moment->date.year += this_year - this_year % 100;
    if (moment->date.year > this_year + 50)
        moment->date.year -= 100;
    else if (moment->date.year <= this_year - 50)
        moment->date.year += 100;
}

bool http_date_parse(const char *text, size_t length, int64_t now, int64_t *seconds)
{
    struct reader reader = {text, text + length, false};
    struct moment moment = {{1970, 1, 1}, 0, 0, 0};
    unsigned day_name = read_name(&reader, day_names, 7);

    if (reader.wrong || reader.at == reader.end)
        return false;
    if (*reader.at == ',')
        read_imf(&reader, &moment);
    else if (*reader.at == ' ')
        read_asctime(&reader, &moment);
    else
        read_rfc850(&reader, day_name, now, &moment);
    if (reader.wrong || reader.at != reader.end || !is_valid(&moment))
        return false;
    *seconds = days_from_date(moment.date.year, moment.date.month, moment.date.day) * DAY +
               moment.hour * 3600 + moment.minute * 60 + moment.second;
    return true;
}

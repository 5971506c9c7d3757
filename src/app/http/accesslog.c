#include "app/http/accesslog.h"

#include <stdbool.h>
#include <string.h>

#include <weir/error.h>

#include "app/http/calendar.h"
#include "app/http/escape.h"

enum {
#define XX(field, most) MOST_##field = (most),
    ACCESSLOG_FIELDS(XX)
#undef XX
        MOST_TOGETHER = 0
#define XX(field, most) +(most)
    ACCESSLOG_FIELDS(XX)
#undef XX
};
/* What a line has beside the fields: in JSON, keys, numbers of 20 digits, and the list of all that
 * was cut, which is below 400 bytes. */
_Static_assert(MOST_TOGETHER + 400 < ACCESSLOG_LINE_MAX, "a line must have room for every field");

struct line {
    char *at;
    char cut[96]; /* names of the fields that were cut, as a list in JSON */
    size_t cut_size;
};

static void put(struct line *line, const char *text)
{
    line->at = stpcpy(line->at, text);
}

static void put_number(struct line *line, uint64_t number)
{
    char digits[20];
    size_t start = sizeof(digits);

    do {
        digits[--start] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(line->at, digits + start, sizeof(digits) - start);
    line->at += sizeof(digits) - start;
}

static void note_cut(struct line *line, const char *name)
{
    char *at = line->cut + line->cut_size;

    if (line->cut_size > 0)
        *at++ = ',';
    *at++ = '"';
    at = stpcpy(at, name);
    *at++ = '"';
    line->cut_size = (size_t)(at - line->cut);
}

/* Bytes that stay as they are in every format: 1. The space, which stays where the field has quotes
 * around it: 2. */
static const uint8_t plain[256] = {
    [0x20] = 2, [0x21] = 1, [0x23 ... 0x5B] = 1, [0x5D ... 0x7E] = 1, /* but " and the backslash */
};

/* Writes a text of at most `most` bytes, escapes included; returns false when it had to be cut. An
 * escape is written whole or not at all. */
static bool put_text(struct line *line, struct http_text text, weir__escape_fn *escape, size_t most)
{
    static const char mark[3] = "...";
    const unsigned char *in = (const unsigned char *)text.at, *end = in + text.length;
    const uint8_t stays = escape == weir__escape_log_word ? 1 : 3;
    char *out = line->at;
    /* Where the text must end, and the last place at which it can be cut for the mark to fit. */
    char *limit = out + most, *cut = out;

    for (;;) {
        char made[ESCAPE_STEP_MAX];
        size_t made_size, taken;
        while (in < end && out < limit && (plain[*in] & stays)) {
            if (limit - out >= (ptrdiff_t)sizeof(mark))
                cut = out;
            *out++ = (char)*in++;
        }
        if (limit - out >= (ptrdiff_t)sizeof(mark))
            cut = out;
        line->at = out;
        if (in == end)
            return true;
        taken = escape(in, (size_t)(end - in), made, &made_size);
        if ((size_t)(limit - out) < made_size)
            break;
        out = mempcpy(out, made, made_size);
        in += taken;
    }
    line->at = mempcpy(cut, mark, sizeof(mark));
    return false;
}

static void put_word(struct line *line, struct http_text text, size_t most)
{
    if (text.length == 0)
        put(line, "-");
    else
        put_text(line, text, weir__escape_log_word, most);
}

static void put_quoted(struct line *line, struct http_text text, size_t most)
{
    put(line, " \"");
    if (text.length == 0)
        put(line, "-");
    else
        put_text(line, text, weir__escape_log, most);
    put(line, "\"");
}

static int64_t seconds_of(int64_t time_ns)
{
    return time_ns / 1000000000 - (time_ns % 1000000000 < 0);
}

static void put_common(struct line *line, const struct accesslog_record *record)
{
    put_word(line, record->peer, MOST_peer);
    put(line, " - ");
    put_word(line, record->user, MOST_user);
    put(line, " [");
    calendar_write_log(calendar_from(seconds_of(record->time_ns)), line->at);
    line->at += CALENDAR_LOG_SIZE;
    put(line, "] \"");
    if (record->method.length == 0 && record->target.length == 0) {
        put(line, "-"); /* no request could be made out */
    } else {
        put_word(line, record->method, MOST_method);
        put(line, " ");
        put_word(line, record->target, MOST_target);
        put(line, " ");
        put_word(line, record->version, MOST_version);
    }
    put(line, "\" ");
    put_number(line, record->status);
    put(line, " ");
    put_number(line, record->body_bytes);
}

static void put_time(struct line *line, int64_t time_ns)
{
    int64_t seconds = seconds_of(time_ns);
    unsigned milliseconds = (unsigned)((time_ns - seconds * 1000000000) / 1000000);
    char *at = line->at;

    calendar_write_iso(calendar_from(seconds), at);
    at += CALENDAR_ISO_SIZE - 1; /* the Z goes behind the milliseconds */
    at[0] = '.';
    at[1] = (char)('0' + milliseconds / 100);
    at[2] = (char)('0' + milliseconds / 10 % 10);
    at[3] = (char)('0' + milliseconds % 10);
    at[4] = 'Z';
    line->at = at + 5;
}

static void put_member(struct line *line, const char *name, struct http_text text, size_t most)
{
    put(line, ",\"");
    put(line, name);
    put(line, "\":");
    if (text.length == 0) {
        put(line, "null");
        return;
    }
    put(line, "\"");
    if (!put_text(line, text, weir__escape_json_ascii, most))
        note_cut(line, name);
    put(line, "\"");
}

static void put_json(struct line *line, const struct accesslog_record *record)
{
    put(line, "{\"time\":\"");
    put_time(line, record->time_ns);
    put(line, "\"");
#define XX(field, most) put_member(line, #field, record->field, most);
    ACCESSLOG_FIELDS(XX)
#undef XX
    put(line, ",\"status\":");
    put_number(line, record->status);
    put(line, ",\"body_bytes\":");
    put_number(line, record->body_bytes);
    put(line, ",\"duration_ns\":");
    put_number(line, record->duration_ns);
    if (line->cut_size > 0) {
        line->cut[line->cut_size] = '\0';
        put(line, ",\"truncated\":[");
        put(line, line->cut);
        put(line, "]");
    }
    put(line, "}");
}

size_t accesslog_write(const struct accesslog_record *record, enum accesslog_format format,
                       char text[ACCESSLOG_LINE_MAX])
{
    struct line line;

    line.at = text;
    line.cut_size = 0;
    if (format == ACCESSLOG_JSON)
        put_json(&line, record);
    else
        put_common(&line, record);
    if (format == ACCESSLOG_COMBINED) {
        put_quoted(&line, record->referer, MOST_referer);
        put_quoted(&line, record->agent, MOST_agent);
    }
    *line.at++ = '\n';
    return (size_t)(line.at - text);
}

int weir__accesslog_format_find(const char *name)
{
    static const char *const names[] = {"common", "combined", "json"};

    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return WEIR_EINVALID;
}

const char *weir__accesslog_format_names(void)
{
    return "common, combined, json";
}

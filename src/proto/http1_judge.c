/*
 * What is wrong with a line, or whether it is merely unfinished. Nothing here is hot: it sees a
 * line only where an engine stopped, and a head only while it is incomplete.
 *
 * A line can be judged once it holds a stop: a byte that ends it or may stand in no line, which is
 * any control but HTAB (a CR only when the byte after it has come). Before that it is unfinished,
 * whatever else it holds; so the answer cannot depend on where the bytes were cut. All loops below
 * end at the stop at the latest.
 */
#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#include <string.h>

/* Results of judging a line besides refusals. */
enum { LINE_GOOD = 0, LINE_UNFINISHED = 1, LINE_EMPTY = 2 };

struct line {
    const uint8_t *at;
    const uint8_t *end;  /* what there is of it, and what follows */
    const uint8_t *next; /* set for LINE_GOOD and LINE_EMPTY */
};

/* Finds the first stop from p on; NULL without one. */
static const uint8_t *find_stop(const uint8_t *p, const uint8_t *end)
{
    p = http1_engine_plain.skip[HTTP1_TEXT](p, end, p);
    if (p == end || (*p == '\r' && p + 1 == end))
        return NULL;
    return p;
}

/* Gives the reason for a byte that may not stand where it does: line ends have their own. */
static int blame(const uint8_t *c, enum http1_refusal broken_line, enum http1_refusal otherwise)
{
    if (*c == '\n')
        return -(int)HTTP1_BARE_LF;
    if (*c == '\r')
        return c[1] == '\n' ? -(int)broken_line : -(int)HTTP1_BARE_CR;
    return -(int)otherwise;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Reads HTTP/D.D; gives the byte after it, or NULL with *error set. */
static const uint8_t *judge_version(const uint8_t *c, enum http1_refusal broken_line, int *error)
{
    static const char form[] = "HTTP/9.9";
    bool known;

    for (unsigned i = 0; form[i]; i++) {
        if (form[i] == '9' ? http_char_is(c[i], HTTP_CLASS_DIGIT) : c[i] == (uint8_t)form[i])
            continue;
        *error = blame(c + i, broken_line, broken_line);
        return NULL;
    }
    known = c[5] == '1' && c[6] == '.' && (c[7] == '0' || c[7] == '1');
    *error = known ? 0 : -(int)HTTP1_BAD_VERSION;
    return c + 8;
}

static int judge_line_end(struct line *line, const uint8_t *c, enum http1_refusal otherwise)
{
    if (c[0] != '\r' || c[1] != '\n')
        return blame(c, otherwise, otherwise);
    line->next = c + 2;
    return LINE_GOOD;
}

static int judge_request_line(struct line *line)
{
    const uint8_t *c = line->at, *target;
    int error, rc;

    while (http_char_is(*c, HTTP_CLASS_TOKEN))
        c++;
    if (c == line->at || *c != ' ')
        return blame(c, HTTP1_BAD_REQUEST_LINE, HTTP1_BAD_METHOD);
    target = ++c;
    if (*c == '/') {
        while (http_char_is(*c, HTTP_CLASS_PATH))
            c++;
    }
    if (*target != '/' || *c == '?') {
        while (http_char_is(*c, HTTP_CLASS_QUERY))
            c++;
    }
    if (c == target && *c == ' ')
        return -(int)HTTP1_BAD_REQUEST_LINE;
    if (*c != ' ')
        return blame(c, HTTP1_BAD_REQUEST_LINE, HTTP1_BAD_TARGET);
    c = judge_version(c + 1, HTTP1_BAD_REQUEST_LINE, &error);
    if (!c)
        return error;
    rc = judge_line_end(line, c, HTTP1_BAD_REQUEST_LINE);
    return rc < 0 ? rc : error;
}

static int judge_status_line(struct line *line)
{
    const uint8_t *c;
    int error, rc;

    c = judge_version(line->at, HTTP1_BAD_STATUS_LINE, &error);
    if (!c)
        return error;
    if (*c != ' ')
        return blame(c, HTTP1_BAD_STATUS_LINE, HTTP1_BAD_STATUS_LINE);
    c++;
    for (int i = 0; i < 3; i++, c++) {
        if (!http_char_is(*c, HTTP_CLASS_DIGIT) || (i == 0 && (*c < '1' || *c > '5')))
            return blame(c, HTTP1_BAD_STATUS_LINE, HTTP1_BAD_STATUS_LINE);
    }
    /* Without a reason the space before it is missing too, from many servers. */
    if (*c == ' ') {
        while (http_char_is(*c, HTTP_CLASS_TEXT))
            c++;
    }
    rc = judge_line_end(line, c, HTTP1_BAD_STATUS_LINE);
    return rc < 0 ? rc : error;
}

static int judge_field_line(struct line *line)
{
    const uint8_t *c = line->at;

    if (c[0] == '\r' && c[1] == '\n') {
        line->next = c + 2;
        return LINE_EMPTY;
    }
    if (is_blank(*c))
        return -(int)HTTP1_FOLDED;
    while (http_char_is(*c, HTTP_CLASS_TOKEN))
        c++;
    if (c == line->at)
        return blame(c, HTTP1_BAD_NAME, HTTP1_BAD_NAME);
    if (c - line->at > UINT16_MAX)
        return -(int)HTTP1_HEAD_TOO_LARGE;
    if (is_blank(*c)) {
        while (is_blank(*c))
            c++;
        return *c == ':' ? -(int)HTTP1_SPACE_BEFORE_COLON : -(int)HTTP1_BAD_NAME;
    }
    if (*c != ':')
        return blame(c, HTTP1_NO_COLON, HTTP1_BAD_NAME);
    c++;
    while (http_char_is(*c, HTTP_CLASS_TEXT))
        c++;
    return judge_line_end(line, c, HTTP1_BAD_VALUE);
}

static int judge_start_line(enum http1_kind kind, struct line *line)
{
    return kind == HTTP1_KIND_REQUEST ? judge_request_line(line) : judge_status_line(line);
}

/* Judges the line at resume->line; what was scanned before is not scanned for a stop again. */
static int judge_line(const uint8_t *p, const uint8_t *end, const struct http1_bounds *bounds,
                      const struct http1_resume *resume, struct line *line)
{
    const uint8_t *from = p + resume->scanned;
    bool start = resume->lines == 0 && bounds->kind != HTTP1_KIND_TRAILERS;
    unsigned taken;
    int rc;

    line->at = p + resume->line;
    line->end = end;
    if (start && (size_t)(end - line->at) > (size_t)bounds->line_bytes + 2)
        line->end = line->at + bounds->line_bytes + 2;
    if (from < line->at)
        from = line->at;
    if (from > line->end || !find_stop(from, line->end))
        return LINE_UNFINISHED;
    if (start)
        return judge_start_line(bounds->kind, line);
    rc = judge_field_line(line);
    taken = resume->lines - (bounds->kind != HTTP1_KIND_TRAILERS ? 1u : 0u);
    if (rc == LINE_GOOD && taken >= bounds->fields)
        return -(int)HTTP1_TOO_MANY_FIELDS;
    return rc;
}

/* Answers for a head that ends inside a line: too large already, or more to come. */
static ssize_t judge_unfinished(const uint8_t *p, size_t n, const struct http1_bounds *bounds,
                                const struct line *line, struct http1_resume *resume)
{
    bool start = resume->lines == 0 && bounds->kind != HTTP1_KIND_TRAILERS;

    if (start && (size_t)(line->end - line->at) == (size_t)bounds->line_bytes + 2)
        return -(ssize_t)HTTP1_LINE_TOO_LONG;
    if (n >= bounds->bytes) {
        return bounds->kind == HTTP1_KIND_TRAILERS ? -(ssize_t)HTTP1_TRAILERS_TOO_LARGE
                                                   : -(ssize_t)HTTP1_HEAD_TOO_LARGE;
    }
    resume->scanned = (uint32_t)(line->end - p);
    if (line->end > line->at && line->end[-1] == '\r')
        resume->scanned--;
    return 0;
}

ssize_t http1_judge(const uint8_t *p, size_t n, const struct http1_bounds *bounds,
                    struct http1_resume *resume)
{
    const uint8_t *end = p + (n < bounds->bytes ? n : bounds->bytes);

    if (bounds->kind == HTTP1_KIND_REQUEST && resume->line == 0 && end - p >= 2 && p[0] == '\r' &&
        p[1] == '\n')
        resume->line = 2; /* the one empty line that is let pass */
    for (;;) {
        struct line line = {NULL, NULL, NULL};
        int rc = judge_line(p, end, bounds, resume, &line);

        if (rc < 0)
            return rc;
        if (rc == LINE_UNFINISHED)
            return judge_unfinished(p, n, bounds, &line, resume);
        if (rc == LINE_EMPTY)
            return 1;
        resume->line = (uint32_t)(line.next - p);
        resume->lines++;
    }
}

/* The sink that writes lines to a descriptor: standard error, a pipe, a file, a socket. */
#include <weir/log.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"

enum {
    LINE_BYTES = 4096, /* PIPE_BUF: up to this a pipe takes a line whole, never mixed with others */
    WAIT_MS = 20,      /* for a reader that is behind; then lines are dropped without waiting */
};

struct line {
    char bytes[LINE_BYTES];
    size_t size;
};

static _Atomic uint32_t dropped; /* lines since one was written */

/* Days since 1970 to year, month, day: gmtime_r would take the time zone's lock. The year is
 * counted from March, so that the leap day is its last one. */
static void civil(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    enum { DAYS_400_YEARS = 146097, DAYS_TO_1970_FROM_MARCH_0 = 719468 };
    days += DAYS_TO_1970_FROM_MARCH_0;
    int64_t era = days / DAYS_400_YEARS;
    unsigned of_era = (unsigned)(days % DAYS_400_YEARS);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * of_year + 2) / 153;
    *day = of_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = (int64_t)year_of_era + era * 400 + (*month <= 2);
}

static void add_head(struct line *line, const weir_log_line *entry)
{
    uint64_t ms = weir__clock_wall_ns() / 1000000;
    int64_t year;
    unsigned month, day, second = (unsigned)(ms / 1000 % 86400);
    civil((int64_t)(ms / 86400000), &year, &month, &day);
    line->size = (size_t)snprintf(line->bytes, sizeof(line->bytes),
                                  "%04" PRId64 "-%02u-%02uT%02u:%02u:%02u.%03uZ %s ", year, month,
                                  day, second / 3600, second / 60 % 60, second % 60,
                                  (unsigned)(ms % 1000), weir_log_level_name(entry->level));
}

/* The text with everything escaped that could move a terminal's cursor or forge a line: control
 * characters (C0, DEL, C1) and what is not UTF-8. Returns false when it does not fit before `end`.
 */
static bool add_escaped(struct line *line, const char *text, size_t end)
{
    for (size_t left = strlen(text); left > 0;) {
        uint32_t code = 0;
        unsigned length = utf8_next(text, left, &code);
        bool plain = length != 0 && code >= 0x20 && (code < 0x7f || code >= 0xa0);
        if (line->size + (plain ? length : 4) > end)
            return false;
        if (plain) {
            memcpy(line->bytes + line->size, text, length);
            line->size += length;
        } else {
            static const char digits[] = "0123456789abcdef";
            unsigned char byte = (unsigned char)*text;
            char escape[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
            memcpy(line->bytes + line->size, escape, sizeof(escape));
            line->size += sizeof(escape);
            length = 1;
        }
        text += length;
        left -= length;
    }
    return true;
}

/* What comes after the text: error, connection, lines lost before this one. */
static void add_tail(struct line *line, const weir_log_line *entry, uint32_t lost)
{
    enum { TAIL_BYTES = 160 };
    char tail[TAIL_BYTES];
    size_t size = 0;
    if (entry->code != 0)
        size += (size_t)snprintf(tail + size, sizeof(tail) - size, " [%s]",
                                 weir_error_name(entry->code));
    if (entry->handle != 0)
        size += (size_t)snprintf(tail + size, sizeof(tail) - size, " [conn %" PRIx64 "]",
                                 entry->handle);
    if (lost != 0)
        size +=
            (size_t)snprintf(tail + size, sizeof(tail) - size, " [%" PRIu32 " lines lost]", lost);
    tail[size++] = '\n';
    if (!add_escaped(line, entry->text, sizeof(line->bytes) - size - 3)) {
        memcpy(line->bytes + line->size, "...", 3);
        line->size += 3;
    }
    memcpy(line->bytes + line->size, tail, size);
    line->size += size;
}

/* Whether a write would not wait, as far as can be known: another thread may be faster. */
static bool has_room(int fd, int wait_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    return poll(&one, 1, wait_ms) == 1 && (one.revents & (POLLERR | POLLNVAL)) == 0;
}

ssize_t weir__write_quietly(int fd, const char *bytes, size_t size)
{
    sigset_t pipe_only, before, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    ssize_t written;
    do {
        written = write(fd, bytes, size);
    } while (written < 0 && errno == EINTR);
    if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE)) {
        struct timespec at_once = {0};
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return written;
}

void weir_log_to_fd(const weir_log_line *entry, void *fd_as_pointer)
{
    int fd = (int)(intptr_t)fd_as_pointer;
    int saved_errno = errno;
    uint32_t lost = atomic_load_explicit(&dropped, memory_order_relaxed);
    struct line line;
    add_head(&line, entry);
    add_tail(&line, entry, lost);
    if (!has_room(fd, lost == 0 ? WAIT_MS : 0) ||
        weir__write_quietly(fd, line.bytes, line.size) != (ssize_t)line.size)
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
    else if (lost != 0) /* unless more were lost meanwhile: then the next line tells them all */
        atomic_compare_exchange_strong_explicit(&dropped, &lost, 0, memory_order_relaxed,
                                                memory_order_relaxed);
    errno = saved_errno;
}

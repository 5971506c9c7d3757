/* The record of events: a ring of the last ones for people, and a hash over all of them, by which
 * two runs of a seed are held against each other. Numbers only, and never an address. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core.h"

enum { RECORDS = 4096, NOTES = 256, NOTE_BYTES = 160, SHOWN = 120 };

struct line {
    uint64_t at_ns;
    const char *what;
    uint32_t host, actor;
    int64_t a, b, c;
    int32_t note; /* its number, or -1 */
};

static struct line lines[RECORDS];
static uint64_t line_count;
static char notes[NOTES][NOTE_BYTES];
static uint32_t note_count;

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; *text != 0; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
    return hash;
}

static const char *host_of(uint32_t id)
{
    for (const sim_host *host = world.hosts; host != NULL; host = host->next)
        if (host->id == id)
            return host->name;
    return "world";
}

static void show(const struct line *line, char *out, size_t size)
{
    int used = snprintf(out, size, "%10llu.%03llu us  %-10s %2u  %s",
                        (unsigned long long)(line->at_ns / 1000),
                        (unsigned long long)(line->at_ns % 1000), host_of(line->host), line->actor,
                        line->note >= 0 ? notes[line->note % NOTES] : line->what);
    if (line->note < 0 && used > 0 && (size_t)used < size)
        snprintf(out + used, size - (size_t)used, "  %lld %lld %lld", (long long)line->a,
                 (long long)line->b, (long long)line->c);
}

static void add(struct line line)
{
    struct sim_outcome *outcome = world.outcome;
    char text[400];
    line.at_ns = world.now_ns;
    line.host = world.host_now != NULL ? world.host_now->id : 0;
    line.actor = actor_now != NULL ? actor_now->id : 0;
    lines[line_count++ % RECORDS] = line;
    outcome->records++;
    outcome->hash = mix(mix(mix(outcome->hash, line.at_ns), (uint64_t)line.host << 32 | line.actor),
                        (uint64_t)line.a);
    outcome->hash = mix(mix(outcome->hash, (uint64_t)line.b), (uint64_t)line.c);
    outcome->hash = mix_text(outcome->hash, line.note >= 0 ? notes[line.note % NOTES] : line.what);
    if (!world.trace)
        return;
    show(&line, text, sizeof(text) - 1);
    strcat(text, "\n");
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(2);
}

void record(const char *what, int64_t a, int64_t b, int64_t c)
{
    add((struct line){.what = what, .a = a, .b = b, .c = c, .note = -1});
}

void record_print(void (*line)(const char *text), unsigned most)
{
    uint64_t from = line_count > RECORDS ? line_count - RECORDS : 0;
    if (line_count - from > most)
        from = line_count - most;
    for (uint64_t i = from; i < line_count; i++) {
        char text[400];
        show(&lines[i % RECORDS], text, sizeof(text));
        line(text);
    }
}

uint64_t sim_events(void)
{
    return world.outcome->records;
}

void sim_note(const char *format, ...)
{
    va_list args;
    char *note = notes[note_count % NOTES];
    va_start(args, format);
    vsnprintf(note, NOTE_BYTES, format, args);
    va_end(args);
    add((struct line){.note = (int32_t)(note_count++)});
}

/* --- failures --------------------------------------------------------------------------------- */

static void report_line(const char *text)
{
    struct sim_outcome *outcome = world.outcome;
    size_t size = strlen(text);
    if (outcome->report_size + size + 1 > sizeof(outcome->report))
        return;
    memcpy(outcome->report + outcome->report_size, text, size);
    outcome->report_size += (uint32_t)size;
    outcome->report[outcome->report_size++] = '\n';
}

void sim_fail(const char *format, ...)
{
    va_list args;
    char text[1024], head[1200];
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    world.trace = false;
    if (!world.outcome->failed) {
        world.outcome->failed = true;
        world.outcome->virtual_ns = world.now_ns;
        snprintf(head, sizeof(head), "%s", text);
        report_line(head);
        report_line("the last events (virtual time, host, thread, event and its numbers):");
        record_print(report_line, SHOWN);
        report_line("who waits for what:");
        actors_describe(report_line);
    }
    _exit(1);
}

#include "app/http/listing.h"

#include <string.h>

#include "app/http/calendar.h"
#include "app/http/page.h"

static struct http_text name_of(const struct listing *listing, const struct listing_entry *entry)
{
    return (struct http_text){listing->names + entry->name_at, entry->name_length};
}

static bool is_root(struct http_text path)
{
    return path.length == 0 || (path.length == 1 && path.at[0] == '.');
}

/* The link to an entry. "./" before it, for a name like "a:b" would look like a scheme. */
static void put_link(const struct listing *listing, const struct listing_entry *entry,
                     struct textout *out)
{
    textout_str(out, "./");
    textout_escaped(out, weir__escape_segment, name_of(listing, entry));
    if (entry->kind == LISTING_DIRECTORY)
        textout_str(out, "/");
}

/* The link to the directory itself or to one above it: `path` is cut where that one ends. */
static void put_directory_link(const char *prefix, struct http_text path, struct textout *out)
{
    textout_str(out, prefix);
    textout_str(out, "/");
    if (is_root(path))
        return;
    textout_escaped(out, weir__escape_path, path);
    textout_str(out, "/");
}

static struct http_text parent_of(struct http_text path)
{
    const char *slash = memrchr(path.at, '/', path.length);
    return (struct http_text){path.at, slash ? (size_t)(slash - path.at) : 0};
}

/* "512 B", "1.4 KiB", "23 MiB": at most three digits and a half. */
static void put_size(uint64_t size_bytes, struct textout *out)
{
    static const char units[] = "KMGTPE";
    uint64_t tenths;
    unsigned unit = 0;

    if (size_bytes < 1024) {
        textout_number(out, size_bytes);
        textout_str(out, " B");
        return;
    }
    /* Rounded up: a file is never shown smaller than it is. Beyond 1023 it is the next unit. */
    while (size_bytes > 1023 * 1024 && unit < sizeof(units) - 2) {
        size_bytes = size_bytes / 1024 + (size_bytes % 1024 > 0);
        unit++;
    }
    tenths = size_bytes / 1024 * 10 + (size_bytes % 1024 * 10 + 1023) / 1024;
    if (tenths < 100) {
        textout_number(out, tenths / 10);
        textout_str(out, ".");
        textout_number(out, tenths % 10);
    } else {
        textout_number(out, (tenths + 9) / 10);
    }
    textout_put(out, " ", 1);
    textout_put(out, units + unit, 1);
    textout_str(out, "iB");
}

/* "2026-03-01 09:05" and, for machines, the whole of it. */
static void put_date(int64_t mtime_s, struct textout *out)
{
    char date[CALENDAR_ISO_SIZE];

    calendar_write_iso(calendar_from(mtime_s), date);
    textout_str(out, "<time datetime=\"");
    textout_put(out, date, sizeof(date));
    textout_str(out, "\">");
    textout_put(out, date, 10);
    textout_str(out, " ");
    textout_put(out, date + 11, 5);
    textout_str(out, "</time>");
}

/* The path as a heading, each part of it a link to that directory. */
static void put_heading(const char *prefix, struct http_text path, struct textout *out)
{
    const char *at = path.at, *end = path.at + path.length;

    textout_str(out, "<h1>Index of <a href=\"");
    put_directory_link(prefix, (struct http_text){".", 1}, out);
    textout_str(out, "\">");
    textout_escaped(out, weir__escape_html, (struct http_text){prefix, strlen(prefix)});
    textout_str(out, "/</a>");
    while (!is_root(path) && at < end) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const char *next = slash ? slash : end;
        textout_str(out, "<a href=\"");
        put_directory_link(prefix, (struct http_text){path.at, (size_t)(next - path.at)}, out);
        textout_str(out, "\"><bdi>");
        textout_escaped(out, weir__escape_html, (struct http_text){at, (size_t)(next - at)});
        textout_str(out, "</bdi>/</a>");
        at = slash ? slash + 1 : end;
    }
    textout_str(out, "</h1>\n");
}

static void put_row(const struct listing *listing, const struct listing_entry *entry,
                    struct textout *out)
{
    bool folder = entry->kind == LISTING_DIRECTORY;

    textout_str(out, folder ? "<tr><td class=\"name folder\"><a href=\""
                            : "<tr><td class=\"name\"><a href=\"");
    put_link(listing, entry, out);
    textout_str(out, "\"><bdi>");
    textout_escaped(out, weir__escape_html, name_of(listing, entry));
    textout_str(out, folder ? "</bdi>/</a></td><td class=\"size\">"
                            : "</bdi></a></td>"
                              "<td class=\"size\" title=\"");
    if (!folder) {
        textout_number(out, entry->size_bytes);
        textout_str(out, " bytes\">");
        put_size(entry->size_bytes, out);
    }
    textout_str(out, "</td><td class=\"date\">");
    put_date(entry->mtime_s, out);
    textout_str(out, "</td></tr>\n");
}

static void put_count(uint64_t count, const char *one, const char *many, struct textout *out)
{
    textout_number(out, count);
    textout_str(out, count == 1 ? one : many);
}

static void put_footer(const struct listing *listing, struct textout *out)
{
    uint32_t files = listing->count - listing->directories;

    textout_str(out, "<footer>");
    if (listing->count == 0 && listing->omitted == 0) {
        textout_str(out, "This directory is empty.");
    } else {
        put_count(listing->directories, " directory, ", " directories, ", out);
        put_count(files, " file", " files", out);
        if (files > 0) {
            textout_str(out, ", ");
            put_size(listing->total_bytes, out);
        }
    }
    if (listing->omitted > 0) {
        textout_str(out, "; <strong>");
        put_count(listing->omitted, " more entry is not shown", " more entries are not shown", out);
        textout_str(out, "</strong>");
    }
    textout_str(out, "</footer>\n");
}

void listing_write_html(const struct listing *listing, const char *prefix, struct http_text path,
                        struct textout *out)
{
    weir__page_begin(out, "Index of /", is_root(path) ? (struct http_text){NULL, 0} : path);
    put_heading(prefix, path, out);
    textout_str(out, "<table>\n<thead><tr><th class=\"name\">Name</th><th class=\"size\">Size</th>"
                     "<th class=\"date\">Changed (UTC)</th></tr></thead>\n<tbody>\n");
    if (!is_root(path)) {
        textout_str(out, "<tr><td class=\"name folder\"><a href=\"");
        put_directory_link(prefix, parent_of(path), out);
        textout_str(out, "\">../</a></td><td class=\"size\"></td><td class=\"date\"></td></tr>\n");
    }
    for (uint32_t i = 0; i < listing->count; i++)
        put_row(listing, &listing->entries[i], out);
    textout_str(out, "</tbody>\n</table>\n");
    put_footer(listing, out);
    weir__page_end(out);
}

static void put_json_entry(const struct listing *listing, const struct listing_entry *entry,
                           struct textout *out)
{
    bool folder = entry->kind == LISTING_DIRECTORY;
    char date[CALENDAR_ISO_SIZE];

    textout_str(out, "{\"name\":\"");
    textout_escaped(out, weir__escape_json, name_of(listing, entry));
    textout_str(out, "\",\"href\":\"");
    put_link(listing, entry, out);
    textout_str(out, folder ? "\",\"type\":\"directory\"" : "\",\"type\":\"file\",\"size_bytes\":");
    if (!folder)
        textout_number(out, entry->size_bytes);
    calendar_write_iso(calendar_from(entry->mtime_s), date);
    textout_str(out, ",\"modified\":\"");
    textout_put(out, date, sizeof(date));
    textout_str(out, "\"}");
}

void listing_write_json(const struct listing *listing, const char *prefix, struct http_text path,
                        struct textout *out)
{
    textout_str(out, "{\"path\":\"");
    put_directory_link(prefix, path, out);
    textout_str(out, "\",\"entries\":[");
    for (uint32_t i = 0; i < listing->count; i++) {
        textout_str(out, i == 0 ? "\n" : ",\n");
        put_json_entry(listing, &listing->entries[i], out);
    }
    textout_str(out, "],\"omitted\":");
    textout_number(out, listing->omitted);
    textout_str(out, "}\n");
}

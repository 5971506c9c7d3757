#include "app/http/welcome.h"

#include <string.h>

#include "app/http/page.h"

static struct http_text text_of(const char *text)
{
    return (struct http_text){text, text ? strlen(text) : 0};
}

static void put_fact(const char *name, const char *value, const char *more, struct textout *out)
{
    if (!value)
        return;
    textout_str(out, "<dt>");
    textout_str(out, name);
    textout_str(out, "</dt><dd>");
    textout_escaped(out, weir__escape_html, text_of(value));
    if (more) {
        textout_str(out, " &ndash; ");
        textout_escaped(out, weir__escape_html, text_of(more));
    }
    textout_str(out, "</dd>\n");
}

static void put_facts(const struct welcome_facts *facts, struct textout *out)
{
    textout_str(out, "<dl>\n");
    put_fact("Version", facts->version, NULL, out);
    put_fact("Address", facts->url, NULL, out);
    put_fact("Back end", facts->backend, facts->reason, out);
    put_fact("Shape", facts->shape, NULL, out);
    if (facts->loops > 0) {
        textout_str(out, "<dt>Loops</dt><dd>");
        textout_number(out, facts->loops);
        textout_str(out, "</dd>\n");
    }
    textout_str(out, "</dl>\n");
}

/* A line to type, and what it does. */
struct command {
    const char *before, *after; /* around the server's address; after NULL: the line has none */
    const char *says;
};

static const struct command serving[] = {
    {"weir serve DIR", NULL, "Serve the files of a directory."},
    {"weir serve DIR --listing --access-log -", NULL,
     "The same, with listings of directories, and a line on the terminal for each request."},
    {"weir serve --help", NULL, "All there is to set: addresses, loops, limits, log formats."},
};

static const struct command knowing[] = {
    {"weir backends", NULL, "What this kernel can do, what weir uses of it, and why not the rest."},
    {"weir limits", NULL, "Every bound that is kept, with its default."},
};

static const struct command trying[] = {
    {"curl -i ", "/", "One request, with the head of the answer."},
    {"wrk -t2 -c64 -d5s ", "/", "Sixty-four connections for five seconds."},
};

static void put_commands(const char *title, const struct command *commands, size_t count,
                         const char *url, struct textout *out)
{
    textout_str(out, "<h2>");
    textout_str(out, title);
    textout_str(out, "</h2>\n");
    for (size_t i = 0; i < count; i++) {
        textout_str(out, "<div class=\"row\"><code>");
        textout_str(out, commands[i].before);
        if (commands[i].after) {
            textout_escaped(out, weir__escape_html, text_of(url));
            textout_str(out, commands[i].after);
        }
        textout_str(out, "</code><span>");
        textout_str(out, commands[i].says);
        textout_str(out, "</span></div>\n");
    }
}

/* Water that comes to a step, goes over it, and runs on below. */
static const char mark[] =
    "<svg viewBox=\"0 0 36 36\" aria-hidden=\"true\">"
    "<path d=\"M3 10q4-4 8 0t8 0c7 0 5 11 14 11\"/>"
    "<path d=\"M3 29q3.75-4 7.5 0t7.5 0 7.5 0 7.5 0\" opacity=\".5\"/></svg>";

void weir__welcome_write(const struct welcome_facts *facts, struct textout *out)
{
    const char *url = facts->url ? facts->url : "http://127.0.0.1:8080";

    weir__page_begin(out, "weir is running", text_of(NULL));
    textout_str(out, "<header>");
    textout_str(out, mark);
    textout_str(out, "<h1>weir is running</h1></header>\n"
                     "<p>weir is a network I/O framework for Linux, and a command built on it: one "
                     "library for servers of a million connections, on io_uring where the kernel "
                     "has it and on epoll where it has not, with a bound on everything.</p>\n"
                     "<p>This page is built in. It is shown because no directory was given.</p>\n");
    put_facts(facts, out);
    put_commands("Serve files", serving, sizeof(serving) / sizeof(serving[0]), url, out);
    put_commands("Try this server", trying, sizeof(trying) / sizeof(trying[0]), url, out);
    put_commands("Look inside", knowing, sizeof(knowing) / sizeof(knowing[0]), url, out);
    textout_str(out, "<footer>Sent from memory, with nothing fetched from anywhere.</footer>\n");
    weir__page_end(out);
}

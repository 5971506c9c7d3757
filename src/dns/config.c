#include "dns/config.h"

#include <stdio.h>
#include <string.h>

#include <weir/error.h>

/* resolv.conf(5): what RES_DFLRETRY and its like say, and the bounds that the C library has. */
enum { NDOTS_MAX = 15, TIMEOUT_S = 5, TIMEOUT_MAX_S = 30, ATTEMPTS = 2, ATTEMPTS_MAX = 5 };

struct text {
    const char *at, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

/* The next line without what is behind a comment sign; false: there is none. */
static bool next_line(struct text *all, struct text *line, const char *comments)
{
    if (all->at == all->end)
        return false;
    const char *end = memchr(all->at, '\n', (size_t)(all->end - all->at));
    line->at = all->at;
    line->end = end != NULL ? end : all->end;
    all->at = end != NULL ? end + 1 : all->end;
    for (const char *c = line->at; c < line->end; c++)
        if (*c == '\0' || strchr(comments, *c) != NULL)
            line->end = c;
    return true;
}

static bool next_word(struct text *line, struct text *word)
{
    while (line->at < line->end && is_space(*line->at))
        line->at++;
    word->at = line->at;
    while (line->at < line->end && !is_space(*line->at))
        line->at++;
    word->end = line->at;
    return word->at < word->end;
}

static bool word_is(const struct text *word, const char *what)
{
    size_t size = (size_t)(word->end - word->at);
    return strlen(what) == size && memcmp(word->at, what, size) == 0;
}

/* "name:number", the number cut at `most`. */
static bool word_number(const struct text *word, const char *name, unsigned most, unsigned *out)
{
    size_t skip = strlen(name);
    unsigned value = 0;

    if ((size_t)(word->end - word->at) <= skip || memcmp(word->at, name, skip) != 0)
        return false;
    for (const char *c = word->at + skip; c < word->end; c++) {
        if (*c < '0' || *c > '9')
            return false;
        value = value * 10 + (unsigned)(*c - '0');
        if (value > most)
            value = most;
    }
    *out = value;
    return true;
}

int config_read_server(weir_address *out, const char *text, size_t size)
{
    char url[160];
    const char *bracket = memchr(text, '[', size);
    const char *colon = memchr(text, ':', size);
    bool port = false, ip6 = false;

    if (size > 100)
        return WEIR_EADDRESS;
    if (bracket != NULL)
        port = text[size - 1] != ']';
    else if (colon != NULL)
        ip6 = memchr(colon + 1, ':', size - (size_t)(colon + 1 - text)) != NULL;
    if (bracket == NULL && colon != NULL && !ip6)
        port = true;
    /* OpenBSD's and c-ares' way to give a port has brackets around IPv4 addresses too. */
    if (bracket == text && memchr(text, '.', size) != NULL && memchr(text, ']', size) != NULL &&
        (const char *)memchr(text, ':', size) >= (const char *)memchr(text, ']', size)) {
        const char *close = memchr(text, ']', size);
        snprintf(url, sizeof url, "udp://%.*s%.*s%s", (int)(close - text - 1), text + 1,
                 (int)(text + size - close - 1), close + 1, port ? "" : ":53");
    } else {
        snprintf(url, sizeof url, "udp://%s%.*s%s%s", ip6 ? "[" : "", (int)size, text,
                 ip6 ? "]" : "", port ? "" : ":53");
    }
    if (weir_address_parse(url, out, NULL) < 0 || (out->flags & WEIR_ADDRESS_ANY) != 0 ||
        weir_address_port(out) == 0)
        return WEIR_EADDRESS;
    return 0;
}

static void read_server(struct config_resolv *out, struct text *line)
{
    struct text word;

    if (!next_word(line, &word) || out->server_count == CONFIG_SERVERS_MAX ||
        config_read_server(&out->servers[out->server_count], word.at,
                           (size_t)(word.end - word.at)) < 0)
        out->ignored++;
    else
        out->server_count++;
}

/* The last of these lines counts. */
static void read_search(struct config_resolv *out, struct text *line, bool one)
{
    struct text word;

    out->search_count = 0;
    while (next_word(line, &word)) {
        struct dns_name name;
        size_t size = (size_t)(word.end - word.at);
        if (one && out->search_count == 1)
            return;
        if (size == 1 && *word.at == '.')
            continue; /* the root: names as they are, which are tried anyway */
        if (out->search_count == CONFIG_SEARCH_MAX || name_from_text(&name, word.at, size) < 0) {
            out->ignored++;
            continue;
        }
        size -= word.at[size - 1] == '.';
        memcpy(out->search[out->search_count], word.at, size);
        out->search[out->search_count++][size] = '\0';
    }
}

static void read_options(struct config_resolv *out, struct text *line)
{
    struct text word;

    while (next_word(line, &word)) {
        if (word_number(&word, "ndots:", NDOTS_MAX, &out->ndots) ||
            word_number(&word, "timeout:", TIMEOUT_MAX_S, &out->timeout_s) ||
            word_number(&word, "attempts:", ATTEMPTS_MAX, &out->attempts))
            continue;
        out->rotate |= word_is(&word, "rotate");
        out->tcp |= word_is(&word, "use-vc");
        out->no_ip6 |= word_is(&word, "no-aaaa");
    }
}

void config_read_resolv(struct config_resolv *out, const char *text, size_t size)
{
    struct text all = {text, text + size}, line, word;

    *out = (struct config_resolv){.ndots = 1, .timeout_s = TIMEOUT_S, .attempts = ATTEMPTS};
    while (next_line(&all, &line, "#;")) {
        if (!next_word(&line, &word))
            continue;
        if (word_is(&word, "nameserver"))
            read_server(out, &line);
        else if (word_is(&word, "search") || word_is(&word, "domain"))
            read_search(out, &line, word_is(&word, "domain"));
        else if (word_is(&word, "options"))
            read_options(out, &line);
    }
    if (out->server_count == 0 && config_read_server(&out->servers[0], "127.0.0.1", 9) == 0)
        out->server_count = 1;
    if (out->timeout_s == 0)
        out->timeout_s = 1;
    if (out->attempts == 0)
        out->attempts = 1;
}

/* --- nsswitch.conf ---------------------------------------------------------------------------- */

/* "[!UNAVAIL=return NOTFOUND=continue]": the words between the brackets, letters of any case. */
static uint8_t read_actions(struct text *line, uint8_t last_when)
{
    static const char *const names[CONFIG_STATUSES] = {"success", "notfound", "unavail",
                                                       "tryagain"};
    char word[32];
    size_t length = 0;

    for (line->at++; line->at < line->end; line->at++) {
        char c = name_small(*line->at);
        if (!is_space(c) && c != ']') {
            if (length < sizeof word - 1)
                word[length++] = c;
            continue;
        }
        word[length] = '\0';
        const char *equals = strchr(word, '=');
        for (unsigned i = 0; equals != NULL && i < CONFIG_STATUSES; i++) {
            bool not = word[0] == '!';
            size_t size = (size_t)(equals - word) - not ;
            if (strlen(names[i]) != size || memcmp(word + not, names[i], size) != 0)
                continue;
            uint8_t bits = (uint8_t)(not ? ~(1u << i) & ((1u << CONFIG_STATUSES) - 1) : 1u << i);
            /* "merge" is for groups; for hosts it ends the search as "return" does. */
            last_when =
                (uint8_t)(strcmp(equals, "=continue") == 0 ? last_when & ~bits : last_when | bits);
        }
        length = 0;
        if (c == ']') {
            line->at++;
            break;
        }
    }
    return last_when;
}

static void read_sources(struct config_switch *out, struct text *line)
{
    bool known = false;

    while (line->at < line->end) {
        if (is_space(*line->at)) {
            line->at++;
            continue;
        }
        if (*line->at == '[') {
            uint8_t old = known ? out->sources[out->count - 1].last_when : 0;
            uint8_t last_when = read_actions(line, old);
            if (known)
                out->sources[out->count - 1].last_when = last_when;
            continue;
        }
        struct text word = {line->at, line->at};
        while (word.end < line->end && !is_space(*word.end) && *word.end != '[')
            word.end++;
        line->at = word.end;
        bool dns = word_is(&word, "dns");
        known = (dns || word_is(&word, "files")) && out->count < CONFIG_SOURCES_MAX;
        if (known) {
            out->sources[out->count].dns = dns;
            out->sources[out->count++].last_when = 1u << CONFIG_SUCCESS;
        }
    }
}

void config_read_switch(struct config_switch *out, const char *text, size_t size)
{
    struct text all = {text, text + size}, line;

    *out = (struct config_switch){0};
    while (next_line(&all, &line, "#")) {
        while (line.at < line.end && is_space(*line.at))
            line.at++;
        if (line.end - line.at < 6 || memcmp(line.at, "hosts:", 6) != 0)
            continue;
        line.at += 6;
        out->count = 0; /* the last line counts */
        read_sources(out, &line);
    }
    if (out->count == 0) {
        out->count = 2;
        out->sources[0].dns = false;
        out->sources[1].dns = true;
        out->sources[0].last_when = out->sources[1].last_when = 1u << CONFIG_SUCCESS;
    }
}

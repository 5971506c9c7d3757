#include "dns/hosts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <weir/error.h>
#include <weir/module.h>

/* One name of one line. The text lies in the file's, the letters made small, a NUL behind it. */
struct host {
    uint32_t next; /* of the same place in the table; 0: the last */
    uint32_t hash;
    uint32_t name_at; /* in the text */
    bool ip6, first;  /* the first name of its line is the canonical one */
    uint8_t address[16];
};

struct hosts {
    char *text;
    struct host *list; /* the first is not used */
    uint32_t *table;
    uint32_t count, room, table_size, ignored;
};

static uint32_t hash_of(const char *text, size_t size)
{
    uint32_t hash = 2166136261u; /* FNV-1a: the file is the administrator's, no enemy's */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    return hash;
}

static int host_add(struct hosts *hosts, const struct host *host)
{
    if (hosts->count == hosts->room) {
        uint32_t room = hosts->room < 64 ? 64 : hosts->room * 2;
        struct host *list = weir__realloc(hosts->list, room * sizeof *list);
        if (list == NULL)
            return WEIR_ENOMEM;
        hosts->list = list;
        hosts->room = room;
    }
    hosts->list[hosts->count++] = *host;
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v' || c == '\0';
}

/* The next word of a line, with a NUL behind it in place of the blank, line end or comment sign. */
static char *next_word(char **at, char *end)
{
    while (*at < end && is_blank(**at))
        (*at)++;
    if (*at == end)
        return NULL;
    char *word = *at;
    while (*at < end && !is_blank(**at))
        (*at)++;
    **at = '\0'; /* there is a byte behind the line: its end, or that of the text */
    if (*at < end)
        (*at)++;
    return word;
}

static int read_line(struct hosts *hosts, char *at, char *end)
{
    struct host host = {.first = true};
    char *word = next_word(&at, end);

    if (word == NULL)
        return 0;
    char *scope = strchr(word, '%');
    if (scope != NULL)
        *scope = '\0';
    host.ip6 = strchr(word, ':') != NULL;
    if (inet_pton(host.ip6 ? AF_INET6 : AF_INET, word, host.address) != 1 || scope != NULL) {
        hosts->ignored++;
        return 0;
    }
    while ((word = next_word(&at, end)) != NULL) {
        size_t size = strlen(word);
        size -= size > 1 && word[size - 1] == '.';
        word[size] = '\0';
        for (size_t i = 0; i < size; i++)
            word[i] = name_small(word[i]);
        if (size > NAME_PLAIN_MAX) {
            hosts->ignored++;
            continue;
        }
        host.hash = hash_of(word, size);
        host.name_at = (uint32_t)(word - hosts->text);
        int result = host_add(hosts, &host);
        if (result < 0)
            return result;
        host.first = false;
    }
    return 0;
}

static int read_lines(struct hosts *hosts, size_t size)
{
    static const struct host none = {0};
    char *at = hosts->text, *end = at + size;
    int result = host_add(hosts, &none);

    while (at < end && result == 0) {
        char *line_end = memchr(at, '\n', (size_t)(end - at));
        char *next = line_end != NULL ? line_end + 1 : end;
        char *comment;
        if (line_end == NULL)
            line_end = end;
        comment = memchr(at, '#', (size_t)(line_end - at));
        result = read_line(hosts, at, comment != NULL ? comment : line_end);
        at = next;
    }
    return result;
}

/* Chains are in the order of the file: names are put in from the last one on. */
static int table_make(struct hosts *hosts)
{
    hosts->table_size = 16;
    while (hosts->table_size < hosts->count)
        hosts->table_size *= 2;
    hosts->table = weir__zalloc(hosts->table_size * sizeof *hosts->table);
    if (hosts->table == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = hosts->count - 1; i > 0; i--) {
        uint32_t *place = &hosts->table[hosts->list[i].hash & (hosts->table_size - 1)];
        hosts->list[i].next = *place;
        *place = i;
    }
    return 0;
}

int hosts_new(struct hosts **out, char *text, size_t size)
{
    struct hosts *hosts = weir__zalloc(sizeof *hosts);
    char *own = hosts != NULL ? weir__realloc(text, size + 1) : NULL;

    if (own == NULL) {
        weir__free(text);
        weir__free(hosts);
        return WEIR_ENOMEM;
    }
    own[size] = '\0';
    hosts->text = own;
    int result = read_lines(hosts, size);
    if (result == 0)
        result = table_make(hosts);
    if (result < 0) {
        hosts_free(hosts);
        return result;
    }
    *out = hosts;
    return 0;
}

void hosts_free(struct hosts *hosts)
{
    if (hosts == NULL)
        return;
    weir__free(hosts->text);
    weir__free(hosts->list);
    weir__free(hosts->table);
    weir__free(hosts);
}

unsigned hosts_ignored(const struct hosts *hosts)
{
    return hosts->ignored;
}

static void host_address(const struct host *host, weir_address *out)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (host->ip6) {
        memcpy(&in6.sin6_addr, host->address, 16);
        weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6, WEIR_TRANSPORT_TCP, out);
    } else {
        memcpy(&in4.sin_addr, host->address, 4);
        weir_address_from_sockaddr((struct sockaddr *)&in4, sizeof in4, WEIR_TRANSPORT_TCP, out);
    }
}

/* AAAA before A, as everywhere. */
int hosts_find(const struct hosts *hosts, const char *name, enum weir_record_type type,
               struct record_set **out)
{
    weir_address found[HOSTS_FOUND_MAX];
    unsigned count = 0;
    uint32_t hash = hash_of(name, strlen(name));

    *out = NULL;
    for (int ip6 = 1; ip6 >= 0; ip6--) {
        if (type != WEIR_RECORD_HOST && (type == WEIR_RECORD_AAAA) != (ip6 == 1))
            continue;
        for (uint32_t i = hosts->table[hash & (hosts->table_size - 1)]; i != 0;
             i = hosts->list[i].next) {
            const struct host *host = &hosts->list[i];
            if (host->hash != hash || host->ip6 != (ip6 == 1) || count == HOSTS_FOUND_MAX ||
                strcmp(hosts->text + host->name_at, name) != 0)
                continue;
            host_address(host, &found[count]);
            unsigned same = 0;
            while (!weir_address_equal(&found[same], &found[count]))
                same++;
            count += same == count;
        }
    }
    if (count == 0)
        return 0;
    *out = record_set_of_addresses(name, found, count);
    return *out != NULL ? 0 : WEIR_ENOMEM;
}

int hosts_find_address(const struct hosts *hosts, const weir_address *address,
                       struct record_set **out)
{
    const char *found[HOSTS_FOUND_MAX];
    unsigned count = 0;
    bool ip6 = address->socket.ss_family == AF_INET6;
    const void *bytes =
        ip6 ? (const void *)&((const struct sockaddr_in6 *)&address->socket)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)&address->socket)->sin_addr;

    *out = NULL;
    for (uint32_t i = 1; i < hosts->count && count < HOSTS_FOUND_MAX; i++) {
        const struct host *host = &hosts->list[i];
        if (host->first && host->ip6 == ip6 && memcmp(host->address, bytes, ip6 ? 16 : 4) == 0)
            found[count++] = hosts->text + host->name_at;
    }
    if (count == 0)
        return 0;
    *out = record_set_of_names(found[0], found, count);
    return *out != NULL ? 0 : WEIR_ENOMEM;
}

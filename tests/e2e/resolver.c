/* A resolver at the hands of a script. Arguments are options, "cache_max=2"; each line of the input
 * is a command, each line of the output what came of one:
 *   ask ID NAME TYPE DEADLINE_MS [FLAGS]    rev ID ADDRESS DEADLINE_MS    cancel ID
 *   connect ID URL    wait ID URL DEADLINE_MS    (by events, by a coroutine)
 *   stats    forget    quit
 *   ID error ERROR | ID told SOURCE MORE NAME RECORD... | ID open PEER */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/resolve.h>
#include <weir/weir.h>

enum { ASKS = 4096 };

static weir_loop *loop;
static weir_resolver *resolver;
static weir_lookup lookups[ASKS];
static weir_watch input;
static char lines[65536];
static size_t lines_size;

static void print_bytes(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", (unsigned char)bytes[i]);
}

static void print_record(const weir_record *r)
{
    char text[WEIR_ADDRESS_TEXT_MAX];

    switch (r->type) {
    case WEIR_RECORD_A:
    case WEIR_RECORD_AAAA:
        weir_address_format(&r->address, text, sizeof text);
        printf(" %s/%u", text, r->ttl_s);
        break;
    case WEIR_RECORD_PTR:
        printf(" %s/%u", r->name, r->ttl_s);
        break;
    case WEIR_RECORD_SRV:
        printf(" %u,%u,%u,%s/%u", r->priority, r->weight, r->port, r->name, r->ttl_s);
        break;
    default:
        printf(" x");
        print_bytes(r->text, r->text_size);
        printf("/%u", r->ttl_s);
    }
}

static void on_answer(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    static const char *const sources[] = {"none", "literal", "files", "dns", "cache"};

    printf("%u", (unsigned)(lookup - lookups));
    if (answer->error != 0) {
        printf(" error %s\n", weir_error_name(answer->error));
        return;
    }
    printf(" told %s %d %s", sources[answer->source], answer->more, answer->name);
    for (unsigned i = 0; i < answer->count; i++)
        print_record(&answer->records[i]);
    printf("\n");
}

static enum weir_record_type type_of(const char *text)
{
    static const struct {
        const char *name;
        enum weir_record_type type;
    } types[] = {{"HOST", WEIR_RECORD_HOST}, {"A", WEIR_RECORD_A},     {"AAAA", WEIR_RECORD_AAAA},
                 {"TXT", WEIR_RECORD_TXT},   {"SRV", WEIR_RECORD_SRV}, {"PTR", WEIR_RECORD_PTR}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(text, types[i].name) == 0)
            return types[i].type;
    return (enum weir_record_type)255;
}

static weir_time deadline_of(const char *ms)
{
    long value = ms != NULL ? atol(ms) : 0;
    return value == 0 ? WEIR_NEVER : weir_after((weir_time)value * WEIR_MS);
}

static void stats(void)
{
    weir_resolver_stats s;
    weir_resolver_stats_get(resolver, &s);
    printf("stats lookups=%lu questions=%lu cached=%lu cached_no=%lu shared=%lu failures=%lu "
           "malformed=%lu deadlines=%lu refused=%lu dropped=%lu reloads=%lu kept=%u waiting=%u "
           "asked=%u\n",
           s.lookups, s.questions, s.cached, s.cached_no, s.shared, s.failures, s.malformed,
           s.deadlines, s.refused, s.dropped, s.reloads, s.kept, s.waiting, s.asked);
}

static void print_peer(unsigned id, weir_conn conn)
{
    weir_address peer;
    char text[WEIR_ADDRESS_TEXT_MAX] = "?";
    if (weir_conn_peer(conn, &peer) == 0)
        weir_address_format(&peer, text, sizeof text);
    printf("%u open %s\n", id, text);
}

static void on_open(weir_conn conn, void *session)
{
    print_peer((unsigned)(uintptr_t)weir_conn_user(conn), conn);
    weir_close(conn);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    if (end.error != 0)
        printf("%u error %s\n", (unsigned)(uintptr_t)weir_conn_user(conn),
               weir_error_name(end.error));
}

static const weir_service service = {.on_open = on_open, .on_close = on_close};

struct job {
    unsigned id, deadline_ms;
    char url[300];
};

static void wait_for(void *arg)
{
    struct job *job = arg;
    weir_conn conn;
    int result = weir_connect_wait(&conn, job->url, NULL, weir_after(job->deadline_ms * WEIR_MS));
    if (result == 0)
        print_peer(job->id, conn);
    else
        printf("%u error %s\n", job->id, weir_error_name(result));
    weir_close(conn);
    free(job);
}

static int wait_begin(const char *id, const char *url, const char *deadline_ms)
{
    struct job *job = calloc(1, sizeof *job);
    job->id = (unsigned)atoi(id);
    job->deadline_ms = (unsigned)atoi(deadline_ms);
    snprintf(job->url, sizeof job->url, "%s", url);
    return weir_spawn(wait_for, job);
}

static void command(char *line)
{
    char *words[8] = {NULL};
    int count = 0, result = 0;

    for (char *w = strtok(line, " "); w != NULL && count < 8; w = strtok(NULL, " "))
        words[count++] = w;
    if (count == 0)
        return;
    weir_lookup *lookup = &lookups[count > 1 ? atoi(words[1]) % ASKS : 0];
    if (strcmp(words[0], "ask") == 0)
        result = weir_resolve(resolver, lookup, words[2], type_of(words[3]),
                              words[5] != NULL ? (unsigned)atoi(words[5]) : 0,
                              deadline_of(words[4]), on_answer, NULL);
    else if (strcmp(words[0], "rev") == 0) {
        weir_address address;
        char url[128];
        snprintf(url, sizeof url, "udp://%s:1", words[2]);
        result = weir_address_parse(url, &address, NULL);
        if (result == 0)
            result = weir_resolve_address(resolver, lookup, &address, deadline_of(words[3]),
                                          on_answer, NULL);
    } else if (strcmp(words[0], "connect") == 0)
        result = weir_connect(NULL, words[2], &service, (void *)(uintptr_t)atoi(words[1]));
    else if (strcmp(words[0], "wait") == 0)
        result = wait_begin(words[1], words[2], words[3]);
    else if (strcmp(words[0], "cancel") == 0)
        printf("%s canceled %d\n", words[1], weir_lookup_cancel(lookup));
    else if (strcmp(words[0], "forget") == 0)
        weir_resolver_forget(resolver);
    else if (strcmp(words[0], "stats") == 0)
        stats();
    else if (strcmp(words[0], "quit") == 0)
        weir_loop_stop(loop);
    if (result < 0)
        printf("%s error %s\n", words[1], weir_error_name(result));
}

static void on_input(weir_watch *watch, int events, void *arg)
{
    ssize_t got = read(0, lines + lines_size, sizeof lines - lines_size);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        weir_loop_stop(loop);
        return;
    }
    lines_size += got > 0 ? (size_t)got : 0;
    char *at = lines, *end;
    while ((end = memchr(at, '\n', lines_size - (size_t)(at - lines))) != NULL) {
        *end = '\0';
        command(at);
        at = end + 1;
    }
    lines_size -= (size_t)(at - lines);
    memmove(lines, at, lines_size);
    weir_poll(&input, 0, POLLIN, on_input, NULL);
}

static void option(weir_resolver_options *o, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **text;
        uint32_t *number;
    } known[] = {
        {"resolv_conf", &o->resolv_conf, NULL}, {"hosts", &o->hosts, NULL},
        {"nsswitch", &o->nsswitch, NULL},       {"servers", &o->servers, NULL},
        {"timeout_ms", NULL, &o->timeout_ms},   {"attempts", NULL, &o->attempts},
        {"cache_max", NULL, &o->cache_max},     {"cache_max_bytes", NULL, &o->cache_max_bytes},
        {"ttl_max_s", NULL, &o->ttl_max_s},     {"no_ttl_max_s", NULL, &o->no_ttl_max_s},
        {"lookups_max", NULL, &o->lookups_max}, {"questions_max", NULL, &o->questions_max}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) != 0)
            continue;
        if (known[i].text != NULL)
            *known[i].text = value;
        else
            *known[i].number = (uint32_t)atoi(value);
        return;
    }
    fprintf(stderr, "no option %s\n", name);
    exit(64);
}

int main(int argc, char **argv)
{
    weir_resolver_options options = {
        .hosts = "/dev/null/none", .resolv_conf = "/dev/null/none", .nsswitch = "/dev/null/none"};

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL)
            return 64;
        *equals = '\0';
        option(&options, argv[i], equals + 1);
    }
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)2, WEIR_LOG_WARN);
    int result = weir_loop_new(&loop, NULL);
    if (result < 0) {
        fprintf(stderr, "%s\n", weir_error_text(result));
        return 1;
    }
    weir_loop_enter(loop);
    fcntl(0, F_SETFL, O_NONBLOCK);
    result = weir_resolver_new(&resolver, &options);
    if (result < 0) {
        printf("refused %s\n", weir_error_name(result));
        weir_loop_free(loop);
        return 1;
    }
    weir_poll(&input, 0, POLLIN, on_input, NULL);
    weir_loop_run(loop);
    weir_loop_enter(loop);
    weir_watch_cancel(&input);
    weir_resolver_free(resolver);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    return 0;
}

/* weir bench serve: the other end of a load. A connection that says nothing of itself gets back
 * what it sends; one that begins with a hello (see weir/load.h) gets what it asks for. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

enum { PIECE = 256 << 10, LENT_MAX = 2, LOADS_MAX = 256 };

static uint8_t piece[PIECE];

/* What is known of a load: the connections with the same number in their hello. */
struct load_seen {
    uint64_t id, conns, open, taken_bytes, sent_bytes, answers;
    weir_time first, last;
    char peer[WEIR_ADDRESS_TEXT_MAX];
    int ask;
};

struct bench_serve {
    struct option_texts listen;
    const char *backend, *features;
    uint32_t loops;
    bool quiet;
    pthread_mutex_t mutex;
    struct load_seen seen[LOADS_MAX];
};

static struct bench_serve serve;

enum stage {
    STAGE_HELLO,
    STAGE_ECHO,
    STAGE_ANSWER,
    STAGE_TAKE,
    STAGE_SEND,
    STAGE_BOTH,
    STAGE_LAST
};

/* One connection: 128 bytes. */
struct client {
    weir_conn conn;
    uint64_t id, answer_bytes, taken_bytes, sent_bytes, answers;
    weir_time first, last;
    uint32_t request_bytes, request_got;
    uint8_t hello[WEIR_LOAD_HELLO_BYTES];
    uint8_t hello_bytes, stage, close, lent;
    bool ended;
};

static uint64_t get(const uint8_t *from, unsigned bytes)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)from[i] << 8 * i;
    return number;
}

static void put(uint8_t *out, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++)
        out[i] = (uint8_t)(number >> 8 * i);
}

/* ---- the loads, each with its own result ---- */

static struct load_seen *seen_find(uint64_t id)
{
    struct load_seen *free_row = NULL;
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        if (serve.seen[i].conns != 0 && serve.seen[i].id == id)
            return &serve.seen[i];
        if (serve.seen[i].conns == 0 && free_row == NULL)
            free_row = &serve.seen[i];
    }
    return free_row;
}

static void seen_begin(struct client *client)
{
    weir_address peer;
    pthread_mutex_lock(&serve.mutex);
    struct load_seen *seen = seen_find(client->id);
    if (seen != NULL && seen->conns == 0) {
        *seen = (struct load_seen){.id = client->id, .first = weir_now(), .ask = client->stage};
        if (weir_conn_peer(client->conn, &peer) == 0)
            weir_address_format(&peer, seen->peer, sizeof seen->peer);
    }
    if (seen != NULL) {
        seen->conns++;
        seen->open++;
    }
    pthread_mutex_unlock(&serve.mutex);
}

static void seen_print(const struct load_seen *seen)
{
    double seconds = (double)(seen->last - seen->first) / 1e9;
    char taken[16], sent[16];
    printf("%s  %" PRIu64 " connection%s  %.2f s", seen->peer, seen->conns,
           seen->conns == 1 ? "" : "s", seconds);
    if (seen->answers != 0)
        printf("  %" PRIu64 " answers", seen->answers);
    printf("  received %s  sent %s", show_size((double)seen->taken_bytes, taken),
           show_size((double)seen->sent_bytes, sent));
    if (seen->answers == 0 && seconds > 0)
        printf("  %.3f Gbit/s", (double)(seen->taken_bytes + seen->sent_bytes) * 8 / seconds / 1e9);
    putchar('\n');
    fflush(stdout);
}

/* A load with a connection for each request comes back in a moment: it is told of when it has been
 * away for a second. */
static void seen_end(const struct client *client)
{
    pthread_mutex_lock(&serve.mutex);
    struct load_seen *seen = seen_find(client->id);
    if (seen != NULL && seen->conns != 0) {
        seen->open--;
        seen->taken_bytes += client->taken_bytes;
        seen->sent_bytes += client->sent_bytes;
        seen->answers += client->answers;
        seen->last = weir_now();
    }
    pthread_mutex_unlock(&serve.mutex);
}

static void tell_old(weir_time now, bool all)
{
    pthread_mutex_lock(&serve.mutex);
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        struct load_seen *seen = &serve.seen[i];
        if (seen->conns == 0 || (!all && (seen->open != 0 || now - seen->last < 300 * WEIR_MS)))
            continue;
        if (!serve.quiet)
            seen_print(seen);
        seen->conns = 0;
    }
    pthread_mutex_unlock(&serve.mutex);
}

static void on_tick(weir_timer *timer, void *arg)
{
    tell_old(weir_now(), false);
    weir_timer_start(timer, weir_after(250 * WEIR_MS), on_tick, NULL);
}

/* ---- one connection ---- */

static void send_static(struct client *client, uint64_t size)
{
    while (size != 0) {
        size_t part = size < PIECE ? (size_t)size : PIECE;
        if (weir_send(client->conn, weir_static(piece, part)) < 0) {
            weir_abort(client->conn);
            return;
        }
        client->sent_bytes += part;
        size -= part;
    }
}

static void stream(struct client *client);

static void on_taken(const void *data, size_t size, void *arg)
{
    weir_conn conn = {(uint64_t)(uintptr_t)arg};
    struct client *client = weir_conn_session(conn);
    if (client == NULL)
        return;
    client->lent--;
    client->sent_bytes += size;
    stream(client);
}

/* Keeps two pieces on their way until all is sent. */
static void stream(struct client *client)
{
    uint64_t limit = client->answer_bytes;
    while (client->lent < LENT_MAX && (!client->ended || limit != 0)) {
        uint64_t ahead = client->sent_bytes + (uint64_t)client->lent * PIECE, size = PIECE;
        if (limit != 0 && ahead >= limit) {
            if (client->lent == 0 && client->stage == STAGE_SEND)
                weir_close(client->conn);
            else if (client->lent == 0) /* it may have more to send */
                weir_finish(client->conn);
            return;
        }
        if (limit != 0 && size > limit - ahead)
            size = limit - ahead;
        client->lent++;
        if (weir_send(client->conn,
                      weir_own(piece, size, on_taken, (void *)(uintptr_t)client->conn.id)) < 0) {
            weir_abort(client->conn);
            return;
        }
    }
}

static void read_hello(struct client *client)
{
    static const uint8_t stages[] = {[WEIR_LOAD_ASK_ANSWER] = STAGE_ANSWER,
                                     [WEIR_LOAD_ASK_TAKE] = STAGE_TAKE,
                                     [WEIR_LOAD_ASK_SEND] = STAGE_SEND,
                                     [WEIR_LOAD_ASK_BOTH] = STAGE_BOTH};
    const uint8_t *hello = client->hello;
    client->close = hello[9];
    client->request_bytes = (uint32_t)get(hello + 12, 4);
    client->answer_bytes = get(hello + 16, 8);
    client->id = get(hello + 24, 8);
    if (hello[8] == 0 || hello[8] >= sizeof stages || client->request_bytes == 0) {
        client->stage = STAGE_LAST;
        weir_abort(client->conn);
        return;
    }
    client->stage = stages[hello[8]];
    seen_begin(client);
    if (client->stage == STAGE_SEND || client->stage == STAGE_BOTH)
        stream(client);
}

static void answer(struct client *client, size_t size)
{
    while (size >= client->request_bytes - client->request_got) {
        size -= client->request_bytes - client->request_got;
        client->request_got = 0;
        client->answers++;
        send_static(client, client->answer_bytes);
        if (client->close) {
            client->stage = STAGE_LAST;
            weir_close(client->conn);
            return;
        }
    }
    client->request_got += (uint32_t)size;
}

static void echo(struct client *client, weir_view view)
{
    client->sent_bytes += view.size;
    if (weir_send(client->conn, view) < 0)
        weir_abort(client->conn);
}

/* The first bytes: a hello as far as they go, or not one. */
static weir_view begin(struct client *client, weir_view view)
{
    static const char magic[8] = "WEIRBNC1";
    size_t part = WEIR_LOAD_HELLO_BYTES - client->hello_bytes;
    part = part < view.size ? part : view.size;
    memcpy(client->hello + client->hello_bytes, view.data, part);
    client->hello_bytes += (uint8_t)part;
    size_t known = client->hello_bytes < sizeof magic ? client->hello_bytes : sizeof magic;
    if (memcmp(client->hello, magic, known) != 0) {
        client->stage = STAGE_ECHO;
        if (client->hello_bytes != part) /* of a piece before this one */
            echo(client, weir_bytes(client->hello, client->hello_bytes - part));
        return view;
    }
    if (client->hello_bytes == WEIR_LOAD_HELLO_BYTES)
        read_hello(client);
    return weir_slice(view, part, view.size);
}

static void on_open(weir_conn conn, void *session)
{
    ((struct client *)session)->conn = conn;
}

static void on_data(weir_conn conn, weir_view view, void *session)
{
    struct client *client = session;
    if (client->stage == STAGE_HELLO)
        view = begin(client, view);
    if (view.size == 0)
        return;
    if (client->first == 0)
        client->first = weir_now();
    client->last = weir_now();
    client->taken_bytes += view.size;
    if (client->stage == STAGE_ECHO)
        echo(client, view);
    else if (client->stage == STAGE_ANSWER)
        answer(client, view.size);
}

static void on_end(weir_conn conn, void *session)
{
    struct client *client = session;
    uint8_t told[WEIR_LOAD_TOLD_BYTES];
    client->ended = true;
    if (client->stage == STAGE_TAKE) {
        put(told, client->taken_bytes);
        put(told + 8, client->last - client->first);
        if (weir_send(conn, weir_bytes(told, sizeof told)) < 0)
            weir_abort(conn);
    }
    if (client->stage != STAGE_BOTH || client->answer_bytes == 0)
        weir_close(conn);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    const struct client *client = session;
    if (client->id != 0)
        seen_end(client);
}

/* ---- the command ---- */

static const struct option options[] = {
    {.name = "listen",
     .kind = OPTION_TEXTS,
     .value_name = "ADDRESS",
     .offset = offsetof(struct bench_serve, listen),
     .help = "tcp://HOST:PORT or unix:PATH; tcp://127.0.0.1:5301 without one; repeatable"},
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_NUMBER,
     .value_name = "NUMBER",
     .least = 1,
     .most = 256,
     .offset = offsetof(struct bench_serve, loops),
     .help = "loops, each in a thread; one for each CPU"},
    {.name = "backend",
     .kind = OPTION_NAME,
     .value_name = "NAME",
     .choices = bench_backends,
     .offset = offsetof(struct bench_serve, backend),
     .help = "auto, uring, epoll, poll or select"},
    {.name = "features",
     .kind = OPTION_TEXT,
     .value_name = "LIST",
     .offset = offsetof(struct bench_serve, features),
     .help = "features of the back end: see weir backends"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     .offset = offsetof(struct bench_serve, quiet),
     .help = "tell of no load"},
    {0}};

static weir_timer tick;

static void on_started(void *user)
{
    weir_address address;
    char text[WEIR_ADDRESS_TEXT_MAX];
    fputs("weir bench serve: listening on", stderr);
    for (unsigned i = 0; i < serve.listen.count && weir_run_address(i, &address) == 0; i++)
        if (weir_address_format(&address, text, sizeof text) > 0)
            fprintf(stderr, " %s", text);
    fputc('\n', stderr);
    on_tick(&tick, NULL);
}

/* All addresses in one text, with blanks between them. */
static char *join(void)
{
    size_t size = 1;
    if (serve.listen.count == 0)
        serve.listen.items[serve.listen.count++] = "tcp://127.0.0.1:5301";
    for (unsigned i = 0; i < serve.listen.count; i++)
        size += strlen(serve.listen.items[i]) + 1;
    char *urls = calloc(1, size);
    for (unsigned i = 0; urls != NULL && i < serve.listen.count; i++)
        strcat(strcat(urls, i != 0 ? " " : ""), serve.listen.items[i]);
    return urls;
}

static int serve_run(const struct command *self, int argc, char **argv)
{
    int operands, code = command_options(self, argc, argv, &serve, &operands);
    if (code >= 0)
        return code;
    if (operands != 0)
        return say(EX_USAGE, "bench serve takes no argument \"%s\"; an address needs --listen",
                   argv[1]);
    char *urls = join();
    if (urls == NULL)
        return say(EX_OSERR, "out of memory");
    for (unsigned i = 0; i < PIECE; i++)
        piece[i] = (uint8_t)("weir"[i % 4]);
    pthread_mutex_init(&serve.mutex, NULL);
    weir_service service = {.listen = urls,
                            .conn_size = sizeof(struct client),
                            .on_open = on_open,
                            .on_data = on_data,
                            .on_end = on_end,
                            .on_close = on_close,
                            .first_byte_ms = WEIR_OFF,
                            .idle_ms = WEIR_OFF,
                            .write_ms = WEIR_OFF};
    weir_run_options run = {.shape = serve.loops == 1 ? WEIR_SHAPE_SINGLE : WEIR_SHAPE_THREADS,
                            .loops = serve.loops,
                            .loop = {.backend = serve.backend, .features = serve.features},
                            .on_started = on_started,
                            .drain_ms = 1000};
    code = exit_code_of(weir_run(&service, 1, &run));
    tell_old(0, true);
    free(urls);
    return code;
}

const struct command bench_serve = {
    .name = "bench serve",
    .summary = "the other end of bench tcp, unix and conns",
    .usage = "[OPTIONS]",
    .about = "Answers loads until it is told to stop (Ctrl-C): connections that say nothing of "
             "themselves get back what they send, those of weir bench tcp and unix what they ask "
             "for. Any number of loads at the same time; each is told of when it is over.",
    .examples = "  weir bench serve                          on tcp://127.0.0.1:5301\n"
                "  weir bench serve --listen tcp://:5301 --listen unix:/tmp/bench.sock\n",
    .options = options,
    .run = serve_run,
};

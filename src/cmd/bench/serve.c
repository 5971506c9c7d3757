/* weir bench serve: the other end of a load. A connection that says nothing of itself gets back
 * what it sends; one that begins with a hello (see weir/load.h) gets what it asks for. */
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/load_datagram.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/secure.h"
#include "cmd/bench/serve_dgram.h"
#include "cmd/bench/served.h"
#include "cmd/bench/tables.h"

enum { PIECE = 256 << 10, LENT_MAX = 2 };

static uint8_t piece[PIECE];

struct bench_serve {
    struct option_texts listen;
    struct bench_certs certs;
    const char *backend, *features;
    uint32_t loops;
    bool quiet;
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

/* One connection. */
struct client {
    weir_conn conn;
    uint64_t id, answer_bytes, taken_bytes, sent_bytes, answers;
    weir_time first, last;
    uint32_t request_bytes, request_got;
    uint8_t hello[WEIR_LOAD_HELLO_BYTES];
    uint8_t hello_bytes, stage, close, lent;
    bool ended;
    /* of a stream with a rate */
    uint64_t rate, start, lent_bytes;
    weir_timer pace;
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

static void seen(const struct client *client)
{
    weir_address peer;
    served_begin(client->id, weir_conn_peer(client->conn, &peer) == 0 ? &peer : NULL);
}

static void on_tick(weir_timer *timer, void *arg)
{
    served_tell(weir_now(), false);
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
    client->lent_bytes -= size;
    client->sent_bytes += size;
    stream(client);
}

static void on_pace(weir_timer *timer, void *arg)
{
    stream(arg);
}

/* Bytes of the next piece; 0 with a rate: the timer brings us back. */
static uint64_t next_piece(struct client *client, uint64_t ahead)
{
    uint64_t limit = client->answer_bytes, size = PIECE;
    if (limit != 0 && size > limit - ahead)
        size = limit - ahead;
    if (client->rate == 0)
        return size;
    /* A piece leaves when its last byte is due: as in the load's own streams. */
    uint64_t small = client->rate / 100 + 1;
    size = size < small ? size : small;
    double after = (double)(ahead + size) / (double)client->rate * (double)WEIR_S;
    uint64_t due = client->start + (uint64_t)after;
    if (due <= weir_load_clock_ns())
        return size;
    weir_timer_start_precise(&client->pace, due, on_pace, client);
    return 0;
}

/* Keeps two pieces on their way until all is sent. */
static void stream(struct client *client)
{
    uint64_t limit = client->answer_bytes;
    while (client->stage != STAGE_LAST && client->lent < LENT_MAX &&
           (!client->ended || limit != 0)) {
        uint64_t ahead = client->sent_bytes + client->lent_bytes;
        if (limit != 0 && ahead >= limit) {
            if (client->lent == 0 && client->stage == STAGE_SEND)
                weir_close(client->conn);
            else if (client->lent == 0) /* it may have more to send */
                weir_finish(client->conn);
            return;
        }
        uint64_t size = next_piece(client, ahead);
        if (size == 0)
            return;
        client->lent++;
        client->lent_bytes += size;
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
    bool sends = hello[8] == WEIR_LOAD_ASK_SEND || hello[8] == WEIR_LOAD_ASK_BOTH;
    client->close = hello[9];
    client->rate = sends ? get(hello + 10, 6) : 0;
    client->request_bytes = sends ? 1 : (uint32_t)get(hello + 12, 4);
    client->answer_bytes = get(hello + 16, 8);
    client->id = get(hello + 24, 8);
    if (hello[8] == 0 || hello[8] >= sizeof stages || client->request_bytes == 0) {
        client->stage = STAGE_LAST;
        weir_abort(client->conn);
        return;
    }
    client->stage = stages[hello[8]];
    seen(client);
    client->start = weir_load_clock_ns();
    if (sends)
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
    if (client->stage != STAGE_BOTH || client->answer_bytes == 0) {
        client->stage = STAGE_LAST;
        weir_timer_cancel(&client->pace);
        weir_close(conn);
    }
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    struct client *client = session;
    weir_timer_cancel(&client->pace);
    const struct served_part part = {.taken_bytes = client->taken_bytes,
                                     .sent_bytes = client->sent_bytes,
                                     .answers = client->answers};
    if (client->id != 0)
        served_end(client->id, &part);
}

/* ---- the command ---- */

static const struct option options[] = {
    {.name = "listen",
     .kind = OPTION_TEXTS,
     .value_name = "ADDRESS",
     .offset = offsetof(struct bench_serve, listen),
     .help = "tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:PATH or unix-dgram:PATH; tcp "
             "and udp on "
             "127.0.0.1:5301 without one; repeatable"},
    {.name = "cert",
     .kind = OPTION_TEXTS,
     .value_name = "FILE",
     .offset = offsetof(struct bench_serve, certs.certs),
     .help = "the certificate for tls://, PEM, with those that issued it; repeatable"},
    {.name = "key",
     .kind = OPTION_TEXTS,
     .value_name = "FILE",
     .offset = offsetof(struct bench_serve, certs.keys),
     .help = "its key, when that stands in another file; one for each --cert"},
    {.name = "tls",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct bench_serve, certs.local),
     .help = "make a certificate for localhost, as weir serve --tls does"},
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
    unsigned given = serve.listen.count;
    if (given == 0) {
        serve.listen.items[serve.listen.count++] = "tcp://127.0.0.1:5301";
        serve.listen.items[serve.listen.count++] = "udp://127.0.0.1:5301";
    }
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
    struct weir_tls *tls = NULL;
    if (urls == NULL)
        return say(EX_OSERR, "out of memory");
    code = bench_serve_secure(&serve.certs, urls, &tls);
    if (code != EX_OK) {
        free(urls);
        return code;
    }
    for (unsigned i = 0; i < PIECE; i++)
        piece[i] = (uint8_t)("weir"[i % 4]);
    served_init(serve.quiet);
    weir_service service = {.listen = urls,
                            .conn_size = sizeof(struct client),
                            .on_open = on_open,
                            .on_data = on_data,
                            .on_end = on_end,
                            .on_close = on_close,
                            .tls = bench_serve_layer(tls),
                            .first_byte_ms = WEIR_OFF,
                            .idle_ms = WEIR_OFF,
                            .write_ms = WEIR_OFF,
                            .datagram = &serve_datagrams};
    weir_run_options run = {.shape = serve.loops == 1 ? WEIR_SHAPE_SINGLE : WEIR_SHAPE_THREADS,
                            .loops = serve.loops,
                            .loop = {.backend = serve.backend, .features = serve.features},
                            .on_started = on_started,
                            .drain_ms = 1000};
    code = exit_code_of(weir_run(&service, 1, &run));
    served_tell(0, true);
    bench_serve_secure_end(tls);
    free(urls);
    return code;
}

const struct command bench_serve = {
    .name = "bench serve",
    .summary = "the other end of bench tcp, udp, unix and conns",
    .usage = "[OPTIONS]",
    .about = "Answers loads until it is told to stop (Ctrl-C): connections that say nothing of "
             "themselves get back what they send, those of weir bench tcp and unix what they ask "
             "for; the same with datagrams. Any number of loads at the same time; each is told of "
             "when it is over.",
    .examples =
        "  weir bench serve                          tcp and udp on 127.0.0.1:5301\n"
        "  weir bench serve --listen tcp://:5301 --listen udp://:5301\n"
        "  weir bench serve --tls --listen tls://127.0.0.1:5302\n"
        "  weir bench serve --listen unix:/tmp/bench.sock --listen unix-dgram:/tmp/d.sock\n",
    .options = options,
    .run = serve_run,
};

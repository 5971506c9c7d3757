/* The HTTP file server, seen by clients of plain calls that know every byte: whole files, parts of
 * them, heads alone, several requests on a connection, some at once; clients that leave in the
 * middle or read slowly. What comes is what the file has, or less of it with a reason. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/http.h>

#include "sim/sim.h"

enum { FILES = 5, CLIENTS = 3, REQUESTS_MOST = 6, ANSWER_ROOM = 500000 };

static const unsigned sizes[FILES] = {0, 1, 700, 9000, 150000};

static char byte_at(unsigned file, unsigned at)
{
    return (char)((at * 2654435761u + file * 977u) >> 13);
}

static void setup(const char *folder)
{
    for (unsigned i = 0; i < FILES; i++) {
        char path[600];
        FILE *file;
        snprintf(path, sizeof(path), "%s/f%u.bin", folder, i);
        file = fopen(path, "w");
        for (unsigned at = 0; at < sizes[i]; at++)
            fputc(byte_at(i, at), file);
        fclose(file);
    }
}

/* --- the server ------------------------------------------------------------------------------- */

static weir_run_options run_options;

static int serve(void *arg)
{
    weir_http_options options = {.idle_ms = 20000};
    weir_http_app *app = weir_http_app_new(&options);
    weir_service service;
    int result;
    if (app == NULL)
        return WEIR_ENOMEM;
    result = weir_http_serve_files(app, "/", sim_folder(), NULL);
    if (result == 0) {
        weir_http_service(app, "tcp://10.0.0.1:80", &service);
        result = weir_run(&service, 1, &run_options);
    }
    weir_http_app_free(app);
    return result;
}

/* --- a client --------------------------------------------------------------------------------- */

struct asked {
    unsigned file, from, size; /* size: of the answer's body */
    bool head;
};

struct client {
    char *bytes;
    size_t got, at, checked; /* checked: bytes of the body that begins next */
    struct asked asked[REQUESTS_MOST];
    unsigned count, answered;
};

static size_t ask(struct asked *asked, char *out, size_t room, bool last)
{
    char range[64] = "";
    *asked = (struct asked){.file = (unsigned)sim_random(FILES), .head = sim_chance(1, 6)};
    asked->size = sizes[asked->file];
    if (!asked->head && asked->size > 1 && sim_chance(1, 3)) {
        asked->from = (unsigned)sim_random(asked->size);
        asked->size = (unsigned)sim_between(1, asked->size - asked->from);
        snprintf(range, sizeof(range), "Range: bytes=%u-%u\r\n", asked->from,
                 asked->from + asked->size - 1);
    }
    return (size_t)snprintf(out, room, "%s /f%u.bin HTTP/1.1\r\nHost: x\r\n%s%s\r\n",
                            asked->head ? "HEAD" : "GET", asked->file, range,
                            last ? "Connection: close\r\n" : "");
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "10.0.0.1", &to.sin_addr);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_whole(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        size_t piece = sim_chance(1, 4) ? (size_t)sim_size(size) : size;
        ssize_t sent = send(fd, bytes, piece, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* Of a body: every byte that came is the file's. */
static void body_check(struct client *client, const struct asked *asked, const char *body,
                       size_t size)
{
    size_t at = client->checked;
    for (client->checked = size; at < size; at++)
        sim_check(body[at] == byte_at(asked->file, asked->from + (unsigned)at),
                  "file %u: another byte at %zu", asked->file, asked->from + at);
}

/* One answer in what has come; false when it is not whole. */
static bool answer_take(struct client *client)
{
    const struct asked *asked = &client->asked[client->answered];
    const char *start = client->bytes + client->at, *body, *length;
    size_t left = client->got - client->at, size;
    body = memmem(start, left, "\r\n\r\n", 4);
    if (body == NULL)
        return false;
    body += 4;
    sim_check(strncmp(start, "HTTP/1.1 ", 9) == 0, "no answer: %.20s", start);
    unsigned status = (unsigned)strtoul(start + 9, NULL, 10);
    length = memmem(start, (size_t)(body - start), "Content-Length: ", 16);
    sim_check(length != NULL, "an answer without a length: %u", status);
    size = strtoul(length + 16, NULL, 10);
    sim_check(status == 200 || status == 206 || !sim_quiet(), "status %u in a quiet run", status);
    left = client->got - (size_t)(body - client->bytes);
    if (status == 200 || status == 206)
        sim_check(size == asked->size, "file %u: %zu bytes, not %u", asked->file, size,
                  asked->size);
    if (asked->head)
        size = 0;
    if (status == 200 || status == 206)
        body_check(client, asked, body, left < size ? left : size);
    if (left < size)
        return false;
    client->at = (size_t)(body - client->bytes) + size;
    client->answered++;
    client->checked = 0;
    return true;
}

static void talk(struct client *client, int fd)
{
    char request[REQUESTS_MOST * 200];
    size_t used = 0;
    unsigned leave_after = sim_chance(1, 5) ? (unsigned)sim_size(ANSWER_ROOM) : ANSWER_ROOM;
    bool slow = sim_chance(1, 6);
    ssize_t one;
    client->got = client->at = client->checked = 0;
    client->answered = 0;
    client->count = (unsigned)sim_between(1, 3);
    for (unsigned i = 0; i < client->count; i++)
        used +=
            ask(&client->asked[i], request + used, sizeof(request) - used, i + 1 == client->count);
    if (!send_whole(fd, request, used))
        return;
    while (client->got < leave_after) {
        size_t room = slow ? (size_t)sim_size(8192) : ANSWER_ROOM;
        if (room > ANSWER_ROOM - client->got)
            room = ANSWER_ROOM - client->got;
        one = recv(fd, client->bytes + client->got, room, 0);
        if (one <= 0)
            break;
        client->got += (size_t)one;
        client->bytes[client->got] = 0;
        while (client->answered < client->count && answer_take(client))
            ;
        if (slow)
            sim_sleep(sim_size(2000000));
    }
    sim_check(!sim_quiet() || client->got >= leave_after || client->answered == client->count,
              "%u answers of %u in a quiet run", client->answered, client->count);
    /* A server without memory for the request answers 503, with its text also to HEAD. */
    if (sim_quiet())
        sim_check(client->answered < client->count || client->at == client->got,
                  "%zu bytes behind the last answer", client->got - client->at);
}

/* Asks, and is gone while the server still looks for the file. */
static void ask_and_leave(int fd)
{
    const struct linger none = {.l_onoff = 1};
    char request[200];
    struct asked asked;
    send_whole(fd, request, ask(&asked, request, sizeof(request), true));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    sim_sleep(sim_size(WEIR_MS));
}

static int call(void *arg)
{
    struct client *client = arg;
    unsigned left = (unsigned)sim_between(1, 4), impatient = (unsigned)sim_random(14);
    for (; impatient > 0; impatient--) {
        int fd = dial();
        if (fd >= 0) {
            ask_and_leave(fd);
            close(fd);
        }
    }
    while (left-- > 0) {
        int fd = dial();
        sim_check(fd >= 0 || !sim_quiet(), "no connection in a quiet run");
        if (fd >= 0) {
            talk(client, fd);
            close(fd);
        }
        sim_sleep(sim_size(5000000));
    }
    return 0;
}

/* --- the director ----------------------------------------------------------------------------- */

static void run(void)
{
    static const char *const names[CLIENTS] = {"a", "b", "c"};
    static const char *const addresses[CLIENTS] = {"10.0.1.1", "10.0.1.2", "10.0.1.3"};
    static struct client clients[CLIENTS];
    sim_host *server, *hosts[CLIENTS];
    unsigned count = (unsigned)sim_between(1, CLIENTS);
    run_options = (weir_run_options){
        .shape = (enum weir_shape)sim_random(3),
        .loops = (unsigned)sim_between(1, 3),
    };
    if (run_options.shape == WEIR_SHAPE_ACCEPTOR)
        run_options.loop.features = "-direct";
    server = sim_host_new("server", "10.0.0.1", serve, NULL);
    sim_host_start(server);
    sim_sleep(50 * WEIR_MS);
    for (unsigned i = 0; i < count; i++) {
        clients[i].bytes = malloc(ANSWER_ROOM + 1);
        hosts[i] = sim_host_new(names[i], addresses[i], call, &clients[i]);
        sim_host_start(hosts[i]);
    }
    for (unsigned i = 0; i < count; i++)
        if (!sim_host_wait(hosts[i], 300 * WEIR_S)) {
            sim_check(!sim_quiet(), "a client has not ended in a quiet run");
            sim_host_kill(hosts[i], SIM_KILL_PROCESS);
        }
    sim_host_signal(server, SIGTERM);
    sim_check(sim_host_wait(server, 900 * WEIR_S), "the server has not ended");
}

SIM_PROGRAM(files, .what = "the HTTP file server and clients that know every byte", .run = run,
            .setup = setup);

/* A program that does on one loop what it is told, line by line on standard input, and tells what
 * happens, one JSON object a line on standard output. It sees the public API only: the tests that
 * break networks play servers and clients with it, each in its own network namespace.
 *
 *     set FIELD NUMBER       for services made from then on: a deadline or a socket option
 *     mode echo|sink|end     what listeners do with data; end: they stay after the peer's end
 *     listen URL
 *     connect COUNT URL      with numbers from 1 on
 *     rounds SIZE            connections made from then on send SIZE bytes, wait for their echo
 *                            and begin again; 0: no
 *     send WHO SIZE          WHO: a number, or "all"
 *     finish|close|abort|pause|resume WHO
 *     stats
 *     quit
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/weir.h>

enum { CONNS_MAX = 4096, PIECE = 64 * 1024 };

enum mode { MODE_ECHO, MODE_SINK, MODE_END };

struct puppet_conn {
    weir_conn conn;
    bool living, outgoing, opened;
    unsigned round_bytes;
    uint64_t sent, received, rounds;
    bool wrong; /* an echo was not what had been sent */
    weir_time began;
};

static struct {
    weir_loop *loop;
    weir_service model; /* what "set" has set */
    enum mode mode;
    unsigned round_bytes;
    struct puppet_conn conns[CONNS_MAX + 1];
    unsigned count, living;
    weir_watch input;
    char line[512];
    size_t line_size;
    uint8_t pattern[PIECE + 256];
} puppet;

static unsigned ms_since(weir_time began)
{
    return (unsigned)((weir_now() - began) / WEIR_MS);
}

static void tell_result(const char *verb, int result)
{
    printf("{\"event\":\"result\",\"verb\":\"%s\",\"code\":%d,\"error\":\"%s\",\"text\":\"%s\"}\n",
           verb, result, result < 0 ? weir_error_name(result) : "",
           result < 0 ? weir_error_text(result) : "");
}

/* --- connections ------------------------------------------------------------------------------ */

/* The stream's byte number n is n modulo 251: no power of two hides a shift. */
static int send_pattern(struct puppet_conn *c, unsigned size)
{
    int result = 0;
    while (size != 0 && result >= 0) {
        unsigned now = size < PIECE ? size : PIECE;
        result = weir_send(c->conn, weir_bytes(puppet.pattern + c->sent % 251, now));
        if (result < 0)
            return result;
        c->sent += now;
        size -= now;
    }
    return result;
}

static struct puppet_conn *conn_of(void *session)
{
    return puppet.conns + *(unsigned *)session;
}

static unsigned number_of(const struct puppet_conn *c)
{
    return (unsigned)(c - puppet.conns);
}

static struct puppet_conn *conn_new(bool outgoing)
{
    if (puppet.count == CONNS_MAX)
        return NULL;
    struct puppet_conn *c = puppet.conns + ++puppet.count;
    c->living = true;
    c->outgoing = outgoing;
    c->began = weir_now();
    puppet.living++;
    return c;
}

/* Sessions of accepted connections get their number here, those of outgoing ones by their user
 * pointer. */
static struct puppet_conn *conn_at(weir_conn conn, void *session)
{
    unsigned *number = session;
    if (*number == 0) {
        struct puppet_conn *c = weir_conn_user(conn);
        if (c == NULL)
            c = conn_new(false);
        if (c == NULL)
            abort(); /* the test asked for more than the puppet holds */
        *number = number_of(c);
        c->conn = conn;
    }
    return conn_of(session);
}

static void on_open(weir_conn conn, void *session)
{
    struct puppet_conn *c = conn_at(conn, session);
    c->opened = true;
    printf("{\"event\":\"open\",\"conn\":%u,\"outgoing\":%s,\"ms\":%u}\n", number_of(c),
           c->outgoing ? "true" : "false", ms_since(c->began));
    if (c->outgoing && c->round_bytes != 0 && send_pattern(c, c->round_bytes) < 0)
        weir_abort(conn);
}

static void on_data(weir_conn conn, weir_view in, void *session)
{
    struct puppet_conn *c = conn_at(conn, session);
    uint64_t before = c->received;
    c->received += in.size;
    if (!c->outgoing) {
        if (puppet.mode == MODE_ECHO && weir_send(conn, in) < 0)
            weir_abort(conn);
        return;
    }
    for (uint32_t at = 0; at < in.size; at += PIECE) {
        uint32_t size = in.size - at < PIECE ? in.size - at : PIECE;
        if (memcmp((const uint8_t *)in.data + at, puppet.pattern + (before + at) % 251, size) != 0)
            c->wrong = true;
    }
    if (c->round_bytes != 0 && c->received == c->sent) {
        c->rounds++;
        if (send_pattern(c, c->round_bytes) < 0)
            weir_abort(conn);
    }
}

static void on_end(weir_conn conn, void *session)
{
    struct puppet_conn *c = conn_at(conn, session);
    printf("{\"event\":\"end\",\"conn\":%u}\n", number_of(c));
    if (c->outgoing || puppet.mode != MODE_END)
        weir_close(conn);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    static const char *const whys[] = {"none",  "peer_finished", "peer_reset", "deadline",
                                       "limit", "closed",        "error"};
    static const char *const deadlines[] = {"",       "connect", "first_byte", "idle",
                                            "header", "body",    "write",      "linger"};
    struct puppet_conn *c = conn_at(conn, session);
    c->living = false;
    puppet.living--;
    printf("{\"event\":\"close\",\"conn\":%u,\"outgoing\":%s,\"opened\":%s,\"why\":\"%s\","
           "\"deadline\":\"%s\",\"code\":%d,\"error\":\"%s\",\"text\":\"%s\",\"ms\":%u,"
           "\"sent\":%llu,\"received\":%llu,\"rounds\":%llu,\"wrong\":%s}\n",
           number_of(c), c->outgoing ? "true" : "false", c->opened ? "true" : "false",
           whys[end.why], deadlines[end.deadline], end.error,
           end.error < 0 ? weir_error_name(end.error) : "",
           end.error < 0 ? weir_error_text(end.error) : "", ms_since(c->began),
           (unsigned long long)c->sent, (unsigned long long)c->received,
           (unsigned long long)c->rounds, c->wrong ? "true" : "false");
}

/* --- commands --------------------------------------------------------------------------------- */

#define FIELD(name)                                                            \
    {                                                                          \
#name, offsetof(weir_service, name), sizeof(((weir_service *)0)->name) \
    }
static const struct field {
    const char *name;
    size_t offset, size;
} fields[] = {
    FIELD(connect_ms),
    FIELD(first_byte_ms),
    FIELD(idle_ms),
    FIELD(write_ms),
    FIELD(linger_ms),
    FIELD(hard_cap_bytes),
    FIELD(server_first),
    FIELD(read_on),
    FIELD(socket.keepalive_idle_s),
    FIELD(socket.keepalive_interval_s),
    FIELD(socket.keepalive_count),
    FIELD(socket.user_timeout_ms),
    FIELD(socket.send_buffer_bytes),
    FIELD(socket.receive_buffer_bytes),
    FIELD(socket.backlog),
    FIELD(socket.reuseport),
    FIELD(socket.reuseaddr),
    FIELD(socket.freebind),
};

static int do_set(const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint8_t *field = (uint8_t *)&puppet.model + fields[i].offset;
        uint32_t number = strcmp(value, "off") == 0 ? WEIR_OFF : (uint32_t)strtoul(value, NULL, 0);
        if (strcmp(fields[i].name, name) != 0)
            continue;
        memcpy(field, &number, fields[i].size); /* little-endian */
        return 0;
    }
    return WEIR_EINVALID;
}

static weir_service *service_new(void)
{
    weir_service *service = malloc(sizeof *service); /* for connections' whole lives: never freed */
    if (service == NULL)
        abort();
    *service = puppet.model;
    service->conn_size = sizeof(unsigned);
    service->on_open = on_open;
    service->on_data = on_data;
    service->on_end = on_end;
    service->on_close = on_close;
    return service;
}

static void do_listen(const char *url)
{
    weir_service *service = service_new();
    weir_listener listener;
    weir_address address;
    char text[WEIR_ADDRESS_TEXT_MAX] = "";
    service->listen = url;
    int result = weir_listen(&listener, service);
    if (result == 0 && weir_listener_address(listener, &address) == 0)
        (void)weir_address_format(&address, text, sizeof text);
    if (result == 0)
        printf("{\"event\":\"listening\",\"url\":\"%s\"}\n", text);
    tell_result("listen", result);
}

static int do_connect(unsigned count, const char *url)
{
    weir_service *service = service_new();
    int result = 0;
    for (unsigned i = 0; i < count && result == 0; i++) {
        struct puppet_conn *c = conn_new(true);
        if (c == NULL)
            return WEIR_EFULL;
        c->round_bytes = puppet.round_bytes;
        result = weir_connect(&c->conn, url, service, c);
        if (result < 0) {
            c->living = false;
            puppet.living--;
            puppet.count--;
        }
    }
    return result;
}

static int do_verb(const char *verb, struct puppet_conn *c, unsigned size)
{
    static const struct {
        const char *name;
        int (*call)(weir_conn conn);
    } verbs[] = {{"finish", weir_finish},
                 {"close", weir_close},
                 {"abort", weir_abort},
                 {"pause", weir_pause},
                 {"resume", weir_resume}};
    if (strcmp(verb, "send") == 0)
        return send_pattern(c, size);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, verb) == 0)
            return verbs[i].call(c->conn);
    return WEIR_EINVALID;
}

static int do_verbs(const char *verb, const char *who, unsigned size)
{
    bool all = strcmp(who, "all") == 0;
    unsigned number = all ? 0 : (unsigned)strtoul(who, NULL, 10);
    int worst = all ? 0 : WEIR_EGONE;
    for (unsigned i = 1; i <= puppet.count; i++) {
        struct puppet_conn *c = puppet.conns + i;
        if (!c->living || (!all && i != number))
            continue;
        int result = do_verb(verb, c, size);
        if (!all)
            return result;
        if (result < worst)
            worst = result;
    }
    return worst;
}

static void do_stats(void)
{
    uint64_t rounds = 0, received = 0;
    unsigned wrong = 0, opened = 0;
    for (unsigned i = 1; i <= puppet.count; i++) {
        rounds += puppet.conns[i].rounds;
        received += puppet.conns[i].received;
        wrong += puppet.conns[i].wrong;
        opened += puppet.conns[i].opened && puppet.conns[i].living;
    }
    printf("{\"event\":\"stats\",\"living\":%u,\"opened\":%u,\"rounds\":%llu,\"received\":%llu,"
           "\"wrong\":%u}\n",
           puppet.living, opened, (unsigned long long)rounds, (unsigned long long)received, wrong);
}

static void obey(char *line)
{
    char *rest = NULL, *word[3] = {0};
    for (int i = 0; i < 3; i++)
        word[i] = strtok_r(i == 0 ? line : NULL, " ", &rest);
    if (word[0] == NULL)
        return;
    const char *one = word[1] != NULL ? word[1] : "", *two = word[2] != NULL ? word[2] : "";
    unsigned number = (unsigned)strtoul(one, NULL, 10), size = (unsigned)strtoul(two, NULL, 10);
    int result = 0;
    if (strcmp(word[0], "quit") == 0)
        weir_loop_stop(puppet.loop);
    else if (strcmp(word[0], "stats") == 0)
        do_stats();
    else if (strcmp(word[0], "listen") == 0)
        do_listen(one);
    else if (strcmp(word[0], "set") == 0)
        result = do_set(one, two);
    else if (strcmp(word[0], "mode") == 0)
        puppet.mode = *one == 'e' && one[1] == 'c' ? MODE_ECHO : *one == 's' ? MODE_SINK : MODE_END;
    else if (strcmp(word[0], "rounds") == 0)
        puppet.round_bytes = number;
    else
        tell_result(word[0], strcmp(word[0], "connect") == 0 ? do_connect(number, two)
                                                             : do_verbs(word[0], one, size));
    if (result < 0)
        tell_result(word[0], result);
}

static void on_input(weir_watch *watch, int events, void *arg)
{
    ssize_t got = read(STDIN_FILENO, puppet.line + puppet.line_size,
                       sizeof puppet.line - 1 - puppet.line_size);
    if (got <= 0) {
        weir_loop_stop(puppet.loop);
        return;
    }
    puppet.line_size += (size_t)got;
    puppet.line[puppet.line_size] = 0;
    char *end;
    while ((end = strchr(puppet.line, '\n')) != NULL) {
        *end = 0;
        obey(puppet.line);
        puppet.line_size -= (size_t)(end + 1 - puppet.line);
        memmove(puppet.line, end + 1, puppet.line_size + 1);
    }
    if (weir_poll(watch, STDIN_FILENO, POLLIN, on_input, arg) < 0)
        weir_loop_stop(puppet.loop);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof puppet.pattern; i++)
        puppet.pattern[i] = (uint8_t)(i % 251);
    int result = weir_loop_new(&puppet.loop, NULL);
    if (result < 0) {
        printf("{\"event\":\"no loop\",\"error\":\"%s\"}\n", weir_error_name(result));
        return 77;
    }
    weir_loop *former = weir_loop_enter(puppet.loop);
    printf("{\"event\":\"up\",\"backend\":\"%s\"}\n", weir_loop_backend(puppet.loop));
    result = weir_poll(&puppet.input, STDIN_FILENO, POLLIN, on_input, NULL);
    weir_loop_enter(former);
    if (result == 0)
        result = weir_loop_run(puppet.loop);
    weir_loop_free(puppet.loop);
    return result < 0;
}

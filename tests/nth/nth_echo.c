/* An echo server and its clients on one loop: a connection that stands before the fault, one of
 * weir's own that sends much, one that ends, one that is reset; and afterwards a new one, which
 * must work. */
#include "layer.h"
#include "nth.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

enum { MUCH = 300000, STEP_MS = 4000 };

static weir_loop *loop;
static int port;
static uint8_t pattern[MUCH];

/* weir's client. */
static struct {
    bool opened, closed, refused;
    weir_end end;
    uint32_t received, sent;
} client;

static struct {
    unsigned opened, closed;
} served;

/* --- handlers --------------------------------------------------------------------------------- */

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

static void on_open(weir_conn c, void *session)
{
    served.opened++;
}

/* An end that is nobody's wish has an error with a name. */
static void check_end(weir_end end)
{
    if (end.why == WEIR_WHY_ERROR && strcmp(weir_error_name(end.error), "unknown") == 0)
        nth_wrong("a connection ended with error %d, which has no name", end.error);
    if (end.why == WEIR_WHY_NONE)
        nth_wrong("a connection ended for no reason");
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    served.closed++;
    check_end(end);
}

static void client_more(weir_conn c)
{
    while (client.sent < MUCH) {
        uint32_t size = MUCH - client.sent < 50000 ? MUCH - client.sent : 50000;
        int result =
            weir_send(c, client.sent % 100000 == 0 ? weir_static(pattern + client.sent, size)
                                                   : weir_bytes(pattern + client.sent, size));
        if (result < 0) {
            client.refused = true;
            weir_abort(c);
            return;
        }
        client.sent += size;
        if (result == WEIR_SEND_WAIT)
            return;
    }
}

static void client_open(weir_conn c, void *session)
{
    client.opened = true;
    client_more(c);
}

static void client_data(weir_conn c, weir_view in, void *session)
{
    if (in.size > MUCH - client.received ||
        memcmp(in.data, pattern + client.received, in.size) != 0)
        nth_wrong("the echo is not what was sent, at byte %u", client.received);
    client.received += (uint32_t)in.size;
    if (client.received == MUCH)
        weir_close(c);
    else
        client_more(c);
}

static void client_close(weir_conn c, weir_end end, void *session)
{
    if (client.closed)
        nth_wrong("on_close came twice");
    client.closed = true;
    client.end = end;
    check_end(end);
}

static const weir_service server = {
    .listen = "tcp://127.0.0.1:0",
    .conn_size = 16,
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
    .linger_ms = 200,
};
static const weir_service client_service = {
    .on_open = client_open,
    .on_data = client_data,
    .on_drain = client_open,
    .on_close = client_close,
    .linger_ms = 200,
};

/* --- peers ------------------------------------------------------------------------------------ */

struct peer {
    int fd, other, error;
    size_t sent, received, want;
    bool ended;
};

/* Sends `want` bytes of the pattern and takes what comes back; true when all came, or it is over.
 * What comes must be the pattern. */
static bool peer_step(struct peer *p)
{
    uint8_t data[4096];
    ssize_t size;

    if (p->sent < p->want) {
        size = __real_send(p->fd, pattern + p->sent, p->want - p->sent, MSG_NOSIGNAL);
        if (size > 0)
            p->sent += (size_t)size;
        else if (size < 0 && errno != EAGAIN && errno != ENOTCONN)
            p->error = errno;
    }
    while ((size = __real_recv(p->fd, data, sizeof(data), 0)) > 0) {
        if ((size_t)size > p->sent - p->received ||
            memcmp(data, pattern + p->received, (size_t)size) != 0)
            nth_wrong("a peer got back what it did not send");
        p->received += (size_t)size;
    }
    if (size == 0)
        p->ended = true;
    else if (errno != EAGAIN)
        p->error = errno;
    return p->ended || p->error != 0 || p->received == p->want;
}

/* True when all came back. False: the connection is over. */
static bool peer_echo(struct peer *p, size_t want)
{
    weir_time until = weir_now() + STEP_MS * WEIR_MS;

    p->sent = p->received = 0;
    p->want = want;
    while (!peer_step(p)) {
        if (weir_now() > until)
            nth_wrong("neither an echo nor an end: %zu of %zu bytes came back", p->received, want);
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    }
    return p->received == want;
}

static bool peer_end(struct peer *p)
{
    weir_time until = weir_now() + STEP_MS * WEIR_MS;

    __real_shutdown(p->fd, SHUT_WR);
    p->sent = p->want = p->received + 1; /* a byte that never comes */
    while (!peer_step(p)) {
        if (weir_now() > until)
            nth_wrong("an end was not answered");
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    }
    return p->ended;
}

/* The loop's descriptor of this peer's connection. */
static int other_end(int fd)
{
    struct sockaddr_in mine = {0}, theirs = {0};
    socklen_t size = sizeof(mine);

    __real_getsockname(fd, (struct sockaddr *)&mine, &size);
    for (int other = 0; other < 256; other++) {
        size = sizeof(theirs);
        if (__real_getpeername(other, (struct sockaddr *)&theirs, &size) == 0 &&
            theirs.sin_family == AF_INET && theirs.sin_port == mine.sin_port)
            return other;
    }
    return -1;
}

/* --- the program ------------------------------------------------------------------------------ */

/* Until its first echo went through: then it is established. A fault may cost a connection. */
static bool first_peer(struct peer *old)
{
    unsigned faults = nth_run->faults;

    nth_step("a first connection begins");
    old->fd = nth_dial(port);
    if (peer_echo(old, 5)) {
        old->other = other_end(old->fd);
        return old->other >= 0;
    }
    if (faults == nth_run->faults)
        nth_wrong("no echo without a fault");
    return false;
}

static void weirs_client(void)
{
    weir_time until = weir_now() + STEP_MS * WEIR_MS;
    unsigned faults = nth_run->faults;
    char url[40];
    int result;

    nth_step("weir's client echoes");
    memset(&client, 0, sizeof(client));
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
    result = weir_connect(NULL, url, &client_service, NULL);
    if (result < 0) {
        if (faults == nth_run->faults || strcmp(weir_error_name(result), "unknown") == 0)
            nth_wrong("weir_connect says %s", weir_error_name(result));
        return;
    }
    while (!client.closed) {
        if (weir_now() > until)
            nth_wrong("the client has neither finished nor failed: %u of %u bytes", client.received,
                      client.sent);
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    }
    if (client.received == MUCH)
        return;
    if (faults == nth_run->faults)
        nth_wrong("the client failed without a fault: %s", weir_error_name(client.end.error));
    if (client.end.why == WEIR_WHY_CLOSED && !client.refused)
        nth_wrong("the client failed and does not know why");
}

static void short_peers(void)
{
    struct peer ends = {.fd = nth_dial(port)}, resets = {.fd = nth_dial(port)};
    struct linger none = {1, 0};
    unsigned faults = nth_run->faults;

    nth_step("a peer finishes");
    if ((!peer_echo(&ends, 64) || !peer_end(&ends)) && (faults == nth_run->faults))
        nth_wrong("a peer that finishes was not served, without a fault");
    __real_close(ends.fd);
    nth_step("a peer resets");
    if (!peer_echo(&resets, 64) && (faults == nth_run->faults))
        nth_wrong("a peer that resets was not served, without a fault");
    __real_setsockopt(resets.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    __real_close(resets.fd);
}

static void serve(void)
{
    struct peer old = {0}, late = {0};
    bool stands = first_peer(&old);
    unsigned faults;

    weirs_client();
    short_peers();
    nth_step("the first connection goes on");
    faults = nth_run->faults;
    if (stands && !peer_echo(&old, 5000) && !nth_hit(old.other) && faults == nth_run->faults)
        nth_wrong("a connection that the fault did not concern broke");
    __real_close(old.fd);
    nth_disarm();
    nth_step("a connection after the fault");
    late.fd = nth_dial(port);
    if (!peer_echo(&late, 5000))
        nth_wrong("the server does not serve any more");
    if (!peer_end(&late))
        nth_wrong("the server does not end connections any more");
    __real_close(late.fd);
    nth_arm();
}

static void everything_ends(void)
{
    weir_time until = weir_now() + STEP_MS * WEIR_MS;

    nth_step("connections end");
    while (served.opened != served.closed) {
        if (weir_now() > until)
            nth_wrong("%u connections opened, %u closed", served.opened, served.closed);
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    }
}

static void refused(const char *what, int result)
{
    if (!nth_run->fired)
        nth_wrong("%s says %s without a fault", what, weir_error_name(result));
    if (strcmp(weir_error_name(result), "unknown") == 0)
        nth_wrong("%s says %d, which has no name", what, result);
}

static void run(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    weir_listener listener;
    weir_address address;
    weir_loop *former;
    int result;

    for (uint32_t i = 0; i < MUCH; i++)
        pattern[i] = (uint8_t)(i * 7 ^ i >> 8);
    nth_step("the loop begins");
    result = weir_loop_new(&loop, &options);
    if (result < 0) {
        refused("weir_loop_new", result);
        return;
    }
    former = weir_loop_enter(loop);
    nth_step("the server listens");
    result = weir_listen(&listener, &server);
    if (result == 0)
        result = weir_listener_address(listener, &address);
    if (result == 0) {
        port = weir_address_port(&address);
        serve();
        everything_ends();
    } else {
        refused("weir_listen", result);
    }
    nth_step("the loop ends");
    weir_loop_enter(former);
    weir_loop_free(loop);
}

const struct nth_program nth_program = {.name = "echo", .run = run};

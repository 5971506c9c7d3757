/* A server of TLS on a loop of its own, and three kinds of strangers: one that sends any bytes, one
 * that does so after a handshake, and one that speaks TLS whose bytes are changed on their way.
 * Nobody opens a connection without a true handshake, nothing is handed over that was not encrypted
 * by the client, the connection ends, and nothing of it stays. Input: a byte for the kind and the
 * size of pieces, then bytes, or pairs of a distance and what is changed there. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/weir.h>

#include "tls/certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TURNS = 4000, INPUT_MAX = 1 << 15, SAID = 300 };

static weir_loop *loop;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size;
static SSL_CTX *context;
static unsigned opened, closed, opens_before;
static size_t received;

/* The pools' free pieces are poisoned, and each holds the pointer to the next. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "use_poisoned=1";
}

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void no_log(const weir_log_line *line, void *arg)
{
}

static uint8_t said_at(size_t at)
{
    return (uint8_t)(at * 7 + 3);
}

static void on_open(weir_conn conn, void *session)
{
    opened++;
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
    const uint8_t *bytes = data.data;
    expect(opened != opens_before);
    for (size_t i = 0; i < data.size; i++)
        expect(bytes[i] == said_at(received++));
    if (weir_send(conn, data) < 0)
        weir_abort(conn);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    closed++;
}

static int begin(void)
{
    static void *configs[1];
    static const weir_filter *filters[2];
    static char url[sizeof address.sun_path + 8];
    weir_loop_options options = {.backend = "epoll"};
    weir_log_set(no_log, NULL, WEIR_LOG_DEBUG);
    const weir_layer *layer = weir_tls_layer(usual_server(0));
    filters[0] = layer->filter;
    configs[0] = layer->config;
    address_size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 +
                   (socklen_t)snprintf(address.sun_path + 1, sizeof address.sun_path - 1,
                                       "weir-fuzz-tls-%d", (int)getpid());
    snprintf(url, sizeof url, "unix:@%s", address.sun_path + 1);
    const weir_service service = {.listen = url,
                                  .filters = filters,
                                  .filter_configs = configs,
                                  .on_open = on_open,
                                  .on_data = on_data,
                                  .on_close = on_close};
    expect(weir_loop_new(&loop, &options) == 0);
    weir_loop_enter(loop);
    expect(weir_listen(NULL, &service) == 0);
    weir_loop_enter(NULL);
    context = SSL_CTX_new(TLS_client_method());
    expect(context != NULL);
    return 0;
}

/* The client's side. */
struct stranger {
    int fd;
    SSL *ssl; /* NULL: it speaks no TLS */
    BIO *in, *out;
    const uint8_t *changes; /* pairs: so many bytes further on, this is changed */
    size_t change_count;
    size_t until_change;
    size_t step;
    size_t said;
    bool over;
};

static void change(struct stranger *s, uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (s->change_count != 0 && s->until_change < size - at) {
        at += s->until_change;
        bytes[at] ^= s->changes[1];
        s->changes += 2;
        if (--s->change_count != 0)
            s->until_change = (size_t)s->changes[0] * s->changes[0] / 8 + 1;
    }
    if (s->change_count != 0)
        s->until_change -= size - at < s->until_change ? size - at : s->until_change;
}

static void put(struct stranger *s, const uint8_t *bytes, size_t size)
{
    for (unsigned i = 0; size != 0 && !s->over; i++) {
        size_t piece = size < s->step ? size : s->step;
        ssize_t sent = send(s->fd, bytes, piece, MSG_NOSIGNAL);
        expect(i < INPUT_MAX + TURNS);
        if (sent < 0 && errno != EAGAIN)
            s->over = true;
        bytes += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
        weir_loop_turn(loop, 0);
    }
}

/* What the server sent, which is looked at by OpenSSL only. */
static void get(struct stranger *s)
{
    uint8_t bytes[4096];
    ssize_t got;
    while ((got = recv(s->fd, bytes, sizeof bytes, 0)) > 0)
        if (s->ssl != NULL)
            BIO_write(s->in, bytes, (int)got);
    s->over |= got == 0 || (got < 0 && errno != EAGAIN);
}

/* A step of the handshake or of what comes behind it; false: it goes no further. */
static bool step(struct stranger *s, bool speaks)
{
    uint8_t bytes[SAID];
    int result = SSL_do_handshake(s->ssl);
    bool more = result == 1 || SSL_get_error(s->ssl, result) == SSL_ERROR_WANT_READ;
    if (result == 1 && speaks && s->said < SAID) {
        for (size_t i = 0; i < 30; i++)
            bytes[i] = said_at(s->said + i);
        if (SSL_write(s->ssl, bytes, 30) == 30)
            s->said += 30;
    }
    ERR_clear_error();
    int size;
    uint8_t wire[4096];
    while ((size = BIO_read(s->out, wire, sizeof wire)) > 0) {
        change(s, wire, (size_t)size);
        put(s, wire, (size_t)size);
    }
    return more && !(result == 1 && (!speaks || s->said == SAID));
}

static void stranger_speaks(struct stranger *s, bool speaks)
{
    s->ssl = SSL_new(context);
    s->in = BIO_new(BIO_s_mem());
    s->out = BIO_new(BIO_s_mem());
    expect(s->ssl != NULL && s->in != NULL && s->out != NULL);
    SSL_set_bio(s->ssl, s->in, s->out);
    SSL_set_connect_state(s->ssl);
    for (unsigned i = 0; step(s, speaks) && !s->over && i < 200; i++) {
        weir_loop_turn(loop, 0);
        get(s);
    }
}

static void run(const uint8_t *data, size_t size, unsigned kind, size_t piece)
{
    struct stranger s = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                         .step = piece};
    unsigned closed_before = closed;
    opens_before = opened;
    received = 0;
    expect(s.fd >= 0 && connect(s.fd, (struct sockaddr *)&address, address_size) == 0);
    if (kind == 2) {
        s.changes = data;
        s.change_count = size / 2;
        s.until_change = s.change_count != 0 ? data[0] : 0;
        stranger_speaks(&s, true);
        expect(received <= s.said);
    } else {
        if (kind == 1)
            stranger_speaks(&s, false);
        put(&s, data, size);
        expect(received == 0 && (kind == 1 || opened == opens_before));
    }
    shutdown(s.fd, SHUT_WR);
    for (unsigned i = 0; !s.over && i < TURNS; i++) {
        weir_loop_turn(loop, weir_now() + WEIR_MS);
        get(&s);
    }
    close(s.fd);
    for (unsigned i = 0; closed == closed_before; i++) {
        expect(i < TURNS); /* else it stays */
        weir_loop_turn(loop, weir_now() + WEIR_MS);
    }
    expect(closed == closed_before + 1 && opened <= opens_before + 1);
    SSL_free(s.ssl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;
    if (!begun)
        begun = begin() == 0;
    if (size < 1 || size > INPUT_MAX)
        return 0;
    run(data + 1, size - 1, data[0] % 3u, data[0] & 0x40 ? 1u + data[0] / 4 : INPUT_MAX);
    return 0;
}

/* Plain sockets at the other end, and the stream that they send. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/harness_in.h"

/* --- the pattern: a table of noise whose size is a prime, repeated ---------------------------- */

enum { NOISE = 65521 };

static const uint8_t *noise(void)
{
    static uint8_t table[NOISE];
    static bool filled;
    uint64_t state = 0x9e3779b97f4a7c15ull;
    if (!filled) {
        for (int i = 0; i < NOISE; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            table[i] = (uint8_t)(state >> 32);
        }
        filled = true;
    }
    return table;
}

void pattern_fill(void *data, uint64_t offset, size_t size)
{
    uint8_t *at = data;
    while (size != 0) {
        size_t from = offset % NOISE, part = NOISE - from < size ? NOISE - from : size;
        memcpy(at, noise() + from, part);
        at += part;
        offset += part;
        size -= part;
    }
}

bool pattern_is(const void *data, uint64_t offset, size_t size)
{
    const uint8_t *at = data;
    while (size != 0) {
        size_t from = offset % NOISE, part = NOISE - from < size ? NOISE - from : size;
        if (memcmp(at, noise() + from, part) != 0)
            return false;
        at += part;
        offset += part;
        size -= part;
    }
    return true;
}

/* --- peers ------------------------------------------------------------------------------------ */

struct peer *peer_of(struct world *w, int fd)
{
    assert_true(fd >= 0);
    assert_true(w->peer_count < WORLD_PEERS);
    struct peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    p->world = w;
    p->fd = fd;
    p->reads = p->in_pattern = true;
    w->peers[w->peer_count++] = p;
    return p;
}

static int connected_socket(struct side *s, int receive_bytes, int send_bytes)
{
    const struct sockaddr *address = (const struct sockaddr *)&s->address.socket;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    if (receive_bytes != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (send_bytes != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    if (address->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, address, s->address.socket_size) != 0)
        fail_msg("a peer could not connect: %s", strerror(errno));
    return fd;
}

struct peer *peer_start(struct side *s)
{
    return peer_of(s->world, connected_socket(s, 0, 0));
}

struct peer *peer_connect_small(struct side *s, int receive_bytes, int send_bytes)
{
    unsigned before = s->count;
    struct peer *p = peer_of(s->world, connected_socket(s, receive_bytes, send_bytes));
    UNTIL(s->world, s->count > before);
    p->rec = s->recs[before];
    return p;
}

struct peer *peer_connect(struct side *s)
{
    return peer_connect_small(s, 0, 0);
}

void peer_close(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

void peer_reset(struct peer *p)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    peer_close(p);
}

void peer_say(struct peer *p, const void *data, size_t size)
{
    ssize_t sent = send(p->fd, data, size, MSG_NOSIGNAL);
    if (sent != (ssize_t)size)
        fail_msg("a peer could send %zd of %zu bytes", sent, size);
    p->sent += size;
}

bool peer_heard(const struct peer *p, const char *text)
{
    size_t size = strlen(text);
    return p->kept_size == size && memcmp(p->kept, text, size) == 0;
}

enum { MOVE_MAX = 256 * 1024 };

static bool move_out(struct peer *p)
{
    static uint8_t buffer[MOVE_MAX];
    if (p->fd < 0 || p->error != 0)
        return false;
    if (p->sent >= p->to_send) {
        if (!p->finish || p->finished)
            return false;
        shutdown(p->fd, SHUT_WR);
        p->finished = true;
        return true;
    }
    size_t size = p->to_send - p->sent < sizeof buffer ? p->to_send - p->sent : sizeof buffer;
    if (p->piece != 0 && size > p->piece)
        size = p->piece;
    pattern_fill(buffer, p->sent, size);
    ssize_t sent = send(p->fd, buffer, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        p->error = errno;
    if (sent > 0)
        p->sent += (uint64_t)sent;
    return sent > 0;
}

static void keep(struct peer *p, const uint8_t *data, size_t size)
{
    size_t part = KEPT_MAX - p->kept_size;
    if (part > size)
        part = size;
    if (part == 0)
        return;
    if (p->kept == NULL)
        p->kept = malloc(KEPT_MAX);
    memcpy(p->kept + p->kept_size, data, part);
    p->kept_size += part;
}

static bool move_in(struct peer *p)
{
    static uint8_t buffer[MOVE_MAX];
    if (p->fd < 0 || p->ended || !p->reads)
        return false;
    ssize_t got = recv(p->fd, buffer, p->piece != 0 ? p->piece : sizeof buffer, 0);
    if (got > 0) {
        if (!pattern_is(buffer, p->received, (size_t)got))
            p->in_pattern = false;
        keep(p, buffer, (size_t)got);
        p->received += (uint64_t)got;
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    p->ended = true;
    p->ended_ns = now_ns();
    if (got < 0)
        p->error = errno;
    return true;
}

bool peer_move(struct peer *p)
{
    bool out = move_out(p), in = move_in(p);
    return out || in;
}

int raw_listener(int backlog, char *url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &address_size), 0);
    snprintf(url, size, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

#include "io_suite.h"

#include "io_peer.h"

#include <sys/socket.h>
#include <unistd.h>

uint8_t peer_pattern(size_t at)
{
    return (uint8_t)(at * 131 + at / 251);
}

uint8_t *peer_pattern_new(size_t size)
{
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = peer_pattern(i);
    return bytes;
}

/* The peer's side, blocking. */
void peer_write(int peer, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        ssize_t sent = send(peer, at, size, MSG_NOSIGNAL);
        assert_true(sent > 0);
        at += sent;
        size -= (size_t)sent;
    }
}

void peer_abort(int peer)
{
    const struct linger none = {1, 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(peer);
}

void *peer_drain_thread(void *arg)
{
    struct peer_drain *drain = arg;
    size_t at = 0;
    uint8_t buffer[65536];
    drain->right = true;
    while (at < drain->size) {
        ssize_t got;
        if (drain->delay_ms != 0)
            rig_sleep_ms(drain->delay_ms);
        /* Not more: a ring may have sent what waited behind it. */
        got = recv(drain->peer, buffer,
                   drain->size - at < sizeof(buffer) ? drain->size - at : sizeof(buffer), 0);
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            drain->right &= buffer[i] == peer_pattern(at + (size_t)i);
        at += (size_t)got;
    }
    drain->right &= at == drain->size;
    return NULL;
}

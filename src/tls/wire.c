/* What comes, looked at on its way to OpenSSL. It makes room for a message of the handshake as soon
 * as that is announced, up to 128 KiB for nine bytes; and it answers each request for a new
 * handshake that it refuses. So both have their limit here. */
#include "tls/tls.h"

enum { REQUESTS_MAX = 4 };

/* False: too many. TLS 1.3 has no such requests (RFC 8446 section 4.1.2). */
static bool record_begins(struct tls_state *s)
{
    struct tls_wire *w = &s->wire;
    bool is12 = SSL_version(s->ssl) < TLS1_3_VERSION, first = !w->begun;
    w->record_left = (uint32_t)w->header[3] << 8 | w->header[4];
    w->begun = true;
    if (first && (w->header[0] & 0x80) != 0) { /* a hello as SSL 2 had it, of a header of 2 bytes */
        uint32_t size = (w->header[0] & 0x7fu) << 8 | w->header[1];
        w->record_left = size > 3 ? size - 3 : 0;
        w->header[0] = 0;
    }
    if (w->header[0] == SSL3_RT_CHANGE_CIPHER_SPEC && is12)
        w->sealed = true; /* in TLS 1.3 it says nothing: a second hello may follow it */
    if (w->header[0] != SSL3_RT_HANDSHAKE || !s->ready || !is12)
        return true;
    return ++w->requests <= REQUESTS_MAX;
}

/* The headers of messages, which may come in parts and several in a record. */
static bool messages_fit(struct tls_state *s, const uint8_t *bytes, size_t size)
{
    struct tls_wire *w = &s->wire;
    while (size != 0) {
        size_t part = size < w->message_left ? size : w->message_left;
        w->message_left -= (uint32_t)part;
        bytes += part;
        size -= part;
        if (size == 0)
            break;
        w->message[w->message_size++] = *bytes++;
        size--;
        if (w->message_size < sizeof w->message)
            continue;
        w->message_size = 0;
        w->message_left =
            (uint32_t)w->message[1] << 16 | (uint32_t)w->message[2] << 8 | w->message[3];
        if (w->message_left > s->loaded->config->handshake_max_bytes)
            return false;
    }
    return true;
}

bool tls_wire_look(struct tls_state *s, const uint8_t *bytes, size_t size)
{
    struct tls_wire *w = &s->wire;
    while (size != 0) {
        if (w->record_left == 0) {
            w->header[w->header_size++] = *bytes++;
            size--;
            if (w->header_size < sizeof w->header)
                continue;
            w->header_size = 0;
            if (!record_begins(s)) {
                s->too_many = true;
                return false;
            }
            continue;
        }
        size_t part = size < w->record_left ? size : w->record_left;
        bool plain = w->header[0] == SSL3_RT_HANDSHAKE && !s->ready && !w->sealed;
        if (plain && !messages_fit(s, bytes, part)) {
            s->too_big = true;
            return false;
        }
        w->record_left -= (uint32_t)part;
        bytes += part;
        size -= part;
    }
    return true;
}

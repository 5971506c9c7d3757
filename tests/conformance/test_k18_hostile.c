/* K18: input is hostile. Noise, and sound input that was damaged, over sockets into every codec and
 * into HTTP: always an end or an answer, memory within its limits, nothing left. The codecs alone
 * are fuzzed by the targets of tests/fuzz, whose corpus every build replays. */
#include <stdlib.h>
#include <unistd.h>

#include <weir/http.h>

#include "conformance/harness.h"

static uint64_t chance = 88172645463325252ull;

static unsigned draw(unsigned below)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (unsigned)(chance >> 33) % below;
}

/* Does to a text what may be done to it. */
static size_t damage(uint8_t *data, size_t size, size_t room)
{
    for (unsigned times = 1 + draw(4); times != 0; times--) {
        size_t at = size != 0 ? draw((unsigned)size) : 0, part = 1 + draw(16);
        switch (draw(5)) {
        case 0: /* another byte */
            if (size != 0)
                data[at] = (uint8_t)draw(256);
            break;
        case 1: /* some are missing */
            if (part > size - at)
                part = size - at;
            memmove(data + at, data + at + part, size - at - part);
            size -= part;
            break;
        case 2: /* some are there twice */
            if (part > size - at)
                part = size - at;
            if (size + part > room)
                break;
            memmove(data + at + part, data + at, size - at);
            size += part;
            break;
        case 3: /* one that means something to somebody */
            if (size != 0)
                data[at] = (uint8_t) "\r\n\0 :;,\377\200/%"[draw(11)];
            break;
        default: /* the rest is missing */
            if (draw(4) == 0)
                size = at;
            break;
        }
    }
    return size;
}

/* Sends it in pieces, ends, and waits for the connection's end. */
static void throw_at(struct side *s, const uint8_t *data, size_t size)
{
    struct world *w = s->world;
    struct peer *p = peer_start(s);
    for (size_t at = 0, part; at < size; at += part) {
        part = 1 + draw(2) * draw((unsigned)size);
        if (part > size - at)
            part = size - at;
        if (send(p->fd, data + at, part, MSG_NOSIGNAL) < 0)
            break; /* it has seen enough */
        world_turn_ms(w, 0);
    }
    if (draw(8) == 0) {
        peer_reset(p);
        return;
    }
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->ended);
    peer_close(p);
}

enum { LIMIT = 300 };

static void count_frame(struct rec *r, weir_view frame)
{
    if (frame.size > LIMIT)
        world_broke(r->side->world, "a frame of %u bytes was let through", frame.size);
}

static const weir_delimiter ends[] = {WEIR_DELIMITER("\r\n"), WEIR_DELIMITER("\n")};

static void k18_damaged_frames(void **state)
{
    static const weir_frame kinds[] = {
        weir_frame_fixed(7),
        weir_frame_line(LIMIT),
        weir_frame_line_with(LIMIT, WEIR_FRAME_CRLF),
        weir_frame_delimiter(LIMIT, "\r\n.\r\n"),
        weir_frame_delimiters(LIMIT, ends, 2),
        weir_frame_length(LIMIT, 2),
        weir_frame_length_little(LIMIT, 4),
        weir_frame_length(LIMIT, 8),
        weir_frame_varint(LIMIT),
        weir_frame_length_field(LIMIT, 1, 4, 0, -4, 0),
    };
    static const uint8_t sound[] = "GET a\r\n\0\3abc\3abc\n\r\n.\r\nQ\0\0\0\6a\0\5\0\0\0hello\r\n";
    enum { EACH = 80 };
    struct world *w = world_open(NULL);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct side *s = side_new(w);
        s->frame = count_frame;
        s->service.frame = kinds[k];
        s->service.linger_ms = 50;
        side_listen(s, NULL);
        for (int i = 0; i < EACH; i++) {
            uint8_t data[2000];
            size_t size = sizeof sound - 1;
            memcpy(data, sound, size);
            size = damage(data, size, sizeof data);
            throw_at(s, data, size);
            assert_true(world_memory(w) < 256 << 10);
        }
        UNTIL(w, s->opened == 0);
        for (unsigned i = 0; i < w->peer_count; i++) { /* there is room for so many */
            peer_close(w->peers[i]);
            free(w->peers[i]->kept);
            free(w->peers[i]);
        }
        w->peer_count = 0;
    }
    assert_int_equal(world_memory(w), 0);
    world_end(w);
}

static void answer_text(weir_exchange x, void *user)
{
    (void)!weir_http_text(x, 200, "fine");
}

static void answer_body(weir_exchange x, void *user)
{
    weir_view part;
    while (weir_http_read(x, &part, weir_after(WEIR_S)) > 0)
        continue;
    (void)!weir_http_text(x, 200, "fine");
}

static const char *const requests[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: t\r\n\r\n",
    "GET /%41?a=b HTTP/1.0\r\nHost: [::1]:80\r\nConnection: keep-alive\r\nRange: bytes=0-1\r\n\r\n",
    "HEAD * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nIf-None-Match: \"x\"\r\n\r\n",
};

static void k18_damaged_requests(void **state)
{
    enum { EACH = 120 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    weir_http_app *app =
        weir_http_app_new(&(weir_http_options){.header_ms = 200, .body_ms = 200, .idle_ms = 200});
    assert_non_null(app);
    assert_int_equal(weir_http_get(app, "/", answer_text, NULL), 0);
    assert_int_equal(weir_http_get(app, "/{x}", answer_text, NULL), 0);
    assert_int_equal(weir_http_post(app, "/", answer_body, NULL), 0);
    weir_http_service(app, "tcp://127.0.0.1:0", &s->service);
    s->service.linger_ms = 50;
    weir_listener listener;
    assert_int_equal(V(w, weir_listen(&listener, &s->service)), 0);
    assert_int_equal(V(w, weir_listener_address(listener, &s->address)), 0);
    for (size_t k = 0; k < sizeof requests / sizeof *requests; k++) {
        for (int i = 0; i < EACH; i++) {
            uint8_t data[2000];
            size_t size = strlen(requests[k]);
            memcpy(data, requests[k], size);
            size = damage(data, size, sizeof data);
            throw_at(s, data, size);
            assert_true(world_memory(w) < 256 << 10);
        }
        world_run_ms(w, 20);
        uint8_t noise[1500]; /* and what was never a request */
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)draw(256);
        throw_at(s, noise, sizeof noise);
    }
    struct peer *p = peer_start(s); /* it goes on */
    peer_say(p, requests[0], strlen(requests[0]));
    UNTIL(w, p->kept_size > 12);
    assert_memory_equal(p->kept, "HTTP/1.1 200", 12);
    w->check_leaks = false; /* what an application keeps for its next server lives on to its end */
    world_end(w);
    weir_http_app_free(app);
}

K_MAIN(T(k18_damaged_frames), T(k18_damaged_requests))

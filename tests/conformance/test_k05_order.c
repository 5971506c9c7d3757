/* K5: bytes arrive in order, none twice, none lost, however small the kernel's buffers are and
 * however the sends are cut. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance/harness.h"

/* A peer streams, the echo comes back; both ends have small buffers. */
static void echo_stream(int peer_buffer, uint32_t our_buffer, size_t piece, uint64_t total)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = our_buffer;
    s->service.socket.receive_buffer_bytes = our_buffer;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, peer_buffer, peer_buffer);
    p->piece = piece;
    p->to_send = total;
    p->finish = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, total);
    assert_true(p->in_pattern);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->received, total);
    assert_true(p->rec->in_pattern);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

static void k05_echo_with_small_buffers(void **state)
{
    echo_stream(4096, 4096, 0, 1500000);
}

static void k05_echo_in_odd_pieces(void **state)
{
    echo_stream(0, 0, 777, 400000);
}

static void k05_echo_of_16_mib(void **state)
{
    echo_stream(0, 0, 0, 16 << 20);
}

/* One send after another from one handler, of every size around the interesting ones. */
static const size_t sizes[] = {1,     2,     255,  256,  257,   1023,  1024,  1025,
                               4095,  4096,  4097, 8192, 16383, 16384, 16385, 65535,
                               65536, 65537, 1,    1,    3,     100000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void send_sizes(struct rec *r)
{
    for (int i = 0; i < SIZES; i++)
        if (H(r, rec_send_pattern(r, sizes[i])) < 0)
            world_broke(r->side->world, "send %d was refused", i);
}

static void k05_many_sends_in_one_handler(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = send_sizes;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    UNTIL(w, p->received == p->rec->sent);
    assert_true(p->in_pattern);
    world_end(w);
}

/* Every kind of send in turn, over and over; the pattern must come out in order. */
static uint8_t *constant; /* the pattern, lent and static */
enum { CONSTANT = 1 << 20 };
static int lent, released;
static int pattern_file = -1;

static void release_lent(const void *data, size_t size, void *arg)
{
    released++;
}

struct pulled {
    uint64_t at, end;
    bool told;
};

static ssize_t pull_pattern(weir_conn conn, void *data, size_t size, void *arg)
{
    struct pulled *p = arg;
    if (data == NULL) {
        free(p);
        return 0;
    }
    if (size > p->end - p->at)
        size = (size_t)(p->end - p->at);
    if (size > 5000)
        size = 5000;
    pattern_fill(data, p->at, size);
    p->at += size;
    return (ssize_t)size;
}

static void send_a_kind(struct rec *r, int kind, size_t size)
{
    struct world *w = r->side->world;
    uint64_t at = r->sent;
    int result = 0;
    switch (kind) {
    case 0:
        result = H(r, rec_send_pattern(r, size));
        r->sent = at;
        break;
    case 1:
        result = H(r, weir_send(r->conn, weir_static(constant + at, size)));
        break;
    case 2:
        lent++;
        result = H(r, weir_send(r->conn, weir_own(constant + at, size, release_lent, NULL)));
        break;
    case 3: {
        weir_view views[4];
        size_t cut = size / 4;
        for (int i = 0; i < 4; i++)
            views[i] = weir_bytes(constant + at + (size_t)i * cut, i < 3 ? cut : size - 3 * cut);
        result = H(r, weir_sendv(r->conn, views, 4));
        break;
    }
    case 4:
        result = H(r, weir_send_file(r->conn, pattern_file, (int64_t)at, size, false));
        break;
    case 5: {
        struct pulled *p = calloc(1, sizeof *p);
        p->at = at;
        p->end = at + size;
        result = H(r, weir_send_pull(r->conn, pull_pattern, p));
        break;
    }
    default:
        break;
    }
    if (result < 0)
        world_broke(w, "kind %d at %llu was refused: %s", kind, (unsigned long long)at,
                    weir_error_name(result));
    r->sent = at + size;
}

enum { KINDS = 6 };

static void send_all_kinds(struct rec *r)
{
    unsigned step = 0;
    while (r->sent < CONSTANT - 40000) {
        int kind = (int)((step * 7 + step / KINDS) % KINDS);
        size_t size = 1 + (step * 2654435761u >> 7) % (step % 3 == 0 ? 300 : 9000);
        send_a_kind(r, kind, size);
        step++;
    }
    H(r, weir_finish(r->conn));
}

static void make_constant(void)
{
    constant = malloc(CONSTANT);
    pattern_fill(constant, 0, CONSTANT);
    pattern_file = memfd_create("pattern", MFD_CLOEXEC);
    assert_true(pattern_file >= 0);
    assert_int_equal(write(pattern_file, constant, CONSTANT), CONSTANT);
    lent = released = 0;
}

static void end_constant(void)
{
    free(constant);
    close(pattern_file);
}

static void kinds_over(int peer_buffer, uint32_t our_buffer)
{
    make_constant();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = send_all_kinds;
    s->service.socket.send_buffer_bytes = our_buffer;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, peer_buffer, 0);
    UNTIL(w, p->ended);
    assert_int_equal(p->received, p->rec->sent);
    assert_true(p->in_pattern);
    UNTIL(w, lent == released);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(lent, released);
    world_end(w);
    end_constant();
}

static void k05_every_kind_of_send_in_turn(void **state)
{
    kinds_over(0, 0);
}

static void k05_every_kind_with_small_buffers(void **state)
{
    kinds_over(4096, 4096);
}

/* A read comes in several events and the answers pile up: pipelining. */
static void k05_pipelined_requests(void **state)
{
    enum { CLIENTS = 20, EACH = 100000 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *peers[CLIENTS];
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = peer_connect(s);
        peers[i]->to_send = EACH;
        peers[i]->piece = 64 + (size_t)i * 97;
    }
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, peers[i]->received == EACH);
        assert_true(peers[i]->in_pattern);
    }
    world_end(w);
}

/* All that the peer sent before its end is handed over before on_close. */
static void k05_all_bytes_before_the_end(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    for (int i = 0; i < 10; i++) {
        struct peer *p = peer_start(s);
        p->to_send = 300000;
        p->finish = true;
        UNTIL(w, p->finished);
        peer_close(p);
        UNTIL(w, s->closed == (unsigned)i + 1);
        assert_int_equal(s->recs[i]->received, 300000);
        assert_true(s->recs[i]->in_pattern);
        assert_int_equal(s->recs[i]->end.why, WEIR_WHY_PEER_FINISHED);
    }
    world_end(w);
}

/* Both directions at full speed between two connections of weir. Two that pause reading while they
 * have much to send may wait for each other for ever, as soon as the kernel's buffers are full. */
enum { STREAM = 4 << 20 };

static void stream_drain(struct rec *r)
{
    while (r->sent < STREAM) {
        int result = H(r, rec_send_pattern(r, 30000));
        if (result < 0)
            world_broke(r->side->world, "the stream was refused");
        if (result != 0)
            return;
    }
}

static void k05_both_directions_at_once(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    s->open = c->open = s->drain = c->drain = stream_drain;
    s->service.read_on = c->service.read_on = WEIR_READ_ALWAYS;
    side_listen(s, NULL);
    side_connect(c, side_url(s));
    UNTIL(w, s->opened == 1 && c->opened == 1);
    UNTIL(w, s->recs[0]->received >= STREAM && c->recs[0]->received >= STREAM);
    assert_true(s->recs[0]->in_pattern && c->recs[0]->in_pattern);
    world_end(w);
}

K_MAIN(T(k05_echo_with_small_buffers), T(k05_echo_in_odd_pieces), T(k05_echo_of_16_mib),
       T(k05_many_sends_in_one_handler), T(k05_every_kind_of_send_in_turn),
       T(k05_every_kind_with_small_buffers), T(k05_pipelined_requests),
       T(k05_all_bytes_before_the_end), T(k05_both_directions_at_once))

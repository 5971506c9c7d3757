/* The frame codecs over real sockets: streams made by the encoders, and malformed ones, cut at
 * every byte; what the program gets, what it answers, and how it ends. */
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { FRAMES_MOST = 16, STREAM_MOST = 4096 };

static const weir_delimiter line_ends[] = {WEIR_DELIMITER("\r\n"), WEIR_DELIMITER("\n"),
                                           WEIR_DELIMITER("\r")};
static const weir_delimiter words[] = {WEIR_DELIMITER("ENDING"), WEIR_DELIMITER("END"),
                                       WEIR_DELIMITER("DI")};

/* A codec, and payloads for it. A payload of a codec that strips nothing begins with the bytes in
 * front of its length field; those of the others are what their encoder wraps. */
struct codec {
    const char *name;
    weir_frame frame;
    const char *payloads[FRAMES_MOST]; /* without NUL, but for the sizes */
    size_t sizes[FRAMES_MOST];         /* 0: strlen */
};

static const struct codec codecs[] = {
    {"fixed", weir_frame_fixed(5), {"abcde", "12345", "\r\n\r\n\n"}, {0}},
    {"line", weir_frame_line(20), {"one", "", "three and four", "\r-", ""}, {0}},
    {"line, CRLF", weir_frame_line_with(20, WEIR_FRAME_CRLF), {"GET /", "", "a b", ""}, {0}},
    {"line, kept", weir_frame_line_with(20, WEIR_FRAME_KEEP_END), {"a", "", "bc"}, {0}},
    {"delimiter", weir_frame_delimiter(30, "\r\n.\r\n"), {"mail", "", "a.b\r\n", "\r\nx"}, {0}},
    {"delimiter of one byte", weir_frame_delimiter(9, "\0"), {"a", "", "bcd"}, {0}},
    {"delimiter that overlaps itself", weir_frame_delimiter(9, "aab"), {"xa", "", "aba"}, {0}},
    {"delimiters", weir_frame_delimiters(9, line_ends, 3), {"a", "", "bcd", ""}, {0}},
    {"delimiters that overlap", weir_frame_delimiters(20, words, 3), {"a", "", "EN", "bcd"}, {0}},
    {"length 1", weir_frame_length(300, 1), {"a", "", "\1\2\3", "long enough to be seen"}, {0}},
    {"length 2", weir_frame_length(300, 2), {"a", "", "\1\2\3"}, {0}},
    {"length 3", weir_frame_length(300, 3), {"a", "", "\1\2\3"}, {0}},
    {"length 4", weir_frame_length(300, 4), {"a", "", "\1\2\3"}, {0}},
    {"length 8", weir_frame_length(300, 8), {"a", "", "\1\2\3"}, {0}},
    {"length 2 little", weir_frame_length_little(300, 2), {"a", "", "\1\2\3"}, {0}},
    {"length 3 little", weir_frame_length_little(300, 3), {"a", "", "\1\2\3"}, {0}},
    {"length 4 little", weir_frame_length_little(300, 4), {"a", "", "\1\2\3"}, {0}},
    {"length 8 little", weir_frame_length_little(300, 8), {"a", "", "\1\2\3"}, {0}},
    {"varint", weir_frame_varint(400), {"a", "", "\1\2\3", NULL}, {0}},
    {"PostgreSQL",
     weir_frame_length_field(99, 1, 4, 0, -4, 0),
     {"Q\0\0\0\6a\0", "Z\0\0\0\5I"},
     {7, 6}},
    {"MySQL",
     weir_frame_length_field(99, 0, 3, WEIR_FRAME_LITTLE, 1, 0),
     {"\2\0\0\7ab", "\0\0\0\6"},
     {6, 4}},
    {"MQTT",
     weir_frame_length_field(99, 1, WEIR_FRAME_VARINT, 0, 0, 0),
     {"\x30\2ab", "\xc0\0"},
     {4, 2}},
    {"BGP",
     weir_frame_length_field(4096, 16, 2, 0, -18, 0),
     {"0123456789abcdef\0\x13\4", "0123456789abcdef\0\x12"},
     {19, 18}},
};
enum { CODECS = sizeof codecs / sizeof *codecs };

static bool strips_nothing(const weir_frame *f)
{
    return f->kind == WEIR_FRAME_LENGTH && f->strip != WEIR_FRAME_STRIP_HEAD;
}

static size_t payload_size(const struct codec *c, unsigned i)
{
    return c->sizes[i] != 0 ? c->sizes[i] : strlen(c->payloads[i]);
}

static unsigned payload_count(const struct codec *c)
{
    unsigned count = 0;
    while (count < FRAMES_MOST && c->payloads[count] != NULL)
        count++;
    return count;
}

/* The stream as the encoder makes it. */
static size_t encode(const struct codec *c, uint8_t *out)
{
    size_t at = 0;
    for (unsigned i = 0; i < payload_count(c); i++) {
        size_t size = payload_size(c, i);
        weir_frame_wrap wrap = {.head_size = 0};
        if (!strips_nothing(&c->frame)) {
            if (weir_frame_payload_check(&c->frame, c->payloads[i], size) != 0 ||
                weir_frame_encode(&c->frame, size, &wrap) != 0)
                fail_msg("%s: payload %u cannot be sent", c->name, i);
        }
        assert_true(at + wrap.head_size + size + wrap.tail_size <= STREAM_MOST);
        memcpy(out + at, wrap.head, wrap.head_size);
        memcpy(out + at + wrap.head_size, c->payloads[i], size);
        at += wrap.head_size + size;
        if (wrap.tail_size != 0)
            memcpy(out + at, wrap.tail, wrap.tail_size);
        at += wrap.tail_size;
    }
    return at;
}

/* Checks each frame against the codec's payloads, over and over, and sends it back encoded. */
static void answer_frame(struct rec *r, weir_view frame)
{
    const struct codec *c = r->side->note;
    struct world *w = r->side->world;
    unsigned i = (unsigned)(r->frames - 1) % payload_count(c);
    size_t size = payload_size(c, i), end = 0;
    weir_frame_wrap wrap = {.head_size = 0};
    if (!strips_nothing(&c->frame)) {
        if (weir_frame_encode(&c->frame, size, &wrap) != 0)
            world_broke(w, "%s: cannot be written again", c->name);
        end = (c->frame.flags & WEIR_FRAME_KEEP_END) != 0 ? wrap.tail_size : 0;
    }
    if (frame.size != size + end || memcmp(frame.data, c->payloads[i], size) != 0) {
        world_broke(w, "%s: frame %d has %u bytes, not %zu, or other ones", c->name, r->frames,
                    frame.size, size + end);
        return;
    }
    weir_view views[3] = {weir_bytes(wrap.head, wrap.head_size), weir_slice(frame, 0, size),
                          weir_bytes(wrap.tail, wrap.tail_size)};
    if (H(r, weir_sendv(r->conn, views, 3)) < 0)
        world_broke(w, "%s: the answer was refused", c->name);
}

static struct peer *codec_peer(struct world *w, const struct codec *c)
{
    struct side *s = side_new(w);
    s->frame = answer_frame;
    s->end = do_close;
    s->note = (void *)(uintptr_t)c;
    s->service.frame = c->frame;
    side_listen(s, NULL);
    return peer_connect(s);
}

/* Sends bytes and waits until the connection has them. */
static void say_and_wait(struct peer *p, const uint8_t *data, size_t size)
{
    weir_conn_stats stats = {0};
    if (size == 0)
        return;
    peer_say(p, data, size);
    do {
        world_turn(p->world);
        assert_int_equal(V(p->world, weir_conn_stats_get(p->rec->conn, &stats)), 0);
    } while (stats.received_bytes < p->sent);
}

/* What came back is the stream again and again. */
static void heard_stream(struct peer *p, const uint8_t *stream, size_t size, size_t times)
{
    UNTIL(p->world, p->received == size * times);
    for (size_t i = 0; i < times && (i + 1) * size <= p->kept_size; i++)
        assert_memory_equal(p->kept + i * size, stream, size);
}

static void frames_cut_at_every_byte(void **state)
{
    static uint8_t stream[STREAM_MOST];
    struct world *w = world_open(NULL);
    for (int k = 0; k < CODECS; k++) {
        struct peer *p = codec_peer(w, &codecs[k]);
        size_t size = encode(&codecs[k], stream);
        for (size_t cut = 0; cut < size; cut++) {
            say_and_wait(p, stream, cut);
            say_and_wait(p, stream + cut, size - cut);
        }
        heard_stream(p, stream, size, size);
        assert_int_equal(p->rec->frames, (int)(payload_count(&codecs[k]) * size));
        shutdown(p->fd, SHUT_WR);
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
        assert_int_equal(p->rec->end.error, 0); /* nothing of a frame was left */
        peer_close(p);
    }
    world_end(w);
}

static void frames_byte_by_byte(void **state)
{
    static uint8_t stream[STREAM_MOST];
    struct world *w = world_open(NULL);
    for (int k = 0; k < CODECS; k++) {
        struct peer *p = codec_peer(w, &codecs[k]);
        size_t size = encode(&codecs[k], stream);
        for (size_t i = 0; i < size; i++)
            say_and_wait(p, stream + i, 1);
        heard_stream(p, stream, size, 1);
        peer_close(p);
    }
    world_end(w);
}

static void frames_all_at_once(void **state)
{
    enum { TIMES = 300 };
    static uint8_t stream[STREAM_MOST], all[TIMES * 256];
    struct world *w = world_open(NULL);
    for (int k = 0; k < CODECS; k++) {
        struct peer *p = codec_peer(w, &codecs[k]);
        size_t size = encode(&codecs[k], stream), times = 0;
        for (; times < TIMES && (times + 1) * size <= sizeof all; times++)
            memcpy(all + times * size, stream, size);
        peer_say(p, all, times * size);
        heard_stream(p, stream, size, times);
        peer_close(p);
    }
    world_end(w);
}

/* --- frames of all sizes, larger than receive blocks
 * --------------------------------------------*/

enum { LARGE = 300000 };
static uint8_t *large;

static void check_large(struct rec *r, weir_view frame)
{
    if (!pattern_is(frame.data, 0, frame.size))
        world_broke(r->side->world, "a frame of %u bytes is not what was sent", frame.size);
    r->mark += (int)frame.size;
    if (H(r, weir_send(r->conn, weir_bytes(&frame.size, sizeof frame.size))) < 0)
        world_broke(r->side->world, "an answer was refused");
}

static void frames_of_many_sizes(void **state)
{
    static const weir_frame kinds[] = {weir_frame_length(LARGE + 20, 4),
                                       weir_frame_varint(LARGE + 20),
                                       weir_frame_length_little(LARGE + 20, 8)};
    static const uint32_t sizes[] = {0, 1, 127, 128, 4095, 4096, 4097, 16384, 65536, 100000, LARGE};
    large = malloc(LARGE);
    pattern_fill(large, 0, LARGE);
    struct world *w = world_open(NULL);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct side *s = side_new(w);
        s->frame = check_large;
        s->service.frame = kinds[k];
        side_listen(s, NULL);
        struct peer *p = peer_connect(s);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            weir_frame_wrap wrap;
            uint32_t told;
            assert_int_equal(weir_frame_encode(&kinds[k], sizes[i], &wrap), 0);
            peer_say(p, wrap.head, wrap.head_size);
            for (uint32_t at = 0; at < sizes[i];) {
                ssize_t sent = send(p->fd, large + at, sizes[i] - at, MSG_NOSIGNAL);
                if (sent > 0)
                    at += (uint32_t)sent;
                world_turn_ms(w, 0);
            }
            UNTIL(w, p->received == (i + 1) * sizeof told);
            memcpy(&told, p->kept + i * sizeof told, sizeof told);
            assert_int_equal(told, sizes[i]);
        }
        assert_int_equal(p->rec->closes, 0);
        weir_frame_wrap wrap; /* one byte more than the maximum is neither written nor taken */
        assert_int_equal(weir_frame_encode(&kinds[k], LARGE + 20, &wrap), WEIR_ETOOBIG);
        assert_true(world_memory(w) < 1 << 20);
    }
    world_end(w);
    free(large);
}

/* --- malformed ones
 * -----------------------------------------------------------------------------*/

struct bad {
    weir_frame frame;
    const char *bytes;
    size_t size;
    int frames; /* whole ones before it */
    int error;
};

#define BYTES(literal) "" literal, sizeof(literal) - 1

static const struct bad bads[] = {
    {weir_frame_line(8), BYTES("1234567\n12345678\n"), 1, WEIR_ETOOBIG},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("ab\r\ncd\n"), 1, WEIR_EPROTO},
    {weir_frame_line_with(8, WEIR_FRAME_CRLF), BYTES("ab\rc\r\n"), 0, WEIR_EPROTO},
    {weir_frame_delimiter(4, "$$"), BYTES("ab$$abc$$"), 1, WEIR_ETOOBIG},
    {weir_frame_delimiters(5, words, 3), BYTES("END-abcEND"), 1, WEIR_ETOOBIG},
    {weir_frame_length(5, 2), BYTES("\0\3abc\0\4defg"), 1, WEIR_ETOOBIG},
    {weir_frame_length(300, 8), BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), 0, WEIR_ETOOBIG},
    {weir_frame_length_field(99, 1, 4, 0, -4, 0), BYTES("Q\0\0\0\3"), 0, WEIR_EPROTO},
    {weir_frame_varint(129), BYTES("\1a\200\1"), 1, WEIR_ETOOBIG},
    {weir_frame_varint(400), BYTES("\1a\203\0abc"), 1, WEIR_EPROTO},
    {weir_frame_varint(400), BYTES("\377\377\377\377\377\377\377\377\377\377"), 0, WEIR_EPROTO},
};

/* The whole frames before it are handed over, then the connection ends with the reason. */
static void frames_malformed_at_every_cut(void **state)
{
    struct world *w = world_open(NULL);
    for (size_t k = 0; k < sizeof bads / sizeof *bads; k++) {
        const struct bad *b = &bads[k];
        struct side *s = side_new(w);
        s->service.frame = b->frame;
        s->service.linger_ms = 20;
        side_listen(s, NULL);
        for (size_t cut = 1; cut <= b->size; cut++) {
            struct peer *p = peer_connect(s);
            peer_say(p, b->bytes, cut);
            world_turn(w);
            world_turn(w);
            if (cut < b->size) /* it may be over by now */
                (void)!send(p->fd, b->bytes + cut, b->size - cut, MSG_NOSIGNAL);
            UNTIL(w, p->rec->closes == 1);
            assert_int_equal(p->rec->frames, b->frames);
            assert_int_equal(p->rec->end.error, b->error);
            assert_int_equal(p->rec->end.why,
                             b->error == WEIR_ETOOBIG ? WEIR_WHY_LIMIT : WEIR_WHY_ERROR);
            assert_true(p->rec->largest <= b->frame.max);
            peer_close(p);
        }
    }
    world_end(w);
}

/* A peer that leaves within a frame, at every place: the whole ones are told, the part is not. */
static void frames_left_at_every_cut(void **state)
{
    static uint8_t stream[STREAM_MOST];
    struct world *w = world_open(NULL);
    static const char *const some[] = {"line", "length 2", "varint", "delimiters"};
    for (int k = 0; k < CODECS; k++) {
        bool wanted = false;
        for (size_t i = 0; i < sizeof some / sizeof *some; i++)
            wanted |= strcmp(some[i], codecs[k].name) == 0;
        if (!wanted)
            continue;
        size_t size = encode(&codecs[k], stream);
        struct side *s = NULL;
        int before = 0;
        for (size_t cut = 1; cut < size; cut++) {
            struct peer *p = s == NULL ? codec_peer(w, &codecs[k]) : peer_connect(s);
            s = p->rec->side;
            peer_say(p, stream, cut);
            shutdown(p->fd, SHUT_WR);
            UNTIL(w, p->ended && p->rec->closes == 1);
            assert_true(p->rec->frames >= before); /* one byte more is no frame less */
            assert_memory_equal(p->kept != NULL ? p->kept : stream, stream, p->received);
            assert_true(p->received <= cut);
            assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
            before = p->rec->frames;
            peer_close(p);
        }
    }
    world_end(w);
}

K_MAIN(T(frames_cut_at_every_byte), T(frames_byte_by_byte), T(frames_all_at_once),
       T(frames_of_many_sizes), T(frames_malformed_at_every_cut), T(frames_left_at_every_cut))

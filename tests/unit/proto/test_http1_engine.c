/* ctest: timeout=300 */
/*
 * The engines against each other, and against a slow copy of the rules: every byte at every place
 * of every alignment, then heads put together at random and spoilt at random. All input ends (or
 * begins) at a page that cannot be read, so that a byte too many is a crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "http1_differ.h"

/* Room between two pages that cannot be touched. */
static uint8_t *room;
static size_t room_size;

static int make_room(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *p;

    room_size = page * 8;
    p = mmap(NULL, room_size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    room = p + page;
    return mprotect(room, room_size, PROT_READ | PROT_WRITE);
}

/* Copies to the end of the room, or to its beginning. */
static uint8_t *place(const void *bytes, size_t n, bool at_end)
{
    uint8_t *p = at_end ? room + room_size - n : room;

    assert_true(n <= room_size);
    if (n > 0)
        memcpy(p, bytes, n);
    return p;
}

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) % below);
}

static const enum http_class classes[HTTP1_SETS] = {
    [HTTP1_TOKEN] = HTTP_CLASS_TOKEN,
    [HTTP1_PATH] = HTTP_CLASS_PATH,
    [HTTP1_QUERY] = HTTP_CLASS_QUERY,
    [HTTP1_TEXT] = HTTP_CLASS_TEXT,
};

static void skip_finds_every_stranger_at_every_place(void **state)
{
    for (int i = 0; http1_engines[i]; i++) {
        if (!http1_engines[i]->usable())
            continue;
        for (int set = 0; set < HTTP1_SETS; set++) {
            for (size_t n = 0; n <= 70; n++) {
                uint8_t *p = room + room_size - n;

                for (size_t at = 0; at < n; at++) {
                    memset(p, 'x', n);
                    for (int c = 0; c < 256; c++) {
                        const uint8_t *got;
                        bool member = http_char_is((uint8_t)c, classes[set]);

                        p[at] = (uint8_t)c;
                        got = http1_engines[i]->skip[set](p, p + n, p);
                        if (got != p + (member ? n : at))
                            fail_msg("%s: set %d, byte %d at %zu of %zu", http1_engines[i]->name,
                                     set, c, at, n);
                    }
                }
                assert_ptr_equal(http1_engines[i]->skip[set](p + n, p + n, p), p + n);
            }
        }
    }
}

static void skip_begins_anywhere(void **state)
{
    uint8_t text[200];

    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + draw(sizeof(text)), from, stop;
        int set = (int)draw(HTTP1_SETS);
        uint8_t *p;

        for (size_t i = 0; i < n; i++)
            text[i] = draw(20) ? (uint8_t)('a' + draw(26)) : (uint8_t)draw(256);
        p = place(text, n, draw(2));
        from = draw((uint32_t)n + 1);
        for (stop = from; stop < n && http_char_is(p[stop], classes[set]);)
            stop++;
        for (int i = 0; http1_engines[i]; i++) {
            if (http1_engines[i]->usable())
                assert_ptr_equal(http1_engines[i]->skip[set](p + from, p + n, p), p + stop);
        }
    }
}

struct text {
    char bytes[8192];
    size_t size;
};

static void add(struct text *text, const char *bytes)
{
    size_t n = strlen(bytes);

    assert_true(text->size + n < sizeof(text->bytes));
    memcpy(text->bytes + text->size, bytes, n);
    text->size += n;
}

static const char *pick(const char *const *from)
{
    unsigned count = 0;

    while (from[count])
        count++;
    return from[draw(count)];
}

static const char *const methods[] = {"GET",   "POST", "HEAD", "OPTIONS", "CONNECT", "PUT",
                                      "PATCH", "G",    "BREW", "DELETE",  NULL};
static const char *const targets[] = {"/",
                                      "/hello",
                                      "/a/b/c.css?v=1",
                                      "*",
                                      "http://a/",
                                      "a:80",
                                      "/?",
                                      "/%41%42/long/path/that/goes/on",
                                      "/?q",
                                      "/x?y?z",
                                      "http://a:80?b",
                                      "x",
                                      "/0123456789012345678901234567890123456789",
                                      NULL};
static const char *const versions[] = {"HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1",
                                       "HTTP/1.0", "HTTP/2.0", "HTTP/1",   NULL};
static const char *const names[] = {"Host",
                                    "Accept",
                                    "User-Agent",
                                    "Content-Length",
                                    "X",
                                    "Transfer-Encoding",
                                    "connection",
                                    "EXPECT",
                                    "If-None-Match",
                                    "x-a-name-that-is-longer-than-thirty-two-bytes",
                                    "X-Sixteen-Bytes",
                                    "X-Fifteen-Byte",
                                    "Upgrade-Insecure-Requests",
                                    "Cookie",
                                    "Bad Name",
                                    "",
                                    NULL};
static const char *const values[] = {"",
                                     "a",
                                     "localhost",
                                     "keep-alive",
                                     "close",
                                     "chunked",
                                     "100-continue",
                                     "\xc3\xa4\xff",
                                     "5",
                                     "0, 1",
                                     "a value of more than sixteen bytes",
                                     "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko",
                                     "\t tabs \t",
                                     " ",
                                     "a\tb",
                                     "127.0.0.1:8080",
                                     "[::1]:80",
                                     NULL};
static const char *const ends[] = {"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n",
                                   "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n",   "\r",   NULL};
static const char *const colons[] = {": ", ": ", ": ", ": ", ":", ":  ", ":\t", " :", NULL};
static const char *const reasons[] = {" OK", " Not Found", "", " ", " \xc3\xa4\t", "x", NULL};

/* Mild heads are mostly right, so that what is right gets its share of the tests too. */
static void make_fields(struct text *text, bool mild)
{
    static const char *const mild_names[] = {"Accept",
                                             "User-Agent",
                                             "X",
                                             "If-None-Match",
                                             "Upgrade-Insecure-Requests",
                                             "Cookie",
                                             "x-a-name-that-is-longer-than-thirty-two-bytes",
                                             "X-Fifteen-Bytes",
                                             NULL};
    unsigned count = draw(4) ? draw(8) : draw(mild ? 64 : 80);

    if (mild || draw(4))
        add(text, "Host: a\r\n");
    while (count-- > 0) {
        add(text, pick(mild ? mild_names : names));
        add(text, mild ? ": " : pick(colons));
        add(text, pick(values));
        add(text, mild || draw(4) ? "\r\n" : pick(ends));
    }
    add(text, "\r\n");
    if (draw(2))
        add(text, "what comes after the head");
}

static void make_request(struct text *text)
{
    bool mild = draw(2);

    text->size = 0;
    if (draw(8) == 0)
        add(text, pick(ends));
    add(text, draw(2) ? "GET" : pick(methods));
    add(text, " ");
    add(text, draw(2) ? "/" : pick(targets));
    add(text, " ");
    add(text, mild ? "HTTP/1.1" : pick(versions));
    add(text, mild ? "\r\n" : pick(ends));
    make_fields(text, mild);
}

static void make_response(struct text *text)
{
    static const char *const codes[] = {"200", "404", "100", "101", "204",
                                        "304", "500", "20",  "600", NULL};

    bool mild = draw(2);

    text->size = 0;
    add(text, mild ? "HTTP/1.1" : pick(versions));
    add(text, " ");
    add(text, pick(codes));
    add(text, pick(reasons));
    add(text, mild ? "\r\n" : pick(ends));
    make_fields(text, mild);
}

static void spoil(struct text *text)
{
    static const char favourites[] = "\r\n \t:\0\x0b\x7f,;/?#\"%";
    unsigned count = draw(3);

    while (count-- > 0) {
        uint8_t byte =
            draw(2) ? (uint8_t)favourites[draw(sizeof(favourites) - 1)] : (uint8_t)draw(256);
        size_t at = draw((uint32_t)text->size);

        switch (draw(3)) {
        case 0:
            text->bytes[at] = (char)byte;
            break;
        case 1:
            memmove(text->bytes + at, text->bytes + at + 1, --text->size - at);
            break;
        default:
            memmove(text->bytes + at + 1, text->bytes + at, text->size++ - at);
            text->bytes[at] = (char)byte;
        }
        if (text->size < 2)
            return;
    }
    if (draw(8) == 0)
        text->size = 1 + draw((uint32_t)text->size);
}

static void run_random(bool response, int rounds)
{
    static const struct http1_limits tight = {.line_bytes = 40, .head_bytes = 200, .fields = 6};
    static struct text text;
    unsigned taken = 0, refused = 0, unfinished = 0;

    for (int round = 0; round < rounds; round++) {
        struct differ_options options = {response, HTTP_GET, NULL};
        ssize_t rc;

        if (response) {
            make_response(&text);
            options.method = draw(4) ? HTTP_GET : HTTP_HEAD;
        } else {
            make_request(&text);
        }
        spoil(&text);
        if (draw(4) == 0)
            options.limits = &tight;
        rc = differ_head(place(text.bytes, text.size, draw(4)), text.size,
                         1 + draw(draw(2) ? 4 : 200), &options);
        taken += rc > 0;
        refused += rc < 0;
        unfinished += rc == 0;
    }
    print_message("%u taken, %u refused, %u unfinished\n", taken, refused, unfinished);
    assert_true(taken > (unsigned)rounds / 10);
    assert_true(refused > (unsigned)rounds / 10);
    assert_true(unfinished > (unsigned)rounds / 100);
}

static void engines_agree_on_random_requests(void **state)
{
    run_random(false, 60000);
}

static void engines_agree_on_random_responses(void **state)
{
    run_random(true, 30000);
}

/* One good request at every distance from the page's end and with all that could follow it. */
static void engines_agree_at_every_alignment(void **state)
{
    static const char head[] =
        "GET /assets/main.css?v=1 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/115.0\r\n"
        "If-Modified-Since: Mon, 15 Jan 2024 08:49:37 GMT\r\nX: y\r\n\r\n";
    struct differ_options options = {false, HTTP_GET, NULL};
    uint8_t copy[sizeof(head) + 130];

    for (size_t after = 0; after < 130; after++) {
        memcpy(copy, head, sizeof(head) - 1);
        for (size_t i = 0; i < after; i++)
            copy[sizeof(head) - 1 + i] = (uint8_t)draw(256);
        assert_int_equal(differ_head(place(copy, sizeof(head) - 1 + after, true),
                                     sizeof(head) - 1 + after, 7, &options),
                         sizeof(head) - 1);
    }
    for (size_t cut = 0; cut < sizeof(head) - 1; cut++)
        assert_int_equal(differ_head(place(head, cut, true), cut, 5, &options), 0);
}

/* Every byte value at every place of a good request. */
static void engines_agree_on_every_byte_of_a_request(void **state)
{
    static const char head[] = "GET /a?b HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
                               "Content-Length: 12\r\n\r\n";
    struct differ_options options = {false, HTTP_GET, NULL};
    char copy[sizeof(head)];

    for (size_t at = 0; at < sizeof(head) - 1; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(copy, head, sizeof(head));
            copy[at] = (char)c;
            differ_head(place(copy, sizeof(head) - 1, true), sizeof(head) - 1, 1 + at, &options);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skip_finds_every_stranger_at_every_place),
        cmocka_unit_test(skip_begins_anywhere),
        cmocka_unit_test(engines_agree_at_every_alignment),
        cmocka_unit_test(engines_agree_on_every_byte_of_a_request),
        cmocka_unit_test(engines_agree_on_random_requests),
        cmocka_unit_test(engines_agree_on_random_responses),
    };

    return cmocka_run_group_tests(tests, make_room, NULL);
}

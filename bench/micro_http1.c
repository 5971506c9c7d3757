/*
 * What the HTTP/1.1 codec costs alone: nanoseconds a message, for each engine, each figure the
 * least of several rounds (the machine is shared; what disturbs only ever adds).
 */
#include "base/assert.h"
#include "proto/http1_body.h"
#include "proto/http1_engine.h"
#include "proto/http1_write.h"
#include "proto/httpdate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 15
#define DEPTH  16

static const char wrk[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

static const char curl[] = "GET /hello HTTP/1.1\r\nHost: localhost:8080\r\n"
                           "User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

static const char browser[] =
    "GET /assets/css/main.min.css?v=20240115 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "sec-ch-ua: \"Not_A Brand\";v=\"8\", \"Chromium\";v=\"120\", \"Google Chrome\";v=\"120\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36\r\n"
    "Accept: text/css,*/*;q=0.1\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: no-cors\r\n"
    "Sec-Fetch-Dest: style\r\n"
    "Referer: https://www.example.com/index.html\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=5f2b1c9e8d7a6f5e4d3c2b1a; theme=dark; consent=1; _ga=GA1.2.123456789.1700000"
    "000\r\n"
    "If-None-Match: \"65a4f1b2-3e8\"\r\n"
    "If-Modified-Since: Mon, 15 Jan 2024 08:49:37 GMT\r\n\r\n";

static const char answer[] =
    "HTTP/1.1 200 OK\r\nServer: weir\r\nDate: Mon, 15 Jan 2024 08:49:37 GMT\r\n"
    "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n";

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* One job: does its work once over `count` messages that lie at p. */
typedef void job_fn(const uint8_t *p, size_t n, unsigned count);

static volatile uint64_t sink;

static void parse_requests(const uint8_t *p, size_t n, unsigned count)
{
    struct http1_field rows[HTTP1_FIELDS];
    struct http1_request request;
    uint64_t sum = 0;

    request.fields.row = rows;
    request.fields.capacity = HTTP1_FIELDS;
    for (unsigned i = 0; i < count; i++) {
        struct http1_resume resume = {0, 0, 0};
        ssize_t used = http1_parse_request(p, n, &resume, NULL, &request);

        WEIR_ASSERT(used > 0 && request.keep_alive);
        p += used;
        n -= (size_t)used;
        sum += request.fields.count;
    }
    sink += sum;
}

static void parse_responses(const uint8_t *p, size_t n, unsigned count)
{
    struct http1_field rows[HTTP1_FIELDS];
    struct http1_response response;
    uint64_t sum = 0;

    response.fields.row = rows;
    response.fields.capacity = HTTP1_FIELDS;
    for (unsigned i = 0; i < count; i++) {
        struct http1_resume resume = {0, 0, 0};
        ssize_t used = http1_parse_response(p, n, &resume, NULL, HTTP_GET, &response);

        WEIR_ASSERT(used > 0 && response.content_length == 13);
        p += used;
        n -= (size_t)used;
        sum += response.fields.count;
    }
    sink += sum;
}

static void write_responses(const uint8_t *p, size_t n, unsigned count)
{
    static const char date[HTTP_DATE_BYTES + 1] = "Mon, 15 Jan 2024 08:49:37 GMT";
    uint8_t out[DEPTH * 256];
    struct http1_writer writer = http1_writer_on(out, sizeof(out));

    for (unsigned i = 0; i < count; i++) {
        http1_write_status(&writer, 200);
        http1_write_literal(&writer, "Server: weir\r\n");
        http1_write_date(&writer, date);
        http1_write_literal(&writer, "Content-Type: text/plain\r\n");
        http1_write_length(&writer, 13 + i);
        WEIR_ASSERT(http1_write_end(&writer) > 0);
    }
    sink += out[count];
}

static void measure(const char *what, const char *message, unsigned depth, job_fn *job)
{
    size_t length = strlen(message), n = length * depth;
    /* Exactly as long as it is: nothing may be read behind it. */
    uint8_t *p = malloc(n);
    double best = 1e30;
    unsigned repeats = 200000 / depth;

    WEIR_ASSERT(p);
    for (unsigned i = 0; i < depth; i++)
        memcpy(p + i * length, message, length);
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now_ns(), took;

        for (unsigned i = 0; i < repeats; i++)
            job(p, n, depth);
        took = (now_ns() - begin) / ((double)repeats * depth);
        if (took < best)
            best = took;
    }
    printf("  %-34s %2u deep %5zu bytes %8.1f ns %7.2f GB/s\n", what, depth, length, best,
           (double)length / best);
    free(p);
}

/*
 * Requests of which no two are alike, as a server sees them: a CPU learns a single message by
 * heart, branch for branch, and then a loop over bytes looks better than it is.
 */
static void measure_mixed(void)
{
    enum { COUNT = 512 };
    static char text[COUNT * 1024];
    static const char *const names[] = {
        "Accept",     "Accept-Encoding",    "Accept-Language", "Cookie",
        "User-Agent", "Cache-Control",      "If-None-Match",   "Referer",
        "X-Trace",    "sec-ch-ua-platform", "X-Forwarded-For", "Origin"};
    static const char filler[] =
        "a1-b2_c3.d4/e5;f6=g7,h8 i9:j0+k1(l2)m3*n4&o5%p6~q7!r8@s9$t0#u1^v2";
    const uint8_t *end;
    uint32_t seed = 1;
    double best = 1e30;
    size_t n = 0;

    for (int i = 0; i < COUNT; i++) {
        unsigned fields;

        seed = seed * 1664525 + 1013904223;
        fields = (seed >> 16) % 14;
        n += (size_t)sprintf(text + n, "GET /%.*s HTTP/1.1\r\nHost: www.example.com\r\n",
                             (int)(seed >> 24) % 24, "static/js/app-5f2b1c9e8d7a.js");
        while (fields-- > 0) {
            seed = seed * 1664525 + 1013904223;
            n += (size_t)sprintf(text + n, "%s: %.*s\r\n", names[(seed >> 20) % 12],
                                 (int)(seed >> 26), filler);
        }
        n += (size_t)sprintf(text + n, "\r\n");
    }
    end = (const uint8_t *)text + n;
    for (int round = 0; round < ROUNDS * 10; round++) {
        double begin = now_ns(), took;

        parse_requests((const uint8_t *)text, (size_t)(end - (const uint8_t *)text), COUNT);
        took = (now_ns() - begin) / COUNT;
        if (took < best)
            best = took;
    }
    printf("  %-34s         %5zu bytes %8.1f ns %7.2f GB/s\n", "requests, all different", n / COUNT,
           best, (double)n / COUNT / best);
}

static void measure_chunks(void)
{
    static uint8_t wire[1 << 20];
    size_t n = 0;
    double best = 1e30;

    while (n + 600 < sizeof(wire)) {
        n += http1_chunk_head(wire + n, 512);
        memset(wire + n, 'x', 512);
        n += 512;
        memcpy(wire + n, "\r\n", 2);
        n += 2;
    }
    memcpy(wire + n, HTTP1_CHUNK_LAST, 5);
    n += 5;
    for (int round = 0; round < ROUNDS; round++) {
        struct http1_request request = {.chunked = true};
        struct http1_body body;
        struct http1_piece piece;
        size_t used = 0;
        unsigned chunks = 0;
        double begin = now_ns(), took;

        http1_body_begin_request(&body, &request, NULL, UINT64_MAX);
        do {
            ssize_t rc = http1_body_next(&body, wire + used, n - used, &piece);

            WEIR_ASSERT(rc >= 0);
            used += (size_t)rc;
            chunks++;
        } while (piece.event == HTTP1_PIECE_DATA);
        WEIR_ASSERT(piece.event == HTTP1_PIECE_END);
        took = (now_ns() - begin) / chunks;
        if (took < best)
            best = took;
    }
    printf("chunks\n  %-34s %25.1f ns\n", "decode, 512 bytes each", best);
}

int main(void)
{
    for (int i = 0; http1_engines[i]; i++) {
        const struct http1_engine *engine = http1_engines[i];

        if (!engine->usable()) {
            printf("%s: not on this CPU\n", engine->name);
            continue;
        }
        printf("%s\n", engine->name);
        http1_engine_use(engine);
        measure("request, wrk-like", wrk, 1, parse_requests);
        measure("request, wrk-like", wrk, DEPTH, parse_requests);
        measure("request, curl-like", curl, 1, parse_requests);
        measure("request, browser-like", browser, 1, parse_requests);
        measure("request, browser-like", browser, DEPTH, parse_requests);
        measure_mixed();
        measure("response head", answer, 1, parse_responses);
    }
    http1_engine_use(NULL);
    printf("write\n");
    measure("response head, five lines", answer, 1, write_responses);
    measure("response head, five lines", answer, DEPTH, write_responses);
    measure_chunks();
    return 0;
}

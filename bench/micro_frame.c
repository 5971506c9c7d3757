/* What finding a frame costs, in nanoseconds: the best of several rounds, since the machine is
 * shared. A stream of 64 frames is gone through from front to back, as after a large receive.
 *
 *   cmake -B build/bench -DWEIR_BENCH=ON && ninja -C build/bench bench.micro_frame
 *   build/bench/bin/bench/micro_frame
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weir/frame.h>

enum { ROUNDS = 7, TIMES = 20000, FRAMES = 64 };

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

/* Puts the frames one behind the other; returns how many bytes they are. */
static size_t write_stream(const weir_frame *frame, size_t payload_size, uint8_t *stream)
{
    size_t size = 0;

    for (int i = 0; i < FRAMES; i++) {
        weir_frame_wrap wrap;

        if (weir_frame_encode(frame, payload_size, &wrap) < 0)
            fail("weir_frame_encode");
        memcpy(stream + size, wrap.head, wrap.head_size);
        size += wrap.head_size;
        memset(stream + size, 'x', payload_size);
        size += payload_size;
        if (wrap.tail_size > 0)
            memcpy(stream + size, wrap.tail, wrap.tail_size);
        size += wrap.tail_size;
    }
    return size;
}

static size_t read_stream(const weir_frame *frame, const uint8_t *stream, size_t size)
{
    size_t scanned = 0, payload_bytes = 0;
    weir_frame_found found;

    while (weir_frame_next(frame, stream, size, &scanned, &found) == 1) {
        payload_bytes += found.payload_size;
        stream += found.size;
        size -= found.size;
    }
    return payload_bytes;
}

static void report(const char *what, weir_frame frame, size_t payload_size)
{
    uint8_t *stream = malloc(FRAMES * (payload_size + 128));
    double best_ns = 1e18;
    size_t size;

    if (stream == NULL || weir_frame_check(&frame) < 0)
        fail(what);
    size = write_stream(&frame, payload_size, stream);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start_ns = now_ns();
        double ns;

        for (int k = 0; k < TIMES; k++)
            if (read_stream(&frame, stream, size) != payload_size * FRAMES)
                fail(what);
        ns = (double)(now_ns() - start_ns) / (double)TIMES / FRAMES;
        if (ns < best_ns)
            best_ns = ns;
    }
    printf("%-40s %6zu bytes %8.2f ns a frame\n", what, payload_size, best_ns);
    free(stream);
}

int main(void)
{
    static const weir_delimiter ends[] = {WEIR_DELIMITER("\r\n"), WEIR_DELIMITER("\n"),
                                          WEIR_DELIMITER("\0")};

    report("length, 2 bytes", weir_frame_length(1 << 20, 2), 16);
    report("length, 4 bytes little", weir_frame_length_little(1 << 20, 4), 1024);
    report("varint, 1 byte", weir_frame_varint(1 << 20), 16);
    report("varint, 2 bytes", weir_frame_varint(1 << 20), 1024);
    report("fixed", weir_frame_fixed(64), 64);
    for (size_t size = 16; size <= 1024; size *= 8) {
        report("line", weir_frame_line(4096), size);
        report("line, CRLF only", weir_frame_line_with(4096, WEIR_FRAME_CRLF), size);
        report("one delimiter of 2", weir_frame_delimiter(4096, "\r\n"), size);
        report("three delimiters", weir_frame_delimiters(4096, ends, 3), size);
    }
    return 0;
}

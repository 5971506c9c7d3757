/* The frame codec: the first bytes of the input describe a framing, the rest is the stream. What is
 * found must be what the plain model finds, cut anywhere; what is found must be written back to the
 * same frame where that is possible. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../support/frame_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD_BYTES 12

static const weir_delimiter delimiters[] = {
    WEIR_DELIMITER("\r\n"),   WEIR_DELIMITER("\n"),  WEIR_DELIMITER("\0"),  WEIR_DELIMITER("aab"),
    WEIR_DELIMITER("aabaac"), WEIR_DELIMITER("b\n"), WEIR_DELIMITER("--x"), WEIR_DELIMITER("-"),
};

static weir_frame frame_of(const uint8_t head[HEAD_BYTES])
{
    weir_frame frame = {0};

    frame.kind = head[0] % 6;
    frame.flags = head[1] & 15;
    memcpy(&frame.max, head + 2, 2);
    if (frame.kind == WEIR_FRAME_LENGTH) {
        frame.offset = head[4] % 20;
        frame.width = head[5] % 10 == 9 ? WEIR_FRAME_VARINT : head[5] % 10;
        memcpy(&frame.adjust, head + 6, 4);
        frame.adjust >>= head[10] % 32;
        frame.strip = head[11] == 255 ? WEIR_FRAME_STRIP_HEAD : head[11];
    }
    if (frame.kind == WEIR_FRAME_DELIMITER)
        frame.end = delimiters[head[4] % 8];
    if (frame.kind == WEIR_FRAME_DELIMITERS) {
        frame.ends_count = head[4] % 9;
        frame.ends = delimiters + (frame.ends_count < 8 ? head[5] % (8 - frame.ends_count) : 0);
    }
    return frame;
}

/* Writes the payload again. Only where the whole head is the length field is it the payload that
 * was read; lines may have lost a CR. */
static void write_again(const weir_frame *frame, const uint8_t *data, const weir_frame_found *found)
{
    size_t payload_size = found->payload_size, scanned = 0;
    const uint8_t *payload = data + found->payload_offset;
    weir_frame_wrap wrap;
    weir_frame_found again;
    uint8_t *copy;

    if (frame->flags & WEIR_FRAME_KEEP_END)
        return;
    if (frame->kind == WEIR_FRAME_LENGTH &&
        (frame->offset != 0 || frame->strip != WEIR_FRAME_STRIP_HEAD))
        return;
    if (weir_frame_payload_check(frame, payload, payload_size) < 0)
        return;
    if (weir_frame_encode(frame, payload_size, &wrap) < 0) {
        /* A shorter end or a padded head was read. */
        if (frame->kind == WEIR_FRAME_DELIMITERS || (frame->flags & WEIR_FRAME_PADDED))
            return;
        abort();
    }
    copy = malloc(wrap.head_size + payload_size + wrap.tail_size + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, wrap.head, wrap.head_size);
    memcpy(copy + wrap.head_size, payload, payload_size);
    if (wrap.tail_size > 0)
        memcpy(copy + wrap.head_size + payload_size, wrap.tail, wrap.tail_size);
    if (weir_frame_next(frame, copy, wrap.head_size + payload_size + wrap.tail_size, &scanned,
                        &again) != 1 ||
        again.payload_size != payload_size || again.payload_offset != wrap.head_size ||
        memcmp(copy + again.payload_offset, payload, payload_size) != 0)
        abort();
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weir_frame frame;
    weir_frame_found found;
    size_t step;

    if (size < HEAD_BYTES)
        return 0;
    frame = frame_of(data);
    step = 1 + data[10] / 32;
    data += HEAD_BYTES;
    size -= HEAD_BYTES;
    if (weir_frame_check(&frame) < 0)
        return 0;
    weir_frame_payload_check(&frame, data, size);
    for (int frames = 0; frames < 64; frames++) {
        int answer = model_compare(&frame, data, size, size, &found);

        if (answer == 100 ||
            model_compare(&frame, data, size < 200 ? size : 200, step, &found) == 100)
            abort();
        if (answer != 1)
            return 0;
        model_compare(&frame, data, size, size, &found);
        write_again(&frame, data, &found);
        data += found.size;
        size -= found.size;
    }
    return 0;
}

/* Streams of answers, as a client reads them: whole against cut, with a memory of heads and
 * without. Input: one byte that chooses method and cuts, then the stream. */
#include "../unit/proto/http1_reply_cuts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct replies *a, const struct replies *b)
{
    if (a->count != b->count || a->refusal != b->refusal || a->cut != b->cut)
        abort();
    for (unsigned i = 0; i < a->count; i++)
        if (a->row[i].status != b->row[i].status || a->row[i].bytes != b->row[i].bytes ||
            a->row[i].hash != b->row[i].hash || a->row[i].keep_alive != b->row[i].keep_alive)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct replies whole, other;
    static struct http1_reply_memo memo;
    enum http_method method;

    if (size == 0)
        return 0;
    method = data[0] & 1 ? HTTP_HEAD : data[0] & 2 ? HTTP_CONNECT : HTTP_GET;
    replies_read(data + 1, size - 1, size, size, method, NULL, &whole);
    replies_read(data + 1, size - 1, data[0] >> 2, 1 + (data[0] >> 4), method, NULL, &other);
    same(&whole, &other);
    replies_read(data + 1, size - 1, 1, 1, method, &memo, &other);
    same(&whole, &other);
    /* Twice: what the first run remembered must answer as parsing did. */
    for (int i = 0; i < 2; i++) {
        replies_read(data + 1, size - 1, size, size, method, &memo, &other);
        same(&whole, &other);
    }
    return 0;
}

/* Several ranges of a file in one answer: framing from memory, the parts lent from the cache or
 * moved from the open file, all in one ordered queue. */
#include <unistd.h>

#include "app/http/mount.h"
#include "app/http/multipart.h"
#include "base/random.h"

/* The last part takes the descriptor with it: the others have been sent by then. */
static int queue_part(struct visit *v, struct found *found, struct range part, bool last)
{
    if (found->head->has_data)
        return answer_piece(v->x, file_part_view(v, found, part));
    int fd = found->fd;
    if (last)
        found->fd = -1;
    return answer_piece_file(v->x, fd, part.offset, part.size, last);
}

static int queue_parts(struct visit *v, struct found *found, const struct multipart *multipart,
                       const struct range_set *set)
{
    char text[MULTIPART_HEAD_SIZE];
    for (uint32_t i = 0; i < set->count; i++) {
        size_t size = multipart_head(multipart, set->part[i], i == 0, text);
        int result = answer_piece(v->x, weir_bytes(text, size));
        if (result == 0)
            result = queue_part(v, found, set->part[i], i + 1 == set->count);
        if (result < 0)
            return result;
    }
    return answer_piece(v->x, weir_bytes(text, multipart_tail(multipart, text)));
}

/* The media type of the parts stands in the head's last line. */
static struct http_text part_type(const struct file_head *head)
{
    size_t from = head->plain_size + sizeof "Content-Type: " - 1;
    return (struct http_text){head->text + from, head->size - from - 2};
}

void file_serve_parts(struct visit *v, struct found *found, const struct range_set *set)
{
    struct multipart multipart;
    unsigned char random[MULTIPART_RANDOM_SIZE];
    char type[MULTIPART_CONTENT_TYPE_SIZE];
    uint64_t total;
    weir__random_bytes(random, sizeof random);
    int result = multipart_init(&multipart, random, part_type(found->head), found->file.size_bytes);
    if (result == 0)
        result = multipart_total(&multipart, set, &total);
    if (result == 0) {
        multipart_content_type(&multipart, type);
        v->x->premade = found->head->text;
        v->x->premade_size = found->head->plain_size;
        result = answer_begin(v->x, 206, type, (int64_t)total);
    }
    if (result < 0) {
        v->x->premade_size = 0;
        answer_error(v->x, 503, NULL, NULL);
        return;
    }
    answer_finish(v->x, queue_parts(v, found, &multipart, set));
}

/* Answers made of a form of a file: whole, in part, or not at all, as the request says. */
#include <string.h>
#include <unistd.h>

#include "app/http/conditional.h"
#include "app/http/mount.h"

enum { COPIED_MAX = 4096 }; /* lending costs more than copying so much */

#define CONDITIONS                                                                     \
    (HTTP_NAME_BIT(HTTP_IF_MATCH) | HTTP_NAME_BIT(HTTP_IF_NONE_MATCH) |                \
     HTTP_NAME_BIT(HTTP_IF_MODIFIED_SINCE) | HTTP_NAME_BIT(HTTP_IF_UNMODIFIED_SINCE) | \
     HTTP_NAME_BIT(HTTP_IF_RANGE) | HTTP_NAME_BIT(HTTP_RANGE))

static void give_back(const void *data, size_t size, void *arg)
{
    struct filecache_entry *entry = arg;
    filecache_release(entry->cache, entry);
}

weir_view file_part_view(struct visit *v, struct found *found, struct range part)
{
    const uint8_t *data = found_content(found)->data + part.offset;
    if (part.size <= COPIED_MAX)
        return weir_bytes(data, (size_t)part.size);
    filecache_retain(found->entry);
    return weir_own(data, (size_t)part.size, give_back, found->entry);
}

/* The request's conditions, joined where a field came more than once. False: no room for it. */
static bool conditions_take(struct visit *v, struct conditional *conditions)
{
    struct exchange *x = v->x;
    http_date(x->server);
    *conditions = (struct conditional){.now_s = (int64_t)x->server->date_s};
    return request_field(x, HTTP_IF_MATCH, &conditions->if_match) &&
           request_field(x, HTTP_IF_NONE_MATCH, &conditions->if_none_match) &&
           request_field(x, HTTP_IF_MODIFIED_SINCE, &conditions->if_modified_since) &&
           request_field(x, HTTP_IF_UNMODIFIED_SINCE, &conditions->if_unmodified_since) &&
           request_field(x, HTTP_IF_RANGE, &conditions->if_range) &&
           request_field(x, HTTP_RANGE, &conditions->range);
}

static int judge(struct visit *v, const struct found *found, struct range_set *set)
{
    const struct file_head *head = found->head;
    struct conditional conditions;
    int64_t mtime_ns = found->file.mtime_ns;
    struct validators validators = {
        .exists = true,
        .has_modified = head->has_modified,
        .modified_weak = found->young,
        .etag = {head->text + sizeof "ETag: " - 1, head->etag_size},
        .modified_s = mtime_ns / 1000000000 - (mtime_ns % 1000000000 < 0),
        .total_bytes = found->file.size_bytes,
    };
    set->count = 0;
    if ((v->x->request.fields.seen & CONDITIONS) == 0)
        return 200;
    if (!conditions_take(v, &conditions))
        return 431;
    return conditional_judge(&conditions, (enum http_method)v->x->request.method, &validators, set);
}

static void premade(struct visit *v, const struct file_head *head, size_t size)
{
    v->x->premade = head->text;
    v->x->premade_size = size;
}

static void answer_bare(struct visit *v, struct found *found, int status)
{
    char text[RANGE_TEXT_SIZE];
    if (status == 304) {
        premade(v, found->head, found->head->lasting_size);
        if (answer_whole(v->x, 304, NULL, weir_bytes(NULL, 0)) < 0)
            answer_error(v->x, 503, NULL, NULL);
        return;
    }
    if (status == 416) {
        size_t size = weir__range_text_unsatisfiable(found->file.size_bytes, text);
        answer_field(v->x, "Content-Range", (struct http_text){text, size});
    }
    answer_error(v->x, (unsigned)status, NULL, NULL);
}

/* From the cache: no system call but the send that the flush makes. */
static void serve_data(struct visit *v, struct found *found, struct range part, unsigned status)
{
    weir_view view = file_part_view(v, found, part);
    int result = answer_whole(v->x, status, NULL, view);
    if (result >= 0)
        return;
    v->x->premade_size = 0;
    answer_error(v->x, 503, NULL, NULL);
}

static void serve_open(struct visit *v, struct found *found, struct range part, unsigned status)
{
    int fd = found->fd;
    found->fd = -1;
    if (weir_http_file(v->handle, status, NULL, fd, (int64_t)part.offset, part.size, true) < 0 &&
        v->x->answer == ANSWER_NONE) {
        v->x->premade_size = 0;
        answer_error(v->x, 503, NULL, NULL);
    }
}

static void serve_part(struct visit *v, struct found *found, struct range part, unsigned status)
{
    char text[RANGE_TEXT_SIZE];
    premade(v, found->head, found->head->size);
    if (status == 206) {
        size_t size = weir__range_text(part, found->file.size_bytes, text);
        answer_field(v->x, "Content-Range", (struct http_text){text, size});
    }
    if (found->head->has_data)
        serve_data(v, found, part, status);
    else
        serve_open(v, found, part, status);
}

/* A HEAD needs no file, only its size. */
static void serve_head(struct visit *v, struct found *found)
{
    premade(v, found->head, found->head->size);
    if (answer_begin(v->x, 200, NULL, (int64_t)found->file.size_bytes) == 0) {
        answer_finish(v->x, 0);
        return;
    }
    v->x->premade_size = 0;
    answer_error(v->x, 503, NULL, NULL);
}

bool file_serve(struct visit *v, struct found *found)
{
    struct range_set set;
    if (!answer_possible(v->x))
        return true;
    int status = judge(v, found, &set);
    if (status != 200 && status != 206) {
        answer_bare(v, found, status);
        return true;
    }
    if (v->x->request.method == HTTP_HEAD) {
        serve_head(v, found);
        return true;
    }
    if (!found->head->has_data && found->fd < 0)
        return false;
    if (status == 206 && set.count > 1)
        file_serve_parts(v, found, &set);
    else
        serve_part(v, found,
                   status == 206 ? set.part[0] : (struct range){0, found->file.size_bytes},
                   (unsigned)status);
    return true;
}

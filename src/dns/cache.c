/* Questions: each name and type is asked once at a time, whoever waits for it, and its answer is
 * kept for as long as it lives. */
#include <string.h>

#include <weir/error.h>
#include <weir/module.h>

#include "dns/resolver.h"

/* The places are found by a name that others may choose, but no list is longer than all that is
 * kept and asked together; a flood of names that meet in one place costs some microseconds each. */
static uint32_t hash_of(const struct dns_name *name, uint32_t type)
{
    uint32_t hash = 2166136261u ^ type;
    for (unsigned i = 0; i < name->size; i++)
        hash = (hash ^ name->wire[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static struct list *place_of(weir_resolver *r, uint32_t hash)
{
    return &r->places[hash & (QUESTION_PLACES - 1)];
}

static struct question *find(weir_resolver *r, const struct dns_name *name, uint32_t type,
                             uint32_t hash)
{
    struct list *place = place_of(r, hash);
    for (struct list *link = place->next; link != place; link = link->next) {
        struct question *q = weir_container(link, struct question, place);
        if (q->hash == hash && q->type == type && name_equal(&q->name, name))
            return q;
    }
    return NULL;
}

static uint32_t kept_bytes(const struct question *q)
{
    return (uint32_t)sizeof *q + (q->set != NULL ? q->set->bytes : 0);
}

void question_free(struct question *q)
{
    weir_resolver *r = q->resolver;
    if (q->pending) {
        r->stats.asked--;
    } else {
        r->stats.kept--;
        r->stats.kept_bytes -= kept_bytes(q);
    }
    list_remove(&q->place);
    list_remove(&q->age);
    record_set_unref(q->set);
    weir__free(q);
}

void cache_clear(weir_resolver *r)
{
    while (!list_empty(&r->kept))
        question_free(weir_container(r->kept.next, struct question, age));
}

static void ask_fill(struct ask *ask, const struct question *q, bool cached)
{
    weir_time now = weir_now();
    ask->done = true;
    ask->cached = cached;
    ask->error = q->error;
    ask->set = q->set != NULL ? record_set_ref(q->set) : NULL;
    ask->left_s = q->expires > now ? (uint32_t)((q->expires - now) / WEIR_S) : 0;
}

void ask_drop(struct ask *ask)
{
    if (ask->link.next != NULL)
        list_remove(&ask->link);
    record_set_unref(ask->set);
    *ask = (struct ask){0};
}

static int question_new(weir_resolver *r, const struct dns_name *name, uint32_t type, uint32_t hash,
                        struct question **out)
{
    if (r->stats.asked >= r->options.questions_max) {
        r->stats.refused++;
        return WEIR_EFULL;
    }
    struct question *q = weir__zalloc(sizeof *q);
    if (q == NULL)
        return WEIR_ENOMEM;
    q->resolver = r;
    q->name = *name;
    q->type = type;
    q->hash = hash;
    q->pending = true;
    list_init(&q->waiters);
    list_push(place_of(r, hash), &q->place);
    list_push(&r->asked, &q->age);
    r->stats.asked++;
    r->stats.questions++;
    *out = q;
    return 0;
}

int question_ask(weir_resolver *r, struct ask *ask, const struct dns_name *name,
                 enum weir_record_type type)
{
    uint32_t hash = hash_of(name, type);
    struct question *q = find(r, name, type, hash);
    bool fresh = false;

    if (q != NULL && !q->pending && q->expires <= weir_now()) {
        question_free(q);
        q = NULL;
    }
    if (q != NULL && !q->pending) {
        r->stats.cached++;
        r->stats.cached_no += q->error != 0;
        list_remove(&q->age);
        list_push(&r->kept, &q->age);
        ask_fill(ask, q, true);
        return 0;
    }
    if (q != NULL) {
        r->stats.shared++;
    } else {
        int result = question_new(r, name, type, hash, &q);
        if (result < 0)
            return result;
        fresh = true;
    }
    list_push(&q->waiters, &ask->link);
    if (fresh)
        channel_send(r->channel, q); /* may answer at once, and the question be gone */
    return 0;
}

/* How long what was answered may be kept, nanoseconds. */
static uint64_t life_ns(const weir_resolver *r, int error, uint32_t ttl_s)
{
    if (error != 0 && error != WEIR_ENONAME && error != WEIR_ENODATA)
        return error == WEIR_ENOMEM ? 0 : FAILURE_KEPT_MS * WEIR_MS;
    uint32_t most_s = error == 0 ? r->options.ttl_max_s : r->options.no_ttl_max_s;
    return (ttl_s < most_s ? ttl_s : most_s) * WEIR_S;
}

/* Makes an answer one that is kept, if it lives for a moment; the oldest go for it. */
static void keep(weir_resolver *r, struct question *q)
{
    q->pending = false;
    r->stats.asked--;
    r->stats.kept++;
    r->stats.kept_bytes += kept_bytes(q);
    list_remove(&q->age);
    list_push(&r->kept, &q->age);
    if (q->expires <= weir_now()) {
        question_free(q);
        return;
    }
    while (r->stats.kept > r->options.cache_max ||
           r->stats.kept_bytes > r->options.cache_max_bytes) {
        struct question *oldest = weir_container(r->kept.next, struct question, age);
        r->stats.dropped += oldest->expires > weir_now();
        question_free(oldest);
    }
}

void question_answer(struct question *q, int error, const uint8_t *message, size_t size)
{
    weir_resolver *r = q->resolver;
    struct answer answer = {.error = error};
    struct list *link;

    if (message != NULL) {
        error = answer_read(&answer, &q->name, (enum weir_record_type)q->type, message, size);
        r->stats.malformed += error == WEIR_EPROTO || error == WEIR_ETOOBIG;
        if (error < 0)
            answer = (struct answer){.error = error};
    }
    r->stats.failures +=
        answer.error != 0 && answer.error != WEIR_ENONAME && answer.error != WEIR_ENODATA;
    q->error = answer.error;
    q->set = answer.set;
    q->expires = weir_now() + life_ns(r, answer.error, answer.ttl_s);
    while ((link = list_pop(&q->waiters)) != NULL) {
        struct ask *ask = weir_container(link, struct ask, link);
        ask_fill(ask, q, false);
        lookup_answered(ask);
    }
    keep(r, q);
}

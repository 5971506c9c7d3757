/* Lookups: from a name that a program gave, over files and the search list, to an answer. */
#include <stdio.h>
#include <string.h>

#include <weir/error.h>
#include <weir/module.h>

#include "dns/resolver.h"

static void lookup_go(struct lookup *l);

/* --- telling ---------------------------------------------------------------------------------- */

void lookup_end(struct lookup *l)
{
    l->handle->opaque[0] = 0;
    l->resolver->stats.waiting--;
    weir_timer_cancel(&l->deadline);
    for (unsigned i = 0; i < 2; i++)
        ask_drop(&l->asks[i]);
    list_remove(&l->link);
    list_remove(&l->ready);
    weir__free(l);
}

/* Copies what the asks from `first` on have found, with the time that is left to it. */
static int answer_fill(const struct lookup *l, unsigned first, unsigned end, weir_answer *out)
{
    unsigned count = 0;
    for (unsigned i = first; i < end; i++)
        count += l->asks[i].set != NULL ? l->asks[i].set->count : 0;
    if (count == 0)
        return WEIR_ENODATA;
    weir_record *records = weir__alloc(count * sizeof *records);
    if (records == NULL)
        return WEIR_ENOMEM;
    out->records = records;
    for (unsigned i = first; i < end; i++) {
        const struct ask *ask = &l->asks[i];
        if (ask->set == NULL)
            continue;
        out->name = ask->set->name;
        for (unsigned k = 0; k < ask->set->count; k++) {
            records[out->count] = ask->set->records[k];
            if (records[out->count].ttl_s > ask->left_s)
                records[out->count].ttl_s = ask->left_s;
            out->count++;
        }
    }
    return 0;
}

/* The handler may end the lookup, and the resolver. */
static void lookup_tell(struct lookup *l)
{
    weir_answer answer = {.error = l->error, .source = l->from};
    unsigned first = 0, end = l->ask_count;
    struct record_set *held[2] = {NULL, NULL};

    if (!l->done) {
        l->part = l->asks[0].set == NULL;
        answer.source = l->asks[l->part].cached ? WEIR_ANSWER_CACHE : WEIR_ANSWER_DNS;
    }
    if (!l->done || l->part_told) { /* one of two: the one that has come, or then the other */
        first = l->done ? !l->part : l->part;
        end = first + 1;
    }
    if (l->error == 0)
        answer.error = answer_fill(l, first, end, &answer);
    answer.more = !l->done;
    for (unsigned i = 0; i < 2; i++) /* what the answer refers to stays until the handler returns */
        held[i] = l->asks[i].set != NULL ? record_set_ref(l->asks[i].set) : NULL;
    weir_lookup *handle = l->handle;
    weir_answer_fn *fn = l->fn;
    void *arg = l->arg;
    weir_record *records = (weir_record *)(uintptr_t)answer.records;
    if (l->done)
        lookup_end(l);
    else
        l->part_told = true;
    fn(handle, &answer, arg);
    weir__free(records);
    record_set_unref(held[0]);
    record_set_unref(held[1]);
}

static void tell_event(weir_timer *timer, void *arg);

/* The next turn, not this one: a timer that is due now would fire in the same turn. */
static void tell_next_turn(weir_resolver *r)
{
    weir_timer_start_precise(&r->tell, weir_now() + 1, tell_event, r);
}

/* Many may wait for one answer, each with a copy of its own: some are told, and the others, before
 * whoever has become ready meanwhile, after everything else has had its turn. */
static void tell_event(weir_timer *timer, void *arg)
{
    weir_resolver *r = arg;
    struct list now, *link;

    list_init(&now);
    for (unsigned i = 0; i < TOLD_MAX && (link = list_pop(&r->ready)) != NULL; i++)
        list_push(&now, link);
    r->telling = true;
    while ((link = list_pop(&now)) != NULL)
        lookup_tell(weir_container(link, struct lookup, ready));
    r->telling = false;
    if (r->dead)
        resolver_destroy(r);
    else if (!list_empty(&r->ready))
        tell_next_turn(r);
}

/* A handler never runs inside a verb, nor inside c-ares: it is told by a timer. */
static void tell_soon(struct lookup *l)
{
    weir_resolver *r = l->resolver;
    if (!list_empty(&l->ready))
        return;
    if (list_empty(&r->ready))
        tell_next_turn(r);
    list_push(&r->ready, &l->ready);
}

static void finish(struct lookup *l, int error)
{
    l->error = error;
    l->done = true;
    weir_timer_cancel(&l->deadline);
    tell_soon(l);
}

static void deadline_event(weir_timer *timer, void *arg)
{
    struct lookup *l = arg;
    if (l->done)
        return;
    for (unsigned i = 0; i < 2; i++)
        ask_drop(&l->asks[i]);
    l->resolver->stats.deadlines++;
    finish(l, WEIR_ETIMEDOUT);
}

/* --- sources ---------------------------------------------------------------------------------- */

/* A source has not found it: the next one, unless this answer ends the search. */
static void source_end(struct lookup *l, enum config_status status, int error)
{
    weir_resolver *r = l->resolver;
    if (error != 0)
        l->error = error;
    bool last = (r->order.sources[l->source].last_when >> status & 1) != 0;
    l->source++;
    l->candidate = 0;
    if (last || l->source >= r->order.count)
        finish(l, l->error != 0 ? l->error : WEIR_ENONAME);
}

/* What is known at once becomes the answer of an ask that was never put. */
static void found(struct lookup *l, struct record_set *set, enum weir_answer_source from)
{
    l->ask_count = 1;
    l->asks[0] = (struct ask){.lookup = l, .done = true, .set = set, .left_s = UINT32_MAX};
    l->from = (uint8_t)from;
    finish(l, 0);
}

static void files_try(struct lookup *l)
{
    struct hosts *hosts;
    struct record_set *set = NULL;
    int result = resolver_hosts(l->resolver, &hosts);

    if (result == 0 && l->address_given)
        result = hosts_find_address(hosts, &l->address, &set);
    else if (result == 0 && (l->type == WEIR_RECORD_HOST || l->type == WEIR_RECORD_A ||
                             l->type == WEIR_RECORD_AAAA))
        result = hosts_find(hosts, l->name, l->type, &set);
    if (result < 0)
        finish(l, result);
    else if (set != NULL)
        found(l, set, WEIR_ANSWER_FILES);
    else
        source_end(l, CONFIG_NOTFOUND, 0);
}

/* The name number l->candidate: the name as it is comes first when it has dots enough, and last
 * otherwise. 1: there it is; 0: this one cannot be; -1: there are no more. resolv.conf(5). */
static int candidate_name(const struct lookup *l, struct dns_name *out)
{
    const struct config_resolv *resolv = &l->resolver->resolv;
    unsigned searched = l->whole ? 0 : resolv->search_count;
    bool first = l->dots >= resolv->ndots || searched == 0;
    char text[2 * NAME_PLAIN_MAX + 2];

    if (l->candidate > searched)
        return -1;
    if (l->candidate == (first ? 0 : searched))
        snprintf(text, sizeof text, "%s", l->name);
    else
        snprintf(text, sizeof text, "%s.%s", l->name, resolv->search[l->candidate - first]);
    return name_from_text(out, text, strlen(text)) == 0;
}

static void candidates_end(struct lookup *l)
{
    int error = l->half      ? WEIR_ENAMESERVER
                : l->no_data ? WEIR_ENODATA
                : l->failed  ? WEIR_ENAMESERVER
                             : WEIR_ENONAME;
    source_end(l, error == WEIR_ENAMESERVER ? CONFIG_UNAVAIL : CONFIG_NOTFOUND, error);
}

static void candidate_start(struct lookup *l)
{
    static const enum weir_record_type both[2] = {WEIR_RECORD_AAAA, WEIR_RECORD_A};
    weir_resolver *r = l->resolver;
    struct dns_name name;
    int known = candidate_name(l, &name);

    if (known < 0) {
        candidates_end(l);
        return;
    }
    if (known == 0) {
        l->candidate++;
        return;
    }
    bool ip4_only = l->type == WEIR_RECORD_HOST && r->resolv.no_ip6;
    const enum weir_record_type *types = l->type != WEIR_RECORD_HOST ? &l->type
                                         : ip4_only                  ? &both[1]
                                                                     : both;
    l->ask_count = l->type == WEIR_RECORD_HOST && !ip4_only ? 2 : 1;
    l->starting = l->asking = true;
    int result = 0;
    for (unsigned i = 0; i < l->ask_count && result == 0; i++) {
        l->asks[i] = (struct ask){.lookup = l};
        list_init(&l->asks[i].link);
        result = question_ask(r, &l->asks[i], &name, types[i]);
    }
    l->starting = false;
    if (result < 0) {
        for (unsigned i = 0; i < 2; i++)
            ask_drop(&l->asks[i]);
        l->asking = false;
        finish(l, result);
    }
}

/* Every question of this candidate is answered. */
static void candidate_judge(struct lookup *l)
{
    bool any = false, all_cached = true, no_data = false, failed = false;
    int fatal = 0;

    for (unsigned i = 0; i < l->ask_count; i++) {
        const struct ask *ask = &l->asks[i];
        any |= ask->set != NULL;
        all_cached &= ask->cached;
        if (ask->error == WEIR_ENODATA)
            no_data = true;
        else if (ask->error == WEIR_ENAMESERVER)
            failed = true;
        else if (ask->error != 0 && ask->error != WEIR_ENONAME)
            fatal = ask->error;
    }
    l->asking = false;
    l->no_data |= no_data;
    l->failed |= failed;
    l->half |= no_data && failed;
    if (any) {
        l->from = all_cached ? WEIR_ANSWER_CACHE : WEIR_ANSWER_DNS;
        finish(l, 0);
        return;
    }
    for (unsigned i = 0; i < 2; i++)
        ask_drop(&l->asks[i]);
    l->candidate++;
    if (fatal != 0) /* servers that are silent for this name are silent for the next one */
        source_end(l, CONFIG_TRYAGAIN, fatal);
}

static void lookup_go(struct lookup *l)
{
    const weir_resolver *r = l->resolver;

    while (!l->done) {
        if (l->asking) {
            unsigned left = 0;
            for (unsigned i = 0; i < l->ask_count; i++)
                left += !l->asks[i].done;
            if (left > 0)
                return;
            candidate_judge(l);
        } else if (l->source >= r->order.count) {
            finish(l, l->error != 0 ? l->error : WEIR_ENONAME);
        } else if (r->order.sources[l->source].dns) {
            candidate_start(l);
        } else {
            files_try(l);
        }
    }
}

void lookup_answered(struct ask *ask)
{
    struct lookup *l = ask->lookup;
    if (l->starting)
        return;
    if ((l->flags & WEIR_RESOLVE_PARTS) != 0 && ask->set != NULL && !l->part_told)
        tell_soon(l);
    lookup_go(l);
}

/* --- verbs ------------------------------------------------------------------------------------ */

/* Names that are never asked for: addresses, and those that RFC 6761 and RFC 7686 reserve. */
static bool known_name(struct lookup *l, int *result)
{
    char url[NAME_PLAIN_MAX + 32];
    weir_address addresses[2];
    size_t size = strlen(l->name);
    unsigned count = 0;

    if (l->type != WEIR_RECORD_HOST && l->type != WEIR_RECORD_A && l->type != WEIR_RECORD_AAAA)
        return false;
    if ((size == 9 || (size > 9 && l->name[size - 10] == '.')) &&
        strcmp(l->name + size - 9, "localhost") == 0) {
        weir_address_parse("tcp://[::1]:0", &addresses[0], NULL);
        weir_address_parse("tcp://127.0.0.1:0", &addresses[1], NULL);
        count = 2;
    } else if ((size > 8 && strcmp(l->name + size - 8, ".invalid") == 0) ||
               (size > 6 && strcmp(l->name + size - 6, ".onion") == 0)) {
        finish(l, WEIR_ENONAME);
        return true;
    } else {
        bool ip6 = strchr(l->name, ':') != NULL;
        snprintf(url, sizeof url, ip6 ? "tcp://[%s]:0" : "tcp://%s:0", l->name);
        if (weir_address_parse(url, &addresses[0], NULL) < 0 ||
            (addresses[0].flags & WEIR_ADDRESS_ANY) != 0)
            return false;
        count = 1;
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        bool ip6 = addresses[i].socket.ss_family == AF_INET6;
        if (l->type == WEIR_RECORD_HOST || (l->type == WEIR_RECORD_AAAA) == ip6)
            addresses[kept++] = addresses[i];
    }
    struct record_set *set = NULL;
    if (kept == 0) {
        finish(l, WEIR_ENODATA);
    } else if ((set = record_set_of_addresses(l->name, addresses, kept)) == NULL) {
        *result = WEIR_ENOMEM;
    } else {
        found(l, set, WEIR_ANSWER_LITERAL);
    }
    return true;
}

static int lookup_new(weir_resolver *r, weir_lookup *handle, weir_answer_fn *fn, void *arg,
                      struct lookup **out)
{
    if (r == NULL || handle == NULL || fn == NULL)
        return WEIR_EINVALID;
    if (weir_loop_current() != r->loop || r->dead || handle->opaque[0] != 0)
        return WEIR_EMISUSE;
    if (r->stats.waiting >= r->options.lookups_max) {
        r->stats.refused++;
        return WEIR_EFULL;
    }
    struct lookup *l = weir__zalloc(sizeof *l);
    if (l == NULL)
        return WEIR_ENOMEM;
    l->resolver = r;
    l->handle = handle;
    l->fn = fn;
    l->arg = arg;
    list_init(&l->ready);
    list_push(&r->lookups, &l->link);
    handle->opaque[0] = (uintptr_t)l;
    r->stats.waiting++;
    r->stats.lookups++;
    *out = l;
    return 0;
}

static int lookup_begin(struct lookup *l, weir_time deadline)
{
    int result = 0;
    if (l->address_given || !known_name(l, &result)) {
        result = strpbrk(l->name, ":%[]") != NULL ? WEIR_EADDRESS : resolver_refresh(l->resolver);
        if (result == 0)
            resolver_make_room(l->resolver, l->type == WEIR_RECORD_HOST ? 2 : 1);
        if (result == 0)
            lookup_go(l);
    }
    if (result < 0)
        lookup_end(l);
    else if (!l->done && deadline != WEIR_NEVER)
        weir_timer_start(&l->deadline, deadline, deadline_event, l);
    return result;
}

int weir_resolve(weir_resolver *r, weir_lookup *handle, const char *name,
                 enum weir_record_type type, unsigned flags, weir_time deadline, weir_answer_fn *fn,
                 void *arg)
{
    struct dns_name wire;
    struct lookup *l;

    if (name == NULL ||
        (type != WEIR_RECORD_HOST && type != WEIR_RECORD_A && type != WEIR_RECORD_PTR &&
         type != WEIR_RECORD_TXT && type != WEIR_RECORD_AAAA && type != WEIR_RECORD_SRV))
        return WEIR_EINVALID;
    size_t size = strnlen(name, NAME_PLAIN_MAX + 2);
    if (name_from_text(&wire, name, size) < 0)
        return WEIR_EADDRESS;
    int result = lookup_new(r, handle, fn, arg, &l);
    if (result < 0)
        return result;
    bool dot = name[size - 1] == '.';
    l->whole = dot || (flags & WEIR_RESOLVE_NO_SEARCH) != 0;
    size -= dot;
    for (size_t i = 0; i < size; i++) {
        l->name[i] = name_small(name[i]);
        l->dots += name[i] == '.';
    }
    l->type = type;
    l->flags = type == WEIR_RECORD_HOST ? flags : 0;
    return lookup_begin(l, deadline);
}

int weir_resolve_address(weir_resolver *r, weir_lookup *handle, const weir_address *address,
                         weir_time deadline, weir_answer_fn *fn, void *arg)
{
    struct dns_name wire;
    char text[NAME_TEXT_MAX];
    struct lookup *l;

    if (address == NULL || name_of_address(&wire, address) < 0)
        return WEIR_EADDRESS;
    int result = lookup_new(r, handle, fn, arg, &l);
    if (result < 0)
        return result;
    memcpy(l->name, text, name_to_text(&wire, text) + 1); /* plain: digits, letters, dots */
    l->whole = l->address_given = true;
    l->address = *address;
    l->type = WEIR_RECORD_PTR;
    return lookup_begin(l, deadline);
}

bool weir_lookup_cancel(weir_lookup *handle)
{
    if (handle == NULL || handle->opaque[0] == 0)
        return false;
    lookup_end((struct lookup *)(uintptr_t)handle->opaque[0]);
    return true;
}

#include "app/http/conditional.h"

#include "app/http/etag.h"
#include "proto/httpdate.h"
#include "proto/httpfield.h"

static bool read_date(struct http_text text, int64_t now_s, int64_t *date_s)
{
    return text.at && http_date_parse(text.at, text.length, now_s, date_s);
}

enum list_answer { LIST_NONE, LIST_FOUND, LIST_MALFORMED };

static bool is_any(struct http_text list)
{
    list = http_text_trim(list);
    return list.length == 1 && list.at[0] == '*';
}

/* Looks for the representation's tag in a list, or for "*", which stands for any. */
static enum list_answer find_tag(struct http_text list, const struct validators *validators,
                                 bool strong)
{
    struct cursor in = cursor_from(list), own_in = cursor_from(validators->etag);
    struct etag own, tag;
    bool has_own = validators->exists && weir__etag_read(&own_in, &own);
    bool found = false, any = false;

    if (is_any(list))
        return validators->exists ? LIST_FOUND : LIST_NONE;
    while (cursor_next_member(&in)) {
        if (!weir__etag_read(&in, &tag) || !cursor_ends_member(&in))
            return LIST_MALFORMED;
        if (has_own)
            found |= strong ? weir__etag_same_strong(own, tag) : weir__etag_same_weak(own, tag);
        any = true;
    }
    if (!any)
        return LIST_MALFORMED;
    return found ? LIST_FOUND : LIST_NONE;
}

/* Steps 1 and 2: may the method be applied to this representation at all? */
static bool may_proceed(const struct conditional *conditional, const struct validators *validators)
{
    int64_t date_s;

    if (conditional->if_match.at)
        return find_tag(conditional->if_match, validators, true) == LIST_FOUND;
    if (validators->exists && validators->has_modified &&
        read_date(conditional->if_unmodified_since, conditional->now_s, &date_s))
        return validators->modified_s <= date_s;
    return true;
}

/* Steps 3 and 4: 200 when the client lacks this representation, else 304 or 412. */
static int judge_none_match(const struct conditional *conditional, enum http_method method,
                            const struct validators *validators)
{
    bool reads = method == HTTP_GET || method == HTTP_HEAD;
    int64_t date_s;

    if (conditional->if_none_match.at) {
        switch (find_tag(conditional->if_none_match, validators, false)) {
        case LIST_NONE:
            return 200;
        case LIST_FOUND:
            return reads ? 304 : 412;
        case LIST_MALFORMED:
            return reads ? 200 : 412;
        }
    }
    if (reads && validators->exists && validators->has_modified &&
        read_date(conditional->if_modified_since, conditional->now_s, &date_s) &&
        validators->modified_s <= date_s)
        return 304;
    return 200;
}

/* Step 5: does what the client holds belong to this very representation? */
static bool if_range_holds(const struct conditional *conditional,
                           const struct validators *validators)
{
    struct cursor in = cursor_from(conditional->if_range), own_in = cursor_from(validators->etag);
    struct etag own, tag;
    int64_t date_s;

    cursor_skip_blank(&in);
    if (weir__etag_read(&in, &tag)) {
        cursor_skip_blank(&in);
        return in.at == in.end && weir__etag_read(&own_in, &own) &&
               weir__etag_same_strong(own, tag);
    }
    return validators->has_modified && !validators->modified_weak &&
           read_date(conditional->if_range, conditional->now_s, &date_s) &&
           date_s == validators->modified_s;
}

int conditional_judge(const struct conditional *conditional, enum http_method method,
                      const struct validators *validators, struct range_set *set)
{
    int status;

    set->count = 0;
    if (method == HTTP_CONNECT || method == HTTP_OPTIONS || method == HTTP_TRACE)
        return 200;
    if (!may_proceed(conditional, validators))
        return 412;
    status = judge_none_match(conditional, method, validators);
    if (status != 200 || method != HTTP_GET || !conditional->range.at || !validators->exists)
        return status;
    if (conditional->if_range.at && !if_range_holds(conditional, validators))
        return 200;
    switch (weir__range_read(conditional->range, validators->total_bytes, set)) {
    case RANGE_SATISFIED:
        return 206;
    case RANGE_UNSATISFIABLE:
        return 416;
    case RANGE_IGNORED:
        break;
    }
    set->count = 0;
    return 200;
}

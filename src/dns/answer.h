/* What a name server said: one message, read strictly, becomes a set of records. */
#ifndef WEIR_DNS_ANSWER_H
#define WEIR_DNS_ANSWER_H

#include <weir/resolve.h>

#include "dns/name.h"

enum {
    ANSWER_RECORDS_MAX = 1024, /* a message of 64 KiB has room for four times as many */
    ANSWER_ALIASES_MAX = 16,   /* CNAMEs one behind the other */
};

/* Records of one name and type, immutable and counted; one allocation. */
struct record_set {
    uint32_t refs;
    uint32_t count;
    uint32_t bytes; /* of the allocation */
    uint32_t ttl_s; /* the smallest of all, aliases included */
    const char *name;
    weir_record records[];
};

struct answer {
    int error;              /* 0, WEIR_ENONAME, WEIR_ENODATA, WEIR_ENAMESERVER */
    uint32_t ttl_s;         /* how long it may be kept; a "no" without SOA: 0 (RFC 2308) */
    struct record_set *set; /* with error 0 */
};

/* Reads the answer to a question. 0 and *out filled; WEIR_EPROTO: it makes no sense, or answers
 * something else; WEIR_ETOOBIG; WEIR_ENOMEM. RFC 1035 section 4, RFC 2181 section 8, RFC 2308. */
int answer_read(struct answer *out, const struct dns_name *question, enum weir_record_type type,
                const uint8_t *message, size_t size);

/* Sets of addresses that are known without asking. NULL: no memory. The name is copied. */
struct record_set *record_set_of_addresses(const char *name, const weir_address *addresses,
                                           unsigned count);
/* One of PTR records: the first of `count` names behind one another, each with its NUL. */
struct record_set *record_set_of_names(const char *name, const char *const *names, unsigned count);

static inline struct record_set *record_set_ref(struct record_set *set)
{
    set->refs++;
    return set;
}
void record_set_unref(struct record_set *set); /* NULL is ignored */

#endif

/* Names: host names to addresses and back, services and texts, asked of the system's name servers
 * without blocking. This is a library of its own, libweir-dns (-lweir-dns), since it stands on
 * c-ares.
 *
 * A resolver belongs to one loop, and every verb here to that loop's thread. Its sockets and timers
 * are the loop's. It follows /etc/nsswitch.conf (hosts: files and dns, in their order), /etc/hosts
 * and /etc/resolv.conf (any number of name servers, search, ndots, timeout, attempts, rotate,
 * use-vc, no-aaaa), and reads them again when they have changed: they are looked at once a second
 * at most, when something is asked. Answers are kept for as long as they live, "no" too.
 *
 * What a name server says is not to be trusted: an answer is read strictly, and only those records
 * count which belong to the name that was asked for, or to what it is an alias of. */
#ifndef WEIR_RESOLVE_H
#define WEIR_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/address.h>
#include <weir/export.h>
#include <weir/loop.h>

typedef struct weir_resolver weir_resolver;

/* What is asked for; the numbers are those of DNS. */
enum weir_record_type {
    WEIR_RECORD_HOST = 0, /* every address: AAAA and A */
    WEIR_RECORD_A = 1,
    WEIR_RECORD_PTR = 12, /* of an address: see weir_resolve_address */
    WEIR_RECORD_TXT = 16,
    WEIR_RECORD_AAAA = 28,
    WEIR_RECORD_SRV = 33
};

enum weir_resolve_flags {
    WEIR_RESOLVE_PARTS = 1,    /* WEIR_RECORD_HOST: fn is called as soon as one family has answered,
                                * with .more set, and again with the other; see weir_answer.more */
    WEIR_RESOLVE_NO_SEARCH = 2 /* the name is whole, as if it ended in a dot */
};

typedef struct weir_record {
    enum weir_record_type type;
    uint32_t ttl_s;       /* how long it may be kept from now on; 0 from files */
    weir_address address; /* A, AAAA: with port 0 */
    const char *name;     /* PTR, SRV: without a dot at the end; whatever is not a letter, digit,
                           * '-', '_' or '/' is written \DDD (RFC 1035 section 5.1) */
    const void *text;     /* TXT: its strings, one behind the other; any bytes */
    uint32_t text_size;   /* bytes of it */
    uint16_t priority, weight; /* SRV, RFC 2782 */
    uint16_t port;             /* SRV */
    uint16_t reserved[3];      /* zero */
} weir_record;

enum weir_answer_source {
    WEIR_ANSWER_NONE = 0,
    WEIR_ANSWER_LITERAL = 1, /* the name was an address, or localhost */
    WEIR_ANSWER_FILES = 2,   /* /etc/hosts */
    WEIR_ANSWER_DNS = 3,
    WEIR_ANSWER_CACHE = 4 /* what DNS had said before */
};

/* Valid until fn returns, all of it. */
typedef struct weir_answer {
    int error;                  /* 0: there are records */
    unsigned count;             /* of them */
    const weir_record *records; /* AAAA first, then A, each in the order of the answer; SRV by
                                 * priority */
    const char *name; /* the name that was found: with the part of the search list that was
                       * added, and behind its aliases; NULL: none */
    enum weir_answer_source source;
    bool more; /* WEIR_RESOLVE_PARTS: one more call comes, which has the other family's records
                * alone; its error, should it have one, is of no importance */
} weir_answer;

/* One question: caller-owned; zeroed before its first use; stays where it is until its fn has been
 * called (for the last time), or it was canceled. */
typedef struct weir_lookup {
    uint64_t opaque[2];
} weir_lookup;

/* .error: WEIR_ENONAME (the name does not exist), WEIR_ENODATA (it has no such record),
 * WEIR_ENAMESERVER (the name servers failed, refused, or are not there; WEIR_RECORD_HOST: also for
 * one family while the other has nothing), -ETIMEDOUT (none of them answered in all the attempts,
 * or the question had to be begun again too often), WEIR_EPROTO (their answer makes no sense),
 * WEIR_ETOOBIG (more than 1024 records), WEIR_ETIMEDOUT (the deadline passed), WEIR_ENOMEM,
 * WEIR_EFULL (too many questions wait). */
typedef void weir_answer_fn(weir_lookup *lookup, const weir_answer *answer, void *arg);

/* Zero means the default everywhere. Texts are copied. */
typedef struct weir_resolver_options {
    const char *resolv_conf; /* default /etc/resolv.conf */
    const char *hosts;       /* default /etc/hosts */
    const char *nsswitch;    /* default /etc/nsswitch.conf */
    const char *servers;     /* in place of those of resolv.conf: "192.0.2.1 [2001:db8::1]:5353" */
    uint32_t timeout_ms; /* of the first attempt, doubled with each; default resolv.conf's, 5 s */
    uint32_t attempts;   /* at each server; default resolv.conf's, 2 */
    uint32_t cache_max;  /* answers kept; default 4096 */
    uint32_t cache_max_bytes; /* default 1 MiB */
    uint32_t ttl_max_s;       /* no answer is kept longer; default 1 day */
    uint32_t no_ttl_max_s;    /* nor a "no"; default 15 minutes */
    uint32_t lookups_max;     /* that wait at once; default 4096 */
    uint32_t questions_max;   /* at the servers at once; default 1024 */
} weir_resolver_options;

/* Counted since weir_resolver_new. */
typedef struct weir_resolver_stats {
    uint64_t lookups;    /* begun */
    uint64_t questions;  /* sent to the servers; attempts and servers of one count once */
    uint64_t cached;     /* answered from memory */
    uint64_t cached_no;  /* those of them that were "no" */
    uint64_t shared;     /* joined a question that was under way already */
    uint64_t failures;   /* questions that no server answered, or with an error */
    uint64_t malformed;  /* answers that made no sense */
    uint64_t deadlines;  /* lookups whose deadline passed */
    uint64_t refused;    /* by a limit */
    uint64_t dropped;    /* answers that left memory before their time, for want of room */
    uint64_t reloads;    /* files that were read again */
    uint32_t kept;       /* answers in memory now */
    uint32_t kept_bytes; /* what they take */
    uint32_t waiting;    /* lookups */
    uint32_t asked;      /* questions at the servers */
} weir_resolver_stats;

WEIR_BEGIN

WEIR_API int weir__resolver_new(weir_resolver **out, const weir_resolver_options *options,
                                size_t size);
/* Makes a resolver for the current loop; options may be NULL. The first one of a loop is also the
 * one that weir_connect and weir_connect_wait ask on it. Files that are missing or unreadable
 * are as if empty, and then the name server is 127.0.0.1. 0; WEIR_ENOMEM; WEIR_EADDRESS: .servers
 * makes no sense; WEIR_EMISUSE: no loop is current; -errno: descriptors or memory of the system are
 * short, or /dev/urandom cannot be read, which c-ares up to 1.19.0 needs. */
static inline int weir_resolver_new(weir_resolver **out, const weir_resolver_options *options)
{
    return weir__resolver_new(out, options, options != NULL ? sizeof *options : 0);
}

/* Ends it, on its loop's thread, before the loop is freed; the fn of a lookup that waits is not
 * called any more, and connections that wait for a name fail with WEIR_ECANCELED. May be called by
 * a lookup's fn. NULL is ignored. */
WEIR_API void weir_resolver_free(weir_resolver *resolver);

/* Looks a name up. `name` is copied; letters' case does not matter; with a dot at its end it is
 * whole, and the search list is not used. Addresses in numbers and localhost (RFC 6761) are
 * answered without asking anybody. fn is called exactly once (WEIR_RESOLVE_PARTS: at most twice),
 * on the loop, never inside this call; what it may do has no limits. 0, or an error and fn is not
 * called: WEIR_EADDRESS (no name: longer than 253 characters, an empty part or one of more than 63,
 * something else than printable ASCII), WEIR_EINVALID, WEIR_EMISUSE (the lookup is in use, or
 * another loop is current), WEIR_EFULL, WEIR_ENOMEM, -errno (a changed file could not be taken
 * over: weir_resolver_new; the next lookup tries it again). */
WEIR_API WEIR_MUST_CHECK int weir_resolve(weir_resolver *resolver, weir_lookup *lookup,
                                          const char *name, enum weir_record_type type,
                                          unsigned flags, weir_time deadline, weir_answer_fn *fn,
                                          void *arg);

/* Looks up the names of an address (PTR). Its port does not matter. WEIR_EADDRESS when it is
 * neither IPv4 nor IPv6. */
WEIR_API WEIR_MUST_CHECK int weir_resolve_address(weir_resolver *resolver, weir_lookup *lookup,
                                                  const weir_address *address, weir_time deadline,
                                                  weir_answer_fn *fn, void *arg);

/* Ends a lookup; its fn is not called any more. What was asked is still learned,
 * unless others need its place. True when it was under way. */
WEIR_API bool weir_lookup_cancel(weir_lookup *lookup);

/* Forgets every answer that is kept. */
WEIR_API void weir_resolver_forget(weir_resolver *resolver);

WEIR_API void weir__resolver_stats_get(const weir_resolver *resolver, weir_resolver_stats *out,
                                       size_t size);
static inline void weir_resolver_stats_get(const weir_resolver *resolver, weir_resolver_stats *out)
{
    weir__resolver_stats_get(resolver, out, sizeof *out);
}

WEIR_END
#endif

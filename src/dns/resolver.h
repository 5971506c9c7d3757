/* The inside of a resolver: lookups (what programs wait for) ask questions (a name and a type),
 * which are answered from memory or by the name servers, through the channel. */
#ifndef WEIR_DNS_RESOLVER_H
#define WEIR_DNS_RESOLVER_H

#include <sys/stat.h>

#include <weir/resolve.h>

#include "base/list.h"
#include "dns/answer.h"
#include "dns/config.h"
#include "dns/hosts.h"

enum {
    CACHE_MAX = 4096,
    CACHE_MAX_BYTES = 1024 * 1024,
    TTL_MAX_S = 86400,
    NO_TTL_MAX_S = 900,
    LOOKUPS_MAX = 4096,
    QUESTIONS_MAX = 1024,
    FAILURE_KEPT_MS = 1000, /* RFC 9520 section 3.2: one second at least */
    REFRESH_MS = 1000,
    ROOM_MS = 1000,         /* between two attempts to make room for questions */
    RENEWALS_MAX = 8,       /* how often a question is asked anew by another channel */
    TOLD_MAX = 64,          /* lookups that are told in one turn */
    QUESTION_PLACES = 4096, /* of the hash table; a power of two */
};

/* A name and type that is being asked, or whose answer is kept. */
struct question {
    struct list place;   /* in the hash table, while others may find it */
    struct list age;     /* of r->asked or r->kept, the latter by last use */
    struct list waiters; /* struct ask */
    weir_resolver *resolver;
    weir_time expires; /* an answer's end */
    uint32_t hash;
    uint32_t type;
    bool pending; /* at the servers */
    uint8_t renewals;
    int error; /* of the answer, or 0 and: */
    struct record_set *set;
    struct dns_name name;
};

/* A lookup's interest in a question. */
struct ask {
    struct list link; /* of question->waiters, or empty */
    struct lookup *lookup;
    bool done, cached;
    int error;
    uint32_t left_s; /* of the answer's life */
    struct record_set *set;
};

struct lookup {
    struct list link;  /* of r->lookups */
    struct list ready; /* of r->ready, or empty */
    weir_resolver *resolver;
    weir_lookup *handle;
    weir_answer_fn *fn;
    void *arg;
    weir_timer deadline;
    enum weir_record_type type;
    unsigned flags;
    bool address_given, whole;
    bool starting, asking; /* a candidate's questions: being put, put */
    bool part_told;
    uint8_t part;         /* the ask that was told first */
    weir_address address; /* whose names are asked for */
    struct ask asks[2];   /* AAAA and A, or one */
    unsigned ask_count;
    unsigned source, candidate, dots;
    int error;                     /* the answer's, when it is done */
    bool done;                     /* to be told whole */
    bool no_data;                  /* some candidate exists, without such a record */
    bool failed;                   /* some candidate's question failed */
    bool half;                     /* some candidate exists, and its other question failed */
    uint8_t from;                  /* enum weir_answer_source */
    char name[NAME_PLAIN_MAX + 1]; /* small letters, without a dot at its end */
};

/* What a file looked like when it was read. */
struct file_mark {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct resolver_file {
    char *path;
    struct file_mark mark;
};

struct channel;

struct weir_resolver {
    weir_loop *loop;
    struct resolver_file resolv_conf, hosts_file, nsswitch;
    weir_resolver_options options;
    bool servers_given;
    weir_address servers[CONFIG_SERVERS_MAX];
    unsigned server_count;
    struct config_resolv resolv;
    struct config_switch order;
    struct hosts *hosts; /* NULL: to be read */
    struct channel *channel;
    weir_time checked; /* the files, last */
    weir_time room_at; /* room was looked for, last */
    struct list places[QUESTION_PLACES];
    struct list kept, asked, lookups, ready;
    weir_timer tell; /* started while something is ready */
    bool telling, dead;
    weir_resolver_stats stats;
};

/* resolver.c */
/* Looks at the files again if that is due. 0, WEIR_ENOMEM or -errno: it is due again. */
int resolver_refresh(weir_resolver *r);
/* Where `places` more questions would be too many, gives up those that nobody waits for, if that
 * is due and they are many. Not inside c-ares. */
void resolver_make_room(weir_resolver *r, unsigned places);
void resolver_destroy(weir_resolver *r);
int resolver_hosts(weir_resolver *r, struct hosts **out);

/* cache.c. question_ask fills the ask at once from what is known, or makes it wait: 0. WEIR_EFULL,
 * WEIR_ENOMEM. */
int question_ask(weir_resolver *r, struct ask *ask, const struct dns_name *name,
                 enum weir_record_type type);
/* What came of a question at the servers: `message` may be NULL. */
void question_answer(struct question *q, int error, const uint8_t *message, size_t size);
void ask_drop(struct ask *ask);
void question_free(struct question *q); /* nobody waits for it, and no channel knows it */
/* Forgets the answers that are kept. */
void cache_clear(weir_resolver *r);

/* channel.c: c-ares on the loop. 0, WEIR_ENOMEM, -errno: there is no randomness to be had. */
int channel_new(struct channel **out, weir_resolver *r);
/* Questions under way stay r->asked, to be sent through another one. */
void channel_free(struct channel *channel);
void channel_send(struct channel *channel, struct question *q);

/* names.c: for weir_connect */
extern const struct weir__names resolver_names;
/* What is to be freed with a lookup of weir_connect's when the resolver ends; NULL: it is
 * another's.
 */
void *resolver_names_memory(const struct lookup *l);

/* lookup.c */
void lookup_answered(struct ask *ask); /* by a question */
void lookup_end(struct lookup *l);     /* it is told nothing any more */

#endif

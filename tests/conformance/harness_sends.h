/* For the tests of sending: a pattern that is sent in every way there is, and the account of what
 * was lent or asked for meanwhile. */
#ifndef WEIR_TESTS_CONFORMANCE_HARNESS_SENDS_H
#define WEIR_TESTS_CONFORMANCE_HARNESS_SENDS_H

#include "conformance/harness.h"

enum send_kind { COPY, STATIC, OWN, VECTOR, RETAINED, FILE_KEPT, FILE_OWNED, PULL, KINDS };
extern const char *const kind_names[KINDS];
/* Whether what is sent is memory that weir holds: it is counted against the hard cap. */
extern const bool kind_counted[KINDS];

enum { TEXT = 4 << 20, ITEMS = 2048 };
extern uint8_t *text; /* the pattern, to be sent without a copy */
extern int text_file; /* the same in a file */

/* One send of a kind that tells when it is done with. */
struct item {
    struct rec *rec;
    enum send_kind kind;
    bool queued;
    uint64_t from, pulled;
    size_t size;
    int told;
    void (*then)(struct rec *r); /* called when it is told */
};
extern struct item items[ITEMS];
extern unsigned item_count;
extern uint64_t lent_until; /* the end of the last one that came back, of the connection */

/* Before world_open. */
void sends_begin(void);
/* world_end, and each was told of as often as it should have been. */
void sends_finish(struct world *w);
/* Lent memory came back; the argument is its item. */
void item_released(const void *data, size_t size, void *arg);
/* The next `size` bytes of the pattern, sent as `kind` from a handler; the verb's result. */
int send_kind(struct rec *r, enum send_kind kind, size_t size);
/* The same from outside of a handler. */
int send_kind_now(struct rec *r, enum send_kind kind, size_t size);
/* In a handler, where it must not be refused. */
void must_send(struct rec *r, enum send_kind kind, size_t size);
/* Each kind once. */
void send_all_kinds(struct rec *r);

#endif

/* What the tests of datagram sockets share: a socket whose handlers note what they see, and the
 * rules that hold whenever one runs. */
#ifndef WEIR_TESTS_CONFORMANCE_HARNESS_DATAGRAM_H
#define WEIR_TESTS_CONFORMANCE_HARNESS_DATAGRAM_H

#include "conformance/harness.h"

enum { BOX_NOTED = 4096 };

/* A datagram socket as its handlers saw it. */
struct box {
    struct world *w;
    weir_dgram_service service; /* to be changed before box_bind and box_connect */
    weir_dgram socket;
    weir_address address;
    void (*on)(struct box *b, const weir_datagram *in); /* or NULL */
    unsigned got, empty, closes, drains, errors;
    uint64_t bytes;
    uint32_t sizes[BOX_NOTED];
    weir_datagram last; /* its pointers are of the past */
    weir_address peer, local;
    char text[64]; /* what `last` said */
    weir_end end;
    int error; /* of the last verb in a handler */
    weir_datagram_error told;
    weir_address told_peer, told_offender;
    const void *note; /* the test's own */
};

/* A verb called in a handler. */
#define HB(b, call) (h_begin((b)->w), h_end((b)->w, (call)))

struct box *box_new(struct world *w);
void box_bind(struct box *b, const char *url);
void box_connect(struct box *b, const struct box *to);
/* Ends the world, and looks whether each had its one on_close. `b` may be NULL. */
void boxes_end(struct world *w, struct box *a, struct box *b);
weir_dgram_stats box_stats(struct box *b);
/* Handlers: for .on, and for .service.on_error. */
void box_reply(struct box *b, const weir_datagram *in);
void box_on_error(weir_dgram socket, const weir_datagram_error *error, void *user);
/* What a handler of the test's own begins and ends with. */
struct box *box_enter(weir_dgram socket, void *user);
void box_leave(struct box *b);
/* A plain socket connected to a box, that does not block. */
int box_raw(const struct box *to);

#endif

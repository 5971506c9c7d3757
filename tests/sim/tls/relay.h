/* A stranger on the way: passes bytes on between a client and a server, and does one bad thing. */
#ifndef WEIR_TESTS_SIM_RELAY_H
#define WEIR_TESTS_SIM_RELAY_H

#include <stdbool.h>
#include <stdint.h>

enum deed {
    DEED_NONE,
    DEED_CUT,    /* both ends see an end of the stream */
    DEED_RESET,  /* both see a reset */
    DEED_CHANGE, /* a bit is another one */
    DEED_ALERT,  /* an alert that nobody of them has sent */
    DEED_NOISE,  /* a record that nobody of them has sent */
    DEED_LOSE,   /* one byte is left out */
    DEED_AGAIN,  /* one byte comes twice */
    DEED_STALL,  /* from there on one direction gives nothing */
    DEEDS
};

/* What is done at which byte of which direction (0: to the server), of each connection anew. */
struct relay_plan {
    enum deed deed;
    unsigned lane;
    uint64_t at;
};

struct relay {
    const char *from, *to; /* addresses of IPv4 in numbers */
    unsigned port;         /* of both */
    void (*plan)(struct relay_plan *out, void *arg);
    void *arg;
    bool ready;
};

/* A host's main; arg: a struct relay. Goes on until it is killed. */
int relay_main(void *arg);

#endif

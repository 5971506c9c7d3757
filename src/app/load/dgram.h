/* A load in datagrams: a connection is a socket that hears one server (a load_dgram beside its
 * load_conn), and a request without an answer in time is lost. */
#ifndef WEIR_APP_LOAD_DGRAM_H
#define WEIR_APP_LOAD_DGRAM_H

#include "app/load/load.h"

enum {
    LOAD_DGRAM_SLOT_BITS = 10, /* the lower bits of a request's number: its slot */
    LOAD_DGRAM_LOST_MAX = 1024 /* lost requests that are remembered, to know a late answer */
};
_Static_assert(1 << LOAD_DGRAM_SLOT_BITS == LOAD_PIPELINE_MAX, "a slot for each in flight");

struct load_dgram_slot {
    uint64_t number; /* of the request that waits here; 0: none */
    uint64_t due_ns, sent_ns;
    bool failed; /* an error was told of it: it only waits for its time to pass */
};

struct load_dgram {
    struct load_conn *conn;
    weir_dgram socket;
    struct load_dgram_slot *slots;
    int family;
    bool failing; /* we end it, with this: */
    weir_end end;
    bool begun; /* BEGIN was answered: the server knows it */

    uint64_t cookie, next, newest; /* numbers: of the last sent; rr: the newest that is answered */
    uint32_t greetings, slot;      /* sent; all slots below this one are taken */
    uint64_t dropped, dropped_end; /* by the kernel before the measured time, and at its end */

    /* streams */
    uint64_t start_ns, sent_bytes;                        /* since the start, as the numbers are */
    uint64_t measured, measured_bytes, first_ns, last_ns; /* of them in the measured time */
    uint64_t spoke_ns, heard_ns;
    uint32_t endings; /* END that were sent */
    bool all_sent, peer_done, ending, told;
    weir_load_report report;
    weir_load_arrivals in;
};

struct load_dgram_lost {
    const struct load_dgram *dgram;
    uint64_t number;
};

struct load_dgram_loop {
    struct load_dgram *dgrams; /* beside the loop's conns */
    struct load_dgram_slot *slots;
    size_t dgrams_bytes, slots_bytes;
    weir_dgram_service service;
    uint8_t *bytes; /* what is sent, but for its head */
    struct load_dgram_lost lost[LOAD_DGRAM_LOST_MAX];
    uint32_t lost_next;
};

static inline struct load_dgram *load_dgram_of(const struct load_conn *conn)
{
    return &conn->loop->dgrams->dgrams[conn - conn->loop->conns];
}

/* dgram.c; false: out of memory. */
bool load_dgrams_make(struct load_loop *loop);
void load_dgrams_free(struct load_loop *loop);
/* Whether the server must be told what is wanted of it: any echo server does otherwise. */
bool load_dgram_says_begin(const weir_load_options *options);
int load_dgram_connect(struct load_conn *conn);
void load_dgram_send(struct load_conn *conn, uint32_t count, uint64_t due_ns, uint64_t now_ns);
/* Looks for what is lost, now and then. */
void load_dgram_look(struct load_conn *conn, uint64_t now_ns);
/* What was never answered, at the end of the load. */
void load_dgram_unfinished(struct load_conn *conn, uint64_t now_ns);
/* The end of the load: the socket goes. */
void load_dgram_leave(struct load_conn *conn);
/* Ends a socket with an error, which is counted. */
void load_dgram_fail(struct load_dgram *dgram, enum load_error error);
/* Takes down what the kernel has dropped until now: at the end of a socket, or of the load. */
void load_dgram_note_dropped(struct load_dgram *dgram);
/* The measured time begins, or ends. */
void load_dgrams_measure(struct load_loop *loop);
void load_dgrams_end(struct load_loop *loop);
/* Sends a message that is a head only. */
void load_dgram_say(struct load_dgram *dgram, enum weir_load_message message, uint64_t number);

/* dgram_stream.c */
void load_dgram_stream_begin(struct load_conn *conn, uint64_t now_ns);
void load_dgram_stream_send(struct load_dgram *dgram);
void load_dgram_stream_take(struct load_dgram *dgram, const weir_load_head *head,
                            const weir_datagram *in);
void load_dgram_stream_look(struct load_dgram *dgram, uint64_t now_ns);
/* Asks for the server's account; false: there is nothing to wait for. */
bool load_dgram_stream_finish(struct load_conn *conn);
void load_dgram_sum(const struct load *load, weir_load_result *told);

#endif

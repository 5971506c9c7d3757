/* weir bench serve: loads in datagrams. What says nothing of itself goes back as it came; requests
 * of a load too, and are counted; streams, and answers of another size than their requests, are for
 * clients that have begun with a cookie of ours: see weir/load_datagram.h. */
#include "cmd/bench/serve_dgram.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/load.h>
#include <weir/load_datagram.h>
#include <weir/weir.h>

#include "cmd/bench/served.h"

enum {
    BUCKETS = 1024,
    FLOWS_MAX = 4096,
    ECHOES_MAX = 64,
    BURST = 32, /* datagrams of a stream before the next stream has its turn */
    DONE_TOLD_MAX = 12,
    SYSTEM_PORTS = 1024,
    SOFT_MARK = 128 << 10,
    QUEUE_MAX = 16384,
    LINGER_MS = 500
};
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
               "a port is in the same place");
#define TICK_NS      (250 * WEIR_MS)
#define PACE_NS      (100 * WEIR_US) /* streams with a rate are looked at this often at most */
#define SILENT_NS    (3 * WEIR_S)    /* a client that receives says something every second */
#define FORGOTTEN_NS (10 * WEIR_S)

/* What one socket of a client does. */
struct flow {
    struct flow *next, *next_sender;
    struct sockaddr_storage name; /* as the kernel gives it */
    uint32_t name_size;
    weir_address peer, local;
    bool has_local, sending, ended;
    uint32_t done_told;
    uint64_t load;
    weir_load_begin asked;
    weir_time heard;
    uint64_t start, first_sent, last_sent;
    uint64_t sent, sent_bytes;
    uint64_t answers, asked_bytes, answered_bytes;
    weir_load_arrivals in;
};

/* Requests that were answered since the last tick, of a load that says no more. */
struct echoes {
    uint64_t load, sockets;
    struct served_part part;
    weir_address peer;
    bool has_peer;
};

/* One socket of ours, on its loop. */
struct port {
    weir_dgram socket;
    int number; /* of the port; -1: unix */
    struct flow *buckets[BUCKETS], *senders;
    unsigned flow_count, echo_count;
    struct echoes echoes[ECHOES_MAX];
    weir_timer tick, pace;
    bool waits;  /* for on_drain */
    bool paused; /* answers to a unix peer wait: nothing is read until they have left */
    uint8_t bytes[WEIR_LOAD_DATAGRAM_MAX];
};

/* ---- flows ---- */

/* By a number that nobody can find many addresses for; its lowest bit is always set. */
static struct flow **bucket_of(struct port *port, const struct sockaddr *name, uint32_t size)
{
    return &port->buckets[(weir_load_cookie(name, size) >> 1) % BUCKETS];
}

static struct flow *flow_find(struct port *port, const weir_datagram *in)
{
    if (port->flow_count == 0)
        return NULL;
    struct flow *flow = *bucket_of(port, in->peer, in->peer_size);
    while (flow != NULL &&
           (flow->name_size != in->peer_size || memcmp(&flow->name, in->peer, in->peer_size) != 0))
        flow = flow->next;
    return flow;
}

static void sending_stop(struct port *port, struct flow *flow)
{
    struct flow **at = &port->senders;
    while (flow->sending && *at != NULL && *at != flow)
        at = &(*at)->next_sender;
    if (flow->sending && *at == flow)
        *at = flow->next_sender;
    flow->sending = false;
}

/* It has said its END with so many datagrams sent, or nobody hears of it any more. */
static void flow_end(struct port *port, struct flow *flow, uint64_t sent)
{
    const weir_load_arrivals *in = &flow->in;
    const struct served_part part = {
        .taken_bytes = in->bytes + flow->asked_bytes,
        .sent_bytes = flow->sent_bytes + flow->answered_bytes,
        .answers = flow->answers,
        .taken_datagrams = in->datagrams + flow->answers,
        .sent_datagrams = flow->sent + flow->answers,
        .lost = sent > in->datagrams ? sent - in->datagrams : 0,
        .reordered = in->reordered,
        .duplicates = in->duplicates,
        .jitter_ns = weir_load_arrivals_jitter_ns(in),
        .last = flow->heard,
    };
    sending_stop(port, flow);
    if (flow->ended)
        return;
    flow->ended = true;
    served_end(flow->load, &part);
}

static void flow_forget(struct port *port, struct flow **at)
{
    struct flow *flow = *at;
    flow_end(port, flow, 0);
    *at = flow->next;
    port->flow_count--;
    free(flow);
}

static struct flow *flow_new(struct port *port, const weir_datagram *in, uint64_t load,
                             const weir_load_begin *asked)
{
    struct flow **bucket = bucket_of(port, in->peer, in->peer_size);
    struct flow *flow = NULL;
    if (port->flow_count < FLOWS_MAX && in->peer_size <= sizeof flow->name)
        flow = calloc(1, sizeof *flow);
    if (flow == NULL)
        return NULL;
    if (weir_datagram_peer(in, &flow->peer) != 0) {
        free(flow);
        return NULL;
    }
    memcpy(&flow->name, in->peer, in->peer_size);
    flow->name_size = in->peer_size;
    flow->has_local = weir_datagram_local(in, &flow->local) == 0;
    flow->load = load;
    flow->asked = *asked;
    flow->next = *bucket;
    *bucket = flow;
    port->flow_count++;
    served_begin(load, &flow->peer);
    return flow;
}

/* ---- sending ---- */

static int flow_send(struct port *port, const struct flow *flow, weir_view view)
{
    const weir_dgram_message message = {
        .view = view, .peer = &flow->peer, .local = flow->has_local ? &flow->local : NULL};
    int result = weir_dgram_send_with(port->socket, &message);
    port->waits |= result == WEIR_SEND_WAIT;
    return result;
}

static void report(struct port *port, const struct flow *flow, uint64_t number, bool last)
{
    uint8_t bytes[WEIR_LOAD_REPORT_BYTES];
    const weir_load_arrivals *in = &flow->in;
    uint64_t limit = flow->asked.stream_bytes;
    const weir_load_head head = {
        .message = WEIR_LOAD_MESSAGE_REPORT, .counts = last, .load = flow->load, .number = number};
    const weir_load_report told = {.received = in->datagrams,
                                   .received_bytes = in->bytes,
                                   .reordered = in->reordered,
                                   .duplicates = in->duplicates,
                                   .jitter_ns = weir_load_arrivals_jitter_ns(in),
                                   .received_ns = in->last_ns - in->first_ns,
                                   .sent = flow->sent,
                                   .sent_bytes = flow->sent_bytes,
                                   .sent_ns = flow->last_sent - flow->first_sent,
                                   .done = limit != 0 && flow->sent_bytes >= limit};
    weir_load_report_write(&head, &told, bytes);
    if (flow_send(port, flow, weir_bytes(bytes, sizeof bytes)) < 0)
        return; /* it is asked for again, or told again */
}

/* Bytes of its next datagram; 0: it has sent all. */
static uint64_t next_bytes(const struct flow *flow)
{
    uint64_t size = flow->asked.bytes, limit = flow->asked.stream_bytes;
    uint64_t left = limit > flow->sent_bytes ? limit - flow->sent_bytes : 0;
    if (limit == 0 || left >= size)
        return size;
    return left == 0 ? 0 : left < WEIR_LOAD_HEAD_BYTES ? WEIR_LOAD_HEAD_BYTES : left;
}

static uint64_t due_of(const struct flow *flow)
{
    uint64_t rate = flow->asked.rate_bytes_s;
    double after = rate != 0 ? (double)flow->sent_bytes / (double)rate * (double)WEIR_S : 0;
    return flow->start + (uint64_t)after;
}

static bool send_one(struct port *port, struct flow *flow, uint64_t size, uint64_t now)
{
    const weir_load_head head = {.message = WEIR_LOAD_MESSAGE_DATA,
                                 .counts = true,
                                 .load = flow->load,
                                 .number = flow->sent + 1,
                                 .mark = now};
    weir_load_head_write(&head, port->bytes);
    if (flow_send(port, flow, weir_bytes(port->bytes, size)) < 0)
        return false;
    if (flow->sent++ == 0)
        flow->first_sent = now;
    flow->last_sent = now;
    flow->sent_bytes += size;
    return true;
}

/* A flow's turn. *due: when it wants the next one; a time that has passed: at once. */
static void send_some(struct port *port, struct flow *flow, uint64_t *due)
{
    uint64_t now = weir_load_clock_ns(), at = due_of(flow);
    for (unsigned i = 0; i < BURST && at <= now && !port->waits; i++) {
        uint64_t size = next_bytes(flow);
        if (size == 0) {
            sending_stop(port, flow);
            flow->done_told = 1;
            report(port, flow, 0, false);
            return;
        }
        if (!send_one(port, flow, size, now)) {
            at = now + WEIR_MS; /* no memory, or no room: on_drain is not owed */
            break;
        }
        now = weir_load_clock_ns();
        at = due_of(flow);
    }
    *due = at < *due ? at : *due;
}

static void pump(struct port *port);

static void on_pace(weir_timer *timer, void *arg)
{
    pump(arg);
}

/* All streams in turn, until the queue is long enough or none is due. */
static void pump(struct port *port)
{
    uint64_t due = 0, now = 0;
    while (!port->waits && port->senders != NULL && due <= now) {
        due = WEIR_NEVER;
        for (struct flow *flow = port->senders, *next; flow != NULL && !port->waits; flow = next) {
            next = flow->next_sender;
            send_some(port, flow, &due);
        }
        now = weir_load_clock_ns();
    }
    if (port->waits || port->senders == NULL)
        return;
    due = due < now + PACE_NS ? now + PACE_NS : due;
    weir_timer_start_precise(&port->pace, due, on_pace, port);
}

/* Two that echo would send a datagram with a forged sender to and fro for ever: so nobody is
 * answered who has our own port, or a system's (RFC 862's echo is on 7). */
static bool may_be_echo(const struct port *port, const struct sockaddr *peer)
{
    uint16_t number;
    if (peer->sa_family == AF_UNIX)
        return false;
    memcpy(&number, (const uint8_t *)peer + offsetof(struct sockaddr_in, sin_port), sizeof number);
    number = ntohs(number);
    return number < SYSTEM_PORTS || number == port->number;
}

/* False: it was dropped. */
static bool send_back(struct port *port, const weir_datagram *in, weir_view view)
{
    int result = weir_dgram_reply(port->socket, in, view);
    port->waits |= result == WEIR_SEND_WAIT;
    /* None is lost between unix sockets: who does not read makes us wait, and we those who send. */
    if (result == WEIR_SEND_WAIT && in->peer->sa_family == AF_UNIX) {
        port->paused = true;
        weir_dgram_pause(port->socket);
    }
    return result >= 0;
}

/* The answer to a request of a load: it says that it is one, or two servers on different ports, to
 * one of which it seems to come from the other, would answer each other for ever. */
static bool send_answer(struct port *port, const weir_load_head *head, const weir_datagram *in,
                        size_t size)
{
    weir_load_head back = *head;
    if (size > sizeof port->bytes) /* unix, where nobody's name is forged */
        return send_back(port, in, in->view);
    back.counts = true;
    weir_load_head_write(&back, port->bytes);
    return send_back(port, in, weir_bytes(port->bytes, size));
}

/* ---- requests ---- */

static void count_echo(struct port *port, const weir_load_head *head, const weir_datagram *in)
{
    unsigned i = 0;
    while (i < port->echo_count && port->echoes[i].load != head->load)
        i++;
    if (i == ECHOES_MAX)
        return; /* answered all the same */
    struct echoes *echoes = &port->echoes[i];
    if (i == port->echo_count) {
        port->echo_count++;
        *echoes = (struct echoes){.load = head->load, .part.first = weir_now()};
        echoes->has_peer = weir_datagram_peer(in, &echoes->peer) == 0;
    }
    struct served_part *part = &echoes->part;
    part->answers++;
    part->taken_datagrams++;
    part->sent_datagrams++;
    part->taken_bytes += in->view.size;
    part->sent_bytes += in->view.size;
    part->last = weir_now();
    if (head->mark < UINT32_MAX && head->mark + 1 > echoes->sockets)
        echoes->sockets = head->mark + 1;
}

static void take_request(struct port *port, const weir_load_head *head, const weir_datagram *in)
{
    struct flow *flow = flow_find(port, in);
    uint32_t size = in->view.size;
    if (head->counts) /* an answer, to a request that somebody forged */
        return;
    if (flow == NULL || flow->asked.ask != WEIR_LOAD_ASK_ANSWER || flow->load != head->load) {
        if (send_answer(port, head, in, size) && head->number != 0) /* a greeting does not count */
            count_echo(port, head, in);
        return;
    }
    flow->heard = weir_now();
    if (!send_answer(port, head, in, flow->asked.answer_bytes))
        return;
    flow->answers++;
    flow->asked_bytes += size;
    flow->answered_bytes += flow->asked.answer_bytes;
}

/* ---- messages ---- */

/* A client has to show first that it receives where it sends from. */
static void take_begin(struct port *port, weir_load_head *head, const weir_datagram *in)
{
    weir_load_begin asked;
    uint8_t bytes[WEIR_LOAD_BEGIN_BYTES];
    if (!weir_load_begin_read(in->view.data, in->view.size, &asked))
        return;
    uint64_t cookie = weir_load_cookie(in->peer, in->peer_size);
    head->message = WEIR_LOAD_MESSAGE_COOKIE;
    if (asked.cookie == cookie) {
        struct flow *flow = flow_find(port, in);
        if (flow != NULL && flow->load != head->load) { /* the port is another client's now */
            struct flow **at = bucket_of(port, in->peer, in->peer_size);
            while (*at != flow)
                at = &(*at)->next;
            flow_forget(port, at);
            flow = NULL;
        }
        if (flow == NULL)
            flow = flow_new(port, in, head->load, &asked);
        if (flow == NULL)
            return; /* too many: it hears nothing, and gives up */
        flow->heard = weir_now();
        head->message = WEIR_LOAD_MESSAGE_BEGUN;
    }
    asked.cookie = cookie;
    weir_load_begin_write(head, &asked, bytes);
    (void)send_back(port, in, weir_bytes(bytes, sizeof bytes));
}

static void take_start(struct port *port, struct flow *flow)
{
    bool sends = flow->asked.ask == WEIR_LOAD_ASK_SEND || flow->asked.ask == WEIR_LOAD_ASK_BOTH;
    if (!sends || flow->start != 0 || flow->ended)
        return;
    flow->start = weir_load_clock_ns();
    flow->sending = true;
    flow->next_sender = port->senders;
    port->senders = flow;
    pump(port);
}

static void take_data(struct flow *flow, const weir_load_head *head, const weir_datagram *in)
{
    uint64_t came = in->flags & WEIR_DATAGRAM_TIME ? in->received_ns : weir_load_clock_ns();
    bool takes = flow->asked.ask == WEIR_LOAD_ASK_TAKE || flow->asked.ask == WEIR_LOAD_ASK_BOTH;
    if (takes && head->counts && !flow->ended)
        weir_load_arrive(&flow->in, head->number, in->full_bytes, head->mark, came);
}

static void take_message(struct port *port, const weir_load_head *head, const weir_datagram *in)
{
    struct flow *flow = flow_find(port, in);
    if (flow == NULL || flow->load != head->load)
        return;
    flow->heard = weir_now();
    switch ((enum weir_load_message)head->message) {
    case WEIR_LOAD_MESSAGE_DATA:
        take_data(flow, head, in);
        break;
    case WEIR_LOAD_MESSAGE_START:
        take_start(port, flow);
        break;
    case WEIR_LOAD_MESSAGE_ALIVE:
        report(port, flow, 0, false);
        break;
    case WEIR_LOAD_MESSAGE_END:
        flow_end(port, flow, head->number);
        report(port, flow, head->number, true);
        break;
    default: /* what only we say */
        break;
    }
}

static void on_datagram(weir_dgram socket, const weir_datagram *in, void *user)
{
    struct port *port = user;
    weir_load_head head;
    if (port == NULL || in->peer == NULL || may_be_echo(port, in->peer)) /* or it has no name */
        return;
    if (!weir_load_head_read(in->view.data, in->view.size, &head))
        (void)send_back(port, in, in->view);
    else if (head.message == WEIR_LOAD_MESSAGE_ASK)
        take_request(port, &head, in);
    else if (head.message == WEIR_LOAD_MESSAGE_BEGIN)
        take_begin(port, &head, in);
    else
        take_message(port, &head, in);
}

/* ---- now and then ---- */

static void echoes_tell(struct port *port)
{
    for (unsigned i = 0; i < port->echo_count; i++) {
        const struct echoes *echoes = &port->echoes[i];
        served_add(echoes->load, &echoes->part, echoes->has_peer ? &echoes->peer : NULL,
                   echoes->sockets != 0 ? echoes->sockets : 1);
    }
    port->echo_count = 0;
}

/* Who receives and has gone is sent no more; who has not been heard of for long is forgotten, and
 * false is the answer. */
static bool look_at(struct port *port, struct flow **at, weir_time now)
{
    struct flow *flow = *at;
    uint64_t silent_ns = now > flow->heard ? now - flow->heard : 0;
    if (silent_ns > (flow->ended ? SILENT_NS : FORGOTTEN_NS)) {
        flow_forget(port, at);
        return false;
    }
    if (flow->sending && silent_ns > SILENT_NS)
        flow_end(port, flow, 0);
    if (flow->done_told != 0 && flow->done_told < DONE_TOLD_MAX && !flow->ended) {
        flow->done_told++;
        report(port, flow, 0, false);
    }
    return true;
}

static void on_tick(weir_timer *timer, void *arg)
{
    struct port *port = arg;
    weir_time now = weir_now();
    echoes_tell(port);
    for (unsigned i = 0; i < BUCKETS && port->flow_count != 0; i++)
        for (struct flow **at = &port->buckets[i]; *at != NULL;)
            if (look_at(port, at, now))
                at = &(*at)->next;
    weir_timer_start(&port->tick, weir_after(TICK_NS), on_tick, port);
}

static void on_drain(weir_dgram socket, void *user)
{
    struct port *port = user;
    if (port == NULL)
        return;
    port->waits = false;
    if (port->paused)
        weir_dgram_resume(socket);
    port->paused = false;
    pump(port);
}

/* A client's port is closed: it is sent no more. */
static void on_error(weir_dgram socket, const weir_datagram_error *error, void *user)
{
    struct port *port = user;
    if (port == NULL || error->error != -ECONNREFUSED || error->peer == NULL)
        return;
    struct flow *flow = port->senders;
    while (flow != NULL && weir_address_equal(&flow->peer, error->peer) != 1)
        flow = flow->next_sender;
    if (flow != NULL)
        flow_end(port, flow, 0);
}

static void on_open(weir_dgram socket, void *user)
{
    weir_address local;
    struct port *port = calloc(1, sizeof *port);
    weir_dgram_set_user(socket, port);
    if (port == NULL) {
        weir_dgram_abort(socket);
        return;
    }
    port->socket = socket;
    port->number = weir_dgram_local(socket, &local) == 0 ? weir_address_port(&local) : -1;
    for (unsigned i = 0; i < sizeof port->bytes; i++)
        port->bytes[i] = (uint8_t)("weir"[i % 4]);
    weir_timer_start(&port->tick, weir_after(TICK_NS), on_tick, port);
}

static void on_close(weir_dgram socket, weir_end end, void *user)
{
    struct port *port = user;
    if (port == NULL)
        return;
    weir_timer_cancel(&port->tick);
    weir_timer_cancel(&port->pace);
    echoes_tell(port);
    for (unsigned i = 0; i < BUCKETS; i++)
        while (port->buckets[i] != NULL)
            flow_forget(port, &port->buckets[i]);
    free(port);
}

const weir_dgram_service serve_datagrams = {
    .on_datagram = on_datagram,
    .on_open = on_open,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_close = on_close,
    .meta = WEIR_DATAGRAM_TIME,
    .soft_mark_bytes = SOFT_MARK,
    .queue_max_datagrams = QUEUE_MAX,
    .linger_ms = LINGER_MS,
    .read_on = WEIR_SWITCH_ON,
};

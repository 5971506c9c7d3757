/* Bytes on their way: one direction of a connection, from the sender's buffer over the network into
 * the receiver's, with windows, cut anywhere, late, lost and sent again, ended, reset. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "sock.h"

#define MS 1000000ull
#define S  1000000000ull

enum { LOCAL_NS = 4000 };
static const uint64_t resend_first_ns = 200 * MS, resend_most_ns = 120 * S, give_up_ns = 924 * S;

uint64_t wire_ns(const sim_host *from, const sim_host *to)
{
    uint64_t ns = LOCAL_NS + chance(LOCAL_NS);
    if (from != to)
        ns += world.latency_ns + chance(world.latency_spread_ns + 1);
    if (fault(SIM_FAULT_DELAY, OP_PACKET))
        ns += chance_size(S);
    return ns;
}

uint64_t packet_ns(const sim_host *from, const sim_host *to)
{
    uint64_t ns = wire_ns(from, to);
    if (fault(SIM_FAULT_LOSS, OP_PACKET))
        ns += resend_first_ns + chance(S);
    return ns;
}

static struct sim_flow *flow_new(struct sim_sock *from, struct sim_sock *to)
{
    struct sim_flow *flow = world_alloc(sizeof(*flow));
    flow->sender = from;
    flow->receiver = to;
    flow->from = from->host;
    flow->to = to->host;
    flow->send_room = from->send_room;
    flow->receive_room = to->receive_room;
    from->out = flow;
    to->in = flow;
    return flow;
}

void flows_new(struct sim_sock *a, struct sim_sock *b)
{
    flow_new(a, b);
    flow_new(b, a);
}

/* --- the ring of bytes ------------------------------------------------------------------------ */

static void grow(struct sim_flow *flow, uint64_t wanted)
{
    uint32_t room = flow->room != 0 ? flow->room : 256;
    uint8_t *data;
    while (room < wanted)
        room *= 2;
    if (room == flow->room)
        return;
    data = malloc(room);
    if (data == NULL)
        abort();
    for (uint64_t at = flow->read; at < flow->sent;) {
        uint32_t from = (uint32_t)at & (flow->room - 1), to = (uint32_t)at & (room - 1);
        uint64_t size = flow->sent - at;
        if (size > flow->room - from)
            size = flow->room - from;
        if (size > room - to)
            size = room - to;
        memcpy(data + to, flow->data + from, size);
        at += size;
    }
    free(flow->data);
    flow->data = data;
    flow->room = room;
}

void flow_write(struct sim_flow *flow, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    grow(flow, flow->sent - flow->read + size);
    while (size > 0) {
        uint32_t to = (uint32_t)flow->sent & (flow->room - 1);
        size_t piece = size < flow->room - to ? size : flow->room - to;
        memcpy(flow->data + to, bytes, piece);
        flow->sent += piece;
        bytes += piece;
        size -= piece;
    }
    flow_plan(flow);
}

void flow_read(struct sim_flow *flow, void *data, size_t size)
{
    uint8_t *bytes = data;
    while (size > 0) {
        uint32_t from = (uint32_t)flow->read & (flow->room - 1);
        size_t piece = size < flow->room - from ? size : flow->room - from;
        if (bytes != NULL) {
            memcpy(bytes, flow->data + from, piece);
            bytes += piece;
        }
        flow->read += piece;
        size -= piece;
    }
    flow_plan(flow); /* the window has opened */
}

/* --- on the wire ------------------------------------------------------------------------------ */

static bool is_unix(const struct sim_flow *flow)
{
    return (flow->sender != NULL && flow->sender->family == AF_UNIX) ||
           (flow->receiver != NULL && flow->receiver->family == AF_UNIX);
}

static uint64_t window(const struct sim_flow *flow)
{
    uint64_t held = flow->arrived - flow->read;
    return held < flow->receive_room ? flow->receive_room - held : 0;
}

static void tell(struct sim_sock *sock)
{
    if (sock != NULL)
        sock_changed(sock, POLLIN | POLLOUT);
}

/* The receiver's kernel knows nothing of this connection, or wants nothing of it. */
static void answer_reset(struct sim_flow *flow)
{
    flow->broken = true;
    if (flow->sender != NULL && !flow->sender->dead)
        sock_break(flow->sender, flow->sender->in->fin_arrived ? EPIPE : ECONNRESET);
}

/* Nothing gets through: it is sent again, less and less often, until that takes too long. */
static void resend(struct sim_flow *flow)
{
    uint64_t limit_ns = give_up_ns;
    if (flow->resend_ns == 0) {
        flow->silent_since_ns = world.now_ns;
        flow->resend_ns = resend_first_ns;
    } else if (flow->resend_ns < resend_most_ns) {
        flow->resend_ns *= 2;
    }
    if (flow->sender != NULL && flow->sender->user_timeout_ms != 0)
        limit_ns = flow->sender->user_timeout_ms * MS;
    if (world.now_ns - flow->silent_since_ns > limit_ns) {
        flow->broken = true;
        if (flow->sender != NULL)
            sock_break(flow->sender, ETIMEDOUT);
        return;
    }
    flow_plan(flow);
}

static void end_arrives(struct sim_flow *flow)
{
    flow->fin_arrived = true;
    record("end arrives", flow->receiver != NULL ? flow->receiver->id : 0, (int64_t)flow->arrived,
           0);
    if (fault(SIM_FAULT_FIN_RESET, OP_PACKET))
        flow_reset(flow);
    tell(flow->receiver);
}

/* In the middle of everything, after any byte. */
static void broken_by_chance(struct sim_flow *flow)
{
    struct sim_sock *sender = flow->sender, *receiver = flow->receiver;
    record("reset by chance", receiver->id, (int64_t)flow->arrived, 0);
    flow->broken = true;
    sock_break(receiver, ECONNRESET);
    if (sender != NULL)
        sock_break(sender, sender->in->fin_arrived ? EPIPE : ECONNRESET);
}

static void deliver(struct sim_event *event)
{
    struct sim_flow *flow = weir_container(event, struct sim_flow, deliver);
    uint64_t size = flow->sent - flow->arrived;
    if (flow->broken)
        return;
    if (!hosts_reach(flow->from, flow->to)) {
        resend(flow);
        return;
    }
    flow->resend_ns = 0;
    if (flow->receiver == NULL || flow->receiver->dead) {
        if (size != 0 || flow->receiver == NULL)
            answer_reset(flow);
        return;
    }
    if (size > window(flow))
        size = window(flow);
    if (size > 1 && fault(SIM_FAULT_SPLIT, OP_PACKET))
        size = chance_size(size);
    if (size != 0) {
        flow->arrived += size;
        record("bytes arrive", flow->receiver->id, (int64_t)size, (int64_t)flow->arrived);
        if (fault(SIM_FAULT_RESET, OP_PACKET)) {
            broken_by_chance(flow);
            return;
        }
    }
    if (flow->fin_sent && flow->arrived == flow->sent && (size == 0 || chance(2) == 0))
        end_arrives(flow);
    if (flow->receiver != NULL) {
        flow->receiver->heard_ns = world.now_ns;
        sock_changed(flow->receiver, POLLIN);
    }
    if (flow->sender != NULL)
        sock_room_changed(flow->sender);
    flow_plan(flow);
}

/* On one machine: at once. */
static void deliver_unix(struct sim_flow *flow)
{
    uint64_t before = flow->arrived;
    flow->arrived = flow->sent;
    if (flow->fin_sent && !flow->fin_arrived)
        flow->fin_arrived = true;
    else if (before == flow->arrived)
        return;
    tell(flow->receiver);
}

void flow_plan(struct sim_flow *flow)
{
    uint64_t at_ns;
    if (flow->broken || flow->deliver.place != 0)
        return;
    if (is_unix(flow)) {
        deliver_unix(flow);
        return;
    }
    if (flow->sent == flow->arrived ? !flow->fin_sent || flow->fin_arrived : window(flow) == 0)
        return;
    at_ns =
        world.now_ns + (flow->resend_ns != 0 ? flow->resend_ns : packet_ns(flow->from, flow->to));
    event_plan(&flow->deliver, at_ns, deliver);
}

void flow_end(struct sim_flow *flow)
{
    if (flow->fin_sent)
        return;
    flow->fin_sent = true;
    flow_plan(flow);
}

static void reset_arrives(struct sim_event *event)
{
    struct sim_flow *flow = weir_container(event, struct sim_flow, reset);
    struct sim_sock *sock = flow->receiver;
    if (!hosts_reach(flow->from, flow->to) || sock == NULL || sock->dead)
        return;
    record("reset arrives", sock->id, (int64_t)flow->arrived, 0);
    sock_break(sock, flow->fin_arrived ? EPIPE : ECONNRESET);
}

/* What was on its way before the reset may arrive in part; what was not is lost. */
void flow_reset(struct sim_flow *flow)
{
    uint64_t size = flow->sent - flow->arrived;
    if (size > window(flow))
        size = window(flow);
    if (!flow->broken && flow->receiver != NULL && chance(2) == 0)
        flow->arrived += chance(size + 1);
    flow->broken = true;
    event_cancel(&flow->deliver);
    if (is_unix(flow))
        reset_arrives(&flow->reset);
    else
        event_plan(&flow->reset, world.now_ns + packet_ns(flow->from, flow->to), reset_arrives);
}

/* Connections: their events in order, their bytes against what the other end sent, why they end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/check/check_in.h"

struct session { /* a connection's .conn_size bytes */
    struct check_conn *cc;
    uint8_t rest[24];
};

const char *check_name(const struct check_conn *cc)
{
    static char text[4][96];
    static unsigned next;
    char *name = text[next++ % 4];
    snprintf(name, sizeof text[0], "connection %u of %s on %s", cc->number, cc->side->name,
             sim_host_name(cc->side->cl->host));
    return name;
}

static void *grown(void *array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room)
        return array;
    *room = *room != 0 ? *room * 2 : 16;
    array = realloc(array, *room * size);
    if (array == NULL)
        abort();
    return array;
}

static struct check_conn *conn_new(struct check_side *side, weir_conn conn, bool client)
{
    struct check_loop *cl = side->cl;
    struct check *check = cl->check;
    struct check_conn *cc = calloc(1, sizeof *cc);
    if (cc == NULL)
        abort();
    *cc = (struct check_conn){.side = side, .conn = conn, .client = client};
    cc->number = check->conn_count;
    cc->made_ns = cc->read_ns = cc->write_ns = weir_now();
    check->conns = grown(check->conns, check->conn_count, &check->conn_room, sizeof cc);
    check->conns[check->conn_count++] = cc;
    cl->conns = grown(cl->conns, cl->conn_count, &cl->conn_room, sizeof cc);
    cl->conns[cl->conn_count++] = cc;
    return cc;
}

void conns_free(struct check *check)
{
    for (uint32_t i = 0; i < check->conn_count; i++) {
        stream_free(&check->conns[i]->out);
        stream_free(&check->conns[i]->early);
        free(check->conns[i]);
    }
    free(check->conns);
}

struct check_conn *check_any(struct check_loop *cl, const struct check_side *side)
{
    uint32_t from = cl->conn_count != 0 ? (uint32_t)check_random(cl->check, cl->conn_count) : 0;
    for (uint32_t i = 0; i < cl->conn_count; i++) {
        struct check_conn *cc = cl->conns[(from + i) % cl->conn_count];
        if (cc->side == side && check_living(cc))
            return cc;
    }
    return NULL;
}

static struct check_conn *conn_known(struct check_loop *cl, weir_conn conn)
{
    for (uint32_t i = cl->conn_count; i-- > 0;)
        if (weir_conn_is(cl->conns[i]->conn, conn))
            return cl->conns[i];
    return NULL;
}

/* The first handler of a connection finds its session zeroed. */
static struct check_conn *conn_begin(struct check_side *side, weir_conn conn, struct session *own)
{
    static const struct session none;
    check_that(memcmp(own, &none, sizeof none) == 0, "K4.session",
               "%s: session bytes are zero at first; they are not", side->name);
    for (unsigned i = 0; i < CHECK_STALE && i < side->cl->stale_count; i++)
        check_that(!weir_conn_is(side->cl->stale[i], conn), "K2.handle_new",
                   "%s: a handle that was never used; one of the past", side->name);
    struct check_conn *cc = conn_known(side->cl, conn);
    if (cc == NULL)
        cc = conn_new(side, conn, false);
    own->cc = cc;
    memset(own->rest, (int)(cc->number & 0xff), sizeof own->rest);
    return cc;
}

static struct check_conn *enter(weir_conn conn, void *session, const char *what)
{
    struct check_side *side = weir_conn_user(conn);
    struct session *own = session;
    check_that(side != NULL && own != NULL, "K4.session", "a user and a session in %s; none", what);
    struct check_loop *cl = side->cl;
    handler_begin(cl, what);
    struct check_conn *cc = own->cc != NULL ? own->cc : conn_begin(side, conn, own);
    check_that(weir_conn_is(cc->conn, conn) && cc->side == side, "K2.handle",
               "%s: its own handle in %s; another", check_name(cc), what);
    for (unsigned i = 0; i < sizeof own->rest; i++)
        check_that(own->rest[i] == (uint8_t)cc->number, "K4.session",
                   "%s: session bytes as they were left; byte %u changed before %s", check_name(cc),
                   i, what);
    check_that(cc->closes == 0, "K4.after_close", "%s: nothing after on_close; %s", check_name(cc),
               what);
    cl->view_used = false;
    if (weir_conn_stats_get(conn, &cc->stats) == 0)
        conn_activity(cc, weir_now());
    return cc;
}

static void leave(struct check_conn *cc)
{
    handler_end(cc->side->cl);
}

static void on_open(weir_conn conn, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_open");
    check_that(cc->opens == 0, "K4.one_open", "%s: one on_open; another", check_name(cc));
    check_that(weir_conn_alive(conn), "K4.open_alive", "%s: alive in on_open; it is not",
               check_name(cc));
    sim_note("%s opens", check_name(cc));
    cc->opens++;
    cc->opened_ns = cc->read_ns = cc->write_ns = weir_now();
    for (unsigned i = 0; i < 4; i++)
        cc->told_ns[i] = cc->opened_ns;
    const weir_service *service = &cc->side->service;
    cc->listens = cc->side->listens;
    cc->side->served += !cc->client;
    /* Left in the backlog: what a multishot accept had taken is served. */
    check_that(cc->client || service->conns_max == 0 || cc->side->served <= service->conns_max ||
                   service->overload == WEIR_OVERLOAD_LEAVE,
               "K6.conns_max", "%s: at most %u connections of a service; %u", check_name(cc),
               service->conns_max, cc->side->served);
    if (cc->side->open != NULL)
        cc->side->open(cc);
    leave(cc);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* What comes out of a pipe is, behind what its near end sent itself, what the peer of the far end
 * sent. Takes it over as far as it has come: what is on its way may still be refused. */
static void relay(struct check_conn *near, uint64_t upto)
{
    struct check_conn *far = near->coupled;
    uint64_t total = stream_total(&near->out);
    if (far == NULL || upto <= total)
        return;
    struct stream *from = &far->peer->out;
    uint64_t size = stream_total(from) - far->received;
    size = size < upto - total ? size : upto - total;
    if (size == 0)
        return;
    stream_put(&near->out, from->bytes + (far->received - from->base), size);
    far->received += size;
    stream_trim(from, far->received);
}

static void compare(struct check_conn *cc, const void *data, size_t size)
{
    struct stream *sent = &cc->peer->out;
    relay(cc->peer, cc->received + size);
    size_t same = stream_match(sent, cc->received, data, size);
    if (same < size) {
        uint64_t at = cc->received + same, total = stream_total(sent);
        check_that(at < total, "K5.bytes", "%s: %llu bytes, what %s sent; more than that came",
                   check_name(cc), (unsigned long long)total, check_name(cc->peer));
        check_broke("K5.bytes",
                    "%s: byte %llu as %s sent it, %02x; %02x (in a piece of %zu at %llu)",
                    check_name(cc), (unsigned long long)at, check_name(cc->peer),
                    sent->bytes[at - sent->base], ((const uint8_t *)data)[same], size,
                    (unsigned long long)cc->received);
    }
    cc->received += size;
    cc->side->cl->check->bytes += size;
    stream_trim(sent, cc->received);
}

static void pair(struct check_conn *cc, struct check_conn *client)
{
    check_that(client->peer == NULL, "K5.hello", "%s is met once; %s said its name too",
               check_name(client), check_name(cc));
    cc->peer = client;
    client->peer = cc;
    struct check_conn *both[] = {cc, client};
    for (int i = 0; i < 2; i++) {
        struct stream early = both[i]->early;
        both[i]->early = (struct stream){0};
        both[i]->received = 0;
        if (early.size != 0)
            compare(both[i], early.bytes, early.size);
        stream_free(&early);
    }
}

static void hello_read(struct check_conn *cc)
{
    struct check *check = cc->side->cl->check;
    char text[CHECK_HELLO + 1];
    unsigned number = UINT32_MAX;
    if (cc->early.size < CHECK_HELLO)
        return;
    memcpy(text, cc->early.bytes, CHECK_HELLO);
    text[CHECK_HELLO] = 0;
    check_that(sscanf(text, "@%07x\n", &number) == 1 && number < check->conn_count &&
                   check->conns[number]->client,
               "K5.hello", "%s: begins with the name of its client; it does not", check_name(cc));
    pair(cc, check->conns[number]);
}

static void received(struct check_conn *cc, const void *data, size_t size)
{
    if (cc->side->loose) {
        cc->received += size;
        return;
    }
    if (cc->peer != NULL) {
        compare(cc, data, size);
        return;
    }
    stream_put(&cc->early, data, size);
    cc->received += size;
    if (!cc->client && cc->side->hello)
        hello_read(cc);
}

static void input_rules(struct check_conn *cc, const char *what)
{
    const weir_service *service = &cc->side->service;
    uint32_t mark = service->soft_mark_bytes != 0 ? service->soft_mark_bytes : 64u << 10;
    check_that(cc->opens == 1, "K4.data_open", "%s: on_open before %s; none", check_name(cc), what);
    check_that(cc->ends == 0, "K4.data_end", "%s: no %s after on_end; one", check_name(cc), what);
    check_that(!cc->paused, "K10.paused", "%s: no %s while paused; one", check_name(cc), what);
    check_that(!cc->close_called && !cc->abort_called && !cc->refused, "K9.data_close",
               "%s: no %s after it was closed; one", check_name(cc), what);
    check_that(!cc->piped, "K6.piped", "%s: no %s while in a pipe; one", check_name(cc), what);
    check_that(cc->stats.unsent_bytes <= mark || service->read_on == WEIR_READ_ALWAYS ||
                   strcmp(what, "on_end") == 0,
               "K6.mark", "%s: no %s above the soft mark of %u; one with %llu unsent",
               check_name(cc), what, mark, (unsigned long long)cc->stats.unsent_bytes);
}

/* Bytes of a view that nobody was given are nobody's after the handler. */
static void spoil(struct check_loop *cl, weir_view view)
{
    if (!cl->view_used && check_random(cl->check, 2) == 0)
        memset((void *)(uintptr_t)view.data, 0xdd, view.size);
}

static uint32_t sum_of(weir_view view)
{
    const uint8_t *bytes = view.data;
    uint32_t sum = 1;
    for (uint32_t i = 0; i < view.size; i += 1 + i / 64)
        sum = sum * 31 + bytes[i];
    return sum;
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_data");
    input_rules(cc, "on_data");
    check_that(data.size != 0, "K4.empty", "%s: bytes in on_data; none", check_name(cc));
    received(cc, data.data, data.size);
    uint32_t sum = sum_of(data);
    if (cc->side->data != NULL)
        cc->side->data(cc, data);
    check_that(sum_of(data) == sum, "K8.view",
               "%s: a view stays as it is during its handler; it "
               "changed",
               check_name(cc));
    spoil(cc->side->cl, data);
    leave(cc);
}

static void on_frame(weir_conn conn, weir_view frame, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_frame");
    input_rules(cc, "on_frame");
    check_that(frame.size < cc->side->service.frame.max, "K6.frame",
               "%s: frames of at most %u bytes; one of %u", check_name(cc),
               cc->side->service.frame.max, frame.size);
    uint8_t *line = malloc(frame.size + 1); /* as it was on the wire: the end is LF */
    if (line == NULL)
        abort();
    memcpy(line, frame.data, frame.size);
    line[frame.size] = '\n';
    received(cc, line, frame.size + 1);
    free(line);
    if (cc->side->frame != NULL)
        cc->side->frame(cc, frame);
    leave(cc);
}

/* --- ends ------------------------------------------------------------------------------------- */

/* An end in order comes behind all bytes, from an end that closed in order. */
static void end_rules(struct check_conn *cc, const char *what)
{
    struct check_conn *peer = cc->peer;
    if (peer == NULL || cc->side->loose || peer->killed || cc->coupled != NULL)
        return;
    const struct check_conn *far = peer->coupled;
    if (far != NULL) { /* all of it, unless the pipe was ended where it is */
        relay(peer, UINT64_MAX);
        if (peer->close_called || peer->finish_called || far->close_called || far->finish_called)
            return;
    }
    /* Mail that came behind the close is taken back by the task behind it. */
    bool all = cc->received == stream_total(&peer->out) ||
               (peer->mailed && cc->received == peer->before_mail);
    check_that(all, "K5.end", "%s: %s behind the %llu bytes that %s sent; after %llu",
               check_name(cc), what, (unsigned long long)stream_total(&peer->out), check_name(peer),
               (unsigned long long)cc->received);
    /* Through a pipe the end may have gone out before. */
    check_that(!peer->abort_called || peer->finish_called || peer->close_called || peer->piped,
               "K9.abort", "%s: a reset from %s, which aborted; %s", check_name(cc),
               check_name(peer), what);
}

static void on_end(weir_conn conn, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_end");
    input_rules(cc, "on_end");
    end_rules(cc, "on_end");
    cc->ends++;
    if (cc->side->end != NULL)
        cc->side->end(cc);
    leave(cc);
}

static void on_drain(weir_conn conn, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_drain");
    uint32_t mark = cc->side->service.soft_mark_bytes;
    mark = mark != 0 ? mark : 64u << 10;
    check_that(cc->opens == 1 && !cc->close_called && !cc->abort_called, "K4.drain",
               "%s: on_drain while it is open; otherwise", check_name(cc));
    check_that(cc->drain_owed || cc->drain_may || cc->side->service.filters != NULL,
               "K6.drain_once", "%s: one on_drain for each time above the soft mark; another",
               check_name(cc));
    check_that(cc->stats.unsent_bytes <= mark / 2, "K6.drain_half",
               "%s: on_drain at half of the soft mark of %u; at %llu", check_name(cc), mark,
               (unsigned long long)cc->stats.unsent_bytes);
    cc->drain_owed = false;
    cc->drain_may = cc->mailed; /* which may be queued without our having been told yet */
    if (cc->side->drain != NULL)
        cc->side->drain(cc);
    leave(cc);
}

static void on_idle(weir_conn conn, enum weir_idle which, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_idle");
    check_that(which >= WEIR_IDLE_READER && which <= WEIR_IDLE_BOTH, "K7.idle_which",
               "%s: reader, writer or both; %d", check_name(cc), which);
    conn_idle_event(cc, which, weir_now());
    if (cc->side->idle != NULL)
        cc->side->idle(cc, which);
    leave(cc);
}

static void why_rules(struct check_conn *cc, weir_end end)
{
    bool memory = sim_fault_on(SIM_FAULT_NO_MEMORY) || cc->side->cl->options.memory_max_bytes != 0;
    switch (end.why) {
    case WEIR_WHY_PEER_FINISHED:
        check_that(cc->opens == 1 || cc->side->service.filters != NULL, "K10.why",
                   "%s: an end after on_open; before", check_name(cc));
        end_rules(cc, "on_close of an end in order");
        check_that(cc->ends == 1 || cc->side->end == NULL || cc->piped || cc->opens == 0,
                   "K10.end_told", "%s: on_end before it is over by the peer's end; none",
                   check_name(cc));
        break;
    case WEIR_WHY_CLOSED:
        check_that(cc->close_called || cc->abort_called || cc->piped || cc->side->cl->freeing,
                   "K10.why", "%s: closed by us when we did; we did not", check_name(cc));
        break;
    case WEIR_WHY_PEER_RESET:
        check_that(end.error < 0, "K10.error", "%s: a reset has its error; none", check_name(cc));
        break;
    case WEIR_WHY_DEADLINE:
        cc->closing_why = end.deadline;
        conn_deadline_end(cc, weir_now());
        break;
    case WEIR_WHY_LIMIT:
        check_that(cc->refused || end.error == WEIR_ETOOBIG || memory, "K10.limit",
                   "%s: no end by a limit that was not met; %s", check_name(cc),
                   weir_error_name(end.error));
        break;
    case WEIR_WHY_ERROR:
        check_that(end.error < 0, "K10.error", "%s: an error has its code; none", check_name(cc));
        /* A ring that is full cannot begin to connect; epoll may have no room for one more. */
        bool full =
            sim_fault_on(SIM_FAULT_QUEUE_FULL) && ((cc->opens == 0 && end.error == -ENOBUFS) ||
                                                   end.error == -ENOMEM || end.error == -ENOSPC);
        /* What is sent of a file ends with the file. */
        bool file = (end.error == -EIO && sim_fault_on(SIM_FAULT_FILE_ERROR)) ||
                    (end.error == WEIR_ETORN && sim_fault_on(SIM_FAULT_FILE_SHORT));
        cc->side->cl->check->scarce |= full || file;
        check_that(sim_can_break() || memory || cc->side->error_fine || cc->pull_failed ||
                       cc->torn || full || file,
                   "K10.error", "%s: no error without a cause; %s", check_name(cc),
                   weir_error_name(end.error));
        break;
    default:
        check_broke("K10.why", "%s: a reason; %d", check_name(cc), end.why);
    }
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    struct check_conn *cc = enter(conn, session, "on_close");
    struct check_loop *cl = cc->side->cl;
    check_that(!weir_conn_alive(conn), "K2.alive", "%s: not alive in on_close; it is",
               check_name(cc));
    check_that(cc->opens == 1 || cc->client || cc->side->service.filters != NULL, "K4.close_alone",
               "%s: on_close of an accepted one after on_open; alone", check_name(cc));
    sim_note("%s ends: reason %d, deadline %d, %s", check_name(cc), end.why, end.deadline,
             weir_error_name(end.error));
    why_rules(cc, end);
    cc->end = end;
    cc->closes++;
    cc->side->served -= !cc->client && cc->opens == 1 && cc->listens == cc->side->listens;
    cc->closed_ns = weir_now();
    if (cc->side->close != NULL)
        cc->side->close(cc);
    cl->stale[cl->stale_count++ % CHECK_STALE] = conn;
    if (cl->stale_count >= 2 * CHECK_STALE)
        cl->stale_count -= CHECK_STALE;
    for (uint32_t i = 0; i < cl->conn_count; i++)
        if (cl->conns[i] == cc)
            cl->conns[i] = cl->conns[--cl->conn_count];
    leave(cc);
}

/* --- services --------------------------------------------------------------------------------- */

struct check_side *check_side_new(struct check_loop *cl, const char *name)
{
    struct check_side *side = calloc(1, sizeof *side);
    if (side == NULL)
        abort();
    side->cl = cl;
    side->name = name;
    side->next = cl->sides;
    cl->sides = side;
    side->service = (weir_service){
        .user = side,
        .conn_size = sizeof(struct session),
        .on_open = on_open,
        .on_idle = on_idle,
        .on_close = on_close,
        .on_drain = on_drain,
    };
    return side;
}

static void side_seal(struct check_side *side)
{
    if (side->sealed)
        return;
    side->sealed = true;
    side->service.on_end = side->end != NULL ? on_end : NULL;
    if (side->service.frame.kind != WEIR_FRAME_NONE)
        side->service.on_frame = on_frame;
    else
        side->service.on_data = on_data;
}

int check_listen(struct check_side *side, const char *url)
{
    side_seal(side);
    side->service.listen = url;
    if (side->service.filters != NULL || side->service.overload == WEIR_OVERLOAD_ANSWER)
        check_others(side->cl);
    verb_begin(side->cl);
    int result = weir_listen(&side->listener, &side->service);
    if (result == 0)
        result = weir_listener_address(side->listener, &side->address);
    verb_end(side->cl);
    if (result == 0) { /* a service of its own: those of the former do not count */
        side->listens++;
        side->served = 0;
    }
    return result;
}

struct check_conn *check_connect(struct check_side *side, const char *url, void *note, int *error)
{
    weir_conn conn = {0};
    side_seal(side);
    verb_begin(side->cl);
    *error = weir_connect(&conn, url, &side->service, NULL);
    verb_end(side->cl);
    if (*error < 0)
        return NULL;
    struct check_conn *cc = conn_new(side, conn, true);
    cc->note = note;
    return cc;
}

int check_hello(struct check_conn *cc)
{
    char text[CHECK_HELLO + 1];
    snprintf(text, sizeof text, "@%07x\n", cc->number);
    return check_send_bytes(cc, text, CHECK_HELLO);
}

/* Sockets of a load in datagrams, and requests over them: an answer is known by its number, may
 * come late, twice or never, and has a time within which it must come. */
#include "app/load/dgram.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { SOFT_MARK = 128 << 10, HARD_CAP = 96 << 20, QUEUE_MAX = 16384, LINGER_MS = 200 };
#define GREET_FIRST_NS (100 * WEIR_MS)
#define GREET_LAST_NS  WEIR_S
#define ALIVE_NS       WEIR_S

bool load_dgram_says_begin(const weir_load_options *options)
{
    return !options->plain && (options->kind == WEIR_LOAD_DGRAM_STREAM ||
                               options->answer_bytes != options->request_bytes);
}

/* Among all sockets of the load. */
static uint64_t number_of(const struct load_dgram *d)
{
    const struct load_loop *loop = d->conn->loop;
    return (uint64_t)(d->conn - loop->conns) * loop->load->loop_count + loop->index;
}

/* ---- the end of a socket ---- */

static void end_with(struct load_dgram *d, enum weir_why why, int error)
{
    if (!d->failing) {
        d->failing = true;
        d->end = (weir_end){.why = why, .error = error};
    }
    weir_timer_cancel(&d->conn->timer);
    weir_dgram_abort(d->socket);
}

void load_dgram_fail(struct load_dgram *d, enum load_error error)
{
    load_count_error(d->conn->loop, error, 1);
    d->conn->error = (uint8_t)error;
    d->conn->state = LOAD_LEAVING;
    end_with(d, WEIR_WHY_CLOSED, 0);
}

/* ---- requests in flight ---- */

static uint32_t slots_of(const struct load_loop *loop)
{
    return loop->slot_mask + 1;
}

static void slot_free(struct load_dgram *d, struct load_dgram_slot *slot, uint64_t now_ns)
{
    struct load_conn *conn = d->conn;
    uint32_t index = (uint32_t)(slot - d->slots);
    slot->number = 0;
    slot->failed = false;
    d->slot = index < d->slot ? index : d->slot;
    if (conn->in_flight-- == conn->loop->load->options.pipeline)
        conn->free_ns = now_ns;
    conn->loop->in_flight--;
}

/* Its time has passed. It stands in the times with what it was given, as without an answer on a
 * connection. */
static void lose(struct load_dgram *d, struct load_dgram_slot *slot, uint64_t now_ns)
{
    struct load_loop *loop = d->conn->loop;
    struct load_dgram_loop *dgrams = loop->dgrams;
    bool measured = slot->due_ns >= loop->measure_ns;
    if (!slot->failed) {
        loop->counts.lost++;
        /* The sums were taken when the measured time ended, of which this is a part. */
        loop->final.lost += loop->phase == WEIR_LOAD_ENDING && measured;
        load_note_answer(loop, slot->due_ns, slot->sent_ns, now_ns);
    }
    dgrams->lost[dgrams->lost_next++ % LOAD_DGRAM_LOST_MAX] =
        (struct load_dgram_lost){d, slot->number};
    slot_free(d, slot, now_ns);
}

/* Whether an answer that nobody waits for belongs to a request that was lost: it is forgotten. */
static bool was_lost(struct load_dgram *d, uint64_t number)
{
    struct load_dgram_loop *dgrams = d->conn->loop->dgrams;
    for (unsigned i = 0; i < LOAD_DGRAM_LOST_MAX; i++)
        if (dgrams->lost[i].dgram == d && dgrams->lost[i].number == number) {
            dgrams->lost[i].dgram = NULL;
            return true;
        }
    return false;
}

static struct load_dgram_slot *slot_of(struct load_dgram *d, uint64_t number)
{
    uint64_t index = number & (LOAD_PIPELINE_MAX - 1);
    if (number == 0 || index >= slots_of(d->conn->loop) || d->slots[index].number != number)
        return NULL;
    return &d->slots[index];
}

void load_dgram_look(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    struct load_dgram *d = load_dgram_of(conn);
    uint64_t timeout_ns = loop->load->options.timeout_ns;
    uint32_t before = conn->in_flight;

    if (conn->state != LOAD_OPEN)
        return;
    if (d->begun && now_ns - d->spoke_ns > ALIVE_NS) /* or the server forgets us */
        load_dgram_say(d, WEIR_LOAD_MESSAGE_ALIVE, 0);
    if (load_is_stream(&loop->load->options)) {
        load_dgram_stream_look(d, now_ns);
        return;
    }
    for (uint32_t i = 0, seen = 0; i < slots_of(loop) && seen < before; i++) {
        if (d->slots[i].number == 0)
            continue;
        seen++;
        if (now_ns - d->slots[i].sent_ns > timeout_ns)
            lose(d, &d->slots[i], now_ns);
    }
    if (conn->in_flight == before)
        return;
    if (loop->running)
        load_conn_begin(conn, now_ns);
    load_loop_check(loop);
}

void load_dgram_unfinished(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    struct load_dgram *d = load_dgram_of(conn);
    for (uint32_t i = 0, seen = 0; i < slots_of(loop) && seen < conn->in_flight; i++) {
        const struct load_dgram_slot *slot = &d->slots[i];
        seen += slot->number != 0;
        if (slot->number == 0 || slot->failed)
            continue;
        loop->final.unfinished++;
        if (load_is_open_loop(&loop->load->options) && slot->due_ns >= loop->measure_ns)
            histogram_add(&loop->now->response, now_ns - slot->due_ns);
    }
}

/* ---- sending ---- */

static void count_sent(struct load_dgram *d, uint64_t size)
{
    weir_load_counts *counts = &d->conn->loop->counts;
    counts->sent++;
    counts->sent_bytes += size;
    counts->sent_wire_bytes += weir_load_wire_bytes(size, d->family);
}

/* The lowest one that is free: there are many, and most of them need no memory then. There is one,
 * since no more requests are in flight than the pipeline has room for. */
static struct load_dgram_slot *slot_take(struct load_dgram *d)
{
    while (d->slots[d->slot].number != 0)
        d->slot++;
    return &d->slots[d->slot++];
}

void load_dgram_send(struct load_conn *conn, uint32_t count, uint64_t due_ns, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    struct load_dgram *d = load_dgram_of(conn);
    uint8_t *bytes = loop->dgrams->bytes;
    size_t size = loop->load->options.request_bytes;

    for (uint32_t i = 0; i < count; i++) {
        struct load_dgram_slot *slot = slot_take(d);
        uint64_t number = ++d->next << LOAD_DGRAM_SLOT_BITS | (uint64_t)(slot - d->slots);
        const weir_load_head head = {.message = WEIR_LOAD_MESSAGE_ASK,
                                     .load = loop->load->id,
                                     .number = number,
                                     .mark = number_of(d)};
        *slot = (struct load_dgram_slot){.number = number, .due_ns = due_ns, .sent_ns = now_ns};
        conn->in_flight++;
        loop->in_flight++;
        if (loop->quota != UINT64_MAX && loop->quota != 0)
            loop->quota--;
        weir_load_head_write(&head, bytes);
        /* One that cannot leave keeps its place until its time has passed: nothing is gained by
         * trying again as fast as that goes. */
        slot->failed = weir_dgram_send(d->socket, weir_bytes(bytes, size)) < 0;
        if (slot->failed)
            load_count_error(loop, LOAD_ERROR_local, 1);
        else
            count_sent(d, size);
    }
}

void load_dgram_say(struct load_dgram *d, enum weir_load_message message, uint64_t number)
{
    uint8_t bytes[WEIR_LOAD_HEAD_BYTES];
    const weir_load_head head = {
        .message = (uint8_t)message, .load = d->conn->loop->load->id, .number = number};
    weir_load_head_write(&head, bytes);
    d->spoke_ns = weir__clock_now_ns();
    (void)!weir_dgram_send(d->socket, weir_bytes(bytes, sizeof bytes)); /* it is said again */
}

/* ---- greeting: the server is there, and knows what is wanted ---- */

static void say_begin(struct load_dgram *d)
{
    static const uint8_t asks[] = {[WEIR_LOAD_UP] = WEIR_LOAD_ASK_TAKE,
                                   [WEIR_LOAD_DOWN] = WEIR_LOAD_ASK_SEND,
                                   [WEIR_LOAD_BOTH] = WEIR_LOAD_ASK_BOTH};
    const struct load_loop *loop = d->conn->loop;
    const weir_load_options *options = &loop->load->options;
    bool stream = load_is_stream(options);
    uint8_t bytes[WEIR_LOAD_BEGIN_BYTES];
    const weir_load_head head = {.message = WEIR_LOAD_MESSAGE_BEGIN, .load = loop->load->id};
    const weir_load_begin begin = {.cookie = d->cookie,
                                   .socket = (uint32_t)number_of(d),
                                   .ask = stream ? asks[options->way] : WEIR_LOAD_ASK_ANSWER,
                                   .bytes = (uint32_t)options->request_bytes,
                                   .answer_bytes = (uint32_t)options->answer_bytes,
                                   .rate_bytes_s = options->stream_rate,
                                   .stream_bytes = options->stream_bytes};
    weir_load_begin_write(&head, &begin, bytes);
    (void)!weir_dgram_send(d->socket, weir_bytes(bytes, sizeof bytes));
}

static void greet(struct load_dgram *d);

static void on_greet(weir_timer *timer, void *arg)
{
    greet(arg);
}

/* An echo server is greeted with a request that does not count. */
static void greet(struct load_dgram *d)
{
    struct load_conn *conn = d->conn;
    const weir_load_options *options = &conn->loop->load->options;
    uint8_t *bytes = conn->loop->dgrams->bytes;
    uint64_t now_ns = weir__clock_now_ns(), pause_ns = GREET_FIRST_NS;

    uint64_t waited_ns = now_ns > conn->connect_ns ? now_ns - conn->connect_ns : 0;
    if (waited_ns > options->timeout_ns) {
        end_with(d, WEIR_WHY_DEADLINE, WEIR_ETIMEDOUT);
        return;
    }
    if (load_dgram_says_begin(options)) {
        say_begin(d);
    } else {
        const weir_load_head head = {.message = WEIR_LOAD_MESSAGE_ASK,
                                     .load = conn->loop->load->id};
        weir_load_head_write(&head, bytes);
        (void)!weir_dgram_send(d->socket, weir_bytes(bytes, options->request_bytes));
    }
    pause_ns <<= d->greetings < 4 ? d->greetings : 4;
    pause_ns = pause_ns < GREET_LAST_NS ? pause_ns : GREET_LAST_NS;
    if (pause_ns > options->timeout_ns - waited_ns)
        pause_ns = options->timeout_ns - waited_ns + WEIR_MS;
    d->greetings++;
    weir_timer_start(&conn->timer, weir_after(pause_ns), on_greet, d);
}

static void opened(struct load_dgram *d)
{
    struct load_conn *conn = d->conn;
    uint64_t now_ns = weir__clock_now_ns();
    if (conn->state != LOAD_CONNECTING || d->failing)
        return;
    weir_timer_cancel(&conn->timer);
    d->heard_ns = now_ns;
    load_conn_opened(conn, (weir_conn){0}, now_ns);
    if (conn->loop->running)
        load_conn_begin(conn, now_ns);
}

int load_dgram_connect(struct load_conn *conn)
{
    struct load_loop *loop = conn->loop;
    struct load_dgram *d = load_dgram_of(conn);
    struct load_dgram_slot *slots = d->slots;
    weir_address source, peer;

    *d = (struct load_dgram){.conn = conn, .slots = slots, .next = d->next};
    int result = weir_dgram_connect(&d->socket, conn->group->url, load_source_of(conn, &source),
                                    &loop->dgrams->service);
    if (result < 0)
        return result;
    weir_dgram_set_user(d->socket, d);
    if (weir_dgram_peer(d->socket, &peer) == 0)
        d->family = peer.socket.ss_family;
    /* Who takes a stream without a word cannot be asked whether he is there. */
    if (loop->load->options.plain && load_is_stream(&loop->load->options))
        opened(d);
    else
        greet(d);
    return 0;
}

/* ---- what comes ---- */

static void malformed(struct load_dgram *d, const char *why)
{
    struct load_loop *loop = d->conn->loop;
    if (loop->malformed[0] == '\0')
        snprintf(loop->malformed, sizeof loop->malformed, "%s", why);
    load_count_error(loop, LOAD_ERROR_malformed, 1);
}

static void take_answer(struct load_dgram *d, uint64_t number, const weir_datagram *in)
{
    struct load_conn *conn = d->conn;
    struct load_loop *loop = conn->loop;
    const weir_load_options *options = &loop->load->options;
    uint64_t now_ns = weir__clock_now_ns();
    struct load_dgram_slot *slot = slot_of(d, number);

    if (number == 0) { /* the greeting, or it once more */
        opened(d);
        return;
    }
    if (conn->state != LOAD_OPEN)
        return;
    loop->counts.received_datagrams++;
    loop->counts.received_bytes += in->full_bytes;
    loop->counts.received_wire_bytes += weir_load_wire_bytes(in->full_bytes, d->family);
    if (in->full_bytes != options->answer_bytes) {
        malformed(d, "an answer was of another size");
        if (slot != NULL)
            slot->failed = true; /* it is counted, and is not lost too */
        return;
    }
    if (slot != NULL && (slot->failed || now_ns - slot->sent_ns > options->timeout_ns)) {
        lose(d, slot, now_ns); /* nobody had looked yet */
        slot = NULL;
    }
    if (slot != NULL) {
        loop->counts.requests++;
        loop->counts.reordered += number < d->newest;
        d->newest = number > d->newest ? number : d->newest;
        load_note_answer(loop, slot->due_ns, slot->sent_ns, now_ns);
        slot_free(d, slot, now_ns);
    } else if (was_lost(d, number)) {
        loop->counts.overdue++;
    } else if (number >> LOAD_DGRAM_SLOT_BITS <= d->next) {
        loop->counts.duplicates++;
    } else {
        malformed(d, "an answer to a request that was never sent");
    }
    if (loop->running)
        load_conn_begin(conn, now_ns);
    load_loop_check(loop);
}

/* BEGIN was understood: again with the cookie, or it is done. */
static void take_begin(struct load_dgram *d, const weir_load_head *head, const weir_datagram *in)
{
    weir_load_begin begin;
    if (d->conn->state != LOAD_CONNECTING || d->failing ||
        !weir_load_begin_read(in->view.data, in->view.size, &begin))
        return;
    if (head->message == WEIR_LOAD_MESSAGE_BEGUN) {
        d->begun = true;
        opened(d);
    } else if (begin.cookie != d->cookie) {
        d->cookie = begin.cookie;
        say_begin(d);
    }
}

static void on_datagram(weir_dgram handle, const weir_datagram *in, void *user)
{
    struct load_dgram *d = user;
    const weir_load_options *options = &d->conn->loop->load->options;
    weir_load_head head;
    if (!weir_load_head_read(in->view.data, in->view.size, &head)) {
        malformed(d, "a datagram came that is no answer to ours");
        return;
    }
    if (head.load != d->conn->loop->load->id)
        return; /* for somebody who had this port before */
    switch ((enum weir_load_message)head.message) {
    case WEIR_LOAD_MESSAGE_ASK:
        if (!load_is_stream(options))
            take_answer(d, head.number, in);
        break;
    case WEIR_LOAD_MESSAGE_COOKIE:
    case WEIR_LOAD_MESSAGE_BEGUN:
        take_begin(d, &head, in);
        break;
    case WEIR_LOAD_MESSAGE_DATA:
    case WEIR_LOAD_MESSAGE_REPORT:
        if (load_is_stream(options))
            load_dgram_stream_take(d, &head, in);
        break;
    default: /* an echo of what we said: whoever that is does not understand us */
        break;
    }
}

static enum load_error kind_of(int error)
{
    switch (error) {
    case -ECONNREFUSED:
        return LOAD_ERROR_refused;
    case -EHOSTUNREACH:
    case -ENETUNREACH:
        return LOAD_ERROR_unreachable;
    case -ECONNRESET:
        return LOAD_ERROR_reset;
    default:
        return LOAD_ERROR_local;
    }
}

/* What became of a request is told by the kernel, with the beginning of the datagram most often:
 * it is not waited for any more as something that may be lost. */
static void on_error(weir_dgram handle, const weir_datagram_error *error, void *user)
{
    struct load_dgram *d = user;
    enum load_error kind = kind_of(error->error);
    weir_load_head head;

    if (d->conn->state == LOAD_CONNECTING) {
        end_with(d, WEIR_WHY_ERROR, error->error);
        return;
    }
    if (d->conn->state != LOAD_OPEN)
        return;
    if (load_is_stream(&d->conn->loop->load->options)) {
        if (kind == LOAD_ERROR_unreachable) /* that may pass */
            load_count_error(d->conn->loop, kind, 1);
        else
            load_dgram_fail(d, kind);
        return;
    }
    load_count_error(d->conn->loop, kind, 1);
    if (!weir_load_head_read(error->view.data, error->view.size, &head))
        return;
    struct load_dgram_slot *slot = slot_of(d, head.number);
    if (slot != NULL)
        slot->failed = true;
}

static void on_drain(weir_dgram handle, void *user)
{
    struct load_dgram *d = user;
    if (load_is_stream(&d->conn->loop->load->options))
        load_dgram_stream_send(d);
}

static void on_close(weir_dgram handle, weir_end end, void *user)
{
    struct load_dgram *d = user;
    struct load_conn *conn = d->conn;
    struct load_loop *loop = conn->loop;
    bool was_connecting = conn->state == LOAD_CONNECTING;
    bool was_open = conn->state == LOAD_OPEN; /* and it was not we who ended it */
    uint64_t now_ns = weir__clock_now_ns();

    loop->alive--;
    weir_timer_cancel(&conn->timer);
    loop->open -= !was_connecting;
    conn->state = LOAD_NONE;
    if (loop->quitting) {
        loop->leaving -= conn->ended_by_us;
        conn->in_flight = 0;
        load_loop_gone(loop);
        return;
    }
    if (was_connecting) {
        load_conn_connect_failed(conn, d->failing ? d->end : end);
        return;
    }
    if (was_open)
        load_count_error(loop, LOAD_ERROR_local, 1);
    for (uint32_t i = 0; i < slots_of(loop) && conn->in_flight != 0; i++)
        if (d->slots[i].number != 0)
            slot_free(d, &d->slots[i], now_ns);
    if (was_open && !load_is_stream(&loop->load->options))
        load_conn_connect(conn);
    load_loop_check(loop);
}

/* ---- a loop's ---- */

static void service_make(struct load_loop *loop)
{
    const weir_load_options *options = &loop->load->options;
    loop->dgrams->service = (weir_dgram_service){
        .on_datagram = on_datagram,
        .on_error = on_error,
        .on_drain = on_drain,
        .on_close = on_close,
        .meta = load_is_stream(options) ? WEIR_DATAGRAM_TIME : 0,
        .soft_mark_bytes = SOFT_MARK,
        .hard_cap_bytes = HARD_CAP,
        .queue_max_datagrams = QUEUE_MAX,
        .linger_ms = LINGER_MS,
        .read_on = WEIR_SWITCH_ON,
        .socket = options->socket,
    };
}

bool load_dgrams_make(struct load_loop *loop)
{
    size_t size = loop->load->options.request_bytes;
    struct load_dgram_loop *dgrams = loop->dgrams = weir__zalloc(sizeof *dgrams);
    if (dgrams == NULL)
        return false;
    dgrams->dgrams_bytes = loop->conn_count * sizeof *dgrams->dgrams;
    dgrams->slots_bytes = (size_t)loop->conn_count * slots_of(loop) * sizeof *dgrams->slots;
    dgrams->dgrams = weir__pages_alloc(dgrams->dgrams_bytes);
    dgrams->slots = weir__pages_alloc(dgrams->slots_bytes);
    dgrams->bytes = weir__alloc(size);
    if (dgrams->dgrams == NULL || dgrams->slots == NULL || dgrams->bytes == NULL)
        return false;
    for (size_t i = 0; i < size; i++)
        dgrams->bytes[i] = (uint8_t)("weir"[i % 4]);
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        dgrams->dgrams[i].conn = &loop->conns[i];
        dgrams->dgrams[i].slots = dgrams->slots + (size_t)i * slots_of(loop);
    }
    service_make(loop);
    return true;
}

void load_dgrams_free(struct load_loop *loop)
{
    struct load_dgram_loop *dgrams = loop->dgrams;
    if (dgrams == NULL)
        return;
    weir__pages_free(dgrams->dgrams, dgrams->dgrams_bytes);
    weir__pages_free(dgrams->slots, dgrams->slots_bytes);
    weir__free(dgrams->bytes);
    weir__free(dgrams);
}

void load_dgram_note_dropped(struct load_dgram *d)
{
    weir_dgram_stats stats;
    if (d->conn->state == LOAD_OPEN && weir_dgram_stats_get(d->socket, &stats) == 0)
        d->dropped_end = stats.dropped_kernel;
}

void load_dgrams_measure(struct load_loop *loop)
{
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        struct load_dgram *d = &loop->dgrams->dgrams[i];
        load_dgram_note_dropped(d);
        d->dropped = d->dropped_end;
        weir_load_arrivals_restart(&d->in);
    }
}

void load_dgrams_end(struct load_loop *loop)
{
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        struct load_dgram *d = &loop->dgrams->dgrams[i];
        load_dgram_note_dropped(d);
        loop->final.dropped += d->dropped_end - d->dropped;
    }
}

void load_dgram_leave(struct load_conn *conn)
{
    struct load_dgram *d = load_dgram_of(conn);
    if (d->begun && !d->told && conn->state == LOAD_OPEN) {
        load_dgram_say(d, WEIR_LOAD_MESSAGE_END, d->measured); /* the server need not wait */
        weir_dgram_close(d->socket);
    } else if (load_is_stream(&conn->loop->load->options) && conn->state == LOAD_OPEN) {
        weir_dgram_close(d->socket); /* what was counted as sent should leave */
    } else {
        weir_dgram_abort(d->socket);
    }
}

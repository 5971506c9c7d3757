/* Datagrams between hosts that lose them, double them, and let them overtake one another: what
 * comes was sent, whole or cut where it says so, from the address that it names, and no more often
 * than it was sent; a socket's counters add up; each socket ends once; what was lent comes home.
 * Without faults nothing is lost but what finds a full buffer, and that is counted. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/check/prog.h"

enum { NODES = 3, SOCKETS = 2, PORT = 7300, LETTERS = 4096, STEPS = 40, HEAD = 12, HOPS = 3 };
#define MAGIC 0x77656972u

/* One that was sent, and may be sent back. */
struct letter {
    uint32_t size;
    unsigned out, in; /* transmissions that were accepted; arrivals */
};

struct node {
    unsigned number, steps;
    bool ready, done, closing;
    weir_loop *loop;
    weir_watch term;
    weir_timer timer;
    struct box { /* a socket */
        struct node *node;
        weir_dgram handle;
        weir_dgram_service service;
        bool open, connected, paused, leaving;
        unsigned opens, closes, handled;
        uint64_t paused_ns;
        unsigned accepted;  /* sends that were */
        unsigned no_memory; /* and those that found none */
        bool trains;        /* sends some that count as several */
        unsigned lent;      /* not home */
    } box[SOCKETS];
};

static struct state {
    struct server { /* weir_run, in any shape: it sends everything back */
        sim_host *host;
        weir_run_options options;
        unsigned opens, closes;
    } server;
    struct node node[NODES];
    unsigned nodes, letters;
    bool in_verb, in_handler;
    struct letter letter[LETTERS];
    unsigned empties_out, empties_in;
    bool go;
    uint64_t sent, received, dropped; /* at the end, by the sockets' counters */
} now;

static uint8_t table[(64 << 10) + 256]; /* noise, the same in every run */

/* --- what a letter looks like ----------------------------------------------------------------- */

static void letter_write(uint8_t *to, uint32_t number, uint32_t size)
{
    const uint32_t head[3] = {MAGIC, number, size};
    memcpy(to, head, HEAD);
    memcpy(to + HEAD, table + number % 251, size - HEAD);
}

static unsigned most_arrivals(unsigned out)
{
    return sim_fault_on(SIM_FAULT_DUPLICATE) ? 2 * out : out;
}

/* The letter that this is, or its beginning; NULL: an empty one. */
static struct letter *letter_read(const weir_datagram *in)
{
    uint32_t head[3];
    bool cut = in->flags & WEIR_DATAGRAM_TRUNCATED;
    sim_check(cut == (in->full_bytes != in->view.size), "a datagram of %u bytes gives %u of them",
              in->full_bytes, in->view.size);
    if (in->full_bytes == 0) {
        sim_check(++now.empties_in <= most_arrivals(now.empties_out), "an empty one too many");
        return NULL;
    }
    sim_check(in->full_bytes >= HEAD, "a datagram that nobody has sent: of %u bytes",
              in->full_bytes);
    if (in->view.size < HEAD)
        return NULL;
    memcpy(head, in->view.data, HEAD);
    sim_check(head[0] == MAGIC && head[1] < now.letters && head[2] == in->full_bytes &&
                  now.letter[head[1]].size == head[2],
              "a datagram that nobody has sent: %08x %u %u, of %u bytes", head[0], head[1], head[2],
              in->full_bytes);
    sim_check(memcmp((const uint8_t *)in->view.data + HEAD, table + head[1] % 251,
                     in->view.size - HEAD) == 0,
              "the bytes of datagram %u changed on their way", head[1]);
    struct letter *letter = &now.letter[head[1]];
    sim_check(++letter->in <= most_arrivals(letter->out),
              "datagram %u was sent %u times, and came %u times", head[1], letter->out, letter->in);
    return letter;
}

/* --- sending ---------------------------------------------------------------------------------- */

static bool may_fail(int result)
{
    return result == WEIR_EFULL || result == WEIR_ENOMEM;
}

static void sent(struct box *box, int result, const char *what)
{
    now.in_verb = false;
    sim_check(result >= 0 || may_fail(result), "%s: an open socket takes it; %s", what,
              weir_error_name(result));
    box->accepted += result >= 0;
    box->no_memory += result == WEIR_ENOMEM;
}

static void lent_home(const void *data, size_t size, void *arg)
{
    struct box *box = arg;
    sim_check(!now.in_verb && box->lent-- != 0, "a buffer came home within a verb, or twice");
    free((void *)(uintptr_t)data);
}

static weir_address address_of(unsigned number)
{
    char url[64];
    weir_address address;
    snprintf(url, sizeof url, "udp://10.0.0.%u:%u", number + 1, PORT); /* the last: the server */
    sim_check(weir_address_parse(url, &address, NULL) == 0, "no address: %s", url);
    return address;
}

static int send_view(struct box *box, unsigned to, weir_view view, uint32_t segment)
{
    weir_address address = address_of(to);
    weir_dgram_message message = {.view = view, .peer = &address, .segment_bytes = segment};
    now.in_verb = true;
    if (box->connected)
        return weir_dgram_send(box->handle, view);
    if (segment != 0 || sim_chance(1, 3))
        return weir_dgram_send_with(box->handle, &message);
    return weir_dgram_send_to(box->handle, &address, view);
}

/* Several of one size in a row are a train for the kernel; `together`: handed over as one. */
static void send_letters(struct box *box, unsigned count, uint32_t size, bool together)
{
    unsigned to = (unsigned)sim_random(now.nodes + 1), first = now.letters;
    if (now.letters + count > LETTERS)
        return;
    uint8_t *bytes = malloc((size_t)count * size);
    if (bytes == NULL)
        abort();
    for (unsigned i = 0; i < count; i++) {
        now.letter[now.letters] = (struct letter){.size = size, .out = 1};
        letter_write(bytes + (size_t)i * size, now.letters++, size);
    }
    if (together) {
        int result = send_view(box, to, weir_bytes(bytes, count * size), size);
        sent(box, result, "a train");
        if (result < 0)
            for (unsigned i = 0; i < count; i++)
                now.letter[first + i].out = 0;
    }
    for (unsigned i = 0; i < count && !together; i++) {
        int result = send_view(box, to, weir_bytes(bytes + (size_t)i * size, size), 0);
        sent(box, result, "a datagram");
        if (result < 0)
            now.letter[first + i].out = 0;
    }
    free(bytes);
}

static void send_lent(struct box *box, uint32_t size)
{
    uint8_t *bytes = malloc(size);
    if (bytes == NULL || now.letters == LETTERS)
        abort();
    struct letter *letter = &now.letter[now.letters];
    *letter = (struct letter){.size = size, .out = 1};
    letter_write(bytes, now.letters++, size);
    box->lent++;
    weir_view view = weir_own(bytes, size, lent_home, box);
    int result = send_view(box, (unsigned)sim_random(now.nodes), view, 0);
    sent(box, result, "a lent one");
    if (result < 0)
        letter->out = 0;
}

static void send_empty(struct box *box)
{
    int result = send_view(box, (unsigned)sim_random(now.nodes), weir_bytes(table, 0), 0);
    sent(box, result, "an empty one");
    now.empties_out += result >= 0;
}

static uint32_t letter_size(void)
{
    return HEAD + (uint32_t)sim_size(sim_chance(1, 20) ? 60000 : 1400);
}

static void act_send(struct box *box)
{
    uint32_t size = letter_size();
    if (now.letters == LETTERS)
        return;
    switch (sim_random(8)) {
    case 0:
        send_empty(box);
        break;
    case 1:
        send_lent(box, size);
        break;
    case 2:
        size = HEAD + (uint32_t)sim_size(1000);
        send_letters(box, (unsigned)sim_between(2, 40), size, false);
        break;
    case 3:
        if (box->trains) {
            size = HEAD + (uint32_t)sim_size(1000);
            send_letters(box, (unsigned)sim_between(2, 40), size, true);
        }
        break;
    default:
        send_letters(box, 1, size, false);
        break;
    }
}

/* --- receiving -------------------------------------------------------------------------------- */

static void handler(const struct box *box, weir_dgram handle, const char *what)
{
    sim_check(!now.in_verb, "K3: no handler inside a verb; %s ran", what);
    sim_check(weir_loop_current() == box->node->loop, "K1: %s on another loop", what);
    sim_check(box->open && box->closes + 1 == box->opens && weir_dgram_is(handle, box->handle),
              "K4: %s of a socket that has ended, or of another", what);
}

static void one_came(struct box *box, const weir_datagram *in)
{
    weir_address peer;
    struct letter *letter = letter_read(in);
    box->handled++;
    sim_check(weir_datagram_peer(in, &peer) == 0, "a datagram tells its sender; it does not");
    const struct sockaddr_in *name = (const struct sockaddr_in *)&peer.socket;
    uint32_t host = ntohl(name->sin_addr.s_addr);
    sim_check(name->sin_family == AF_INET && host > 0x0a000000u && host <= 0x0a000001u + now.nodes,
              "a datagram from a host that is none: %08x", host);
    if (box->leaving || box->node->closing || letter == NULL ||
        in->flags & WEIR_DATAGRAM_TRUNCATED || letter->out >= HOPS || !sim_chance(1, 3))
        return;
    now.in_verb = true;
    letter->out++;
    int result = weir_dgram_reply(box->handle, in, in->view);
    sent(box, result, "an answer");
    if (result < 0)
        letter->out--;
}

static void came(struct box *box, weir_dgram handle, const weir_datagram *in, unsigned count)
{
    handler(box, handle, "on_datagram");
    sim_check(!box->paused || sim_fault_on(SIM_FAULT_STALL) || sim_now() < box->paused_ns + WEIR_S,
              "a socket that was paused a second ago still gets datagrams");
    for (unsigned i = 0; i < count; i++)
        one_came(box, &in[i]);
}

static void on_datagram(weir_dgram handle, const weir_datagram *in, void *user)
{
    came(user, handle, in, 1);
}

static void on_batch(weir_dgram handle, const weir_datagram *in, unsigned count, void *user)
{
    sim_check(count != 0 && count <= 64, "a batch of %u", count);
    came(user, handle, in, count);
}

static void on_drain(weir_dgram handle, void *user)
{
    handler(user, handle, "on_drain");
}

static void on_error(weir_dgram handle, const weir_datagram_error *error, void *user)
{
    handler(user, handle, "on_error");
    sim_check(error->error < 0, "an error that is none: %d", error->error);
    sim_check(!sim_quiet() || error->error == -ECONNREFUSED, "no error in a run without faults; %s",
              weir_error_name(error->error));
}

static void maybe_over(struct node *n)
{
    bool open = false;
    for (unsigned i = 0; i < SOCKETS; i++)
        open |= n->box[i].open;
    if (n->closing && !open)
        weir_loop_stop(n->loop);
}

static void on_close(weir_dgram handle, weir_end end, void *user)
{
    struct box *box = user;
    handler(box, handle, "on_close");
    sim_check(!weir_dgram_alive(handle), "K4: a socket lives after its end");
    sim_check(end.why == WEIR_WHY_CLOSED || !sim_quiet(), "a socket ended by itself: reason %d",
              end.why);
    box->closes++;
    box->open = false;
    maybe_over(box->node);
}

/* --- a node's life ---------------------------------------------------------------------------- */

static void box_open(struct box *box)
{
    char url[64];
    struct node *n = box->node;
    weir_dgram_service *s = &box->service;
    *s = (weir_dgram_service){.on_drain = on_drain, .on_close = on_close, .user = box};
    if (sim_chance(1, 2))
        s->on_batch = on_batch;
    else
        s->on_datagram = on_datagram;
    if (sim_chance(1, 2))
        s->on_error = on_error;
    if (sim_chance(1, 4))
        s->datagram_max_bytes = (uint32_t)sim_size(2000);
    if (sim_chance(1, 3))
        s->soft_mark_bytes = (uint32_t)sim_size(64 << 10);
    if (sim_chance(1, 3))
        s->queue_max_datagrams = (uint32_t)sim_size(64);
    if (sim_chance(1, 3))
        s->full = WEIR_DGRAM_OLDEST;
    if (sim_chance(1, 3))
        s->gso = WEIR_SWITCH_OFF;
    if (sim_chance(1, 3))
        s->gro = WEIR_SWITCH_OFF;
    box->connected = box != &n->box[0];
    box->trains = !box->connected && sim_chance(1, 3);
    box->paused = box->leaving = false;
    box->accepted = box->handled = box->no_memory = 0;
    unsigned host = box->connected ? (unsigned)sim_random(now.nodes) : n->number;
    bool any = !box->connected && sim_chance(1, 2);
    snprintf(url, sizeof url, "udp://%s%.0u:%u", any ? "0.0.0.0" : "10.0.0.", any ? 0 : host + 1,
             PORT);
    int result = box->connected ? weir_dgram_connect(&box->handle, url, NULL, s)
                                : weir_dgram_open(&box->handle, url, s);
    sim_check(result == 0 || !sim_quiet(), "a socket for %s; %s", url, weir_error_name(result));
    box->open = result == 0;
    box->opens += box->open;
}

/* Whatever was taken over has been sent, was dropped for a reason, or waits. */
static weir_dgram_stats sums(const struct box *box)
{
    weir_dgram_stats s;
    sim_check(weir_dgram_stats_get(box->handle, &s) == 0, "an open socket has counters");
    uint64_t known = s.sent_datagrams + s.dropped_oldest + s.dropped_error + s.dropped_close +
                     s.dropped_memory + s.queued_datagrams;
    sim_check(
        box->trains || (known >= box->accepted && known <= box->accepted + box->no_memory),
        "%u datagrams were taken over; %llu sent, %llu + %llu + %llu + %llu dropped, %llu wait",
        box->accepted, (unsigned long long)s.sent_datagrams, (unsigned long long)s.dropped_oldest,
        (unsigned long long)s.dropped_error, (unsigned long long)s.dropped_close,
        (unsigned long long)s.dropped_memory, (unsigned long long)s.queued_datagrams);
    sim_check(s.received_datagrams == box->handled, "%llu were received, %u handed over",
              (unsigned long long)s.received_datagrams, box->handled);
    uint64_t cap = box->service.hard_cap_bytes != 0 ? box->service.hard_cap_bytes : 8 << 20;
    sim_check(s.queued_bytes <= cap, "K6: at most %llu bytes are queued; %llu are",
              (unsigned long long)cap, (unsigned long long)s.queued_bytes);
    sim_check(box->service.queue_max_datagrams == 0 ||
                  s.queued_datagrams <= box->service.queue_max_datagrams,
              "K6: at most %u datagrams are queued; %llu are", box->service.queue_max_datagrams,
              (unsigned long long)s.queued_datagrams);
    return s;
}

static void act(struct box *box)
{
    uint64_t which = sim_random(24);
    if (!box->open && !weir_dgram_alive(box->handle)) {
        sim_check(weir_dgram_send(box->handle, weir_str("stale")) == WEIR_EGONE,
                  "K2: a verb on a closed handle gives WEIR_EGONE");
        box_open(box);
        return;
    }
    if (box->leaving)
        return;
    (void)sums(box);
    if (which == 0 && !sim_quiet()) {
        sim_check(weir_dgram_close(box->handle) == 0, "an open socket is closed");
        box->leaving = true;
    } else if (which == 1 && !sim_quiet()) {
        sim_check(weir_dgram_abort(box->handle) == 0, "an open socket is aborted");
        box->leaving = true;
    } else if (which == 2 && !box->paused) {
        sim_check(weir_dgram_pause(box->handle) == 0, "an open socket is paused");
        box->paused = true;
        box->paused_ns = sim_now();
    } else if (which < 6 && box->paused) {
        sim_check(weir_dgram_resume(box->handle) == 0, "an open socket is resumed");
        box->paused = false;
    } else
        act_send(box);
}

static void step(weir_timer *timer, void *arg)
{
    enum { PAUSE_NS = 20000000 };
    struct node *n = arg;
    if (!now.go) {
        weir_timer_start(&n->timer, weir_after(PAUSE_NS), step, n);
        return;
    }
    for (uint64_t acts = sim_between(1, 4); acts != 0; acts--)
        act(&n->box[sim_random(SOCKETS)]);
    if (n->steps-- != 0) {
        weir_timer_start(&n->timer, weir_after(sim_size(PAUSE_NS)), step, n);
        return;
    }
    for (unsigned i = 0; i < SOCKETS; i++)
        if (n->box[i].open) {
            weir_dgram_resume(n->box[i].handle);
            n->box[i].paused = false;
        }
    n->done = true;
}

/* In the end: in order, or in the middle of everything. */
static void on_term(weir_watch *watch, int number, void *arg)
{
    struct node *n = arg;
    n->closing = true;
    for (unsigned i = 0; i < SOCKETS; i++) {
        if (!n->box[i].open || !weir_dgram_alive(n->box[i].handle))
            continue;
        weir_dgram_stats s = sums(&n->box[i]);
        now.sent += s.sent_datagrams;
        now.received += s.received_datagrams;
        now.dropped += s.dropped_kernel;
        if (sim_chance(1, 2))
            weir_dgram_close(n->box[i].handle);
        else
            weir_dgram_abort(n->box[i].handle);
    }
    if (sim_chance(1, 4))
        weir_loop_stop(n->loop);
    maybe_over(n);
}

static int node_main(void *arg)
{
    struct node *n = arg;
    int result = weir_loop_new(&n->loop, NULL);
    if (result < 0)
        return 1;
    weir_loop *former = weir_loop_enter(n->loop);
    result = weir_signal(&n->term, SIGTERM, on_term, n);
    for (unsigned i = 0; i < SOCKETS && result == 0; i++) {
        n->box[i].node = n;
        box_open(&n->box[i]);
    }
    weir_timer_start(&n->timer, weir_after(50 * WEIR_MS), step, n);
    weir_loop_enter(former);
    n->ready = true;
    if (result == 0)
        result = weir_loop_run(n->loop);
    weir_loop_free(n->loop);
    for (unsigned i = 0; i < SOCKETS; i++) {
        const struct box *box = &n->box[i];
        sim_check(box->closes == box->opens, "K4: %u sockets, %u ends", box->opens, box->closes);
        sim_check(box->lent == 0, "K4: every lent buffer comes home; %u are out", box->lent);
    }
    return result;
}

/* --- the server ------------------------------------------------------------------------------- */

static void server_opens(weir_dgram handle, void *user)
{
    sim_check(!now.in_verb && weir_dgram_alive(handle), "K4: on_open of a socket that lives");
    now.server.opens++;
}

static void server_closes(weir_dgram handle, weir_end end, void *user)
{
    sim_check(user == &now.server && !weir_dgram_alive(handle), "K4: on_close of one that lives");
    now.server.closes++;
}

static void server_answers(weir_dgram handle, const weir_datagram *in, void *user)
{
    sim_check(user == &now.server && now.server.opens > now.server.closes,
              "K4: a datagram before on_open, or of another service");
    struct letter *letter = letter_read(in);
    now.received++;
    if (letter == NULL || letter->out >= HOPS)
        return;
    now.in_verb = true;
    letter->out++;
    int result = weir_dgram_reply(handle, in, in->view);
    now.in_verb = false;
    sim_check(result >= 0 || may_fail(result) || result == WEIR_EMISUSE, "an answer: %s",
              weir_error_name(result));
    if (result < 0)
        letter->out--;
    else
        now.sent++;
}

static int server_main(void *arg)
{
    static const weir_dgram_service datagram = {
        .on_open = server_opens, .on_datagram = server_answers, .on_close = server_closes};
    weir_service service = {.datagram = &datagram, .user = &now.server};
    char url[64];
    snprintf(url, sizeof url, "udp://10.0.0.%u:%u", now.nodes + 1, PORT);
    service.listen = sim_chance(1, 2) ? url : "udp://0.0.0.0:7300";
    return weir_run(&service, 1, &now.server.options);
}

static void server_start(void)
{
    struct server *server = &now.server;
    server->options = (weir_run_options){
        .shape = (enum weir_shape)sim_between(WEIR_SHAPE_SINGLE, WEIR_SHAPE_ACCEPTOR),
        .loops = (unsigned)sim_between(1, 3),
        .loop.features = "-direct",
    };
    server->host = prog_host("server", now.nodes + 1, server_main, NULL);
    sim_faults_stop();
    sim_host_start(server->host);
    sim_sleep(100 * WEIR_MS);
    sim_faults_go_on();
    unsigned loops = server->options.loops;
    sim_check(server->options.shape == WEIR_SHAPE_SINGLE    ? server->opens == 1
              : server->options.shape == WEIR_SHAPE_THREADS ? server->opens == loops
                                                            : server->opens >= loops,
              "the %u loops have a socket each; %u were opened", loops, server->opens);
}

static void server_end(void)
{
    sim_host_signal(now.server.host, SIGTERM);
    prog_wait(now.server.host, 60 * WEIR_S);
    sim_check(now.server.opens == now.server.closes, "K4: %u sockets of the server, %u ends",
              now.server.opens, now.server.closes);
    sim_check(sim_host_result(now.server.host) == 0 || !sim_quiet(), "the server has failed");
}

/* --- the director ----------------------------------------------------------------------------- */

/* Without faults all that was sent has come, or found a full buffer. */
static void nothing_lost(void)
{
    uint64_t drops = sim_net_drops();
    sim_check(now.sent == now.received + drops && now.dropped <= drops,
              "%llu datagrams were sent, %llu came, %llu were dropped; %llu were counted",
              (unsigned long long)now.sent, (unsigned long long)now.received,
              (unsigned long long)drops, (unsigned long long)now.dropped);
}

static void run(void)
{
    static const char *const names[NODES] = {"a", "b", "c"};
    sim_host *hosts[NODES];
    for (unsigned i = 0; i < sizeof table; i++)
        table[i] = (uint8_t)(i * 2654435761u >> 13);
    memset(&now, 0, sizeof now);
    now.nodes = (unsigned)sim_between(1, NODES);
    for (unsigned i = 0; i < now.nodes; i++) {
        now.node[i].number = i;
        now.node[i].steps = (unsigned)sim_size(STEPS);
        hosts[i] = prog_host(names[i], 1 + i, node_main, &now.node[i]);
    }
    server_start();
    for (unsigned i = 0; i < now.nodes; i++)
        prog_start(hosts[i], &now.node[i].ready);
    now.go = true;
    for (unsigned i = 0; i < now.nodes; i++)
        while (!now.node[i].done)
            sim_sleep(10 * WEIR_MS);
    sim_faults_stop();
    sim_sleep(10 * WEIR_S);
    for (unsigned i = 0; i < now.nodes; i++) {
        sim_host_signal(hosts[i], SIGTERM);
        prog_wait(hosts[i], 60 * WEIR_S);
    }
    server_end();
    if (sim_quiet())
        nothing_lost();
}

SIM_PROGRAM(datagrams, .what = "datagrams that are lost, doubled, late and cut", .run = run);

/* TLS, by OpenSSL as it is: an echo server and its clients, through every kind of fault, and in
 * half of the runs through a stranger who cuts, changes, adds and withholds. What comes out is what
 * went in, or a beginning of it; an end in order is told only when the other side has ended in
 * order; nobody waits for ever, and nobody talks to a server that is not the one meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/tls.h>

#include "sim/check/prog.h"
#include "sim/tls/relay.h"
#include "sim/tls/warm.h"
#include "tls/certs.h"

enum { PORT = 7000, CLIENT_HOSTS = 2, SERVER_HOST = 1, RELAY_HOST = 8, RELOAD_MS = 100 };

/* What a client makes of the server. */
enum trust { TRUSTS, WRONG_ISSUER, WRONG_NAME, TRUSTS_NOBODY, NO_CERT, TRUST_KINDS };

struct secure {
    struct check *check;
    bool ready, hostile, patient; /* patient: the server serves whoever comes, to the end */
    enum weir_tls_peer_certs asks;
    enum weir_tls_version server_least;
    char url[64];
    weir_tls *tls; /* the server's */
    unsigned reloads, opened, whole, parts, refused, broken, resumed;
    struct secure_host {
        struct secure *run;
        struct check_side *side;
        weir_tls *tls[TRUST_KINDS];
        const weir_filter *filters[TRUST_KINDS][2];
        void *configs[TRUST_KINDS][1];
        struct check_side *sides[TRUST_KINDS];
        enum trust trust;
        unsigned living, at_once, tries, opened;
    } hosts[CLIENT_HOSTS];
};

/* --- what both sides share -------------------------------------------------------------------- */

static void tls_use(struct check_side *side, weir_tls *tls, const weir_filter **filters,
                    void **configs)
{
    const weir_layer *layer = weir_tls_layer(tls);
    filters[0] = layer->filter;
    configs[0] = layer->config;
    side->service.filters = filters;
    side->service.filter_configs = configs;
}

/* The first byte's deadline is the handshake's, too. */
static uint32_t handshake_ms(const struct secure *run)
{
    enum { SLOW_MS = 600000, LEAST_MS = 500, MOST_MS = 20000 };
    return run->patient ? SLOW_MS : LEAST_MS + (uint32_t)sim_size(MOST_MS);
}

/* A stranger can end a stream, but not in order. */
static void end_is_the_peers(const struct check_conn *cc, const char *what)
{
    const struct check_conn *peer = cc->peer;
    if (peer == NULL && cc->client)
        return; /* the server may have ended it before it knew who this was */
    sim_check(peer != NULL && (peer->finish_called || peer->close_called || peer->refused ||
                               peer->closes != 0 || peer->frozen || peer->piped ||
                               weir_conn_state(peer->conn) > WEIR_CONN_PAUSED),
              "tls.cut: connection %u: %s, and its peer has ended nothing", cc->number, what);
}

static void closed_rules(struct secure *run, const struct check_conn *cc)
{
    weir_end end = cc->end;
    if (end.why == WEIR_WHY_PEER_FINISHED && cc->opens == 1)
        end_is_the_peers(cc, "on_close of an end in order");
    sim_check(end.why != WEIR_WHY_PEER_FINISHED || cc->opens == 1,
              "tls.handshake: connection %u: an end in order, and it was never open", cc->number);
    sim_check(cc->opens == 1 || cc->received == 0, "tls.plain: bytes before a handshake");
    run->broken += end.error == WEIR_ETLS || end.error == WEIR_ECUT || end.error == WEIR_ECERT;
    bool memory = sim_fault_on(SIM_FAULT_NO_MEMORY);
    bool met = cc->opens == 1 && cc->peer != NULL; /* both have accepted each other */
    sim_check(run->hostile || memory || sim_can_break() || (cc->side->error_fine && !met) ||
                  (end.error != WEIR_ETLS && end.error != WEIR_ECUT && end.error != WEIR_ETOOBIG),
              "tls.error: connection %u: %s, and nobody has done anything to it", cc->number,
              weir_error_name(end.error));
}

/* --- the server ------------------------------------------------------------------------------- */

enum temper { PLAIN, COPY, LEND, TEMPERS, LEAVE, ABORT };

struct served {
    enum temper temper;
    uint64_t leave_at;
};

static void serve(struct check_conn *cc, weir_view in)
{
    const struct served *s = cc->note;
    int result = s->temper == COPY   ? check_send_bytes(cc, in.data, in.size)
                 : s->temper == LEND ? check_send_lent(cc, in.data, in.size)
                                     : check_send(cc, in);
    if (result < 0 && check_living(cc))
        check_abort(cc);
    else if (s->temper == LEAVE && cc->received >= s->leave_at && check_living(cc))
        check_close(cc);
    else if (s->temper == ABORT && cc->received >= s->leave_at && check_living(cc))
        check_abort(cc);
}

static void served_open(struct check_conn *cc)
{
    struct secure *run = cc->side->note;
    struct served *s = calloc(1, sizeof *s);
    weir_tls_info info;
    weir_cert_info cert;
    cc->note = s;
    s->temper = (enum temper)check_random(run->check, TEMPERS);
    if (!run->patient && check_random(run->check, 6) == 0) {
        s->temper = check_random(run->check, 2) != 0 ? LEAVE : ABORT;
        s->leave_at = 1 + check_random(run->check, 50000);
    }
    sim_check(weir_tls_info_of(cc->conn, &info) == 0 && info.version >= run->server_least,
              "tls.info: a version from %x on", (unsigned)run->server_least);
    bool has = weir_tls_peer_cert(cc->conn, &cert) == 0;
    sim_check(has == info.verified && (has || run->asks != WEIR_TLS_PEER_CERTS_REQUIRE),
              "tls.peer: a certificate that was asked for, and looked at");
    sim_check(!has || strcmp(cert.subject, "CN=client") == 0, "tls.peer: the client's own");
    run->opened++;
}

static void served_end(struct check_conn *cc)
{
    end_is_the_peers(cc, "on_end");
    if (check_random(check_of(cc->side->cl), 2) == 0)
        check_close(cc);
    else
        check_finish(cc);
}

static void served_close(struct check_conn *cc)
{
    closed_rules(cc->side->note, cc);
    free(cc->note);
    cc->note = NULL;
}

/* New files, as far as a server knows; those who are connected keep what they have. */
static void reload(struct check_loop *cl, void *arg)
{
    struct secure *run = arg;
    sim_check(weir_tls_reload(run->tls) == 0, "tls.reload: the same files, again");
    if (--run->reloads != 0)
        check_timer(cl, weir_after(check_random(run->check, RELOAD_MS * WEIR_MS)), false, reload,
                    run);
}

/* With the CA behind it: what is not complete would be told, with a folder's name that is another
 * one in each process. */
static weir_tls_cert chain(const char *name)
{
    char both[32];
    snprintf(both, sizeof both, "%s-chain.pem", name);
    return (weir_tls_cert){.cert_file = cert_path(both, ""), .key_file = cert_path(name, ".key")};
}

static void chain_make(const char *name)
{
    char bytes[2][4096], both[32];
    const char *const parts[] = {bytes[0], bytes[1], NULL};
    const char *const names[] = {name, "ca"};
    for (unsigned i = 0; i < 2; i++) {
        FILE *file = fopen(cert_path(names[i], ".pem"), "r");
        size_t size = file != NULL ? fread(bytes[i], 1, sizeof bytes[i] - 1, file) : 0;
        bytes[i][size] = '\0';
        if (file != NULL)
            fclose(file);
    }
    snprintf(both, sizeof both, "%s-chain.pem", name);
    cert_write(both, parts);
}

static weir_tls *server_tls(const struct secure *run)
{
    static const char *const alpn[] = {"echo", NULL};
    const weir_tls_cert certs[] = {chain("server"), chain("second")};
    return weir_tls_server_new(&(weir_tls_server_options){
        .certs = certs,
        .cert_count = 2,
        .alpn = alpn,
        .limits.version_min = run->server_least,
        .peer_certs = run->asks,
        .peer_ca_file = run->asks != WEIR_TLS_PEER_CERTS_NONE ? cert_path("ca", ".pem") : NULL});
}

static int server_main(void *arg)
{
    struct secure *run = arg;
    const weir_filter *filters[2] = {NULL};
    void *configs[1];
    weir_loop_options options = prog_options(true);
    weir_tls *tls = server_tls(run);
    struct check_loop *cl = prog_loop(run->check, &options);
    sim_check(tls != NULL, "tls.server: certificates that are good; refused");
    run->tls = tls;
    if (cl == NULL) {
        weir_tls_free(tls);
        return 1;
    }
    struct check_side *side = check_side_new(cl, "echo");
    prog_service(&side->service, &options, true);
    side->service.first_byte_ms = handshake_ms(run);
    tls_use(side, tls, filters, configs);
    side->error_fine = true; /* of clients that do not trust it */
    side->hello = true;
    side->piped = run->hostile;
    side->note = run;
    side->open = served_open;
    side->data = serve;
    side->close = served_close;
    side->end = served_end;
    prog_enter(cl);
    int result = check_listen(side, run->url);
    if (run->reloads != 0)
        reload(cl, run);
    prog_leave();
    sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
    run->ready = true;
    prog_run(cl);
    weir_tls_free(tls);
    return 0;
}

/* --- clients ---------------------------------------------------------------------------------- */

enum goodbye { FINISH, CLOSE, TEAR };

struct client {
    struct secure_host *host;
    enum trust trust;
    size_t left;
    enum goodbye goodbye;
    struct check_timer *timer;
    bool said;
};

static void client_go_on(struct check_conn *cc);

static void client_timer(struct check_loop *cl, void *arg)
{
    struct check_conn *cc = arg;
    struct client *c = cc->note;
    c->timer = NULL;
    if (cc->paused)
        check_resume(cc);
    client_go_on(cc);
}

static void client_waits(struct check_conn *cc, uint64_t most_ms)
{
    struct client *c = cc->note;
    if (c->timer == NULL)
        c->timer = check_timer(cc->side->cl,
                               weir_after(check_random(check_of(cc->side->cl), most_ms * WEIR_MS)),
                               false, client_timer, cc);
}

static void client_goodbye(struct check_conn *cc)
{
    struct client *c = cc->note;
    if (c->said)
        return;
    c->said = true;
    if (c->goodbye == FINISH)
        check_finish(cc);
    else if (c->goodbye == CLOSE)
        check_close(cc);
    else
        check_abort(cc);
}

static void client_go_on(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct check *check = check_of(cc->side->cl);
    int result = 0;
    while (c->left != 0 && check_living(cc) && result == 0) {
        size_t size = 1 + check_random(check, c->left < 90000 ? c->left : 90000);
        result = check_send_any(cc, size);
        if (result >= 0)
            c->left -= size;
        if (check_random(check, 6) == 0) {
            client_waits(cc, 30);
            return;
        }
    }
    if (!check_living(cc))
        return;
    if (result < 0)
        check_abort(cc);
    else if (c->left == 0)
        client_goodbye(cc);
    else
        client_waits(cc, 100); /* on_drain may come first */
}

static void client_open(struct check_conn *cc)
{
    const struct client *c = cc->note;
    const struct secure *run = c->host->run;
    weir_tls_info info;
    sim_check(c->trust != WRONG_ISSUER && c->trust != WRONG_NAME,
              "tls.trust: connection %u: open to a server that is not the one meant (%d)",
              cc->number, (int)c->trust);
    sim_check(weir_tls_info_of(cc->conn, &info) == 0 && info.version >= run->server_least &&
                  info.verified == (c->trust != TRUSTS_NOBODY) && strcmp(info.alpn, "echo") == 0,
              "tls.info: of a handshake that went well");
    sim_check(!info.resumed || c->host->opened != 0, "tls.resumed: a first handshake is whole");
    c->host->opened++;
    c->host->run->resumed += info.resumed;
    if (check_hello(cc) < 0)
        check_abort(cc);
    else
        client_go_on(cc);
}

static void client_data(struct check_conn *cc, weir_view in)
{
    if (check_random(check_of(cc->side->cl), 20) != 0)
        return;
    check_pause(cc);
    client_waits(cc, 40);
}

static void client_end(struct check_conn *cc)
{
    end_is_the_peers(cc, "on_end");
    check_close(cc);
}

static void host_go_on(struct secure_host *host);

static bool told_apart(const struct client *c, weir_end end)
{
    const struct secure *run = c->host->run;
    bool refused = c->trust == WRONG_ISSUER || c->trust == WRONG_NAME;
    return run->hostile || !sim_quiet() || !refused || end.error == WEIR_ECERT;
}

static void client_close(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct secure_host *host = c->host;
    struct secure *run = host->run;
    bool whole = cc->opens == 1 && c->left == 0 && cc->received == stream_total(&cc->out);
    bool ended = cc->end.why == WEIR_WHY_PEER_FINISHED || cc->end.why == WEIR_WHY_CLOSED;
    closed_rules(run, cc);
    sim_check(told_apart(c, cc->end), "tls.cert: a certificate that is not good; %s",
              weir_error_name(cc->end.error));
    sim_check((whole && ended) || !run->patient || run->hostile || check_may_break(run->check) ||
                  check_gave_up(run->check) || c->goodbye != FINISH || c->trust != TRUSTS,
              "tls.whole: all of %llu bytes came back, and an end; %llu (reason %d, %s)",
              (unsigned long long)stream_total(&cc->out), (unsigned long long)cc->received,
              cc->end.why, weir_error_name(cc->end.error));
    if (whole)
        run->whole++;
    else if (cc->opens == 0)
        run->refused++;
    else
        run->parts++;
    if (c->timer != NULL)
        check_timer_cancel(c->timer);
    free(c);
    cc->note = NULL;
    host->living--;
    host_go_on(host);
}

static weir_tls *client_tls(enum trust trust, bool newest, bool retries)
{
    static const char *const alpn[] = {"other", "echo", NULL};
    weir_tls_client_options options = {.ca_file = cert_path("ca", ".pem"), .alpn = alpn};
    if (trust == WRONG_ISSUER)
        options.ca_file = cert_path("other", ".pem");
    if (trust == WRONG_NAME)
        options.server_name = "somebody.else";
    options.insecure = trust == TRUSTS_NOBODY;
    if (trust != NO_CERT)
        options.cert = chain("client");
    if (newest)
        options.limits.version_min = WEIR_TLS_1_3;
    if (retries) /* a hello that the server wants to have again, where it prefers X25519 */
        options.limits.groups = "P-384:P-256";
    return weir_tls_client_new(&options);
}

static bool client_begin(struct secure_host *host)
{
    int error;
    struct client *c = calloc(1, sizeof *c);
    struct check *check = host->run->check;
    c->host = host;
    c->trust = check_random(check, 4) != 0 ? TRUSTS : (enum trust)check_random(check, TRUST_KINDS);
    c->left = prog_size(check);
    c->goodbye = check_random(check, 3) != 0 ? FINISH : check_random(check, 2) != 0 ? CLOSE : TEAR;
    host->tries--;
    if (host->tls[c->trust] == NULL) {
        host->tls[c->trust] =
            client_tls(c->trust, check_random(check, 3) == 0, check_random(check, 3) == 0);
        tls_use(host->sides[c->trust], host->tls[c->trust], host->filters[c->trust],
                host->configs[c->trust]);
    }
    if (check_connect(host->sides[c->trust], host->run->url, c, &error) != NULL)
        return true;
    sim_check(sim_can_break() || sim_fault_on(SIM_FAULT_NO_MEMORY) ||
                  sim_fault_on(SIM_FAULT_SOCKET_ERROR) || sim_fault_on(SIM_FAULT_PORTS),
              "K11.connect: a connection while nothing is scarce; %s", weir_error_name(error));
    free(c);
    return false;
}

static void host_go_on(struct secure_host *host)
{
    while (host->living < host->at_once && host->tries != 0)
        host->living += client_begin(host);
    if (host->living == 0)
        prog_stop(host->sides[0]->cl);
}

static int client_main(void *arg)
{
    struct secure_host *host = arg;
    struct secure *run = host->run;
    weir_loop_options options = prog_options(true);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    for (unsigned i = 0; i < TRUST_KINDS; i++) {
        struct check_side *side = host->sides[i] = check_side_new(cl, "client");
        prog_service(&side->service, &options, true);
        side->service.first_byte_ms = handshake_ms(run);
        side->open = client_open;
        side->data = client_data;
        side->drain = client_go_on;
        side->close = client_close;
        if (sim_chance(1, 2))
            side->end = client_end;
        bool refused = i == WRONG_ISSUER || i == WRONG_NAME ||
                       (i == NO_CERT && run->asks == WEIR_TLS_PEER_CERTS_REQUIRE);
        side->error_fine = sim_can_break() || run->hostile || refused;
        side->piped = run->hostile;
        side->service.read_on = WEIR_READ_ALWAYS;
    }
    host->tries = (unsigned)sim_size(8);
    host->at_once = (unsigned)sim_size(host->tries);
    prog_enter(cl);
    host_go_on(host);
    prog_leave();
    prog_run(cl);
    for (unsigned i = 0; i < TRUST_KINDS; i++)
        weir_tls_free(host->tls[i]);
    return 0;
}

/* --- the run ---------------------------------------------------------------------------------- */

/* Half of the deeds are in a handshake. */
static void plan(struct relay_plan *out, void *arg)
{
    enum { HANDSHAKE = 3000, LATER = 60000 };
    out->deed = (enum deed)sim_random(DEEDS);
    out->lane = (unsigned)sim_random(2);
    out->at = sim_chance(1, 2) ? sim_random(HANDSHAKE) : sim_size(LATER);
}

static void draw(struct secure *run)
{
    run->check = check_new(sim_seed());
    run->hostile = sim_chance(1, 2);
    run->patient = sim_chance(1, 2);
    run->asks = (enum weir_tls_peer_certs)(sim_chance(1, 2) ? sim_random(3) : 0);
    run->reloads = sim_chance(1, 4) ? (unsigned)sim_size(3) : 0;
    run->server_least = sim_chance(1, 3) ? WEIR_TLS_1_3 : WEIR_TLS_1_2;
    prog_url(run->url, sizeof run->url, SERVER_HOST, PORT);
}

static void run(void)
{
    static const char *const names[] = {"a", "b"};
    struct secure *run = calloc(1, sizeof *run);
    struct relay relay = {
        .from = "10.0.0.8", .to = "10.0.0.1", .port = PORT, .plan = plan, .arg = run};
    sim_host *hosts[CLIENT_HOSTS],
        *stranger = prog_host("stranger", RELAY_HOST, relay_main, &relay);
    prog_begin();
    draw(run);
    sim_host *server = prog_host("server", SERVER_HOST, server_main, run);
    prog_start(server, &run->ready);
    if (run->hostile) {
        prog_start(stranger, &relay.ready);
        prog_url(run->url, sizeof run->url, RELAY_HOST, PORT);
    }
    unsigned count = 1 + (unsigned)sim_random(CLIENT_HOSTS);
    for (unsigned i = 0; i < count; i++) {
        run->hosts[i].run = run;
        hosts[i] = prog_host(names[i], 2 + i, client_main, &run->hosts[i]);
        sim_host_start(hosts[i]);
    }
    sim_sleep(sim_size(20) * WEIR_S);
    sim_faults_stop();
    for (unsigned i = 0; i < count; i++)
        prog_wait(hosts[i], 3000 * WEIR_S);
    if (run->hostile)
        sim_host_kill(stranger, SIM_KILL_PROCESS);
    prog_end(server);
    sim_note("%u opened; %u got everything back, %u less, %u were not open; %u broken, %u resumed",
             run->opened, run->whole, run->parts, run->refused, run->broken, run->resumed);
    check_end(run->check);
    free(run);
}

static void setup(const char *folder)
{
    static const char names[] = "IP:10.0.0.1,IP:10.0.0.8";
    check_setup(folder);
    cert_make("ca", (struct cert_want){.ca = true});
    cert_make("other", (struct cert_want){.ca = true});
    cert_make("server", (struct cert_want){.issuer = "ca", .alt = names});
    cert_make("second", (struct cert_want){.issuer = "ca", .alt = "DNS:second.test"});
    cert_make("client", (struct cert_want){.issuer = "ca", .usage = "clientAuth"});
    chain_make("server");
    chain_make("second");
    chain_make("client");
    struct secure all = {.asks = WEIR_TLS_PEER_CERTS_REQUEST};
    static const enum trust kinds[] = {TRUSTS, WRONG_ISSUER, WRONG_NAME, TRUSTS_NOBODY, NO_CERT};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
        warm_up(server_tls(&all), client_tls(kinds[i], i == 1, i == 0));
}

SIM_PROGRAM(secure, .what = "an echo over TLS, by way of a stranger", .run = run, .setup = setup);

/* TLS through proxies: what the URL named is what the certificate must name, whoever the wire leads
 * to; streams through all of it are whole (K5), and end as they do without (K10). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/module.h>
#include <weir/via.h>

#include "conformance/harness_sends.h"
#include "tls/certs.h"

/* --- a proxy that speaks both protocols, takes every host for this one, and trusts everybody ---
 */

enum { PROXIED_MAX = 8 };

static struct {
    int listener;
    char url[64]; /* HOST:PORT */
    pthread_t accepting, threads[PROXIED_MAX];
    _Atomic int count;
    _Atomic unsigned delay_ms; /* before it answers */
} proxy;

static bool read_all(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

static int connect_here(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static int serve_socks(int peer)
{
    static const uint8_t ok[] = {5, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    uint8_t in[300], head[4];
    if (!read_all(peer, in, 2) || !read_all(peer, in + 2, in[1]) || send(peer, ok, 2, 0) != 2 ||
        !read_all(peer, head, 4))
        return -1;
    size_t size = head[3] == 1 ? 4 : 16;
    if (head[3] == 3) {
        if (!read_all(peer, in, 1))
            return -1;
        size = in[0];
    }
    if (!read_all(peer, in, size + 2))
        return -1;
    int to = connect_here((unsigned)in[size] << 8 | in[size + 1]);
    if (to >= 0)
        send(peer, ok, sizeof ok, 0);
    return to;
}

static int serve_http(int peer)
{
    static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    char head[1024];
    unsigned port;
    size_t size = 0;
    while (size < 4 || memcmp(head + size - 4, "\r\n\r\n", 4) != 0)
        if (size == sizeof head - 1 || !read_all(peer, head + size++, 1))
            return -1;
    head[size] = '\0';
    if (sscanf(head, "CONNECT %*[^:]:%u HTTP/1.1", &port) != 1)
        return -1;
    int to = connect_here(port);
    if (to >= 0)
        send(peer, ok, strlen(ok), 0);
    return to;
}

/* One piece from one to the other; false: that direction is over. */
static bool relay(int from, int to)
{
    static _Thread_local char piece[65536];
    ssize_t got = recv(from, piece, sizeof piece, 0);
    for (ssize_t sent = 0, size; sent < got; sent += size) {
        size = send(to, piece + sent, (size_t)(got - sent), MSG_NOSIGNAL);
        if (size < 0)
            return false;
    }
    if (got <= 0)
        shutdown(to, SHUT_WR);
    return got > 0;
}

static void *serve(void *arg)
{
    int peer = (int)(intptr_t)arg;
    char first = 0;
    recv(peer, &first, 1, MSG_PEEK);
    poll(NULL, 0, (int)proxy.delay_ms);
    int to = first == 5 ? serve_socks(peer) : serve_http(peer);
    struct pollfd ends[2] = {{peer, POLLIN, 0}, {to, POLLIN, 0}};
    while (to >= 0 && (ends[0].fd >= 0 || ends[1].fd >= 0)) {
        poll(ends, 2, -1);
        if (ends[0].revents != 0 && !relay(peer, to))
            ends[0].fd = -1;
        if (ends[1].revents != 0 && !relay(to, peer))
            ends[1].fd = -1;
        ends[0].revents = ends[1].revents = 0;
    }
    if (to >= 0)
        close(to);
    close(peer);
    return NULL;
}

static void *accept_all(void *arg)
{
    int fd;
    while (proxy.count < PROXIED_MAX && (fd = accept(proxy.listener, NULL, NULL)) >= 0)
        pthread_create(&proxy.threads[proxy.count++], NULL, serve, (void *)(intptr_t)fd);
    return NULL;
}

static void proxy_begin(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    proxy.count = 0;
    proxy.delay_ms = 0;
    proxy.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(proxy.listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(proxy.listener, 8), 0);
    assert_int_equal(getsockname(proxy.listener, (struct sockaddr *)&at, &size), 0);
    snprintf(proxy.url, sizeof proxy.url, "127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&proxy.accepting, NULL, accept_all, NULL), 0);
}

/* Everybody has gone, and their descriptors too. */
static void proxy_join(void)
{
    shutdown(proxy.listener, SHUT_RDWR); /* accept returns */
    pthread_join(proxy.accepting, NULL);
    for (int i = 0; i < proxy.count; i++)
        pthread_join(proxy.threads[i], NULL);
}

/* --- sides --------------------------------------------------------------------------------------
 */

/* The proxy once, or asked for itself first. */
static const weir_via *via_new(const char *first, const char *second)
{
    const weir_via *via;
    char urls[200];
    snprintf(urls, sizeof urls, "%s%s %s%s", first, proxy.url, second,
             second[0] != '\0' ? proxy.url : "");
    assert_int_equal(weir_via_new(&via, urls), 0);
    return via;
}

static void pair(struct world *w, const weir_via *via, struct side **s, struct side **c)
{
    *s = side_new(w);
    *c = side_new(w);
    (*s)->service.tls = weir_tls_layer(usual_server(WEIR_TLS_1_2));
    (*c)->service.tls = weir_tls_layer(usual_client(WEIR_TLS_1_2));
    (*c)->service.via = via;
    (*s)->early_close_fine = true;
}

static weir_conn connect_to(struct side *s, struct side *c, const char *host)
{
    char url[64];
    if (s->service.listen == NULL)
        side_listen(s, "tls://127.0.0.1:0");
    snprintf(url, sizeof url, "tls://%s:%d", host, weir_address_port(&s->address));
    return side_connect(c, url);
}

enum { STREAM = 600000 };

static void send_more(struct rec *r)
{
    while (r->sent < STREAM) {
        int result = H(r, rec_send_pattern(r, 20000));
        if (result < 0)
            world_broke(r->side->world, "the stream was refused");
        if (result != 0)
            return;
    }
    if (r->mark++ == 0)
        H(r, weir_finish(r->conn));
}

static void via_carries_streams_both_ways(void **state)
{
    static const char *const ways[][2] = {
        {"socks5://", ""}, {"http://", ""}, {"socks5://", "http://"}, {"http://u@", "socks5://"}};
    usual_server(WEIR_TLS_1_2);
    usual_client(WEIR_TLS_1_2);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        proxy_begin();
        const weir_via *via = via_new(ways[i][0], ways[i][1]);
        struct world *w = world_open(NULL);
        struct side *s, *c;
        pair(w, via, &s, &c);
        s->open = c->open = s->drain = c->drain = send_more;
        s->end = c->end = do_nothing;
        s->service.read_on = c->service.read_on = WEIR_READ_ALWAYS; /* else both wait */
        connect_to(s, c, "localhost");
        UNTIL(w, s->closed == 1 && c->closed == 1);
        struct side *both[2] = {s, c};
        for (int n = 0; n < 2; n++) {
            struct rec *r = both[n]->recs[0];
            assert_int_equal(r->received, STREAM);
            assert_true(r->in_pattern);
            assert_int_equal(r->opens, 1);
            assert_int_equal(r->ends, 1);
            assert_int_equal(r->end.why, WEIR_WHY_PEER_FINISHED);
            assert_int_equal(r->end.error, 0);
        }
        assert_int_equal(proxy.count, i < 2 ? 1 : 2);
        proxy_join();
        world_end(w);
        close(proxy.listener);
        weir_via_free(via);
    }
}

static void via_keeps_the_name_of_the_url(void **state)
{
    usual_server(WEIR_TLS_1_2);
    usual_client(WEIR_TLS_1_2);
    proxy_begin();
    const weir_via *via = via_new("socks5://", "");
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, via, &s, &c);
    weir_conn conn = connect_to(s, c, "localhost");
    UNTIL(w, c->opened == 1 && s->opened == 1);
    weir_tls_info info;
    weir_address peer;
    char address[WEIR_ADDRESS_TEXT_MAX];
    assert_int_equal(V(w, weir_tls_info_of(conn, &info)), 0);
    assert_string_equal(info.name, "localhost");
    assert_true(info.verified);
    assert_int_equal(V(w, weir_conn_peer(conn, &peer)), 0);
    assert_true(weir_address_format(&peer, address, sizeof address) > 0);
    assert_string_equal(address + strlen("tcp://"), proxy.url);
    assert_int_equal(V(w, weir_close(conn)), 0);
    UNTIL(w, c->closed == 1 && s->closed == 1);
    conn = connect_to(s, c, "another.test"); /* the certificate is for localhost and 127.0.0.1 */
    UNTIL(w, c->closed == 2);
    assert_int_equal(c->recs[1]->end.error, WEIR_ECERT);
    assert_int_equal(c->recs[1]->opens, 0);
    conn = connect_to(s, c, "127.0.0.1");
    UNTIL(w, c->opened == 1);
    assert_int_equal(V(w, weir_close(conn)), 0);
    UNTIL(w, c->closed == 3 && s->closed == 3);
    proxy_join();
    world_end(w);
    close(proxy.listener);
    weir_via_free(via);
}

/* The time that a proxy takes is of connecting, and not of the handshake behind it. */
static void via_k07_a_handshake_has_a_time_of_its_own(void **state)
{
    usual_server(WEIR_TLS_1_2);
    usual_client(WEIR_TLS_1_2);
    proxy_begin();
    proxy.delay_ms = 2100;
    const weir_via *via = via_new("socks5://", "");
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, via, &s, &c);
    c->service.first_byte_ms = 2000;
    weir_conn conn = connect_to(s, c, "localhost");
    weir_conn_stats before, behind;
    assert_int_equal(V(w, weir_conn_stats_get(conn, &before)), 0);
    poll(NULL, 0, 10);
    UNTIL(w, proxy.count == 1);
    world_run_ms(w, 20); /* the proxy is reached, and the time to connect runs on */
    assert_int_equal(V(w, weir_conn_stats_get(conn, &behind)), 0);
    assert_true(behind.opened < before.opened + 5 * WEIR_MS); /* it is told to the millisecond */
    UNTIL(w, (c->opened == 1 && s->opened == 1) || c->closed == 1);
    assert_int_equal(c->opened, 1);
    assert_int_equal(V(w, weir_close(conn)), 0);
    UNTIL(w, c->closed == 1 && s->closed == 1);
    proxy_join();
    world_end(w);
    close(proxy.listener);
    weir_via_free(via);
}

/* --- a proxy that has a name ------------------------------------------------------------------ */

static weir_timer name_timer;
static weir__names_fn *name_fn;
static void *name_arg;

static void name_told(weir_timer *timer, void *arg)
{
    weir_address address;
    assert_int_equal(weir_address_parse("tcp://127.0.0.1:0", &address, NULL), 0);
    name_fn(name_arg, 0, &address, 1, false);
}

static int name_begin(void *self, const char *name, weir__names_fn *fn, void *arg, void **lookup)
{
    assert_string_equal(name, "proxy.test"); /* and nothing else is asked for here */
    name_fn = fn;
    name_arg = arg;
    *lookup = &name_timer;
    weir_timer_start(&name_timer, weir_after(WEIR_MS), name_told, NULL);
    return 0;
}

static void name_cancel(void *lookup)
{
    weir_timer_cancel(lookup);
}

static void via_looks_up_the_proxy_alone(void **state)
{
    static const weir__names names = {name_begin, name_cancel};
    usual_server(WEIR_TLS_1_2);
    usual_client(WEIR_TLS_1_2);
    proxy_begin();
    memcpy(strstr(proxy.url, "127.0.0.1"), "proxy.tes", 9);
    memmove(proxy.url + 10, proxy.url + 9, strlen(proxy.url + 9) + 1);
    proxy.url[9] = 't';
    const weir_via *via = via_new("http://", "");
    struct world *w = world_open(NULL);
    struct side *s, *c;
    assert_int_equal(V(w, weir__names_set(&names, &name_timer)), 0);
    pair(w, via, &s, &c);
    weir_conn conn = connect_to(s, c, "localhost");
    UNTIL(w, (c->opened == 1 && s->opened == 1) || c->closed == 1);
    assert_int_equal(c->opened, 1);
    assert_int_equal(V(w, weir_close(conn)), 0);
    UNTIL(w, c->closed == 1 && s->closed == 1);
    connect_to(s, c, "elsewhere.test"); /* the certificate does not name it */
    UNTIL(w, c->closed == 2);
    assert_int_equal(c->recs[1]->end.error, WEIR_ECERT);
    V(w, (weir__names_unset(w->loop, &name_timer), 0));
    proxy_join();
    world_end(w);
    close(proxy.listener);
    weir_via_free(via);
}

K_MAIN(T(via_carries_streams_both_ways), T(via_keeps_the_name_of_the_url),
       T(via_k07_a_handshake_has_a_time_of_its_own), T(via_looks_up_the_proxy_alone))

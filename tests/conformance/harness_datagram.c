/* Datagram sockets that note what happens to them. */
#include "conformance/harness_datagram.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

struct box *box_enter(weir_dgram socket, void *user)
{
    struct box *b = user;
    if (b->w->in_verb != 0)
        world_broke(b->w, "a handler ran inside a verb (K3)");
    if (b->w->in_handler++ != 0)
        world_broke(b->w, "a handler ran inside another (K3)");
    if (b->closes != 0)
        world_broke(b->w, "a handler after on_close (K4)");
    if (!weir_dgram_is(socket, b->socket) || weir_dgram_user(socket) != b)
        world_broke(b->w, "a handler of another socket (K2)");
    return b;
}

void box_leave(struct box *b)
{
    b->w->in_handler--;
}

static void on_datagram(weir_dgram socket, const weir_datagram *in, void *user)
{
    struct box *b = box_enter(socket, user);
    if (b->got < BOX_NOTED)
        b->sizes[b->got] = in->view.size;
    b->got++;
    b->empty += in->view.size == 0;
    b->bytes += in->view.size;
    b->last = *in;
    size_t size = in->view.size < sizeof b->text - 1 ? in->view.size : sizeof b->text - 1;
    memcpy(b->text, in->view.data, size);
    b->text[size] = 0;
    if (weir_datagram_peer(in, &b->peer) < 0)
        memset(&b->peer, 0, sizeof b->peer);
    if (weir_datagram_local(in, &b->local) < 0)
        memset(&b->local, 0, sizeof b->local);
    if (b->on != NULL)
        b->on(b, in);
    box_leave(b);
}

static void on_drain(weir_dgram socket, void *user)
{
    struct box *b = box_enter(socket, user);
    b->drains++;
    box_leave(b);
}

void box_on_error(weir_dgram socket, const weir_datagram_error *error, void *user)
{
    struct box *b = box_enter(socket, user);
    b->errors++;
    b->told = *error;
    if (error->peer != NULL)
        b->told_peer = *error->peer;
    if (error->offender != NULL)
        b->told_offender = *error->offender;
    box_leave(b);
}

static void on_close(weir_dgram socket, weir_end end, void *user)
{
    struct box *b = box_enter(socket, user);
    b->closes++;
    b->end = end;
    box_leave(b);
}

struct box *box_new(struct world *w)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->w = w;
    b->service = (weir_dgram_service){
        .on_datagram = on_datagram, .on_drain = on_drain, .on_close = on_close, .user = b};
    return b;
}

/* An abstract name ("@name") gets the process's number: all tests on the host share these names. */
void box_bind(struct box *b, const char *name)
{
    char url[128];
    snprintf(url, sizeof url, strchr(name, '@') != NULL ? "%s-%d" : "%s", name, getpid());
    int result = V(b->w, weir_dgram_open(&b->socket, url, &b->service));
    if (result < 0)
        fail_msg("%s: %s", url, log_last());
    assert_int_equal(V(b->w, weir_dgram_local(b->socket, &b->address)), 0);
}

void box_connect(struct box *b, const struct box *to)
{
    char url[WEIR_ADDRESS_TEXT_MAX];
    assert_true(weir_address_format(&to->address, url, sizeof url) > 0);
    int result = V(b->w, weir_dgram_connect(&b->socket, url, NULL, &b->service));
    if (result < 0)
        fail_msg("%s: %s", url, log_last());
    assert_int_equal(V(b->w, weir_dgram_local(b->socket, &b->address)), 0);
}

/* Closes what is left, ends the world, looks whether each had its one on_close. */
void boxes_end(struct world *w, struct box *a, struct box *b)
{
    world_end(w);
    assert_int_equal(a->closes, 1);
    free(a);
    if (b == NULL)
        return;
    assert_int_equal(b->closes, 1);
    free(b);
}

weir_dgram_stats box_stats(struct box *b)
{
    weir_dgram_stats stats;
    assert_int_equal(V(b->w, weir_dgram_stats_get(b->socket, &stats)), 0);
    return stats;
}

void box_reply(struct box *b, const weir_datagram *in)
{
    b->error = HB(b, weir_dgram_reply(b->socket, in, in->view));
}

/* A plain socket at the other end, that does not block. */
int box_raw(const struct box *to)
{
    int fd = socket(to->address.socket.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const struct sockaddr_un none = {.sun_family = AF_UNIX};
    assert_true(fd >= 0);
    if (to->address.socket.ss_family == AF_UNIX)
        assert_int_equal(bind(fd, (const struct sockaddr *)&none, sizeof none.sun_family), 0);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&to->address.socket, to->address.socket_size), 0);
    return fd;
}

/* Datagram sockets where trains do not fit: several peers, and a path that takes less than the
 * datagrams are large. For the latter the loopback interface of a network namespace of its own has
 * a small MTU. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conformance/harness_datagram.h"

enum { MTU = 1500, LARGE = 3000 };

/* What is queued for two peers in turn, of one size, comes to each as it was meant. */
static void mine_alone(struct box *b, const weir_datagram *in)
{
    if (*(const char *)in->view.data != *(const char *)b->note)
        world_broke(b->w, "a datagram for another peer");
}

static void datagram_trains_are_for_one_peer(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w), *from = box_new(w);
    a->note = "a";
    b->note = "b";
    a->on = b->on = mine_alone;
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    box_bind(from, "udp://127.0.0.1:0");
    for (int i = 0; i < 30; i++) {
        struct box *to = i % 3 == 0 ? a : b;
        assert_int_equal(V(w, weir_dgram_send_to(from->socket, &to->address, weir_str(to->note))),
                         0);
    }
    UNTIL(w, a->got == 10 && b->got == 20);
    world_end(w);
    assert_int_equal(a->closes + b->closes + from->closes, 3);
    free(a);
    free(b);
    free(from);
}

/* --- a path of its own ------------------------------------------------------------------------ */

static int former = -1;

static void lo_with_mtu(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    request.ifr_mtu = MTU;
    assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static struct world *small_path(void)
{
    former = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) < 0) {
        close(former);
        skip_because("a network namespace needs root");
    }
    lo_with_mtu();
    return world_open(NULL);
}

static void path_end(void)
{
    assert_int_equal(setns(former, CLONE_NEWNET), 0);
    close(former);
}

/* The kernel refuses a train whose datagrams the path takes only in fragments: they go one by one.
 */
static void datagram_trains_larger_than_the_path(void **state)
{
    static const char bytes[LARGE];
    struct world *w = small_path();
    struct box *a = box_new(w), *b = box_new(w);
    b->service.mtu = WEIR_MTU_DONT;
    b->service.on_error = box_on_error;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    for (int i = 0; i < 10; i++)
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, LARGE))), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, 500))), 0);
    UNTIL(w, a->got == 20);
    assert_int_equal(a->bytes, 10 * LARGE + 10 * 500);
    assert_int_equal(b->errors, 0);
    assert_int_equal(box_stats(b).sent_datagrams, 20);
    boxes_end(w, a, b);
    path_end();
}

/* Where fragments are not allowed the sender hears what the path takes. */
static void datagram_sizes_that_the_path_refuses(void **state)
{
    static const char bytes[LARGE];
    struct world *w = small_path();
    struct box *a = box_new(w), *b = box_new(w);
    b->service.mtu = WEIR_MTU_DO;
    b->service.on_error = box_on_error;
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, weir_bytes(bytes, LARGE))), 0);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, weir_bytes(bytes, 1472))), 0);
    UNTIL(w, a->got == 1 && b->errors == 1);
    assert_int_equal(a->bytes, 1472);
    assert_int_equal(b->told.error, -EMSGSIZE);
    assert_int_equal(b->told.origin, WEIR_ORIGIN_LOCAL);
    assert_int_equal(b->told.mtu_bytes, MTU);
    assert_true(weir_address_equal(&b->told_peer, &a->address));
    assert_int_equal(box_stats(b).dropped_error, 1);
    boxes_end(w, a, b);
    path_end();
}

K_MAIN(T(datagram_trains_are_for_one_peer), T(datagram_trains_larger_than_the_path),
       T(datagram_sizes_that_the_path_refuses))

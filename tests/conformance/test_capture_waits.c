/* Captures and TUN devices on a back end that refuses to wait for them: for good, or for a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <weir/capture.h>
#include <weir/packet.h>
#include <weir/tun.h>

#include "conformance/harness.h"
#include "loop/loop.h"

static int former = -1;

static struct {
    weir_capture *capture;
    weir_tun *tun;
    unsigned packets, errors;
    int error;
    bool closes; /* in on_error */
} seen;

/* --- the back end ----------------------------------------------------------------------------- */

static const struct io_ops *living_ops;
static int poll_result;
static unsigned poll_refusals;

static int refusing_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token)
{
    poll_refusals++;
    return poll_result;
}

/* 0: it waits again. */
static void polls_refused(struct world *w, int error)
{
    static struct io_ops refusing;
    if (living_ops == NULL)
        living_ops = w->loop->io->ops;
    refusing = *living_ops;
    refusing.poll = refusing_poll;
    w->loop->io->ops = error != 0 ? &refusing : living_ops;
    poll_result = error;
    poll_refusals = 0;
    if (error == 0)
        living_ops = NULL;
}

/* --- the network ------------------------------------------------------------------------------ */

static void interface_up(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(request.ifr_name, name);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static struct world *begin(void)
{
    former = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) < 0) {
        close(former);
        skip_because("a network namespace needs root");
    }
    memset(&seen, 0, sizeof seen);
    return world_open(NULL);
}

static void end(struct world *w)
{
    world_end(w);
    assert_int_equal(setns(former, CLONE_NEWNET), 0);
    close(former);
}

/* A packet that leaves by the interface, of no protocol that anybody speaks. */
static void packet_out(const char *name)
{
    static const uint8_t packet[60];
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    to.sll_protocol = htons(0x88b5); /* for experiments: IEEE 802 */
    to.sll_ifindex = (int)if_nametoindex(name);
    assert_int_equal(sendto(fd, packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to),
                     sizeof packet);
    close(fd);
}

static void on_packets(weir_capture *capture, const weir_captured *in, unsigned count, void *user)
{
    for (unsigned i = 0; i < count; i++)
        seen.packets += in[i].direction == WEIR_DIRECTION_OUT;
}

static void on_capture_error(weir_capture *capture, int error, void *user)
{
    seen.errors++;
    seen.error = error;
    if (seen.closes)
        weir_capture_close(capture);
}

/* The host says things by itself, over IPv6. */
static void on_packet(weir_tun *tun, const weir_tun_packet *in, void *user)
{
    seen.packets += in->view.size == 60 && *(const uint8_t *)in->view.data == 0;
}

static void on_tun_error(weir_tun *tun, int error, void *user)
{
    seen.errors++;
    seen.error = error;
    if (seen.closes)
        weir_tun_close(tun);
}

static const weir_capture_service capture_service = {
    .on_packets = on_packets, .on_error = on_capture_error, .interface = "lo"};
static const weir_tun_service tun_service = {
    .on_packet = on_packet, .on_error = on_tun_error, .name = "weir0"};

/* --- what is refused -------------------------------------------------------------------------- */

/* Opening returns it, and calls nobody. */
static void refused_at_once(struct world *w, bool tun)
{
    weir_tun_service stays = tun_service;
    stays.persistent = WEIR_SWITCH_ON;
    seen.closes = true;
    polls_refused(w, -EEXIST);
    int result = tun ? V(w, weir_tun_open(&seen.tun, &stays))
                     : V(w, weir_capture_open(&seen.capture, &capture_service));
    polls_refused(w, 0);
    assert_int_equal(result, -EEXIST);
    assert_true(seen.tun == NULL && seen.capture == NULL && seen.errors == 0);
    assert_non_null(strstr(log_last(), "waiting for packets"));
    assert_int_equal(if_nametoindex("weir0"), 0);
}

/* Memory that is short for a while is no error; what lasts is told once. */
static void refused_later(struct world *w, const char *name)
{
    seen.closes = false;
    polls_refused(w, -ENOMEM);
    packet_out(name);
    UNTIL(w, poll_refusals >= 3);
    poll_result = -ENOBUFS;
    unsigned before = poll_refusals;
    UNTIL(w, poll_refusals >= before + 3);
    polls_refused(w, 0);
    packet_out(name);
    UNTIL(w, seen.packets == 2);
    assert_int_equal(seen.errors, 0);
    seen.closes = true;
    polls_refused(w, -EPERM);
    packet_out(name);
    UNTIL(w, seen.errors == 1);
    assert_int_equal(seen.error, -EPERM);
    world_run_ms(w, 5);
    assert_int_equal(seen.errors, 1);
    polls_refused(w, 0);
}

static void capture_that_cannot_be_waited_for(void **state)
{
    struct world *w = begin();
    interface_up("lo");
    refused_at_once(w, false);
    assert_int_equal(V(w, weir_capture_open(&seen.capture, &capture_service)), 0);
    refused_later(w, "lo");
    end(w);
}

static void tun_that_cannot_be_waited_for(void **state)
{
    struct world *w = begin();
    if (access("/dev/net/tun", R_OK | W_OK) < 0) {
        end(w);
        skip_because("this kernel has no /dev/net/tun");
    }
    refused_at_once(w, true);
    assert_int_equal(V(w, weir_tun_open(&seen.tun, &tun_service)), 0);
    interface_up("weir0");
    refused_later(w, "weir0");
    end(w);
}

K_MAIN(T(capture_that_cannot_be_waited_for), T(tun_that_cannot_be_waited_for))

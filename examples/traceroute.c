/* The routers on the way to a host: echoes whose hop limit ends underway, and who says so.
 *
 *     ./traceroute HOST [HOPS]        HOST in numbers: 127.0.0.1 or ::1
 *
 * Needs CAP_NET_RAW, or a group in the sysctl net.ipv4.ping_group_range. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/packet.h>
#include <weir/weir.h>

enum { WAIT_MS = 1000 };

static struct {
    weir_loop *loop;
    weir_dgram socket;
    weir_timer timer;
    weir_time sent_at;
    bool ip6, arrived;
    uint8_t hops, most;
} trace;

static void send_next(weir_timer *timer, void *arg)
{
    uint8_t packet[8 + 24] = {0};
    weir_address local;
    weir_checksum sum = {0};
    if (timer != NULL && trace.hops != 0)
        printf("%2u  nobody answers\n", trace.hops);
    if (trace.hops == trace.most) {
        weir_loop_stop(trace.loop);
        return;
    }
    weir_dgram_local(trace.socket, &local);
    weir_icmp echo = {.type = trace.ip6 ? WEIR_ICMP6_ECHO : WEIR_ICMP_ECHO,
                      .id = (uint16_t)weir_address_port(&local),
                      .sequence = ++trace.hops};
    weir_icmp_build(&echo, packet, sizeof packet);
    weir_checksum_add(&sum, packet, sizeof packet);
    echo.checksum = weir_checksum_end(&sum);
    weir_icmp_build(&echo, packet, sizeof packet);
    trace.sent_at = weir_now();
    weir_timer_start(&trace.timer, weir_after(WAIT_MS * WEIR_MS), send_next, NULL);
    weir_dgram_message message = {.view = weir_bytes(packet, sizeof packet), .hops = trace.hops};
    if (weir_dgram_send_with(trace.socket, &message) < 0)
        weir_loop_stop(trace.loop);
}

/* An answer to the echo with this number: from whom, and on to the next. */
static void answered(const uint8_t *data, size_t size, const weir_address *from, const char *what)
{
    char text[WEIR_ADDRESS_TEXT_MAX] = "this host";
    weir_icmp icmp;
    if (weir_icmp_parse(data, size, &icmp) <= 0 || icmp.sequence != trace.hops)
        return; /* late */
    if (from != NULL)
        weir_address_format(from, text, sizeof text);
    printf("%2u  %s  %.3f ms%s\n", trace.hops, text, (double)(weir_now() - trace.sent_at) / 1e6,
           what);
    weir_timer_cancel(&trace.timer);
    trace.arrived ? weir_loop_stop(trace.loop) : send_next(NULL, NULL);
}

static void on_datagram(weir_dgram s, const weir_datagram *in, void *user)
{
    weir_address peer;
    trace.arrived = true;
    answered(in->view.data, in->view.size, weir_datagram_peer(in, &peer) == 0 ? &peer : NULL, "");
}

static void on_error(weir_dgram s, const weir_datagram_error *error, void *user)
{
    bool underway = error->type == (trace.ip6 ? WEIR_ICMP6_TIME_EXCEEDED : WEIR_ICMP_TIME_EXCEEDED);
    answered(error->view.data, error->view.size, error->offender, underway ? "" : "  unreachable");
}

int main(int argc, char **argv)
{
    weir_dgram_service service = {.on_datagram = on_datagram, .on_error = on_error};
    char url[128];
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)STDERR_FILENO, WEIR_LOG_WARN);
    if (argc < 2 || weir_loop_new(&trace.loop, NULL) < 0)
        return 64;
    trace.ip6 = strchr(argv[1], ':') != NULL;
    trace.most = (uint8_t)(argc > 2 ? strtoul(argv[2], NULL, 10) : 30);
    snprintf(url, sizeof url, trace.ip6 ? "icmp://[%s]" : "icmp://%s", argv[1]);
    weir_loop_enter(trace.loop);
    if (weir_dgram_connect(&trace.socket, url, NULL, &service) == 0) {
        weir_timer_start(&trace.timer, weir_now(), send_next, NULL);
        weir_loop_enter(NULL);
        weir_loop_run(trace.loop);
    }
    weir_loop_enter(NULL);
    weir_loop_free(trace.loop);
    return !trace.arrived;
}

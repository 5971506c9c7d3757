/* Asks a host by ICMP or ICMPv6 whether it is there: round trips, hop limits, losses.
 *
 *     ./ping HOST [COUNT [INTERVAL_MS]]        HOST in numbers: 127.0.0.1 or ::1
 *
 * Needs CAP_NET_RAW, or a group in the sysctl net.ipv4.ping_group_range. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/packet.h>
#include <weir/weir.h>

enum { BYTES = 56, WAIT_MS = 1000, REMEMBERED = 1024 };

static struct {
    weir_loop *loop;
    weir_dgram socket;
    weir_timer timer;
    bool ip6;
    unsigned long count, interval_ms, sent, got;
    weir_time sent_at[REMEMBERED]; /* by sequence; 0: answered, or never asked */
    double least_ms, most_ms, sum_ms;
} ping;

static void send_next(weir_timer *timer, void *arg)
{
    uint8_t packet[8 + BYTES] = {0};
    weir_address local;
    weir_checksum sum = {0};
    if (ping.sent == ping.count) {
        weir_loop_stop(ping.loop); /* waited long enough for the last answer */
        return;
    }
    weir_dgram_local(ping.socket, &local);
    weir_icmp echo = {.type = ping.ip6 ? WEIR_ICMP6_ECHO : WEIR_ICMP_ECHO,
                      .id = (uint16_t)weir_address_port(&local),
                      .sequence = (uint16_t)++ping.sent};
    weir_icmp_build(&echo, packet, sizeof packet);
    weir_checksum_add(&sum, packet, sizeof packet);
    echo.checksum = weir_checksum_end(&sum); /* over IPv6 the kernel writes another */
    weir_icmp_build(&echo, packet, sizeof packet);
    ping.sent_at[echo.sequence % REMEMBERED] = weir_now();
    if (weir_dgram_send(ping.socket, weir_bytes(packet, sizeof packet)) < 0)
        fprintf(stderr, "seq %u was not sent\n", echo.sequence);
    unsigned long wait_ms = ping.sent == ping.count ? WAIT_MS : ping.interval_ms;
    weir_timer_start(&ping.timer, weir_after(wait_ms * WEIR_MS), send_next, NULL);
}

static void on_datagram(weir_dgram s, const weir_datagram *in, void *user)
{
    weir_icmp icmp;
    if (weir_icmp_parse(in->view.data, in->view.size, &icmp) <= 0 ||
        ping.sent_at[icmp.sequence % REMEMBERED] == 0)
        return; /* not an answer, or a second one */
    double ms = (double)(weir_now() - ping.sent_at[icmp.sequence % REMEMBERED]) / 1e6;
    ping.sent_at[icmp.sequence % REMEMBERED] = 0;
    ping.least_ms = ping.got == 0 || ms < ping.least_ms ? ms : ping.least_ms;
    ping.most_ms = ms > ping.most_ms ? ms : ping.most_ms;
    ping.sum_ms += ms;
    printf("%u bytes: seq %u, ttl %u, %.3f ms\n", in->view.size, icmp.sequence, in->hops, ms);
    if (++ping.got == ping.count)
        weir_loop_stop(ping.loop);
}

static void on_error(weir_dgram s, const weir_datagram_error *error, void *user)
{
    char text[WEIR_ADDRESS_TEXT_MAX] = "this host";
    if (error->offender != NULL)
        weir_address_format(error->offender, text, sizeof text);
    printf("%s says: %s\n", text, weir_error_text(error->error));
}

int main(int argc, char **argv)
{
    weir_dgram_service service = {
        .on_datagram = on_datagram, .on_error = on_error, .meta = WEIR_DATAGRAM_HOPS};
    char url[128];
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)STDERR_FILENO, WEIR_LOG_WARN);
    if (argc < 2 || weir_loop_new(&ping.loop, NULL) < 0)
        return 64;
    ping.ip6 = strchr(argv[1], ':') != NULL;
    ping.count = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
    ping.interval_ms = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    snprintf(url, sizeof url, ping.ip6 ? "icmp://[%s]" : "icmp://%s", argv[1]);
    weir_loop_enter(ping.loop);
    if (weir_dgram_connect(&ping.socket, url, NULL, &service) == 0) {
        weir_timer_start(&ping.timer, weir_now(), send_next, NULL);
        weir_loop_enter(NULL);
        weir_loop_run(ping.loop);
        printf("%lu sent, %lu received, %.0f %% lost; min/avg/max %.3f/%.3f/%.3f ms\n", ping.sent,
               ping.got, 100.0 * (double)(ping.sent - ping.got) / (double)ping.sent, ping.least_ms,
               ping.got != 0 ? ping.sum_ms / (double)ping.got : 0, ping.most_ms);
    }
    weir_loop_enter(NULL);
    weir_loop_free(ping.loop);
    return ping.got == 0;
}

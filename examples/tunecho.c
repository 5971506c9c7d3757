/* Plays every host behind a TUN device: answers pings of IPv4 and IPv6, with none of the kernel's
 * help.
 *
 *     ./tunecho [NAME]                    default weir0; then, elsewhere:
 *     ip addr add 10.9.0.1/24 dev weir0 && ip link set weir0 up && ping 10.9.0.2
 *
 * Needs CAP_NET_ADMIN, or a device made for its user: ip tuntap add weir0 mode tun user USER. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <weir/packet.h>
#include <weir/tun.h>
#include <weir/weir.h>

static weir_loop *loop;

/* Exchanges two addresses in a packet. */
static void exchange(uint8_t *left, uint8_t *right, size_t size)
{
    uint8_t kept[16];
    memcpy(kept, left, size);
    memcpy(left, right, size);
    memcpy(right, kept, size);
}

static void on_packet(weir_tun *tun, const weir_tun_packet *in, void *user)
{
    static uint8_t packet[65549];
    weir_tun_packet out = {.view = weir_bytes(packet, in->view.size)};
    weir_ip_upper upper;
    weir_icmp icmp;
    int head = weir_ip_upper_parse(in->view.data, in->view.size, &upper);
    if (head <= 0 || upper.fragment ||
        weir_packet_check(in->view.data, in->view.size) != WEIR_SUMS_GOOD ||
        weir_icmp_parse(upper.payload.data, upper.payload.size, &icmp) <= 0)
        return;
    memcpy(packet, in->view.data, in->view.size);
    if (upper.protocol == WEIR_IP_ICMP && icmp.type == WEIR_ICMP_ECHO) {
        exchange(packet + 12, packet + 16, 4);
        icmp.type = WEIR_ICMP_ECHO_REPLY;
        icmp.checksum = weir_checksum_update(icmp.checksum, WEIR_ICMP_ECHO << 8, 0);
    } else if (upper.protocol == WEIR_IP_ICMP6 && icmp.type == WEIR_ICMP6_ECHO) {
        exchange(packet + 8, packet + 24, 16);
        icmp.type = WEIR_ICMP6_ECHO_REPLY;
        icmp.checksum =
            weir_checksum_update(icmp.checksum, WEIR_ICMP6_ECHO << 8, WEIR_ICMP6_ECHO_REPLY << 8);
    } else {
        return;
    }
    weir_icmp_build(&icmp, packet + head, in->view.size - (size_t)head);
    if (weir_tun_send(tun, &out) < 0)
        fprintf(stderr, "an answer was lost\n");
}

static void on_error(weir_tun *tun, int error, void *user)
{
    fprintf(stderr, "%s: %s\n", weir_tun_name(tun), weir_error_text(error));
    weir_loop_stop(loop);
}

static void on_signal(weir_watch *watch, int number, void *tun)
{
    weir_tun_stats stats;
    weir_tun_stats_get(tun, &stats);
    printf("%lu in, %lu out\n", (unsigned long)stats.received_packets,
           (unsigned long)stats.sent_packets);
    weir_tun_close(tun);
    weir_loop_stop(loop);
}

int main(int argc, char **argv)
{
    weir_tun_service service = {
        .on_packet = on_packet, .on_error = on_error, .name = argc > 1 ? argv[1] : "weir0"};
    weir_watch interrupt = {0};
    weir_tun *tun;
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)2, WEIR_LOG_WARN);
    if (weir_loop_new(&loop, NULL) < 0)
        return 1;
    weir_loop_enter(loop);
    bool opened =
        weir_tun_open(&tun, &service) == 0 && weir_signal(&interrupt, SIGTERM, on_signal, tun) == 0;
    weir_loop_enter(NULL);
    fputs(opened ? "listening\n" : "", stderr);
    if (opened)
        weir_loop_run(loop);
    weir_loop_free(loop);
    return !opened;
}

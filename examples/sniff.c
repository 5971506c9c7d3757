/* Prints the packets of a network interface, nearly as `tcpdump -nnqt` does.
 *     ./sniff INTERFACE [FILTER]           until SIGTERM
 *     ./sniff eth0 "$(tcpdump -i eth0 -ddd 'tcp port 80')"     needs CAP_NET_RAW */
#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include <weir/capture.h>
#include <weir/packet.h>
#include <weir/weir.h>

static weir_loop *loop;

static void print_upper(const weir_ip_upper *upper, const char *from, const char *to, bool ip6)
{
    const uint8_t *at = upper->payload.data;
    const char *ip = ip6 ? "IP6" : "IP";
    uint32_t size = upper->payload.size;
    weir_tcp tcp;
    weir_udp udp;
    weir_icmp icmp;
    if (upper->protocol == WEIR_IP_TCP && weir_tcp_parse(at, size, &tcp) > 0)
        printf("%s %s.%u > %s.%u: tcp %u\n", ip, from, tcp.source, to, tcp.target,
               tcp.payload.size);
    else if (upper->protocol == WEIR_IP_UDP && weir_udp_parse(at, size, &udp) > 0)
        printf("%s %s.%u > %s.%u: UDP, length %u\n", ip, from, udp.source, to, udp.target,
               udp.payload.size);
    else if (weir_icmp_parse(at, size, &icmp) > 0)
        printf("%s %s > %s: %s type %u, length %u\n", ip, from, to, ip6 ? "ICMP6" : "ICMP",
               icmp.type, size);
    else
        printf("%s %s > %s: protocol %u, length %u\n", ip, from, to, upper->protocol, size);
}

static void print(const uint8_t *at, size_t size)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    weir_ethernet ethernet;
    weir_ip_upper upper;
    weir_arp arp;
    int head = weir_ethernet_parse(at, size, &ethernet);
    bool ip6 = ethernet.type == WEIR_ETHER_IP6;
    at += head;
    size -= (size_t)head;
    if (ethernet.type == WEIR_ETHER_ARP && weir_arp_parse(at, size, &arp) == 28) {
        printf(arp.operation == 1 ? "ARP, Request who-has %s tell %s\n"
                                  : "ARP, Reply to %s by %s\n",
               inet_ntop(AF_INET, arp.target, to, sizeof to),
               inet_ntop(AF_INET, arp.source, from, sizeof from));
    } else if ((ip6 || ethernet.type == WEIR_ETHER_IP4) &&
               weir_ip_upper_parse(at, size, &upper) > 0) {
        inet_ntop(ip6 ? AF_INET6 : AF_INET, at + (ip6 ? 8 : 12), from, sizeof from);
        inet_ntop(ip6 ? AF_INET6 : AF_INET, at + (ip6 ? 24 : 16), to, sizeof to);
        print_upper(&upper, from, to, ip6);
    } else {
        printf("type 0x%04x, length %zu\n", ethernet.type, size);
    }
}

static void on_packets(weir_capture *capture, const weir_captured *in, unsigned count, void *user)
{
    for (unsigned i = 0; i < count; i++)
        print(in[i].view.data, in[i].view.size);
    fflush(stdout);
}

static void on_signal(weir_watch *watch, int number, void *capture)
{
    weir_capture_stats stats;
    if (weir_capture_stats_get(capture, &stats) == 0)
        fprintf(stderr, "%" PRIu64 " packets, %" PRIu64 " dropped\n", stats.packets, stats.dropped);
    weir_capture_close(capture);
    weir_loop_stop(loop);
}

int main(int argc, char **argv)
{
    static weir_bpf filter[WEIR_BPF_MAX];
    weir_watch interrupt = {0};
    weir_capture *capture;
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)2, WEIR_LOG_WARN);
    int count = argc > 2 ? weir_bpf_parse(argv[2], filter, WEIR_BPF_MAX) : 0;
    if (argc < 2 || count < 0 || weir_loop_new(&loop, NULL) < 0)
        return 64;
    weir_capture_service service = {.on_packets = on_packets,
                                    .interface = argv[1],
                                    .filter = count > 0 ? filter : NULL,
                                    .filter_count = (uint32_t)count};
    weir_loop_enter(loop);
    bool opened = weir_capture_open(&capture, &service) == 0 &&
                  weir_signal(&interrupt, SIGTERM, on_signal, capture) == 0;
    weir_loop_enter(NULL);
    fputs(opened ? "listening\n" : "", stderr);
    if (opened)
        weir_loop_run(loop);
    weir_loop_free(loop);
    return !opened;
}

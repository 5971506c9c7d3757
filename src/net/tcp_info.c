#include "net/socket.h"

/* <netinet/tcp.h> has its own, older struct tcp_info and cannot be included beside this one. */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <weir/error.h>

_Static_assert(sizeof(weir_tcp_info) == 128, "part of the binary interface");

static uint32_t ms_of(uint64_t us)
{
    return us / 1000 < UINT32_MAX ? (uint32_t)(us / 1000) : UINT32_MAX;
}

/* An older kernel fills less of the struct: the rest stays zero. A newer one is asked for as much
 * as is known here. */
int weir__tcp_info(int fd, weir_tcp_info *out)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    memset(out, 0, sizeof *out);
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return errno == EOPNOTSUPP || errno == ENOPROTOOPT ? WEIR_ENOTSUP : -errno;
    out->state = info.tcpi_state;
    out->congestion = info.tcpi_ca_state;
    out->retransmits = info.tcpi_retransmits;
    out->probes = info.tcpi_probes;
    out->backoff = info.tcpi_backoff;
    out->rtt_us = info.tcpi_rtt;
    out->rttvar_us = info.tcpi_rttvar;
    if (info.tcpi_min_rtt != UINT32_MAX) /* no sample yet */
        out->min_rtt_us = info.tcpi_min_rtt;
    out->rto_us = info.tcpi_rto;
    out->cwnd_segments = info.tcpi_snd_cwnd;
    out->ssthresh_segments = info.tcpi_snd_ssthresh;
    out->send_mss_bytes = info.tcpi_snd_mss;
    out->path_mtu_bytes = info.tcpi_pmtu;
    out->unacked_segments = info.tcpi_unacked;
    out->lost_segments = info.tcpi_lost;
    out->resent_segments = info.tcpi_retrans;
    out->resent_total_segments = info.tcpi_total_retrans;
    out->notsent_bytes = info.tcpi_notsent_bytes;
    out->send_window_bytes = info.tcpi_snd_wnd;
    out->last_sent_ms = info.tcpi_last_data_sent;
    out->last_received_ms = info.tcpi_last_data_recv;
    out->delivery_bytes_s = info.tcpi_delivery_rate;
    out->pacing_bytes_s = info.tcpi_pacing_rate;
    out->sent_bytes = info.tcpi_bytes_sent;
    out->acked_bytes = info.tcpi_bytes_acked;
    out->received_bytes = info.tcpi_bytes_received;
    out->app_limited = info.tcpi_delivery_rate_app_limited;
    out->busy_ms = ms_of(info.tcpi_busy_time);
    out->receiver_limited_ms = ms_of(info.tcpi_rwnd_limited);
    out->buffer_limited_ms = ms_of(info.tcpi_sndbuf_limited);
    return 0;
}

const char *weir_tcp_state_name(unsigned state)
{
    static const char *const names[] = {
        "unknown", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",   "TIME_WAIT",
        "CLOSE",   "CLOSE_WAIT",  "LAST_ACK", "LISTEN",   "CLOSING",   "NEW_SYN_RECV"};

    return state < sizeof names / sizeof names[0] ? names[state] : names[0];
}

/* The table at the end, of datagrams. */
#include <inttypes.h>

#include "cmd/bench/bench.h"

static const char *s_of(unsigned count)
{
    return count == 1 ? "" : "s";
}

/* Bits a second as people read them. */
static const char *show_bits(double bits, char out[24])
{
    const char *unit = bits < 1e6 ? "kbit/s" : bits < 1e9 ? "Mbit/s" : "Gbit/s";
    snprintf(out, 24, "%.2f %s", bits / (bits < 1e6 ? 1e3 : bits < 1e9 ? 1e6 : 1e9), unit);
    return out;
}

void table_dgram_head(const struct bench *bench, const weir_load_result *result)
{
    static const char *const ways[] = {"to the server", "from the server", "both ways"};
    const weir_load_options *load = &bench->load;
    char rate[24];
    if (load->kind == WEIR_LOAD_DGRAM_STREAM) {
        printf("%u stream%s %s of %" PRIu64 " byte datagrams, ", result->conns, s_of(result->conns),
               ways[load->way], result->datagram_bytes);
        if (load->stream_rate != 0)
            printf("%s each", show_bits((double)load->stream_rate * 8, rate));
        else
            printf("as fast as %s", result->conns == 1 ? "it goes" : "they go");
        return;
    }
    if (result->rate > 0)
        printf("open loop: %.6g requests a second%s, %u socket%s", result->rate,
               bench->poisson ? " at random times" : "", result->conns, s_of(result->conns));
    else
        printf("closed loop: as fast as %u socket%s go%s", result->conns, s_of(result->conns),
               result->conns == 1 ? "es" : "");
    printf(", %" PRIu64 " bytes there and %" PRIu64 " back", result->datagram_bytes,
           result->answer_bytes);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole != 0 ? 100 * (double)part / (double)whole : 0;
}

/* What this side has sent and received. */
static void side(const char *name, uint64_t datagrams, uint64_t bytes,
                 const weir_load_result *result)
{
    char size[16], bits[24];
    if (datagrams == 0)
        return;
    printf("%-10s %12" PRIu64 "   %.1f/s   %s   %s\n", name, datagrams,
           per_second(datagrams, result), show_size((double)bytes, size),
           show_bits(per_second(bytes, result) * 8, bits));
}

static void wire(const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    char sent[24], received[24];
    if (result->wire_bytes == 0)
        return;
    printf("wire       %" PRIu64 " bytes are %" PRIu64 " on Ethernet", result->datagram_bytes,
           result->wire_bytes);
    if (result->answer_wire_bytes != 0 && result->answer_bytes != result->datagram_bytes)
        printf(", %" PRIu64 " of an answer are %" PRIu64, result->answer_bytes,
               result->answer_wire_bytes);
    printf(" with its head, IP and UDP: sent %s, received %s\n",
           show_bits(per_second(counts->sent_wire_bytes, result) * 8, sent),
           show_bits(per_second(counts->received_wire_bytes, result) * 8, received));
}

static void requests(const struct bench *bench, const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    char time[16];
    uint64_t timeout_ns = bench->load.timeout_ns != 0 ? bench->load.timeout_ns : WEIR_S;
    printf("requests   %12" PRIu64 "   %.1f/s\n", counts->requests,
           per_second(counts->requests, result));
    side("sent", counts->sent, counts->sent_bytes, result);
    side("received", counts->received_datagrams, counts->received_bytes, result);
    printf("lost       %12" PRIu64 "   %.4g %% of those sent: no answer within %s\n", counts->lost,
           share(counts->lost, counts->sent), show_time(timeout_ns, time));
    if (counts->overdue != 0)
        printf("           %12" PRIu64 "   of them came later\n", counts->overdue);
    if (counts->reordered + counts->duplicates != 0)
        printf("reordered  %12" PRIu64 "   %" PRIu64 " came twice\n", counts->reordered,
               counts->duplicates);
}

/* One way of the streams, as both ends saw it. */
static void flow(const char *name, const weir_load_flow *flow)
{
    char sent[24], received[24], jitter[16], most[16];
    if (flow->streams != 0) {
        printf("%s\n", name);
        printf("  sent     %12" PRIu64 "   %" PRIu64 " datagrams/s   %s\n", flow->sent,
               flow->sent_s, show_bits((double)flow->sent_bytes_s * 8, sent));
        printf("  received %12" PRIu64 "   %" PRIu64 " datagrams/s   %s\n", flow->received,
               flow->received_s, show_bits((double)flow->received_bytes_s * 8, received));
        printf("  lost     %12" PRIu64 "   %.4g %%\n", flow->lost, share(flow->lost, flow->sent));
        printf("  reordered%12" PRIu64 "   %" PRIu64 " came twice\n", flow->reordered,
               flow->duplicates);
        printf("  jitter   %12s   worst stream %s\n", show_time(flow->jitter_ns, jitter),
               show_time(flow->jitter_max_ns, most));
    }
    if (flow->silent != 0)
        printf("%s: of %" PRIu64 " stream%s the server did not tell what it saw\n", name,
               flow->silent, s_of((unsigned)flow->silent));
}

static void streams(const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    side("sent", counts->sent, counts->sent_bytes, result);
    side("received", counts->received_datagrams, counts->received_bytes, result);
    flow("to the server, each end by its own clock", &result->up);
    flow("from the server, each end by its own clock", &result->down);
}

void table_dgram_rates(const struct bench *bench, const weir_load_result *result)
{
    if (bench->load.kind == WEIR_LOAD_DGRAM_STREAM)
        streams(result);
    else
        requests(bench, result);
    if (result->counts.dropped != 0)
        printf("dropped    %12" PRIu64 "   came, and found the receive buffer here full\n",
               result->counts.dropped);
    wire(result);
}

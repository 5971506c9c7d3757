/* Echo of datagrams: what comes in goes back to its sender. Says at the end what it counted.
 *
 *     ./udp-echo [URL [LOOPS]]     default udp://127.0.0.1:7000, one loop
 *     ./udp-echo udp://:7000 4     four loops, each with a socket of its own on the port
 *     printf hello | nc -u -w 1 127.0.0.1 7000
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/weir.h>

static void on_datagram(weir_dgram s, const weir_datagram *in, void *user)
{
    /* Refused when the queue is full: then it is lost, as datagrams may be, and counted. */
    (void)!weir_dgram_reply(s, in, in->view);
}

/* Somebody's port was closed when our answer came: nothing to do about it here. */
static void on_error(weir_dgram s, const weir_datagram_error *error, void *user)
{
    char peer[WEIR_ADDRESS_TEXT_MAX] = "somebody";
    if (error->peer != NULL)
        weir_address_format(error->peer, peer, sizeof peer);
    fprintf(stderr, "%s: %s\n", peer, weir_error_text(error->error));
}

static void on_loop_stop(weir_loop *loop, void *user)
{
    weir_loop_stats stats;
    if (weir_loop_stats_get(loop, &stats) < 0)
        return;
    printf("%" PRIu64 " in, %" PRIu64 " out\n", stats.datagrams_received, stats.datagrams_sent);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const weir_dgram_service datagrams = {.on_datagram = on_datagram, .on_error = on_error};
    weir_service echo = {
        .listen = argc > 1 ? argv[1] : "udp://127.0.0.1:7000",
        .on_loop_stop = on_loop_stop,
        .datagram = &datagrams,
    };
    weir_run_options options = {
        .shape = argc > 2 ? WEIR_SHAPE_THREADS : WEIR_SHAPE_SINGLE,
        .loops = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1,
    };
    return weir_run(&echo, 1, &options) < 0;
}

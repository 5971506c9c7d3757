/* Options and their defaults, addresses, and the way to be stopped. */
#include "app/iperf/run.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"

#define TIME_NS    (10 * WEIR_S)
#define CONNECT_MS 10000
#define UDP_RATE   1000000
#define RATE_MAX   1000000000000000ull
#define PAUSE_NS   1000000

static _Atomic(weir_loop *) running;
static atomic_bool stopping;
static atomic_uint holders; /* in weir_iperf_stop: the loop must not go yet */

void weir_iperf_stop(void)
{
    atomic_fetch_add(&holders, 1);
    atomic_store(&stopping, true);
    weir_loop *loop = atomic_load(&running);
    if (loop != NULL)
        weir_loop_stop(loop);
    atomic_fetch_sub(&holders, 1);
}

void iperf_running_begin(weir_loop *loop)
{
    atomic_store(&stopping, false);
    atomic_store(&running, loop);
}

void iperf_running_end(void)
{
    atomic_store(&running, NULL);
    while (atomic_load(&holders) != 0)
        weir__clock_sleep_ns(PAUSE_NS);
}

bool iperf_running_stopped(void)
{
    return atomic_load(&stopping);
}

static int refuse(char *why, size_t why_size, const char *format, ...) WEIR_PRINTF(3, 4);

static int refuse(char *why, size_t why_size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (why_size != 0)
        vsnprintf(why, why_size, format, args);
    va_end(args);
    return WEIR_EINVALID;
}

static void defaults(weir_iperf_options *o)
{
    if (o->port == 0)
        o->port = WEIR_IPERF_PORT;
    if (o->interval_ns == 0)
        o->interval_ns = WEIR_S;
    if (o->connect_ms == 0)
        o->connect_ms = CONNECT_MS;
    if (o->streams == 0)
        o->streams = 1;
    if (o->block_bytes == 0 && !o->udp)
        o->block_bytes = 128 << 10;
    if (o->rate_bits == 0 && o->udp)
        o->rate_bits = UDP_RATE;
    if (o->time_ns == 0 && o->bytes == 0 && o->blocks == 0)
        o->time_ns = TIME_NS;
}

static int check_streams(const weir_iperf_options *o, char *why, size_t why_size)
{
    if (o->streams > WEIR_IPERF_STREAMS_MAX)
        return refuse(why, why_size, "at most %d streams", WEIR_IPERF_STREAMS_MAX);
    if (o->reverse && o->both)
        return refuse(why, why_size, "the server sends, or both send: choose one");
    if (o->udp && o->block_bytes != 0 &&
        (o->block_bytes < IPERF_UDP_BLOCK_LEAST || o->block_bytes > IPERF_UDP_BLOCK_MAX))
        return refuse(why, why_size, "a datagram has from %d to %d bytes", IPERF_UDP_BLOCK_LEAST,
                      IPERF_UDP_BLOCK_MAX);
    if (!o->udp && o->block_bytes > IPERF_TCP_BLOCK_MAX)
        return refuse(why, why_size, "a write has at most %d bytes", IPERF_TCP_BLOCK_MAX);
    if (o->rate_bits > RATE_MAX && o->rate_bits != WEIR_NEVER)
        return refuse(why, why_size, "a rate of at most 1000T bits a second");
    if (o->burst > 1000)
        return refuse(why, why_size, "a burst of at most 1000 datagrams");
    return 0;
}

int iperf_options_check(weir_iperf_options *o, char *why, size_t why_size)
{
    if (why_size != 0)
        why[0] = '\0';
    defaults(o);
    if (o->interval_ns < 100 * WEIR_MS)
        return refuse(why, why_size, "an interval is at least 100ms");
    if ((o->bytes != 0) + (o->blocks != 0) + (o->time_ns != 0) > 1)
        return refuse(why, why_size, "a time, a number of bytes or of blocks: choose one");
    if (o->time_ns > IPERF_TIME_MAX_S * WEIR_S)
        return refuse(why, why_size, "a test takes at most a day");
    if (o->omit_ns > IPERF_OMIT_MAX_S * WEIR_S || o->omit_ns % WEIR_S != 0)
        return refuse(why, why_size, "what is omitted are whole seconds, at most %d",
                      IPERF_OMIT_MAX_S);
    if (o->congestion != NULL && strlen(o->congestion) >= IPERF_NAME_MAX)
        return refuse(why, why_size, "a congestion control has a shorter name");
    if (o->title != NULL && strlen(o->title) >= IPERF_TITLE_MAX)
        return refuse(why, why_size, "a title has at most %d bytes", IPERF_TITLE_MAX - 1);
    return check_streams(o, why, why_size);
}

int iperf_bind_address(const char *text, unsigned port, weir_address *out)
{
    struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, text, &ip4.sin_addr) == 1)
        return weir_address_from_sockaddr((const struct sockaddr *)&ip4, sizeof ip4,
                                          WEIR_TRANSPORT_TCP, out);
    if (inet_pton(AF_INET6, text, &ip6.sin6_addr) == 1)
        return weir_address_from_sockaddr((const struct sockaddr *)&ip6, sizeof ip6,
                                          WEIR_TRANSPORT_TCP, out);
    return WEIR_EADDRESS;
}

static uint32_t option_of(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? (uint32_t)value : 0;
}

void iperf_socket_facts(struct iperf_test *test)
{
    bool udp = test->params.udp;
    int window = (int)test->params.window_bytes;
    int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (window != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &window, sizeof window);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    }
    test->send_buffer_bytes = option_of(fd, SO_SNDBUF);
    test->receive_buffer_bytes = option_of(fd, SO_RCVBUF);
    socklen_t size = sizeof test->own.congestion;
    if (test->params.congestion[0] != '\0')
        snprintf(test->own.congestion, sizeof test->own.congestion, "%s", test->params.congestion);
    else if (udp || getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, test->own.congestion, &size) < 0)
        test->own.congestion[0] = '\0';
    test->own.congestion[sizeof test->own.congestion - 1] = '\0';
    close(fd);
}

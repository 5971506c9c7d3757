/* UDP streams: a connected socket each, which the loop watches. A datagram begins with seconds and
 * microseconds of its sending and its number, from 1 on, in 32 bits each (the number in 64 if both
 * ends agreed), most significant byte first. */
#include "app/iperf/iperf.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"

enum {
    BATCH = 64,
    BATCHES_A_TURN = 4,
    HEAD_BYTES = 12,
    HEAD_BYTES_64 = 16,
    ASK_NEW = 0x36373839, /* in the byte order of whoever sends it, as is its answer */
    ANSWER_NEW = 0x39383736,
    ASK_OLD = 123456789,
    ANSWER_OLD = 987654321
};
#define TICK_NS WEIR_MS /* with a rate datagrams leave at most this often */

static void put32(uint8_t *out, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(number >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* ---- sockets ---- */

static int socket_make(const struct iperf_test *test, const weir_address *local, bool shared)
{
    int on = 1, window = (int)test->params.window_bytes, tos = test->params.tos;
    int family = local->socket.ss_family;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (shared)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* When a datagram came the kernel knows best: we read many at once. */
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (window != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &window, sizeof window);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    }
    if (tos != 0 && family == AF_INET)
        setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
    else if (tos != 0)
        setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos);
    if (bind(fd, (const struct sockaddr *)&local->socket, local->socket_size) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static void local_of(int fd, weir_address *out)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size) == 0)
        weir_address_from_sockaddr((const struct sockaddr *)&name, size, WEIR_TRANSPORT_UDP, out);
}

void iperf_udp_close(struct iperf_stream *stream)
{
    if (!stream->test->params.udp)
        return;
    weir_timer_cancel(&stream->pace);
    if (stream->input_on)
        weir_watch_cancel(&stream->input);
    if (stream->output_on)
        weir_watch_cancel(&stream->output);
    stream->input_on = stream->output_on = stream->open = false;
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
}

/* ---- receiving ---- */

void iperf_udp_count(struct iperf_stream *stream, uint64_t number, double left_s, double came_s,
                     size_t size)
{
    struct iperf_counts *now = &stream->now;
    double transit_s = came_s - left_s;
    now->bytes += size;
    if (number > now->packets) {
        now->lost += (int64_t)(number - now->packets - 1);
        now->packets = number;
    } else { /* it had been taken for lost */
        now->unordered++;
        now->lost -= now->lost > 0;
    }
    if (stream->has_transit) { /* RFC 3550 6.4.1 */
        double apart_s = transit_s - stream->transit_s;
        stream->jitter_s += ((apart_s < 0 ? -apart_s : apart_s) - stream->jitter_s) / 16;
    }
    stream->has_transit = true;
    stream->transit_s = transit_s;
}

static double came_at(struct msghdr *message)
{
    struct timespec at = {0};
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
            memcpy(&at, CMSG_DATA(part), sizeof at);
            return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
        }
    return (double)weir__clock_wall_ns() / 1e9;
}

static void take(struct iperf_stream *stream, const uint8_t *head, size_t size, double came_s)
{
    bool wide = stream->test->params.counters64;
    if (size < (wide ? HEAD_BYTES_64 : HEAD_BYTES))
        return; /* one that begins a stream, sent again, or somebody else's */
    uint64_t number = get32(head + 8);
    if (wide)
        number = number << 32 | get32(head + 12);
    /* A number that nobody can have reached would count as that many lost. */
    if (number == 0 || number > stream->now.packets + UINT32_MAX)
        return;
    iperf_udp_count(stream, number, get32(head) + get32(head + 4) / 1e6, came_s, size);
}

struct inbox {
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    uint8_t heads[BATCH][HEAD_BYTES_64];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control[BATCH];
};

/* Only the head of a datagram is copied; with MSG_TRUNC its whole length is told all the same. */
static int receive(struct iperf_stream *stream, struct inbox *inbox)
{
    for (unsigned i = 0; i < BATCH; i++) {
        inbox->pieces[i] = (struct iovec){inbox->heads[i], HEAD_BYTES_64};
        inbox->messages[i].msg_hdr = (struct msghdr){.msg_iov = &inbox->pieces[i],
                                                     .msg_iovlen = 1,
                                                     .msg_control = &inbox->control[i],
                                                     .msg_controllen = sizeof inbox->control[i]};
    }
    int count;
    do
        count = recvmmsg(stream->fd, inbox->messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    while (count < 0 && errno == EINTR);
    for (int i = 0; i < count && !stream->test->ended; i++)
        take(stream, inbox->heads[i], inbox->messages[i].msg_len,
             came_at(&inbox->messages[i].msg_hdr));
    return count;
}

/* The client's first datagram is answered: the stream is ready. */
static bool take_answer(struct iperf_stream *stream)
{
    uint32_t answer = 0;
    ssize_t size = recv(stream->fd, &answer, sizeof answer, MSG_DONTWAIT);
    if (size != sizeof answer || (answer != ANSWER_NEW && answer != ANSWER_OLD))
        return false;
    stream->answered = true;
    iperf_client_stream_ready(stream);
    return true;
}

static void on_input(weir_watch *watch, int events, void *arg)
{
    struct iperf_stream *stream = arg;
    struct iperf_test *test = stream->test;
    static struct inbox inbox; /* the loops of tests are never two in a process */
    iperf_test_hold(test);
    stream->input_on = false;
    int count = BATCH;
    if (!stream->answered)
        take_answer(stream);
    else
        for (unsigned i = 0; i < BATCHES_A_TURN && count == BATCH && stream->fd >= 0; i++)
            count = receive(stream, &inbox);
    if (iperf_counting(stream))
        iperf_test_moved(test);
    if (stream->fd >= 0)
        iperf_udp_receive(stream);
    iperf_test_release(test);
}

/* A sender has nothing to receive once it was answered; and epoll watches a descriptor only once.
 */
void iperf_udp_receive(struct iperf_stream *stream)
{
    if (!stream->input_on && (!stream->sender || !stream->answered))
        stream->input_on = weir_poll(&stream->input, stream->fd, POLLIN, on_input, stream) == 0;
}

/* ---- sending ---- */

struct outbox {
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH][2];
    uint8_t heads[BATCH][HEAD_BYTES_64];
};

static void fill(struct iperf_stream *stream, struct outbox *outbox, unsigned count)
{
    struct iperf_test *test = stream->test;
    size_t size = test->params.block_bytes;
    size_t head_bytes = test->params.counters64 ? HEAD_BYTES_64 : HEAD_BYTES;
    uint64_t now_ns = weir__clock_now_ns();
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = stream->now.packets + i + 1;
        uint8_t *head = outbox->heads[i];
        put32(head, (uint32_t)(now_ns / WEIR_S));
        put32(head + 4, (uint32_t)(now_ns % WEIR_S / 1000));
        if (test->params.counters64)
            put32(head + 8, (uint32_t)(number >> 32));
        put32(head + head_bytes - 4, (uint32_t)number);
        outbox->pieces[i][0] = (struct iovec){head, head_bytes};
        outbox->pieces[i][1] = (struct iovec){test->block, size - head_bytes};
        outbox->messages[i].msg_hdr =
            (struct msghdr){.msg_iov = outbox->pieces[i], .msg_iovlen = 2};
    }
}

/* Datagrams that are due now; with none, *due_ns is when the next is. */
static uint64_t due(const struct iperf_stream *stream, uint64_t *due_ns)
{
    const struct iperf_test *test = stream->test;
    uint64_t rate = test->params.rate_bits, size = test->params.block_bytes;
    uint64_t burst = test->params.burst != 0 ? test->params.burst : 1;
    uint64_t sent = stream->now.packets - stream->zero.packets;
    uint64_t now_ns = weir__clock_now_ns();
    if (rate == 0)
        return BATCH * BATCHES_A_TURN;
    double step_ns = (double)size * 8e9 / (double)rate * (double)burst;
    uint64_t allowed = ((uint64_t)((double)(now_ns - test->start_ns) / step_ns) + 1) * burst;
    if (allowed > sent)
        return allowed - sent;
    uint64_t bursts = sent / burst;
    *due_ns = test->start_ns + (uint64_t)((double)bursts * step_ns) + 1;
    if (*due_ns < now_ns + TICK_NS) /* several at once: waking up costs more than being late */
        *due_ns = now_ns + TICK_NS;
    return 0;
}

static void on_pace(weir_timer *timer, void *arg)
{
    iperf_udp_send(arg);
}

static void on_output(weir_watch *watch, int events, void *arg)
{
    struct iperf_stream *stream = arg;
    stream->output_on = false;
    iperf_udp_send(stream);
}

/* Of the datagrams that are asked for, those that the number of bytes or blocks leaves. */
static uint64_t within_limit(const struct iperf_test *test, uint64_t count)
{
    const struct iperf_params *params = &test->params;
    uint64_t whole = params->bytes != 0
                         ? (params->bytes + params->block_bytes - 1) / params->block_bytes
                         : params->blocks;
    if (whole == 0 || test->server != NULL || test->omitting || params->both)
        return count;
    uint64_t given = test->given_bytes / params->block_bytes;
    uint64_t left = whole > given ? whole - given : 0;
    return left < count ? left : count;
}

/* Sends up to `count`; false: there is no room, or an error that passes. */
static bool send_batch(struct iperf_stream *stream, struct outbox *outbox, unsigned count)
{
    struct iperf_test *test = stream->test;
    fill(stream, outbox, count);
    int sent;
    do
        sent = sendmmsg(stream->fd, outbox->messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    /* Of a port that is closed the kernel tells once, by the call after the one that met it. */
    if (sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) {
        int error = errno;
        iperf_fail(test, -error, "a datagram cannot be sent: %s", weir_error_text(-error));
        stream->open = false;
        return false;
    }
    if (sent > 0) {
        stream->now.packets += (unsigned)sent;
        stream->now.bytes += (uint64_t)sent * test->params.block_bytes;
        test->given_bytes += (uint64_t)sent * test->params.block_bytes;
    }
    return sent == (int)count;
}

void iperf_udp_send(struct iperf_stream *stream)
{
    struct iperf_test *test = stream->test;
    static struct outbox outbox;
    uint64_t due_ns = 0;
    if (!iperf_counting(stream) || stream->fd < 0 || stream->output_on)
        return;
    uint64_t count = within_limit(test, due(stream, &due_ns));
    unsigned batches = 0;
    bool room = true;
    while (count != 0 && room && batches++ < BATCHES_A_TURN) {
        unsigned part = count < BATCH ? (unsigned)count : BATCH;
        room = send_batch(stream, &outbox, part);
        count -= part;
    }
    iperf_test_moved(test);
    if (!iperf_counting(stream) || !stream->open || within_limit(test, 1) == 0)
        return;
    if (count == 0 && room && due(stream, &due_ns) == 0)
        weir_timer_start_precise(&stream->pace, due_ns, on_pace, stream);
    else
        stream->output_on = weir_poll(&stream->output, stream->fd, POLLOUT, on_output, stream) == 0;
}

/* ---- the beginning of a stream ---- */

int iperf_udp_connect(struct iperf_stream *stream, const weir_address *local,
                      const weir_address *remote)
{
    weir_address any = {0};
    uint32_t ask = ASK_NEW;
    if (local == NULL) {
        any.socket.ss_family = remote->socket.ss_family;
        any.socket_size = remote->socket_size;
        local = &any;
    }
    int fd = socket_make(stream->test, local, false);
    if (fd < 0)
        return fd;
    stream->fd = fd;
    if (connect(fd, (const struct sockaddr *)&remote->socket, remote->socket_size) < 0 ||
        send(fd, &ask, sizeof ask, MSG_NOSIGNAL) != sizeof ask)
        return errno != 0 ? -errno : -EIO;
    local_of(fd, &stream->local);
    iperf_udp_receive(stream);
    return stream->input_on ? 0 : WEIR_ENOMEM;
}

static void listener_wait(struct iperf_test *test);

/* Everybody may send to the port: only the client's host begins streams of the test. */
static bool same_host(const struct iperf_test *test, const struct sockaddr_storage *from,
                      socklen_t size, weir_address *peer)
{
    weir_address host = test->peer_address, other;
    if (weir_address_from_sockaddr((const struct sockaddr *)from, size, WEIR_TRANSPORT_TCP,
                                   &other) < 0 ||
        weir_address_from_sockaddr((const struct sockaddr *)from, size, WEIR_TRANSPORT_UDP, peer) <
            0)
        return false;
    weir_address_set_port(&host, 0);
    weir_address_set_port(&other, 0);
    return weir_address_equal(&host, &other) == 1;
}

/* The socket becomes the stream's, and the next stream gets a new one on the same port; only then
 * is the client told. */
static void stream_begin(struct iperf_test *test, const struct sockaddr_storage *from,
                         socklen_t size, const weir_address *peer, uint32_t answer)
{
    const struct iperf_params *params = &test->params;
    bool sender = params->both ? test->stream_count >= params->streams : params->reverse;
    int fd = test->udp_listener;
    if (connect(fd, (const struct sockaddr *)from, size) < 0)
        return;
    struct iperf_stream *stream = iperf_stream_add(test, sender);
    test->udp_listener = -1;
    stream->fd = fd;
    stream->open = stream->answered = true;
    stream->remote = *peer;
    local_of(fd, &stream->local);
    if (test->stream_count < test->stream_room) {
        int result = iperf_udp_listen(test);
        if (result < 0) {
            iperf_fail(test, result, "no socket for the next stream: %s", weir_error_text(result));
            iperf_server_failed(test, IPERF_ERROR_LISTEN);
            return;
        }
    }
    iperf_udp_receive(stream);
    /* If it is lost the client gives up, and so do we by the deadline. */
    if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof answer)
        iperf_server_stream_ready(test);
}

static void on_first(weir_watch *watch, int events, void *arg)
{
    struct iperf_test *test = arg;
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    uint32_t ask = 0;
    weir_address peer;
    test->udp_watch_on = false;
    ssize_t got = recvfrom(test->udp_listener, &ask, sizeof ask, MSG_DONTWAIT,
                           (struct sockaddr *)&from, &size);
    uint32_t swapped = __builtin_bswap32(ask);
    bool fresh = ask == ASK_NEW || swapped == ASK_NEW, old = ask == ASK_OLD || swapped == ASK_OLD;
    uint32_t answer = fresh ? ANSWER_NEW : ANSWER_OLD;
    if (ask != ASK_NEW && ask != ASK_OLD)
        answer = __builtin_bswap32(answer);
    iperf_test_hold(test);
    if (got == sizeof ask && (fresh || old) && same_host(test, &from, size, &peer))
        stream_begin(test, &from, size, &peer, answer);
    listener_wait(test);
    iperf_test_release(test);
}

static void listener_wait(struct iperf_test *test)
{
    if (test->udp_listener >= 0 && !test->udp_watch_on)
        test->udp_watch_on =
            weir_poll(&test->udp_watch, test->udp_listener, POLLIN, on_first, test) == 0;
}

int iperf_udp_listen(struct iperf_test *test)
{
    weir_address local;
    int result = weir_conn_local(test->control.conn, &local);
    if (result < 0)
        return result;
    int fd = socket_make(test, &local, true);
    if (fd < 0)
        return fd;
    test->udp_listener = fd;
    listener_wait(test);
    return test->udp_watch_on ? 0 : WEIR_ENOMEM;
}

void iperf_udp_unlisten(struct iperf_test *test)
{
    if (test->udp_watch_on)
        weir_watch_cancel(&test->udp_watch);
    test->udp_watch_on = false;
    if (test->udp_listener >= 0)
        close(test->udp_listener);
    test->udp_listener = -1;
}

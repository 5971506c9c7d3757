/* A loop's part of the access log: lines are put into one buffer while the other is being written
 * off the loop. When both are full lines are lost, and counted. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/http/log.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    LOG_BUFFER_BYTES = 256 << 10,
    LOG_FLUSH_BYTES = LOG_BUFFER_BYTES / 2, /* written at once from here on */
    LOG_FLUSH_MS = 200,                     /* or after this time */
    LOG_FULL_MS = 1,        /* or, when a pipe was full, after this, then twice … */
    LOG_LAST_MS = 1000,     /* what a reader of the last lines gets to take them */
    LOG_LAST_TRIES = 100,   /* when others take the room that there was */
    STATUS_ABANDONED = 499, /* the client left before it was answered; never sent */
};

/* Of one connection, asked of the kernel with its first line. */
struct log_peer {
    struct slab_head head;
    uint8_t size;
    char text[55]; /* the longest IPv6 address, and a zone in digits */
};
_Static_assert(sizeof(struct log_peer) == 64, "one line of the processor's cache");

enum { HALF_FIRST = 1 }; /* a half's first line begins here; before it stands a line's end */

struct log_half {
    char *text;
    size_t from, size; /* [from, size) is still to be written */
};

struct accesslog_buffer {
    struct accesslog *log;
    struct http_server *server; /* NULL: it is gone, and only the last write is still under way */
    weir_loop *loop;
    struct slab peers;
    struct log_half half[2];
    unsigned filling; /* number of the half that takes lines */
    bool writing, timing;
    uint32_t full_ms; /* the pipe was full: how long to wait; 0: it was not */
    bool torn;        /* a line was written in part: what is next written begins with its end */
    uint64_t lost;
    weir_timer timer;
};

static void write_on(struct accesslog_buffer *b);

static struct log_half *filled(struct accesslog_buffer *b)
{
    return &b->half[b->filling ^ 1];
}

static void lose(struct accesslog_buffer *b, uint64_t lines, int error)
{
    static struct log_site site;
    b->lost += lines;
    if (b->server != NULL)
        b->server->log_lost += lines;
    weir__log_limited(&site, WEIR_LOG_WARN, error, 0,
                      "loop %u has lost %llu lines of the access log so far: %s", b->loop->id,
                      (unsigned long long)b->lost,
                      error != 0 ? weir_error_text(error) : "it is written more slowly than made");
}

static void half_lose(struct accesslog_buffer *b, struct log_half *half, int error)
{
    uint64_t lines = 0;
    for (size_t i = half->from > HALF_FIRST ? half->from : HALF_FIRST; i < half->size; i++)
        lines += half->text[i] == '\n';
    if (half->from != 0)
        b->torn = half->text[half->from - 1] != '\n';
    half->from = half->size = HALF_FIRST;
    lose(b, lines, error);
}

static void half_wrote(struct accesslog_buffer *b, struct log_half *half, size_t size)
{
    half->from += size;
    b->torn = false;
    b->full_ms = 0;
}

static void timer_fired(weir_timer *timer, void *arg)
{
    struct accesslog_buffer *b = arg;
    b->timing = false;
    write_on(b);
}

static void timer_begin(struct accesslog_buffer *b)
{
    if (b->timing)
        return;
    b->timing = true;
    uint32_t wait_ms = b->full_ms != 0 ? b->full_ms : LOG_FLUSH_MS;
    weir_timer_start(&b->timer, weir_after(wait_ms * WEIR_MS), timer_fired, b);
}

/* How much one write takes: of a stream no more than stays whole among other writers, in whole
 * lines. */
static size_t piece_size(const struct accesslog_buffer *b, const struct log_half *half)
{
    size_t size = half->size - half->from;
    if (!b->log->stream || size <= PIPE_BUF)
        return size;
    const char *from = half->text + half->from, *end = memrchr(from, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end - from) + 1 : PIPE_BUF;
}

static void buffer_free(struct accesslog_buffer *b)
{
    accesslog_release(b->log);
    weir__free(b->half[0].text);
    weir__free(b->half[1].text);
    weir__free(b);
}

/* The server is gone: what is left is written here and now, but not for a reader who is slow. */
static void write_last(struct accesslog_buffer *b)
{
    int tries = LOG_LAST_TRIES;
    for (int i = 0; i < 2; i++) {
        struct log_half *half = i == 0 ? filled(b) : &b->half[b->filling];
        if (b->torn && half->from == HALF_FIRST && half->from < half->size)
            half->from = 0;
        while (half->from < half->size) {
            struct pollfd room = {.fd = b->log->fd, .events = POLLOUT, .revents = 0};
            ssize_t wrote = -1;
            errno = EAGAIN;
            if (!b->log->stream || poll(&room, 1, LOG_LAST_MS) > 0)
                wrote =
                    weir__write_quietly(b->log->fd, half->text + half->from, piece_size(b, half));
            bool taken = wrote < 0 && errno == EAGAIN && room.revents != 0; /* by another writer */
            if ((wrote < 0 && errno == EINTR) || (taken && --tries > 0))
                continue;
            if (wrote <= 0)
                half_lose(b, half, wrote < 0 ? -errno : -ENOSPC);
            else
                half_wrote(b, half, (size_t)wrote);
        }
    }
    buffer_free(b);
}

static void wrote(weir_loop *loop, int result, void *arg)
{
    struct accesslog_buffer *b = arg;
    struct log_half *half = filled(b);
    b->writing = false;
    if (result > 0)
        half_wrote(b, half, (size_t)result);
    else if (result == -EAGAIN)
        b->full_ms = b->full_ms == 0                 ? LOG_FULL_MS
                     : b->full_ms < LOG_FLUSH_MS / 2 ? 2 * b->full_ms
                                                     : LOG_FLUSH_MS;
    else if (result != -EINTR)
        half_lose(b, half, result != 0 ? result : -ENOSPC);
    size_t waiting = b->half[b->filling].size;
    if (b->server == NULL)
        write_last(b);
    else if (result != -EAGAIN && (half->from < half->size || waiting >= LOG_FLUSH_BYTES))
        write_on(b);
    else if (half->from < half->size || waiting != HALF_FIRST)
        timer_begin(b);
}

/* Writes what is to be written, unless a write is under way or a full pipe gets time: it comes here
 * again. */
static void write_on(struct accesslog_buffer *b)
{
    if (b->writing || (b->full_ms != 0 && b->timing))
        return;
    if (filled(b)->from == filled(b)->size) {
        filled(b)->from = filled(b)->size = HALF_FIRST;
        b->filling ^= 1;
    }
    struct log_half *half = filled(b);
    if (half->from == half->size)
        return;
    if (b->torn && half->from == HALF_FIRST)
        half->from = 0;
    struct io_file file = {.verb = IO_FILE_WRITE,
                           .fd = b->log->fd,
                           .buffer = half->text + half->from,
                           .size = piece_size(b, half),
                           .offset =
                               b->log->stream ? -1 : 0}; /* O_APPEND: at the end in any case */
    b->writing = loop_file_start(b->loop, &file, wrote, b, NULL) == 0;
    if (!b->writing)
        timer_begin(b);
}

/* ---- lines ---- */

static void peer_write(struct log_peer *peer, const weir_address *address)
{
    const struct sockaddr *socket = (const struct sockaddr *)&address->socket;
    const void *ip = NULL;
    uint32_t zone = 0;
    if (socket->sa_family == AF_INET) {
        ip = &((const struct sockaddr_in *)(const void *)socket)->sin_addr;
    } else if (socket->sa_family == AF_INET6) {
        ip = &((const struct sockaddr_in6 *)(const void *)socket)->sin6_addr;
        zone = ((const struct sockaddr_in6 *)(const void *)socket)->sin6_scope_id;
    }
    if (ip == NULL || inet_ntop(socket->sa_family, ip, peer->text, INET6_ADDRSTRLEN) == NULL)
        memcpy(peer->text, "unix:", 6);
    size_t size = strlen(peer->text);
    if (zone != 0)
        size += (size_t)snprintf(peer->text + size, sizeof peer->text - size, "%%%u", zone);
    peer->size = (uint8_t)(size < sizeof peer->text ? size : sizeof peer->text - 1);
}

static struct http_text peer_of(struct accesslog_buffer *b, struct exchange *x)
{
    struct http_conn *h = x->conn->session;
    struct log_peer *peer = h->peer != 0 ? slab_at(&b->peers, h->peer - 1) : NULL;
    weir_address address;
    uint32_t slot;
    if (peer == NULL) {
        if (weir_conn_peer(conn_handle(b->loop, x->conn), &address) < 0 ||
            (peer = slab_take(&b->peers, &slot)) == NULL)
            return (struct http_text){NULL, 0};
        peer_write(peer, &address);
        h->peer = slot + 1;
    }
    return (struct http_text){peer->text, peer->size};
}

static void record_fill(struct accesslog_buffer *b, struct exchange *x,
                        struct accesslog_record *record)
{
    const struct http1_request *request = &x->request;
    uint64_t now_ns = weir__clock_now_ns();
    uint64_t duration_ns = now_ns > x->began_ns && x->began_ns != 0 ? now_ns - x->began_ns : 0;
    *record = (struct accesslog_record){
        .peer = peer_of(b, x),
        .time_ns = (int64_t)(weir__clock_wall_ns() - duration_ns),
        .duration_ns = duration_ns,
        .body_bytes = x->answer_bytes,
        .status = x->status != 0 ? x->status : STATUS_ABANDONED,
    };
    if (request->fields.base == NULL)
        return;
    record->method = http1_text(&request->fields, request->method_name);
    record->target = http1_text(&request->fields, request->target);
    if (request->target.length != 0)
        record->version = (struct http_text){request->minor == 0 ? "HTTP/1.0" : "HTTP/1.1", 8};
    http1_fields_get(&request->fields, HTTP_REFERER, &record->referer);
    http1_fields_get(&request->fields, HTTP_USER_AGENT, &record->agent);
}

void accesslog_add(struct exchange *x)
{
    struct accesslog_buffer *b = x->server->log;
    struct accesslog_record record;
    if (b == NULL || x->logged || x->conn == NULL)
        return;
    x->logged = true;
    struct log_half *half = &b->half[b->filling];
    if (LOG_BUFFER_BYTES - half->size < ACCESSLOG_LINE_MAX) {
        write_on(b);
        half = &b->half[b->filling];
        if (LOG_BUFFER_BYTES - half->size < ACCESSLOG_LINE_MAX) {
            lose(b, 1, 0);
            return;
        }
    }
    record_fill(b, x, &record);
    half->size += accesslog_write(&record, b->log->format, half->text + half->size);
    if (b->writing)
        return;
    if (half->size >= LOG_FLUSH_BYTES)
        write_on(b);
    else
        timer_begin(b);
}

void accesslog_forget(struct http_server *server, struct http_conn *h)
{
    if (server->log != NULL)
        slab_give(&server->log->peers, h->peer - 1);
    h->peer = 0;
}

/* ---- a loop's begin and end ---- */

int accesslog_start(struct http_server *server)
{
    struct accesslog *log = server->app->access;
    if (log == NULL)
        return 0;
    struct accesslog_buffer *b = weir__zalloc(sizeof *b);
    if (b == NULL)
        return WEIR_ENOMEM;
    atomic_fetch_add_explicit(&log->refs, 1, memory_order_relaxed);
    b->log = log;
    b->server = server;
    b->loop = server->loop;
    b->half[0].text = weir__alloc(LOG_BUFFER_BYTES);
    b->half[1].text = weir__alloc(LOG_BUFFER_BYTES);
    if (b->half[0].text == NULL || b->half[1].text == NULL ||
        slab_init(&b->peers, sizeof(struct log_peer), HTTP_EXCHANGES_MAX) < 0) {
        buffer_free(b);
        return WEIR_ENOMEM;
    }
    for (int i = 0; i < 2; i++) {
        b->half[i].text[0] = '\n';
        b->half[i].from = b->half[i].size = HALF_FIRST;
    }
    server->log = b;
    return 0;
}

void accesslog_stop(struct http_server *server)
{
    struct accesslog_buffer *b = server->log;
    if (b == NULL)
        return;
    server->log = NULL;
    b->server = NULL;
    weir_timer_cancel(&b->timer);
    slab_free(&b->peers);
    if (!b->writing)
        write_last(b);
}

/* What the kernel knows of a connection, asked when somebody wants it. */
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "net/conn.h"
#include "net/socket.h"

static int with_number(weir_conn handle, int (*ask)(int fd, void *out), void *out)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(handle, &loop, &c);
    if (result < 0)
        return result;
    if (out == NULL)
        return WEIR_EINVALID;
    if (c->fd.fd < 0 || c->phase >= CONN_CLOSING)
        return WEIR_EGONE;
    int number = loop->io->ops->number(loop->io, &c->fd);
    if (number < 0)
        return number;
    result = ask(number, out);
    loop->io->ops->number_done(loop->io, &c->fd, number);
    return result;
}

static int ask_peer(int fd, void *out)
{
    return weir__socket_peer(fd, out);
}

static int ask_local(int fd, void *out)
{
    return weir__socket_local(fd, out);
}

static int ask_tcp_info(int fd, void *out)
{
    return weir__tcp_info(fd, out);
}

static int ask_unacknowledged(int fd, void *out)
{
    return ioctl(fd, SIOCOUTQ, out) < 0 ? -errno : 0;
}

int64_t conn_taken(weir_loop *loop, struct conn *c)
{
    int queued;
    if (with_number(conn_handle(loop, c), ask_unacknowledged, &queued) < 0 || queued < 0)
        return -1;
    return c->sent_bytes > (uint64_t)queued ? (int64_t)(c->sent_bytes - (uint64_t)queued) : 0;
}

int weir_conn_peer(weir_conn conn, weir_address *out)
{
    return with_number(conn, ask_peer, out);
}

int weir_conn_local(weir_conn conn, weir_address *out)
{
    return with_number(conn, ask_local, out);
}

int weir_conn_tcp_info(weir_conn conn, weir_tcp_info *out)
{
    return with_number(conn, ask_tcp_info, out);
}

/* A queue that is longer than its users' patience, first come first served, serves only those who
 * have left. How long something has waited is known to the kernel alone, which tells the
 * milliseconds since the socket's last data. It is asked where the loop hardly ever waits, once a
 * millisecond (a loop may well be busy with requests that come no faster than it answers), and for
 * every request once one was found to have waited for half the time. */
bool conn_overdue(weir_loop *loop, struct conn *c, uint32_t most_ms)
{
    enum { LATE_MS = 100 };
    weir_tcp_info info;
    if (!loop->busy || most_ms == WEIR_OFF)
        return false;
    if (loop->now_ms == loop->waits_asked_ms && loop->now_ms - loop->late_from_ms > LATE_MS)
        return false;
    /* Bytes that waited for us to read on, or for a former request, are no sign of anything. */
    bool held = c->busy != NULL && c->busy->held != NULL;
    if (held || conn_unsent(c) || (conn_flags(c) & CONN_IN_CONSUMER) == 0)
        return false;
    loop->waits_asked_ms = loop->now_ms;
    if (weir_conn_tcp_info(conn_handle(loop, c), &info) < 0)
        return false;
    if (info.last_received_ms > most_ms / 2)
        loop->late_from_ms = loop->now_ms;
    return info.last_received_ms > most_ms;
}

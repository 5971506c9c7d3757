/* Straight-line code: functions that wait. They run on coroutines, each on a stack of its own, and
 * while one waits its loop goes on with everything else. Coroutines never move to another thread;
 * one runs until it waits or returns.
 *
 *     static void echo(weir_conn c, void *session)
 *     {
 *         weir_view in;
 *         while (weir_recv(c, &in, weir_after(30 * WEIR_S)) > 0)
 *             if (weir_send_all(c, in, weir_after(5 * WEIR_S)) < 0)
 *                 return;
 *     }
 *     … weir_service echo_service = {.listen = "tcp://127.0.0.1:7000", .on_conn = echo};
 *
 * Every verb here may be called in the coroutine of an .on_conn, in one of weir_spawn, and in an
 * HTTP handler; elsewhere it returns WEIR_EMISUSE. All that wait take a deadline, an absolute time
 * (weir_after, WEIR_NEVER), and return beside their own errors:
 *     WEIR_ETIMEDOUT  the deadline passed
 *     WEIR_EGONE      the connection is closed: the one that is waited for, or the one that the
 *                     coroutine serves. The second cuts one wait short, whatever it is for; those
 *                     that follow wait as ever, so that who cleans up may wait
 *     WEIR_ECANCELED  the loop ends, or the scope is canceled (scope.h); no wait begins any more
 * A wait that ends with one of these has done nothing, unless its verb says otherwise. A deadline
 * that has passed does not keep a verb from giving what is there already. */
#ifndef WEIR_CO_H
#define WEIR_CO_H

#include <weir/conn.h>
#include <weir/service.h>

WEIR_BEGIN

/* --- coroutines ------------------------------------------------------------------------------ */

typedef void weir_co_fn(void *arg);

/* Runs fn(arg) on a coroutine of the current loop: soon, never inside this call. It belongs to no
 * scope, and nobody waits for it: weir_scope_spawn is for what somebody does. At the end of the
 * loop its waits are canceled, and it has to return. Also in event handlers. 0; WEIR_EFULL (131 072
 * coroutines, or what an HTTP server on the loop set), WEIR_ENOMEM. */
WEIR_API int weir_spawn(weir_co_fn *fn, void *arg);

/* Lets everything else that is ready go first. */
WEIR_API int weir_yield(void);

/* Waits until a time: 0. */
WEIR_API int weir_sleep(weir_time until);

/* Waits for events of poll(2) (POLLIN, POLLOUT, …) on a descriptor that is not weir's. Returns
 * those that came, more than 0; -EEXIST: somebody waits for this descriptor already. */
WEIR_API int weir_wait_fd(int fd, int events, weir_time deadline);

/* Runs fn(arg) on one of the loop's worker threads. 0: it has run. With an error it was not called:
 * once it has begun it is waited for, whatever the deadline. WEIR_EFULL: too many jobs wait. */
WEIR_API int weir_offload(weir_co_fn *fn, void *arg, weir_time deadline);

/* --- connections ----------------------------------------------------------------------------- */

/* Those of services with .on_conn or .straight; others have event handlers and give WEIR_EMISUSE.
 * One coroutine may receive from a connection while others send to it. Who got one from
 * weir_accept or weir_connect_wait ends it with weir_close or weir_abort. Idle time (.idle_ms)
 * counts only while somebody waits to receive. */

/* Receives what there is, and waits for something: its size, more than 0, with *in set; 0: the peer
 * has finished. The view stays valid until the next receive on this connection (or the end of the
 * coroutine that received it); when the connection has ended, until that coroutine receives again,
 * from whichever. WEIR_EMISUSE: another one is receiving. */
WEIR_API int weir_recv(weir_conn conn, weir_view *in, weir_time deadline);

/* Receives `size` bytes (at most 2 MiB), no more and no less: their number. 0: the peer has
 * finished, and nothing was left; WEIR_EPROTO: something was, but less than that: weir_recv gives
 * it. What has come when the wait ends early stays for the next receive, here and below. */
WEIR_API int weir_recv_exact(weir_conn conn, weir_view *in, size_t size, weir_time deadline);

/* Receives up to the first occurrence of `end` (a string of 1 to 128 bytes) and with it: the number
 * of bytes. WEIR_ETOOBIG: it is not among the first `max` bytes (at most 2 MiB), which stay. 0 and
 * WEIR_EPROTO as above. */
WEIR_API int weir_recv_until(weir_conn conn, weir_view *in, const char *end, size_t max,
                             weir_time deadline);

/* Receives one frame of the service's .frame: 1, with *frame its payload, which may be empty.
 * WEIR_ETOOBIG, WEIR_EPROTO: the stream cannot be understood any further, or the peer has finished
 * in the middle of a frame; 0: it has finished behind one. */
WEIR_API int weir_recv_frame(weir_conn conn, weir_view *frame, weir_time deadline);

/* Sends a view whole: 0, when nothing refers to its bytes any more; a small one is copied when
 * there is room below the soft mark, larger ones wait until the kernel has taken them. Several
 * senders are served in order. Withdrawn before its first byte has left, by deadline or
 * cancellation, it is as if never called; later it is WEIR_ETORN: the stream ends in the middle,
 * and takes nothing but weir_close, which resets it. WEIR_EGONE also when some bytes have left.
 * Views of weir_own are queued as by weir_send. */
WEIR_API WEIR_MUST_CHECK int weir_send_all(weir_conn conn, weir_view view, weir_time deadline);

/* The next connection of a listener whose service is .straight (weir_listen). First come, first
 * served. 0; WEIR_EGONE: the listener is closed. */
WEIR_API int weir_accept(weir_listener listener, weir_conn *out, weir_time deadline);

WEIR_API int weir__connect_wait(weir_conn *out, const char *url, const weir_service *service,
                                size_t size, weir_time deadline);
/* Connects as weir_connect does, and waits until the connection is established: 0. `service` gives
 * limits, must be .straight, and stay valid and unchanged while its connections live; NULL: the
 * defaults. With an error there is no connection: what weir_connect or the system said;
 * WEIR_ETIMEDOUT also when .connect_ms has passed. */
static inline int weir_connect_wait(weir_conn *out, const char *url, const weir_service *service,
                                    weir_time deadline)
{
    return weir__connect_wait(out, url, service, sizeof *service, deadline);
}

/* --- files ----------------------------------------------------------------------------------- */

/* As the system calls of their names, on a worker thread or by the ring. An operation that has
 * begun is waited for, so that nothing refers to the caller's memory when they return: with
 * WEIR_ETIMEDOUT, WEIR_EGONE or WEIR_ECANCELED it was not done. */

/* open(2) with O_CLOEXEC added: a descriptor. */
WEIR_API int weir_file_open(const char *path, int flags, unsigned mode, weir_time deadline);
/* pread(2); with offset -1 read(2): the number of bytes, fewer than asked at the end of the file;
 * at most 1 GiB at once. */
WEIR_API int weir_file_read(int fd, void *data, size_t size, int64_t offset, weir_time deadline);
/* pwrite(2), write(2). */
WEIR_API int weir_file_write(int fd, const void *data, size_t size, int64_t offset,
                             weir_time deadline);
/* fsync(2). */
WEIR_API int weir_file_sync(int fd, weir_time deadline);
/* The size of an open file. */
WEIR_API int weir_file_size(int fd, uint64_t *size, weir_time deadline);
/* close(2), which may block; it is done whatever happens. */
WEIR_API int weir_file_close(int fd);

WEIR_END
#endif

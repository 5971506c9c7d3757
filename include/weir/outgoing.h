/* What a program needs that asks others, in coroutines: connections that are kept and lent out,
 * another try after a failure, and a second question when the first takes long.
 *
 *     weir_lease lease;
 *     int result = weir_pool_take(pool, "tcp://127.0.0.1:6379", &lease, deadline);
 *     if (result < 0)
 *         return result;
 *     result = ask(lease.conn, deadline);
 *     weir_pool_give(&lease, result >= 0);
 *
 * Waits take deadlines and end as those of co.h. */
#ifndef WEIR_OUTGOING_H
#define WEIR_OUTGOING_H

#include <stdbool.h>

#include <weir/conn.h>
#include <weir/service.h>

/* --- connections ----------------------------------------------------------------------------- */

typedef struct weir_pool weir_pool;

/* Zero means the default. */
typedef struct weir_pool_options {
    const weir_service *service; /* as of weir_connect_wait, and must stay; NULL: the defaults */
    uint32_t conns_max;          /* to one address, lent or not; default 16 */
    uint32_t idle_max;           /* of these kept while nobody has them; default: conns_max */
    uint32_t idle_ms;            /* and for how long; default 30 000; WEIR_OFF: for ever */
} weir_pool_options;

/* A copy is the same lending: once one of them has been given back, the others are over. */
typedef struct weir_lease {
    weir_conn conn;
    void *opaque;
    uint64_t number; /* of the lending */
} weir_lease;

WEIR_BEGIN

WEIR_API int weir__pool_make(weir_pool **out, const weir_pool_options *options, size_t size,
                             size_t service_size);
/* Makes a pool of the current loop, for its coroutines. `options` may be NULL. 0; WEIR_ENOMEM;
 * WEIR_EINVALID: a service that is not .straight; WEIR_EMISUSE: no current loop. */
static inline int weir_pool_new(weir_pool **out, const weir_pool_options *options)
{
    return weir__pool_make(out, options, sizeof *options, sizeof(weir_service));
}

/* Closes what is not lent, and frees; NULL is ignored. Before its loop is. 0; WEIR_EMISUSE, and
 * nothing was done: something is lent, or somebody waits. */
WEIR_API int weir_pool_free(weir_pool *pool);

/* Lends a connection to this address: the one that was given back last, if it is in order (its peer
 * has neither finished nor said anything since); or a new one; or, when there are conns_max, the
 * next that is given back, to the one that has waited longest. 0, and weir_pool_give is owed; what
 * weir_connect_wait says; WEIR_EFULL: more than 1024 addresses at once. */
WEIR_API WEIR_MUST_CHECK int weir_pool_take(weir_pool *pool, const char *url, weir_lease *out,
                                            weir_time deadline);

/* Gives it back, anywhere on the loop. `good`: it may be used again; otherwise, as when it has
 * ended, it is closed. 0; WEIR_EMISUSE: it, or a copy, was given back already, or on another loop.
 * The pool must still be there. */
WEIR_API int weir_pool_give(weir_lease *lease, bool good);

/* How many connections it has, lent or not. */
WEIR_API uint32_t weir_pool_count(const weir_pool *pool);

/* --- another try ------------------------------------------------------------------------------ */

/* 0 or more: done; negative: it has failed. */
typedef int weir_try_fn(void *arg, weir_time deadline);

/* Zero means the default. */
typedef struct weir_retry_options {
    uint32_t tries_max; /* default 3 */
    uint32_t first_ms;  /* the pause behind the first failure; default 50 */
    uint32_t most_ms;   /* it doubles up to this; default 2000 */
    bool (*again)(
        int error); /* whether another try is of use; NULL: always, but for what the caller
                     * has done wrong, cancellations, and a deadline that has passed */
} weir_retry_options;

WEIR_API WEIR_MUST_CHECK int weir__retry(weir_try_fn *fn, void *arg,
                                         const weir_retry_options *options, size_t size,
                                         weir_time deadline);
/* Calls fn(arg, deadline) until it succeeds, and returns what it said last. The pauses are drawn
 * between a half and the whole of what they would be, so that those who failed together do not come
 * again together; one that would last beyond the deadline is not begun, nor one when the connection
 * that the coroutine serves has gone during a call. WEIR_ECANCELED, WEIR_EGONE: a pause was cut
 * short. `options` may be NULL. */
static inline WEIR_MUST_CHECK int weir_retry(weir_try_fn *fn, void *arg,
                                             const weir_retry_options *options, weir_time deadline)
{
    return weir__retry(fn, arg, options, sizeof *options, deadline);
}

/* --- a second question --------------------------------------------------------------------------
 */

/* Calls fn(args[0], deadline) on a coroutine, and whenever `delay_ns` has passed, or one has
 * failed, fn of the next of them (`count`, at most 16) beside it. The first that succeeds counts,
 * and the others are canceled. Returns its index, when all have returned: what another has got in
 * the same moment can be given back. When none succeeds, the error of the one that failed last;
 * WEIR_ETIMEDOUT, WEIR_ECANCELED, WEIR_EGONE: none had by then. */
WEIR_API WEIR_MUST_CHECK int weir_hedge(weir_try_fn *fn, void *const *args, unsigned count,
                                        uint64_t delay_ns, weir_time deadline);

WEIR_END
#endif

/* What a loop counts. Each counter stands once, in the tables here, with its name as a metric, its
 * unit and what it means; programs print and compare them from there. All of them are cheap enough
 * to stay on. */
#ifndef WEIR_STATS_H
#define WEIR_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/conn.h>
#include <weir/export.h>
#include <weir/loop.h>

/* XX(field, metric, unit, kind, what): kind is COUNTER (only grows while the loop lives), GAUGE (a
 * level, which sums over loops), or MAX (a level of which the largest counts). Fields are only ever
 * added at the end. */
#define WEIR_LOOP_STATS(XX)                                                                        \
    XX(conns, "weir_conns", "connections", GAUGE, "living connections")                            \
    XX(conns_active, "weir_conns_active", "connections", GAUGE,                                    \
       "of these: with output on its way or input held; the others are idle")                      \
    XX(listeners, "weir_listeners", "listeners", GAUGE, "listening sockets")                       \
    XX(accepted, "weir_conns_accepted_total", "connections", COUNTER, "accepted")                  \
    XX(connected, "weir_conns_connected_total", "connections", COUNTER, "outgoing, established")   \
    XX(closed, "weir_conns_closed_total", "connections", COUNTER, "ended, for whatever reason")    \
    XX(refused_limit, "weir_conns_refused_limit_total", "connections", COUNTER,                    \
       "refused at the limit of connections")                                                      \
    XX(rate_pauses, "weir_accept_rate_pauses_total", "pauses", COUNTER,                            \
       "pauses in accepting, to keep the accept rate")                                             \
    XX(accept_errors, "weir_accept_errors_total", "errors", COUNTER,                               \
       "accepts that failed, most often for want of descriptors or memory")                        \
    XX(ended_reset, "weir_conns_reset_total", "connections", COUNTER, "ended by the peer's reset") \
    XX(ended_limit, "weir_conns_limit_total", "connections", COUNTER,                              \
       "ended by a limit: output cap, memory, messages")                                           \
    XX(deadline_connect, "weir_deadline_connect_total", "connections", COUNTER,                    \
       "ended: connecting took too long")                                                          \
    XX(deadline_first_byte, "weir_deadline_first_byte_total", "connections", COUNTER,              \
       "ended: no first byte, or a handshake that took too long")                                  \
    XX(deadline_idle, "weir_deadline_idle_total", "connections", COUNTER, "ended: idle too long")  \
    XX(deadline_header, "weir_deadline_header_total", "connections", COUNTER,                      \
       "ended: the head of a request took too long")                                               \
    XX(deadline_body, "weir_deadline_body_total", "connections", COUNTER,                          \
       "ended: a body came too slowly")                                                            \
    XX(deadline_write, "weir_deadline_write_total", "connections", COUNTER,                        \
       "ended: the peer took output too slowly")                                                   \
    XX(deadline_linger, "weir_deadline_linger_total", "connections", COUNTER,                      \
       "closed without the peer's end")                                                            \
    XX(received_bytes, "weir_received_bytes_total", "bytes", COUNTER, "received")                  \
    XX(sent_bytes, "weir_sent_bytes_total", "bytes", COUNTER, "taken by the kernel")               \
    XX(receives, "weir_receives_total", "pieces", COUNTER, "pieces in which input came")           \
    XX(sends, "weir_sends_total", "pieces", COUNTER, "pieces in which output was taken")           \
    XX(copied_bytes, "weir_copied_bytes_total", "bytes", COUNTER,                                  \
       "of received views being sent, copied because the kernel did not take them at once")        \
    XX(sends_refused, "weir_sends_refused_total", "sends", COUNTER,                                \
       "sends refused because the connection's output was full")                                   \
    XX(mails_dropped, "weir_mails_dropped_total", "messages", COUNTER,                             \
       "from other threads, for connections that were gone or full")                               \
    XX(block_waits, "weir_block_waits_total", "waits", COUNTER,                                    \
       "connections that waited in line for a receive block")                                      \
    XX(budget_pauses, "weir_budget_pauses_total", "pauses", COUNTER,                               \
       "connections whose reading paused because the loop's memory ran short")                     \
    XX(memory_bytes, "weir_memory_bytes", "bytes", GAUGE, "in use for queues and held input")      \
    XX(memory_held_bytes, "weir_memory_held_bytes", "bytes", GAUGE,                                \
       "taken from the system for them: in use, and kept for the next burst")                      \
    XX(memory_limit_bytes, "weir_memory_limit_bytes", "bytes", GAUGE, "the limit of memory_bytes") \
    XX(memory_refused, "weir_memory_refused_total", "requests", COUNTER, "refused by that limit")  \
    XX(turns, "weir_loop_turns_total", "turns", COUNTER, "turns of the loop")                      \
    XX(waited_ns, "weir_loop_waited_ns_total", "ns", COUNTER,                                      \
       "time between turns, which is waiting")                                                     \
    XX(handled_ns, "weir_loop_handled_ns_total", "ns", COUNTER, "time spent with events")          \
    XX(stalls, "weir_loop_stalls_total", "turns", COUNTER, "turns longer than the stall limit")    \
    XX(posts, "weir_posts_total", "messages", COUNTER, "messages taken from other threads")        \
    XX(posts_refused, "weir_posts_refused_total", "messages", COUNTER,                             \
       "messages refused because the queue was full")                                              \
    XX(posts_waiting, "weir_posts_waiting", "messages", GAUGE, "messages not yet taken")           \
    XX(timers_fired, "weir_timers_fired_total", "timers", COUNTER, "timers that fired")            \
    XX(timer_slip_max_ns, "weir_timer_slip_max_ns", "ns", MAX, "the latest that a timer fired")    \
    XX(io_waits, "weir_io_waits_total", "calls", COUNTER, "looks for events")                      \
    XX(io_sleeps, "weir_io_sleeps_total", "calls", COUNTER, "of these: ready to sleep")            \
    XX(io_events, "weir_io_events_total", "events", COUNTER, "events harvested")                   \
    XX(io_syscalls, "weir_io_syscalls_total", "calls", COUNTER, "system calls of the back end")    \
    XX(io_short_sends, "weir_io_short_sends_total", "sends", COUNTER,                              \
       "sends of which the kernel took a part")                                                    \
    XX(io_spurious, "weir_io_spurious_total", "events", COUNTER, "events that told nothing new")   \
    XX(io_buffer_outages, "weir_io_buffer_outages_total", "events", COUNTER,                       \
       "receives that found no block free")                                                        \
    XX(io_cq_overflows, "weir_io_cq_overflows_total", "times", COUNTER,                            \
       "the ring's completion queue was full")                                                     \
    XX(io_sq_fulls, "weir_io_sq_fulls_total", "times", COUNTER,                                    \
       "the ring's submission queue was full and was emptied early")                               \
    XX(dgrams, "weir_dgrams", "sockets", GAUGE, "datagram sockets")                                \
    XX(datagrams_received, "weir_datagrams_received_total", "datagrams", COUNTER, "received")      \
    XX(datagrams_sent, "weir_datagrams_sent_total", "datagrams", COUNTER, "taken by the kernel")   \
    XX(datagram_received_bytes, "weir_datagram_received_bytes_total", "bytes", COUNTER,            \
       "received in datagrams")                                                                    \
    XX(datagram_sent_bytes, "weir_datagram_sent_bytes_total", "bytes", COUNTER,                    \
       "in datagrams taken by the kernel")                                                         \
    XX(datagrams_truncated, "weir_datagrams_truncated_total", "datagrams", COUNTER,                \
       "received, and longer than what was taken of them")                                         \
    XX(datagrams_refused, "weir_datagrams_refused_total", "datagrams", COUNTER,                    \
       "sends refused because the socket's queue was full")                                        \
    XX(datagrams_dropped, "weir_datagrams_dropped_total", "datagrams", COUNTER,                    \
       "queued, and then dropped: for newer ones, refused by the kernel, at the end")              \
    XX(datagram_errors, "weir_datagram_errors_total", "errors", COUNTER,                           \
       "told of datagrams that had been sent")                                                     \
    XX(coroutines, "weir_coroutines", "coroutines", GAUGE, "coroutines that have begun and wait")  \
    XX(coroutines_peak, "weir_coroutines_peak", "coroutines", MAX, "most stacks in use at once")   \
    XX(coroutines_refused, "weir_coroutines_refused_total", "coroutines", COUNTER,                 \
       "refused at the limit of stacks")                                                           \
    XX(stacks, "weir_stacks", "stacks", GAUGE, "stacks of coroutines that have an address")        \
    XX(stacks_mprotect, "weir_stacks_mprotect", "stacks", GAUGE,                                   \
       "of these: guarded by mprotect, at two map entries each")                                   \
    XX(stacks_canary, "weir_stacks_canary", "stacks", GAUGE,                                       \
       "of these: guarded by a canary, which is looked at when a coroutine stops")                 \
    XX(stack_bytes, "weir_stack_bytes", "bytes", MAX, "address space of a stack, with its guard")  \
    XX(stack_used_bytes, "weir_stack_used_bytes", "bytes", MAX,                                    \
       "the deepest use of a stack that was seen: of some now, and of each whose pages go back")

/* What the HTTP services on a loop count. */
#define WEIR_HTTP_STATS(XX)                                                                    \
    XX(http_requests, "weir_http_requests_total", "requests", COUNTER, "heads that were read") \
    XX(http_refused, "weir_http_refused_total", "requests", COUNTER,                           \
       "of these: refused as malformed or too large")                                          \
    XX(http_exchanges, "weir_http_exchanges", "requests", GAUGE, "being worked on")            \
    XX(http_files_cached, "weir_http_files_cached_total", "requests", COUNTER,                 \
       "lookups of files that were answered from memory")                                      \
    XX(http_files_looked, "weir_http_files_looked_total", "requests", COUNTER,                 \
       "lookups that asked the file system")                                                   \
    XX(http_files_bytes, "weir_http_files_bytes", "bytes", GAUGE, "files held in memory")      \
    XX(http_log_lost, "weir_http_log_lost_total", "lines", COUNTER,                            \
       "lines of the access log that were lost")                                               \
    XX(http_shed, "weir_http_shed_total", "requests", COUNTER,                                 \
       "refused because they had waited too long for a loop that was too busy")

#define WEIR_STATS_FIELD(field, metric, unit, kind, what) uint64_t field;
typedef struct weir_loop_stats {
    WEIR_LOOP_STATS(WEIR_STATS_FIELD)
} weir_loop_stats;
typedef struct weir_http_stats {
    WEIR_HTTP_STATS(WEIR_STATS_FIELD)
} weir_http_stats;
#undef WEIR_STATS_FIELD

enum weir_stat_kind { WEIR_STAT_COUNTER, WEIR_STAT_GAUGE, WEIR_STAT_MAX };

/* One row of such a table. All texts are static. */
typedef struct weir_stat {
    const char *field;  /* "accepted" */
    const char *metric; /* "weir_conns_accepted_total" */
    const char *unit;   /* "connections" */
    const char *what;   /* "accepted" */
    enum weir_stat_kind kind;
    uint32_t offset; /* of its uint64_t in the struct, bytes */
} weir_stat;

/* Where a connection is in its life. */
#define WEIR_CONN_STATES(XX)                                                               \
    XX(GONE, "gone")                                                                       \
    XX(CONNECTING, "connecting")                                                           \
    XX(OPENING, "opening") /* established; a filter's handshake is going on */             \
    XX(OPEN, "open")                                                                       \
    XX(PAUSED, "paused")       /* open; reading is paused, by the program or by a limit */ \
    XX(FLUSHING, "flushing")   /* being closed: output is on its way */                    \
    XX(LINGERING, "lingering") /* being closed: waiting for the peer's end */              \
    XX(CLOSING, "closing")     /* the rest of it */

#define WEIR_CONN_STATE_ENUM(name, text) WEIR_CONN_##name,
enum weir_conn_state { WEIR_CONN_STATES(WEIR_CONN_STATE_ENUM) WEIR_CONN_STATE_COUNT };
#undef WEIR_CONN_STATE_ENUM

WEIR_BEGIN

WEIR_API int weir__loop_stats_get(weir_loop *loop, weir_loop_stats *out, size_t size);
/* Fills *out with the loop's counters. The loop's own thread. 0, WEIR_EINVALID, or WEIR_EMISUSE in
 * another thread than the loop's. */
static inline int weir_loop_stats_get(weir_loop *loop, weir_loop_stats *out)
{
    return weir__loop_stats_get(loop, out, sizeof *out);
}

/* The rows of WEIR_LOOP_STATS; *count of them. Any thread. */
WEIR_API const weir_stat *weir_loop_stats_table(unsigned *count);

/* Adds the counters of one loop to a sum: counters and gauges add up, of a MAX the larger counts.
 * Any thread. */
WEIR_API void weir_loop_stats_add(weir_loop_stats *sum, const weir_loop_stats *stats);

/* The same for the HTTP services of a loop together. */
WEIR_API int weir__http_stats_get(weir_loop *loop, weir_http_stats *out, size_t size);
static inline int weir_http_stats_get(weir_loop *loop, weir_http_stats *out)
{
    return weir__http_stats_get(loop, out, sizeof *out);
}
WEIR_API const weir_stat *weir_http_stats_table(unsigned *count);
WEIR_API void weir_http_stats_add(weir_http_stats *sum, const weir_http_stats *stats);

/* The connections of the current loop, in an order of its own: the first `capacity` behind `after`
 * (zero: from the first one on; it may be closed by now). Returns how many were written; fewer than
 * `capacity`: there are no more. New ones may be missed when asked for piece by piece. 0 outside of
 * a loop. */
WEIR_API unsigned weir_conn_list(weir_conn after, weir_conn *out, unsigned capacity);

/* The state of a connection of the current loop; WEIR_CONN_GONE for a stale handle. */
WEIR_API enum weir_conn_state weir_conn_state(weir_conn conn);
/* "open", "paused", … Static text. Any thread. */
WEIR_API const char *weir_conn_state_name(enum weir_conn_state state);

WEIR_END
#endif

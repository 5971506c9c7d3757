/* Every bound and default of the library, in one table: `weir limits` prints it, the code uses the
 * enumerators. XX(NAME, default, unit, what) */
#ifndef WEIR_LOOP_LIMITS_H
#define WEIR_LOOP_LIMITS_H

#include <stdint.h>

#define WEIR_LIMITS(XX)                                                                         \
    XX(CONNS_MAX, 1048576, "connections", "connections of a loop and of a service on it")       \
    XX(POSTS_MAX, 65536, "messages", "messages from other threads waiting for a loop")          \
    XX(POSTS_MAX_BYTES, 64 << 20, "bytes", "their bytes")                                       \
    XX(STALL_MS, 200, "ms", "a handler that holds its loop longer is reported")                 \
    XX(BUSY_MS, 1000, "ms", "a loop that hardly waited in this time has too much to do")        \
    XX(SHED_MS, 500, "ms", "waited by a request for such a loop: it is refused (503)")          \
    XX(POOL_THREADS, 4, "threads", "worker threads of a loop for files and blocking calls")     \
    XX(POOL_QUEUE, 4096, "jobs", "jobs waiting for them")                                       \
    XX(CONN_SIZE_MAX, 65536, "bytes", "a service's own bytes for each connection")              \
    XX(CONNECT_MS, 10000, "ms", "outgoing connect")                                             \
    XX(FIRST_BYTE_MS, 10000, "ms", "accept to first byte, or to the end of a handshake")        \
    XX(IDLE_MS, 60000, "ms", "no byte in either direction")                                     \
    XX(WRITE_MS, 30000, "ms", "less than WRITE_PROGRESS taken by the peer")                     \
    XX(WRITE_PROGRESS, 1024, "bytes", "progress that satisfies the write and body deadlines")   \
    XX(LINGER_MS, 2000, "ms", "waiting for the peer's end after ours")                          \
    XX(SOFT_MARK, 64 << 10, "bytes",                                                            \
       "unsent output of a connection: reading pauses, writer waits")                           \
    XX(HARD_CAP, 1 << 20, "bytes", "output held for a connection: a send beyond it is refused") \
    XX(SEGMENTS_MAX, 1024, "segments", "pieces in a connection's output queue")                 \
    XX(VIEWS_MAX, 64, "views", "views in one weir_sendv")                                       \
    XX(FDS_MAX, 16, "descriptors", "descriptors bound to one view")                             \
    XX(HELD_INPUT, 2 << 20, "bytes", "input that arrived while a connection was being paused")  \
    XX(FRAMES_A_TURN, 256, "frames", "frames of one connection handled in a turn")              \
    XX(FILTERS_MAX, 8, "filters", "filters on a connection")                                    \
    XX(LISTENERS_MAX, 256, "listeners", "listeners of a loop")                                  \
    XX(ACCEPT_BACKOFF_MS, 100, "ms", "a listener's pause when descriptors or memory are short") \
    XX(LISTENER_LAST_MS, 100, "ms",                                                             \
       "a listener of a server that stops: for handshakes that are under way")                  \
    XX(END_MS, 10000, "ms",                                                                     \
       "the end of a loop: for connections, and again for operations that are in flight")       \
    XX(END_FILES_MS, 1000, "ms", "the end of a loop: for files, before they are canceled")      \
    XX(REFUSALS_MAX, 64, "connections", "connections being answered with a refusal on a loop")  \
    XX(DGRAMS_MAX, 65536, "sockets", "datagram sockets of a loop")                              \
    XX(DGRAM_SOFT_MARK, 256 << 10, "bytes",                                                     \
       "queued on a datagram socket: reading pauses, writer waits")                             \
    XX(DGRAM_HARD_CAP, 8 << 20, "bytes", "queued on a datagram socket at most")                 \
    XX(DGRAM_QUEUE_MAX, 8192, "datagrams", "queued on a datagram socket at most")               \
    XX(DGRAM_LINGER_MS, 2000, "ms", "a datagram socket being closed: for what is queued")       \
    XX(SCOPE_GRACE_MS, 1000, "ms", "canceled coroutines of a scope may clean up")               \
    XX(CHAN_ITEM_BYTES, 65536, "bytes", "an item of a channel")                                 \
    XX(CHAN_BYTES, 1 << 30, "bytes", "items that wait in a channel")                            \
    XX(SELECT_CASES, 64, "cases", "things that one weir_select waits for")                      \
    XX(POOL_TARGETS, 1024, "addresses", "that a pool of connections goes to")                   \
    XX(POOL_CONNS, 16, "connections", "of a pool to one address")                               \
    XX(POOL_IDLE_MS, 30000, "ms", "a connection that a pool has not lent is kept")              \
    XX(RETRY_TRIES, 3, "tries", "of weir_retry")                                                \
    XX(RETRY_FIRST_MS, 50, "ms", "the pause behind a first failure")                            \
    XX(RETRY_MOST_MS, 2000, "ms", "the longest pause between two tries")                        \
    XX(HEDGE_CALLS, 16, "calls", "of one weir_hedge")                                           \
    XX(PULL_CHUNK, 16384, "bytes", "a pull source is asked for at a time")

enum weir_limit {
#define WEIR_LIMIT_ENUM(name, value, unit, what) LIMIT_##name = (value),
    WEIR_LIMITS(WEIR_LIMIT_ENUM)
#undef WEIR_LIMIT_ENUM
};

static inline void limit_default(uint32_t *value, uint32_t otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

/* Memory of the machine or of the control group that holds this process, whichever is less. */
uint64_t limits_memory_bytes(void);

#endif

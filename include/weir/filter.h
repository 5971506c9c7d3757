/* Filters stack under a connection's verbs: TLS, PROXY protocol, capture, shaping. A filter sees
 * views in both directions, may hold bytes within the connection's budget, and passes on what it
 * makes. Every call comes on the loop's thread, never inside a verb of the program. */
#ifndef WEIR_FILTER_H
#define WEIR_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/conn.h>
#include <weir/export.h>
#include <weir/view.h>

/* One filter on one connection; valid from open to close. */
typedef struct weir_filter_at weir_filter_at;

typedef struct weir_filter {
    const char *name;
    uint32_t state_size; /* zeroed bytes for each connection: weir_filter_state */

    /* The layer below is established. `client`: outgoing connection. The layer above is told when
     * the filter calls weir_filter_ready (at once, or after its handshake). Negative: refused. */
    int (*open)(weir_filter_at *at, void *state, void *config, bool client);
    /* Bytes from below; all of them are taken. The view is valid during the call. */
    int (*input)(weir_filter_at *at, void *state, weir_view data);
    /* The layer below saw the peer's end. Default: weir_filter_up_end. An error passed to
     * weir_filter_fail makes it a distinct end (a truncated stream). */
    int (*input_end)(weir_filter_at *at, void *state);
    /* Bytes from above; takes at most data.size and returns how many; fewer: it is called again
     * after weir_filter_wake, or when the layer below has drained. `flush`: nothing follows at
     * once. */
    int64_t (*output)(weir_filter_at *at, void *state, weir_view data, bool flush);
    /* The layer above finished its direction. Default: weir_filter_down_end. */
    int (*output_end)(weir_filter_at *at, void *state);
    /* The connection is gone; free what the state holds. */
    void (*close)(weir_filter_at *at, void *state);
    /* Output that the filter holds now, bytes: counted against the connection's limits. */
    uint32_t (*held)(const weir_filter_at *at, const void *state);
} weir_filter;

/* A filter with its configuration, as a library beside the core makes one: what the addresses tls:
 * and https: of a service put next to the wire. See weir_tls_layer in <weir/tls.h>. */
typedef struct weir_layer {
    const weir_filter *filter;
    void *config;
} weir_layer;

/* How an outgoing connection gets through others to where it is to go: a proxy, or several one
 * behind the other. See weir_via_new in <weir/via.h>. */
typedef struct weir_via {
    const char *url;          /* where the first one is, "tcp://HOST:PORT" */
    const weir_layer *layers; /* what speaks to each, the first one next to the wire */
    unsigned layer_count;     /* at least 1, at most WEIR_VIA_MAX */
} weir_via;
#define WEIR_VIA_MAX 8

WEIR_BEGIN

WEIR_API void *weir_filter_state(weir_filter_at *at);
/* The connection's handle id (weir_conn.id). */
WEIR_API uint64_t weir_filter_conn(weir_filter_at *at);
/* The filter's handshake is over: the layer above opens. Once. */
WEIR_API void weir_filter_ready(weir_filter_at *at);
/* Passes bytes up; they are handled before the call returns, or held while the connection is
 * paused. */
WEIR_API int weir_filter_up(weir_filter_at *at, weir_view data);
/* Tells the layer above that the peer finished. */
WEIR_API void weir_filter_up_end(weir_filter_at *at);
/* Passes bytes down; queued (copied) at once, whatever the limits: the filter keeps them by taking
 * less. May be called outside the filter's calls (a timer). */
WEIR_API int weir_filter_down(weir_filter_at *at, weir_view data);
/* Ends our direction of the layer below, after what was passed down. */
WEIR_API void weir_filter_down_end(weir_filter_at *at);
/* The filter can take output again, or its held bytes may go on: calls output again soon. */
WEIR_API void weir_filter_wake(weir_filter_at *at);
/* While `pause`, no more is received than what is on its way already: for a filter that cannot go
 * on yet. Input comes once more, or as often as the kernel had it by then; the end of the peer, and
 * a reset, are told if they come before that. Deadlines go on. */
WEIR_API void weir_filter_pause(weir_filter_at *at, bool pause);
/* How many bytes the filter keeps for the connection elsewhere, with a library say: they count in
 * the loop's memory (memory_max_bytes), beyond which nobody is accepted; nobody's reading pauses
 * for them. In place of what was told before; nothing from the connection's end on. */
WEIR_API void weir_filter_charge(weir_filter_at *at, uint32_t bytes);
/* Ends the connection with an error, at once; WEIR_ETOOBIG and WEIR_EREFUSED are a limit's refusal.
 */
WEIR_API void weir_filter_fail(weir_filter_at *at, int error);
/* Ends the connection with an error, in order: what was passed down (an alert) is sent before. A
 * handshake, too. The same two are a limit's. */
WEIR_API void weir_filter_close(weir_filter_at *at, int error);
/* What a negative result of input_end does, later: the input ends here with an error, behind what
 * was passed up. */
WEIR_API void weir_filter_cut(weir_filter_at *at, int error);
/* The host that an outgoing connection was to reach, as its URL named it: a name, or an address in
 * numbers without brackets and scope. Its length, WEIR_ETOOBIG when `size` bytes do not hold it
 * and its NUL, WEIR_EINVALID where there is none (accepted, or a unix socket). */
WEIR_API int weir_filter_host(weir_filter_at *at, char *out, size_t size);
/* The port that an outgoing connection was to reach, as its URL named it; WEIR_EINVALID where there
 * is none. */
WEIR_API int weir_filter_port(weir_filter_at *at);
/* The state of this filter on a connection of the current loop; NULL: it has none, or is gone.
 * Valid until its close. */
WEIR_API void *weir_filter_find(weir_conn conn, const weir_filter *filter);

WEIR_END
#endif

/* The inside of iperf3's protocol: a test, its streams, what both ends tell each other, and
 * reports.
 *
 * The protocol has no paper but iperf3's source. A control connection begins with a cookie of 37
 * bytes; from then on the server leads by sending states, each one signed byte. In two of them
 * JSON is exchanged, behind its length in 32 bits, most significant byte first: the parameters and
 * the results. TCP streams are connections to the same port that begin with the same cookie; a UDP
 * stream begins with a datagram of 4 bytes and an answer of 4. */
#ifndef WEIR_APP_IPERF_IPERF_H
#define WEIR_APP_IPERF_IPERF_H

#include <weir/iperf.h>
#include <weir/json.h>
#include <weir/weir.h>

enum {
    IPERF_COOKIE_BYTES = 37,
    IPERF_STREAMS_ALL = 2 * WEIR_IPERF_STREAMS_MAX,
    IPERF_TCP_BLOCK_MAX = 1 << 20,
    IPERF_UDP_BLOCK_MAX = 65507,
    IPERF_UDP_BLOCK_LEAST = 16,
    IPERF_PARAMS_BYTES_MAX = 64 << 10,
    IPERF_RESULTS_BYTES_MAX = 1 << 20,
    IPERF_OUTPUT_BYTES_MAX = 16 << 20, /* results with the server's report, and such reports */
    IPERF_TIME_MAX_S = 86400,
    IPERF_OMIT_MAX_S = 600,
    IPERF_ROWS_MAX = 1 << 18, /* stream intervals that a report in JSON keeps */
    IPERF_NAME_MAX = 32,
    IPERF_TITLE_MAX = 256
};

enum iperf_state {
    IPERF_SERVER_ERROR = -2,
    IPERF_ACCESS_DENIED = -1,
    IPERF_TEST_START = 1,
    IPERF_TEST_RUNNING = 2,
    IPERF_TEST_END = 4,
    IPERF_PARAM_EXCHANGE = 9,
    IPERF_CREATE_STREAMS = 10,
    IPERF_SERVER_TERMINATE = 11,
    IPERF_CLIENT_TERMINATE = 12,
    IPERF_EXCHANGE_RESULTS = 13,
    IPERF_DISPLAY_RESULTS = 14,
    IPERF_START = 15,
    IPERF_DONE = 16
};

/* iperf3's numbers for what went wrong, which a server sends. */
enum { IPERF_ERROR_LISTEN = 102, IPERF_ERROR_PARAMS = 114, IPERF_ERROR_STREAMS = 204 };

/* ---- params.c, results.c: the JSON of both ---- */

struct iperf_params {
    bool udp, reverse, both, counters64, server_output, nodelay;
    uint8_t tos;
    uint32_t streams, omit_s, time_s, block_bytes, window_bytes, burst;
    uint64_t bytes, blocks, rate_bits; /* 0: no limit */
    char congestion[IPERF_NAME_MAX], version[IPERF_NAME_MAX], title[IPERF_TITLE_MAX];
};

/* 0, or WEIR_EPROTO when it is none, or asks for more than there may be. */
int iperf_params_read(const char *text, size_t size, struct iperf_params *out);
void iperf_params_write(const struct iperf_params *params, weir_json_writer *out);

/* What one end knows of a stream: as sender what it sent, as receiver what it got. */
struct iperf_result {
    uint32_t id;
    bool known; /* the other end told */
    bool tells_omitted;
    uint64_t bytes, packets, omitted_packets; /* those omitted are among the packets */
    int64_t resent;                           /* -1: not known */
    int64_t lost, omitted_lost;
    double jitter_s, begin_s, end_s;
};

struct iperf_results {
    double cpu, cpu_user, cpu_system; /* per cent */
    bool has_resent;
    char congestion[IPERF_NAME_MAX];
    unsigned count;
    struct iperf_result rows[IPERF_STREAMS_ALL];
    const char *output; /* to write: text of the server's report, or NULL */
    bool output_json;   /* it is JSON */
};

/* Reads results. The report in them, if there is one, is left in the text: *report_at and its kind
 * tell where. 0, WEIR_EPROTO, WEIR_ENOMEM. */
struct iperf_report {
    const weir_json_value *values; /* of the whole text; free them with weir__free */
    const weir_json_value *text, *json;
};
int iperf_results_read(const char *text, size_t size, struct iperf_results *out,
                       struct iperf_report *report);
void iperf_results_write(const struct iperf_results *results, weir_json_writer *out);
/* Writes a value that was read, with all that is in it. */
void iperf_json_copy(weir_json_writer *out, const char *name, const weir_json_value *values,
                     const weir_json_value *value);
/* Reads a text into values that weir__free takes. Their number, or an error. */
int iperf_json_read(const char *text, size_t size, weir_json_value **out);

/* ---- a test ---- */

/* What has been counted since the stream began; intervals are differences of it. */
struct iperf_counts {
    uint64_t bytes, packets; /* received packets: the highest number */
    int64_t lost, unordered, resent;
};

/* One interval of one stream. */
struct iperf_row {
    uint64_t begin_ns, end_ns; /* from the beginning of the counted time, or of the omitted */
    struct iperf_counts counts;
    double jitter_s;
    uint64_t cwnd_bytes, window_bytes;
    uint32_t rtt_us, rttvar_us, pmtu_bytes;
    uint16_t stream;
    bool omitted;
};

struct iperf_test;

struct iperf_stream {
    struct iperf_test *test;
    uint32_t id;
    bool sender, open;
    struct iperf_counts now, zero, last; /* at the end of what is omitted; of the interval */
    double jitter_s, transit_s;
    bool has_transit;
    struct iperf_result peer; /* what the other end says */
    uint64_t max_cwnd_bytes, max_window_bytes, rtt_sum_us;
    uint32_t max_rtt_us, min_rtt_us, rtt_count, rtt_us, rttvar_us, pmtu_bytes;
    uint64_t cwnd_bytes, window_bytes;
    weir_address local, remote;
    /* TCP */
    weir_conn conn;
    uint64_t moved, lent_bytes;
    uint32_t lent;
    /* UDP */
    int fd;
    bool answered; /* the datagram that begins it, by the one that answers it */
    weir_watch input, output;
    bool input_on, output_on;
    weir_timer pace;
};

enum iperf_expect { EXPECT_STATE, EXPECT_SIZE, EXPECT_BODY, EXPECT_ERROR, EXPECT_NOTHING };

/* The control connection: what is being read from it. */
struct iperf_control {
    weir_conn conn;
    bool open;
    enum iperf_expect expect;
    uint8_t head[8];
    char *body;
    uint32_t got, need;
};

/* A stream's connection before all of them are there: their order is that of being accepted, not
 * that in which the cookies came. */
struct iperf_arrival {
    uint64_t number;
    weir_conn conn;
};

struct iperf_server;
struct iperf_client;

struct iperf_test {
    struct iperf_server *server; /* NULL: we are the client */
    struct iperf_client *client;
    const weir_iperf_options *options;
    struct iperf_params params;
    int8_t state;
    bool running, omitting, ended, done, live;
    unsigned refs; /* connections, lent pieces, and whoever made it */
    char cookie[IPERF_COOKIE_BYTES];
    struct iperf_control control;
    struct iperf_stream *streams;
    unsigned stream_count, stream_room;
    struct iperf_arrival *arrivals; /* server: the connections of the streams, as they come */
    unsigned arrival_count;
    uint8_t *block; /* what is sent */
    int udp_listener;
    weir_watch udp_watch;
    bool udp_watch_on;

    weir_timer deadline, edge, interval, drain;
    uint64_t start_ns, end_ns; /* of what is counted; before that of what is omitted */
    uint64_t wall_ns;
    uint64_t interval_begin_ns;
    uint64_t given_bytes; /* client: towards .bytes and .blocks */
    uint64_t stuck_bytes; /* when it was last looked at */
    unsigned drained;
    uint64_t cpu_user_us, cpu_system_us, cpu_at_ns;

    struct iperf_results own, peer;
    weir_address peer_address;
    uint32_t mss_bytes, send_buffer_bytes, receive_buffer_bytes; /* of new sockets */
    struct iperf_row *rows;                                      /* of a report in JSON */
    unsigned row_count, row_room;
    bool rows_dropped;
    char *text; /* the report so far */
    size_t text_size, text_room;
    bool text_dropped;
    weir_json_writer json; /* the server's report, that the client asked for */
    char *answer;          /* the client's: the results text, while the report in it is used */
    struct iperf_report report;

    int error; /* how it ended */
    char why[256];
};

/* test.c */
struct iperf_test *iperf_test_new(const weir_iperf_options *options);
void iperf_test_hold(struct iperf_test *test);
void iperf_test_release(struct iperf_test *test);
/* The parameters are known: memory for the streams. */
int iperf_test_prepare(struct iperf_test *test);
struct iperf_stream *iperf_stream_add(struct iperf_test *test, bool sender);
void iperf_test_start(struct iperf_test *test);
/* Counts no more. */
void iperf_test_end(struct iperf_test *test);
void iperf_test_fill_results(struct iperf_test *test);
/* Gives each stream what the other end says of it. */
void iperf_test_take_results(struct iperf_test *test);
/* Bytes or blocks that were asked for have been moved: the client ends the test. */
void iperf_test_moved(struct iperf_test *test);
bool iperf_counting(const struct iperf_stream *stream);
/* What was asked for has been sent, or has come. */
bool iperf_enough(const struct iperf_test *test, bool sender);
/* The bytes of the next block that may be sent; 0: none. */
uint64_t iperf_may_send(const struct iperf_test *test);
double iperf_test_seconds(const struct iperf_test *test);
struct iperf_counts iperf_counts_since(const struct iperf_counts *now,
                                       const struct iperf_counts *then);
void iperf_fail(struct iperf_test *test, int error, const char *format, ...) WEIR_PRINTF(3, 4);

/* control.c: what came is given to these by role. */
void iperf_control_take(struct iperf_test *test, weir_view view);
void iperf_control_send_state(struct iperf_test *test, enum iperf_state state);
void iperf_control_send_json(struct iperf_test *test, weir_json_writer *out);
void iperf_control_expect(struct iperf_test *test, enum iperf_expect expect);
void iperf_control_close(struct iperf_test *test);

/* client.c, server.c */
void iperf_client_state(struct iperf_test *test, int8_t state);
void iperf_client_body(struct iperf_test *test, char *body, uint32_t size); /* takes it */
void iperf_client_error(struct iperf_test *test, int number, int code);
void iperf_client_time_over(struct iperf_test *test);
void iperf_client_failed(struct iperf_test *test);
/* A UDP stream was answered. */
void iperf_client_stream_ready(struct iperf_stream *stream);
void iperf_server_state(struct iperf_test *test, int8_t state);
void iperf_server_body(struct iperf_test *test, char *body, uint32_t size); /* takes it */
void iperf_server_failed(struct iperf_test *test, int number);
void iperf_server_stream_ready(struct iperf_test *test);
void iperf_server_test_gone(struct iperf_test *test);

/* tcp.c */
void iperf_tcp_data(struct iperf_stream *stream, size_t size);
void iperf_tcp_gone(struct iperf_stream *stream, weir_end end);
void iperf_tcp_send(struct iperf_stream *stream);
void iperf_tcp_look(struct iperf_stream *stream);
void iperf_tcp_close(struct iperf_stream *stream);

/* udp.c */
int iperf_udp_listen(struct iperf_test *test); /* server: the next streams come there */
void iperf_udp_unlisten(struct iperf_test *test);
int iperf_udp_connect(struct iperf_stream *stream, const weir_address *local,
                      const weir_address *remote);
void iperf_udp_receive(struct iperf_stream *stream); /* wait for what comes */
void iperf_udp_send(struct iperf_stream *stream);
void iperf_udp_close(struct iperf_stream *stream);
/* Counts a datagram: its number, and when it left and came, in seconds of any two clocks. */
void iperf_udp_count(struct iperf_stream *stream, uint64_t number, double left_s, double came_s,
                     size_t size);

/* text.c */
void iperf_text(struct iperf_test *test, const char *format, ...) WEIR_PRINTF(2, 3);
void iperf_text_connected(struct iperf_test *test);
void iperf_text_interval(struct iperf_test *test, const struct iperf_row *rows);
void iperf_text_end(struct iperf_test *test);
void iperf_print(const struct iperf_test *test, const char *text, size_t size);

/* Lines of tests that are over, which wait for one that prints as it goes on: bounded; false: there
 * is no room for them. */
struct iperf_later {
    char *text;
    size_t size;
};
bool iperf_later_add(struct iperf_later *later, const struct iperf_test *test);
void iperf_later_print(const struct iperf_test *test, struct iperf_later *later);

/* report.c */
void iperf_report_write(struct iperf_test *test, weir_json_writer *out);

static inline unsigned iperf_socket_of(const struct iperf_stream *stream)
{
    return stream->id + 4; /* iperf3 names its streams by their descriptors, which are these */
}

#endif

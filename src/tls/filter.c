/* The filter: records below, bytes above. OpenSSL knows no socket here; it is given what came and
 * says what is to go, within the calls of the filter, and never has to wait for output. */
#include <openssl/err.h>
#include <string.h>

#include "tls/tls.h"

enum {
    PLAIN = SSL3_RT_MAX_PLAIN_LENGTH, /* bytes of a record at most */
    /* Encrypted in one call, and sent before there is more: with what its records add it stays
     * below the 64 KiB of a packet that the network is given whole, and of a chunk of output. With
     * a fourth record each such packet had a tiny one behind it, and a file of 1 MiB cost 1.4
     * times as much CPU. */
    OUTPUT_MOST = 3 * PLAIN,
    FAILURES_PAUSE_NS = 1000000000
};

/* A server meets all kinds of scanners, whose failures interest nobody; those of a client are of
 * somebody who wants to know. */
static void failure_told(struct tls_state *s, int error, const char *text)
{
    enum weir_log_level level = WEIR_LOG_DEBUG;
    if (s->client && !s->ready) {
        weir_time now = weir_now(), last = atomic_load(&s->tls->failure_told);
        if ((last == 0 || now - last >= FAILURES_PAUSE_NS) &&
            atomic_compare_exchange_strong(&s->tls->failure_told, &last, now))
            level = WEIR_LOG_WARN;
    }
    weir__log(level, error, weir_filter_conn(s->at), "TLS: %s: %s",
              s->ready ? "the connection failed" : "the handshake failed", text);
}

/* OpenSSL cannot go on, for this cause. Its alert, if there is one, is on its way. */
static void broken(struct tls_state *s, const char *cause)
{
    int error = WEIR_ETLS;
    bool looks = !s->ready && (SSL_get_verify_mode(s->ssl) & SSL_VERIFY_PEER) != 0;
    long verified = looks ? SSL_get_verify_result(s->ssl) : X509_V_OK;
    s->failed = true;
    if (s->down_error < 0) {
        weir_filter_fail(s->at, s->down_error);
        return;
    }
    if (s->too_big) {
        error = WEIR_ETOOBIG;
        cause = "larger than .handshake_max_bytes";
    } else if (s->too_many) {
        cause = "the peer asks again and again for a new handshake";
    } else if (verified != X509_V_OK) {
        error = WEIR_ECERT;
        cause = verified == TLS_NOT_PINNED ? "none of its keys is pinned"
                                           : X509_verify_cert_error_string(verified);
    }
    failure_told(s, error, cause);
    weir_filter_close(s->at, error);
}

int tls_step(struct tls_state *s, int *stopped, char text[static TLS_TEXT])
{
    text[0] = '\0';
    ERR_clear_error();
    int result = SSL_do_handshake(s->ssl);
    *stopped = result == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, result);
    if (result != 1 && *stopped != SSL_ERROR_WANT_READ)
        tls_error_text(text);
    return result;
}

bool tls_stepped(struct tls_state *s, int result, int stopped, const char *text)
{
    if (result == 1) {
        s->ready = true;
        s->handshake_ns = weir__time_ns() - s->handshake_ns;
        tls_count(s, TLS_COUNT_DONE);
        if (SSL_session_reused(s->ssl) == 1)
            tls_count(s, TLS_COUNT_RESUMED);
        if (s->client)
            tls_session_settled(s);
        weir_filter_ready(s->at);
        weir_filter_wake(s->at);
        return true;
    }
    if (stopped == SSL_ERROR_WANT_READ && !s->too_big && s->down_error == 0)
        return true;
    broken(s, text);
    return false;
}

/* One step of the handshake; false when it failed. */
static bool shake(struct tls_state *s)
{
    char text[TLS_TEXT];
    int stopped, result = tls_step(s, &stopped, text);
    return tls_stepped(s, result, stopped, text);
}

/* Decrypts what there is, a record at a time; nothing stays behind. After a record that is wrong
 * OpenSSL sends nothing but its alert: so a handler that has closed is not followed by one. */
static void read_all(struct tls_state *s)
{
    uint8_t plain[PLAIN];
    char text[TLS_TEXT];
    const weir_conn conn = {weir_filter_conn(s->at)};
    size_t size;
    int going;
    for (;;) {
        ERR_clear_error(); /* handlers may use OpenSSL too, and leave errors of their own */
        going = SSL_read_ex(s->ssl, plain, sizeof plain, &size);
        if (going != 1)
            break;
        if (weir_filter_up(s->at, weir_bytes(plain, size)) < 0 || !weir_conn_alive(conn))
            return; /* it was closed: nobody wants the rest */
    }
    int stopped = SSL_get_error(s->ssl, going);
    if (stopped == SSL_ERROR_ZERO_RETURN) { /* close_notify: nothing behind it is of the stream */
        s->peer_ended = true;
        weir_filter_up_end(s->at);
    } else if (stopped != SSL_ERROR_WANT_READ) {
        broken(s, tls_error_text(text));
    }
}

static void finish(struct tls_state *s)
{
    char text[TLS_TEXT];
    ERR_clear_error();
    if (!s->failed && s->ready && SSL_shutdown(s->ssl) < 0)
        broken(s, tls_error_text(text));
    weir_filter_down_end(s->at);
}

/* A message behind the handshake (a ticket, say) has come in full: OpenSSL writes again. Or there
 * will be nothing more to write. */
static void write_again(struct tls_state *s)
{
    if ((!s->output_waits && !s->end_waits) || (!s->failed && SSL_in_init(s->ssl)))
        return;
    if (s->output_waits)
        weir_filter_wake(s->at);
    if (s->end_waits)
        finish(s);
    s->output_waits = s->end_waits = false;
}

/* False: out of memory. */
static bool ssl_make(struct tls_state *s)
{
    ERR_clear_error();
    s->ssl = SSL_new(s->loaded->contexts[0]);
    BIO *bio = s->ssl != NULL ? tls_bio_new(s) : NULL;
    if (bio == NULL) {
        ERR_clear_error();
        SSL_free(s->ssl);
        s->ssl = NULL;
        return false;
    }
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    if (s->client)
        SSL_set_connect_state(s->ssl);
    else
        SSL_set_accept_state(s->ssl);
    return true;
}

/* A server's SSL is made when something comes: those who only connect need none. */
static int tls_open(weir_filter_at *at, void *state, void *config, bool client)
{
    struct tls_state *s = state;
    s->at = at;
    s->tls = config;
    s->client = client;
    s->handshake_ns = weir__time_ns();
    if (client != s->tls->config.client) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, weir_filter_conn(at),
                  "TLS: the service's .tls was made for %s, this connection is %s",
                  client ? "a server" : "a client", client ? "outgoing" : "accepted");
        return WEIR_EINVALID;
    }
    s->loaded = tls_current(s->tls);
    if (!client)
        return 0;
    if (!ssl_make(s))
        return WEIR_ENOMEM;
    s->admitted = true;
    tls_count(s, TLS_COUNT_BEGUN);
    int result = tls_expect(s->ssl, at, s->loaded->config);
    if (result == 0) {
        tls_session_offer(s);
        shake(s);
    }
    tls_cost_tell(s);
    return result;
}

void tls_take(struct tls_state *s, const uint8_t *bytes, uint32_t size)
{
    const weir_conn conn = {weir_filter_conn(s->at)};
    if (s->ssl == NULL && !ssl_make(s)) {
        s->failed = true;
        weir_filter_fail(s->at, WEIR_ENOMEM);
        return;
    }
    if (s->job != NULL) {
        tls_job_later(s, bytes, size);
        return;
    }
    if (!s->ready && s->tls->config.on_pool && tls_job_start(s, bytes, size)) {
        tls_cost_tell(s);
        return;
    }
    s->input = bytes;
    s->input_size = size;
    if (s->ready || (shake(s) && s->ready))
        read_all(s);
    s->input = NULL;
    s->input_size = 0;
    write_again(s);
    if (weir_conn_alive(conn))
        tls_cost_tell(s);
}

static int tls_input(weir_filter_at *at, void *state, weir_view data)
{
    struct tls_state *s = state;
    if (!s->failed && !s->peer_ended && (s->admitted || tls_rate_admits(s, data)))
        tls_take(s, data.data, data.size);
    return 0;
}

/* The wire has ended: after close_notify that is all as it should be. Our own direction has not. */
static int tls_input_end(weir_filter_at *at, void *state)
{
    struct tls_state *s = state;
    if (s->failed || s->peer_ended)
        return 0;
    s->end_came = s->job != NULL;
    return s->end_came ? 0 : tls_ended(s);
}

int tls_ended(struct tls_state *s)
{
    s->peer_ended = true;
    if (s->ready)
        return WEIR_ECUT;
    failure_told(s, WEIR_ETLS, "the peer left in the middle of it");
    return WEIR_ETLS;
}

/* The first records are small, so that the peer can use each as it comes, while a connection has to
 * find out how much fits on its way; then they are as large as can be. */
static size_t record_size(struct tls_state *s)
{
    enum { SMALL = 4096, SMALL_UNTIL = 64 << 10 };
    weir_time now = weir_now();
    if (now - s->output_at > WEIR_S) /* after a rest the way is narrow again (RFC 2861) */
        s->burst_bytes = 0;
    s->output_at = now;
    return s->burst_bytes < SMALL_UNTIL ? SMALL : PLAIN;
}

static int64_t tls_output(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    struct tls_state *s = state;
    const uint8_t *bytes = data.data;
    char text[TLS_TEXT];
    size_t taken = 0, most = data.size < OUTPUT_MOST ? data.size : OUTPUT_MOST;
    if (s->failed ||
        s->job != NULL) /* nobody could read it any more: it is dropped with the connection */
        return 0;
    ERR_clear_error();
    while (taken < most) {
        size_t record = record_size(s), wrote = 0;
        size_t part = most - taken < record ? most - taken : record;
        int result = SSL_write_ex(s->ssl, bytes + taken, part, &wrote);
        if (result != 1 && SSL_get_error(s->ssl, result) == SSL_ERROR_WANT_READ) {
            /* The peer has sent a part of a message behind the handshake: the rest comes first. */
            s->output_waits = true;
            break;
        }
        if (result != 1) {
            broken(s, tls_error_text(text));
            return 0;
        }
        taken += wrote;
        s->burst_bytes += s->burst_bytes < UINT32_MAX / 2 ? (uint32_t)wrote : 0;
    }
    return (int64_t)taken;
}

static int tls_output_end(weir_filter_at *at, void *state)
{
    struct tls_state *s = state;
    s->end_waits = s->ready && !s->failed && SSL_in_init(s->ssl);
    if (!s->end_waits)
        finish(s);
    return 0;
}

static void tls_close(weir_filter_at *at, void *state)
{
    struct tls_state *s = state;
    if (s->admitted && !s->ready)
        tls_count(s, TLS_COUNT_FAILED);
    tls_session_close(s);
    tls_rate_leave(s);
    tls_job_leave(s);
    SSL_free(s->ssl);
    tls_unref(s->loaded);
    s->ssl = NULL;
    s->loaded = NULL;
}

const weir_filter tls_filter = {.name = "tls",
                                .state_size = sizeof(struct tls_state),
                                .open = tls_open,
                                .input = tls_input,
                                .input_end = tls_input_end,
                                .output = tls_output,
                                .output_end = tls_output_end,
                                .close = tls_close};

int weir_tls_info_of(weir_conn conn, weir_tls_info *out)
{
    if (out == NULL)
        return WEIR_EINVALID;
    if (!weir_conn_alive(conn))
        return WEIR_EGONE;
    const struct tls_state *s = weir_filter_find(conn, &tls_filter);
    if (s == NULL || !s->ready)
        return WEIR_EINVALID;
    const unsigned char *alpn;
    unsigned alpn_size;
    SSL_get0_alpn_selected(s->ssl, &alpn, &alpn_size);
    const char *name = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
    const char *cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(s->ssl));
    const char *group = SSL_group_to_name(s->ssl, (int)SSL_get_negotiated_group(s->ssl));
    *out = (weir_tls_info){
        .version = (enum weir_tls_version)SSL_version(s->ssl),
        .cipher = cipher != NULL ? cipher : "",
        .group = group != NULL ? group : "",
        .alpn = alpn_size != 0 ? tls_alpn_text(s->loaded->config, alpn, alpn_size) : "",
        .name = name != NULL ? name : "",
        .resumed = SSL_session_reused(s->ssl) == 1,
        .verified = (SSL_get_verify_mode(s->ssl) & SSL_VERIFY_PEER) != 0 &&
                    SSL_get0_peer_certificate(s->ssl) != NULL &&
                    SSL_get_verify_result(s->ssl) == X509_V_OK,
        .handshake_ns = s->handshake_ns,
    };
    return 0;
}

int weir_tls_peer_cert(weir_conn conn, weir_cert_info *out)
{
    if (out == NULL)
        return WEIR_EINVALID;
    if (!weir_conn_alive(conn))
        return WEIR_EGONE;
    const struct tls_state *s = weir_filter_find(conn, &tls_filter);
    X509 *cert = s != NULL && s->ready ? SSL_get0_peer_certificate(s->ssl) : NULL;
    if (cert == NULL || (SSL_get_verify_mode(s->ssl) & SSL_VERIFY_PEER) == 0 ||
        SSL_get_verify_result(s->ssl) != X509_V_OK)
        return WEIR_EINVALID;
    *out = (weir_cert_info){.from_s = 0};
    tls_describe(cert, out);
    return 0;
}

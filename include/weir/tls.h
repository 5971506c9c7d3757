/* TLS 1.2 and 1.3 under the same verbs: the library libweir-tls (link with -lweir-tls -lweir), on
 * OpenSSL 3. A service names what it speaks TLS with, and its addresses say where:
 *
 *     weir_tls_cert cert = {.cert_file = "/etc/web/cert.pem", .key_file = "/etc/web/key.pem"};
 *     weir_tls *tls = weir_tls_server_new(&(weir_tls_server_options){.certs = &cert, .cert_count =
 * 1}); weir_service s = {.listen = "https://:443 http://:80", .tls = weir_tls_layer(tls), …};
 *
 * Everything above is as without: on_open comes after the handshake, for which .first_byte_ms is;
 * weir_finish and weir_close send close_notify. A peer whose stream ends without one ends the
 * connection with WEIR_ECUT, a failed handshake with WEIR_ETLS, a certificate that was not accepted
 * with WEIR_ECERT, a handshake larger than the limit with WEIR_ETOOBIG (refused by a limit).
 *
 * Renegotiation, compression and early data are off; only ciphers with forward secrecy and
 * authenticated encryption are there. */
#ifndef WEIR_TLS_H
#define WEIR_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/cert.h>
#include <weir/conn.h>
#include <weir/export.h>
#include <weir/filter.h>
#include <weir/stats.h>

typedef struct weir_tls weir_tls;

enum weir_tls_version {
    WEIR_TLS_VERSION_DEFAULT = 0, /* 1.2 at least */
    WEIR_TLS_1_2 = 0x0303,
    WEIR_TLS_1_3 = 0x0304
};

/* A certificate and its key, PEM files. */
typedef struct weir_tls_cert {
    const char *cert_file; /* the certificate first, then those that issued it (but the root) */
    const char *key_file;  /* not encrypted; NULL: it stands in cert_file too */
    /* A server's: what its CA says of the certificate, an OCSP response in DER, stapled to it (RFC
     * 6066 section 8) while it is current; NULL: nothing. One that is wrong is a warning. */
    const char *ocsp_file;
} weir_tls_cert;

/* Whether a server asks its clients for certificates. */
enum weir_tls_peer_certs {
    WEIR_TLS_PEER_CERTS_NONE,
    WEIR_TLS_PEER_CERTS_REQUEST, /* one that comes must be good, none is fine */
    WEIR_TLS_PEER_CERTS_REQUIRE
};

/* What both kinds share; zero or NULL means the default. */
typedef struct weir_tls_limits {
    enum weir_tls_version version_min;
    enum weir_tls_version version_max; /* default: the newest that OpenSSL has */
    const char *ciphers;               /* of TLS 1.2: an OpenSSL list; those of 1.3 are all good */
    const char *groups;           /* for the key exchange: an OpenSSL list, the first preferred */
    uint32_t handshake_max_bytes; /* received in a handshake; default 64 KiB (client: 128 KiB) */
} weir_tls_limits;

typedef struct weir_tls_server_options {
    /* The first is for clients that name no host, or one that no certificate has. Others are chosen
     * by the name: an exact one before one with a wildcard, which stands for one label. */
    const weir_tls_cert *certs;
    unsigned cert_count;
    const char *const *alpn; /* protocols, NULL-terminated, the preferred one first: "http/1.1". A
                              * client that offers others only is refused. NULL: not spoken of */
    weir_tls_limits limits;
    enum weir_tls_peer_certs peer_certs;
    const char *peer_ca_file; /* who issues them, PEM */
    /* Keys of session tickets for several processes: 1 to 16 times 80 bytes, each a name of 16, a
     * key for HMAC-SHA256 and one for AES-256-CBC of 32. The first seals, all open. Others must
     * have no access to the file. They are the file's as long as it says so: whoever writes it
     * renews them. NULL: keys of this weir_tls alone, renewed each hour. */
    const char *ticket_key_file;
    /* Handshakes that begin in a second, on all loops of the process together (not on those of
     * other processes: each has a rate of its own); 0: no limit. One begins when its hello has come
     * in full. More of them wait, for 3 s at most and within .first_byte_ms, while established
     * connections go on; one whose place would be later is reset (WEIR_EREFUSED, refused by a
     * limit) and counted. Up to 1 000 000. */
    uint32_t handshake_rate;
    /* Handshakes are made by the worker pool, so that what private keys do (milliseconds each, with
     * RSA of 4096 bits) does not hold the loop. Each takes longer, for the ways there and back. Up
     * to 1024 at a time, on all loops; what is beyond that is made on the loop, as without. */
    bool handshake_on_pool;
} weir_tls_server_options;

typedef struct weir_tls_client_options {
    const char *ca_file;     /* whom to trust, PEM; NULL: whom the system trusts */
    const char *server_name; /* the name that the certificate must have, and that is asked for;
                              * NULL: the host of the URL */
    const char *const *alpn; /* offered, NULL-terminated */
    bool insecure;           /* the server's certificate is not looked at: it may be anybody. Logged
                              * as a warning */
    weir_tls_limits limits;
    weir_tls_cert cert; /* ours, for servers that ask for one */
    /* Keys of which the server must have one, or, when its chain is verified, one who issued its
     * certificate: "sha256//BASE64", of a SubjectPublicKeyInfo (RFC 7469 section 2.4);
     * NULL-terminated. With `insecure` they are all that is looked at. */
    const char *const *pins;
    /* Every handshake is a whole one. Else a connection goes on with a session that an earlier one
     * had with the same name at the same address: for a day from the whole handshake, while the
     * server and its certificate allow it, and not beyond a weir_tls_reload. At most 1024 are kept,
     * for all loops. */
    bool no_sessions;
} weir_tls_client_options;

/* What a weir_tls counts: as in <weir/stats.h>. */
#define WEIR_TLS_STATS(XX)                                                                  \
    XX(begun, "weir_tls_handshakes_begun_total", "handshakes", COUNTER, "begun")            \
    XX(done, "weir_tls_handshakes_total", "handshakes", COUNTER, "that succeeded")          \
    XX(resumed, "weir_tls_resumed_total", "handshakes", COUNTER,                            \
       "of these: going on with an earlier session")                                        \
    XX(failed, "weir_tls_handshakes_failed_total", "handshakes", COUNTER, "that failed")    \
    XX(waited, "weir_tls_handshakes_waited_total", "handshakes", COUNTER,                   \
       "that had to wait, to keep the handshake rate")                                      \
    XX(waiting, "weir_tls_handshakes_waiting", "handshakes", GAUGE, "waiting for that now") \
    XX(refused, "weir_tls_handshakes_refused_total", "handshakes", COUNTER,                 \
       "refused, for they would have had to wait for too long")
#define WEIR_TLS_STATS_FIELD(field, metric, unit, kind, what) uint64_t field;
typedef struct weir_tls_stats {
    WEIR_TLS_STATS(WEIR_TLS_STATS_FIELD)
} weir_tls_stats;
#undef WEIR_TLS_STATS_FIELD

WEIR_BEGIN

WEIR_API weir_tls *weir__tls_server_new(const weir_tls_server_options *options, size_t size);
/* Loads certificates and keys. NULL: one cannot be used; what is wrong was logged with the file,
 * the line in it, and the cause. A certificate that has expired, and a chain that seems incomplete,
 * are warnings. What it is given is copied. It may serve several services and loops, and must live
 * as long as they. Any thread. */
static inline weir_tls *weir_tls_server_new(const weir_tls_server_options *options)
{
    return weir__tls_server_new(options, sizeof *options);
}

WEIR_API weir_tls *weir__tls_client_new(const weir_tls_client_options *options, size_t size);
/* For outgoing connections: the server's certificate must be issued by someone trusted, be valid
 * now, be meant for servers, and have the name (RFC 9525; an address in numbers as an address).
 * NULL: logged, as above. Options may be NULL. Any thread. */
static inline weir_tls *weir_tls_client_new(const weir_tls_client_options *options)
{
    return weir__tls_client_new(options, sizeof *options);
}

/* Loads the files anew: for handshakes that begin from now on; connections keep what they have.
 * When that fails the former ones stay. 0 or an error, logged. Waits for files. Any thread. */
WEIR_API int weir_tls_reload(weir_tls *tls);

/* After every service that uses it has ended, and the last of their connections; steps that the
 * worker pool still makes for those keep what they need. NULL is fine. */
WEIR_API void weir_tls_free(weir_tls *tls);

/* For weir_service.tls; lives as long as `tls`. Any thread. */
WEIR_API const weir_layer *weir_tls_layer(weir_tls *tls);

WEIR_API int weir__tls_stats_get(weir_tls *tls, weir_tls_stats *out, size_t size);
/* What has been counted since `tls` was made, on all loops. 0 or WEIR_EINVALID. Any thread. */
static inline int weir_tls_stats_get(weir_tls *tls, weir_tls_stats *out)
{
    return weir__tls_stats_get(tls, out, sizeof *out);
}
/* The rows of WEIR_TLS_STATS; *count of them. Any thread. */
WEIR_API const weir_stat *weir_tls_stats_table(unsigned *count);

/* What a handshake has settled. Texts live as long as the connection. */
typedef struct weir_tls_info {
    enum weir_tls_version version;
    const char *cipher;    /* "TLS_AES_128_GCM_SHA256" */
    const char *group;     /* of the key exchange, "x25519"; "" when it cannot be told */
    const char *alpn;      /* "" : none */
    const char *name;      /* the host that the client named; "" : none */
    bool resumed;          /* an earlier session goes on */
    bool verified;         /* the peer's certificate was looked at, and accepted */
    uint64_t handshake_ns; /* from the established connection to the end of the handshake */
} weir_tls_info;

/* 0; WEIR_EGONE; WEIR_EINVALID: there is no TLS on the connection. On its loop's thread. */
WEIR_API int weir_tls_info_of(weir_conn conn, weir_tls_info *out);

/* What stands in the peer's certificate: its subject, names, fingerprint. As above; WEIR_EINVALID
 * also when it sent none, or it was not verified. */
WEIR_API int weir_tls_peer_cert(weir_conn conn, weir_cert_info *out);

WEIR_END
#endif

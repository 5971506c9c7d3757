/* What the files of libweir-tls share. It stands beside the house: of weir it sees the public
 * headers only, and nothing in libweir knows it. */
#ifndef WEIR_TLS_TLS_H
#define WEIR_TLS_TLS_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include <weir/module.h>
#include <weir/tls.h>
#include <weir/weir.h>

enum {
    TLS_HANDSHAKE_SERVER = 64 << 10, /* bytes received in a handshake, by default */
    TLS_HANDSHAKE_CLIENT = 128 << 10,
    TLS_PEM_MAX = 1 << 20, /* bytes of a PEM file */
    TLS_CERTS_MAX = 1024,
    TLS_ALPN_MAX = 255, /* bytes of a protocol's name */
    TLS_TICKET_FILE_KEYS = 16,
    TLS_RATE_MAX = 1000000,
    TLS_JOBS_MAX = 1024, /* a quarter of a loop's queue for its worker pool */
    TLS_TEXT = 512,
    TLS_HOST_MAX = 256,
    TLS_PIN = 32, /* bytes: SHA-256 */
    TLS_PINS_MAX = 256,
    TLS_NOT_PINNED = X509_V_ERR_APPLICATION_VERIFICATION
};

/* The options, copied. */
struct tls_config {
    bool client, insecure, no_sessions;
    weir_tls_cert *certs; /* a client's own: at most one */
    unsigned cert_count;
    enum weir_tls_peer_certs peer_certs;
    char *ca_file, *server_name, *ciphers, *groups, *ticket_key_file;
    char **alpn;              /* NULL-terminated, or NULL */
    unsigned char *alpn_wire; /* as the extension has them (RFC 7301 section 3.1) */
    unsigned alpn_wire_size;
    unsigned char (*pins)[TLS_PIN];
    unsigned pin_count;
    int version_min, version_max; /* version_max 0: none */
    uint32_t handshake_max_bytes;
    uint32_t handshake_rate; /* 0: no limit */
    bool on_pool;            /* handshakes are made by the worker pool */
};
/* config.c. False: out of memory, or an option is wrong; logged. `out` is zeroed before. */
bool tls_config_server(struct tls_config *out, const weir_tls_server_options *options);
bool tls_config_client(struct tls_config *out, const weir_tls_client_options *options);
void tls_config_free(struct tls_config *config);
/* The configured text of a negotiated protocol, or "". */
const char *tls_alpn_text(const struct tls_config *config, const unsigned char *name,
                          unsigned size);

/* names.c: host names to contexts, exact ones and wildcards. */
struct tls_names {
    struct tls_name *items; /* sorted */
    size_t count, room;
};
/* The names that a certificate is for; the first certificate of a name keeps it. False: out of
 * memory. */
bool tls_names_add(struct tls_names *names, X509 *cert, unsigned context);
void tls_names_sort(struct tls_names *names);
/* The context for a host, or -1. */
int tls_names_find(const struct tls_names *names, const char *host);
void tls_names_free(struct tls_names *names);

/* sessions.c: a client's sessions. */
struct tls_session {
    char *key;
    uint64_t hash;
    SSL_SESSION *session;
    weir_time began, until; /* its whole handshake; when it must not be used any more */
    uint64_t number;        /* the newest has the highest */
};
struct tls_sessions {
    pthread_mutex_t lock; /* of what follows */
    struct tls_session *items;
    unsigned count, room;
    uint64_t numbers;
};
void tls_sessions_begin(struct tls_sessions *all);
void tls_sessions_end(struct tls_sessions *all);
/* The newest for a key, the caller's, and out of the store; NULL: none. Any thread. */
SSL_SESSION *tls_sessions_take(struct tls_sessions *all, const char *key, weir_time *began);
/* Takes the reference, unless it fails for want of memory. Any thread. */
bool tls_sessions_put(struct tls_sessions *all, const char *key, SSL_SESSION *session,
                      weir_time began, weir_time until);

/* What was loaded, counted: a connection keeps that which it was accepted under. */
struct tls_loaded {
    atomic_uint refs;
    const struct tls_config *config;
    SSL_CTX **contexts; /* one a certificate; the first is for everybody else */
    unsigned count;
    struct tls_names names;
    struct tls_sessions sessions;
    struct tls_staple **staples; /* as many; NULL: nothing is stapled to that one */
};

enum { TLS_TICKET_KEYS = 3, TLS_TICKET_NAME = 16 };
struct tls_ticket_key {
    unsigned char name[TLS_TICKET_NAME], cipher[32], mac[32];
    weir_time since;
};
struct tls_tickets {
    struct tls_ticket_key keys[TLS_TICKET_KEYS]; /* the newest first */
    unsigned count;
    /* Those of .ticket_key_file, in its order, are in their place. */
    struct tls_ticket_key file_keys[TLS_TICKET_FILE_KEYS];
    unsigned file_count;
};

/* In the order of weir_tls_stats. */
enum tls_count {
    TLS_COUNT_BEGUN,
    TLS_COUNT_DONE,
    TLS_COUNT_RESUMED,
    TLS_COUNT_FAILED,
    TLS_COUNT_WAITED,
    TLS_COUNT_WAITING,
    TLS_COUNT_REFUSED,
    TLS_COUNTS
};

struct weir_tls {
    weir_layer layer;
    struct tls_config config;
    pthread_mutex_t lock; /* of what follows */
    struct tls_loaded *current;
    struct tls_tickets tickets;
    _Atomic weir_time failure_told; /* a client's failures are logged once a second */
    _Atomic weir_time refusal_told; /* and so are refusals */
    /* When the next handshake has its place, with .handshake_rate. */
    _Atomic weir_time handshake_next;
    _Atomic uint64_t counts[TLS_COUNTS];
    atomic_uint refs;   /* its owner's, and one for each job */
    atomic_uint jobs;   /* steps that the worker pool has not given back */
    unsigned jobs_most; /* at a time; more are made on their loops */
};

struct tls_state;

/* context.c */
/* A context with all that is not a certificate's. NULL: logged. */
SSL_CTX *tls_context_new(const struct tls_config *config);
struct tls_loaded *tls_load(const struct tls_config *config); /* NULL: logged */
struct tls_loaded *tls_current(weir_tls *tls);                /* referred to */
void tls_unref(struct tls_loaded *loaded);

/* file.c */
struct tls_file {
    const char *name;
    size_t most;               /* bytes */
    enum weir_log_level level; /* of what is wrong */
    bool secret;               /* others may have no access to it, and it is no pipe */
    unsigned char *data;       /* what was read */
    size_t size;
};
/* Reads the file that the first four name. False: logged; `what` says what should stand in it. */
bool tls_file_read(struct tls_file *file, const char *what);
void tls_file_close(struct tls_file *file); /* its bytes are wiped */

/* staple.c: an answer of an OCSP responder that goes with the context's certificate. NULL: there is
 * none that fits, logged. Freed behind the context. */
struct tls_staple;
struct tls_staple *tls_staple_load(SSL_CTX *context, const char *file);
void tls_staple_free(struct tls_staple *staple);

/* pem.c: PEM files, with the lines that their parts stand on. */
struct tls_pem {
    struct tls_file whole;
    const char *file, *data;
    size_t size, at;
    unsigned line; /* of `at` */
    /* The part that was found: */
    const char *block;
    size_t block_size;
    unsigned block_line;
    char label[64];
};
bool tls_pem_open(struct tls_pem *pem, const char *file); /* false: logged */
/* 1: a part was found, 0: there are no more, -1: it has no end, logged. */
int tls_pem_next(struct tls_pem *pem);
bool tls_pem_is_cert(const struct tls_pem *pem);
bool tls_pem_is_key(const struct tls_pem *pem);
X509 *tls_pem_cert(const struct tls_pem *pem);    /* NULL: logged */
EVP_PKEY *tls_pem_key(const struct tls_pem *pem); /* NULL: logged */
void tls_pem_close(struct tls_pem *pem);          /* its bytes are wiped */

/* cert.c: a certificate with its chain and key, checked and put into a context; its names go into
 * the table. False: logged. */
bool tls_cert_load(SSL_CTX *context, const weir_tls_cert *files, struct tls_names *names,
                   unsigned index);

/* verify.c */
bool tls_trust(SSL_CTX *context, const struct tls_config *config); /* false: logged */
/* A server's: whose clients' certificates are accepted, when they are asked for. */
bool tls_trust_clients(SSL_CTX *context, const struct tls_config *config);
/* Whether that can be the name of one host, which is then asked for and verified without the dot
 * that ends it (RFC 6066 section 3). */
bool tls_name_take(char *name);
/* Names the host that is wanted, of the URL or of the options, to the server and to the check of
 * its certificate. 0 or an error, logged. */
int tls_expect(SSL *ssl, weir_filter_at *at, const struct tls_config *config);

/* pins.c */
bool tls_pin_read(const char *text, unsigned char out[static TLS_PIN]); /* false: it is none */
/* Has a client look at keys, or at nothing, as its configuration says. */
void tls_pins_use(SSL_CTX *context, const struct tls_config *config);

/* sessions.c, of a connection: has it keep what comes, offers one, is told that the handshake is
 * over, and of its end. */
void tls_sessions_use(SSL_CTX *context);
void tls_session_offer(struct tls_state *s);
void tls_session_settled(struct tls_state *s);
void tls_session_close(struct tls_state *s);

/* tickets.c: has a server's tickets sealed with keys that change. With `peer_certs` a session goes
 * on only while the client's certificate is valid, and not for longer than one ticket would. */
bool tls_tickets_use(SSL_CTX *context, bool peer_certs);
/* Reads the keys of .ticket_key_file, if there is one. False: logged. */
bool tls_tickets_read(const struct tls_config *config, struct tls_tickets *out);

/* look.c */
struct weir_cert_info;
void tls_describe(X509 *cert, struct weir_cert_info *out);
/* The first certificate in a file, the caller's; NULL: logged. */
X509 *tls_first_cert(const char *file);

/* error.c: the last error of OpenSSL in words, which are the caller's room; its queue is emptied.
 */
const char *tls_error_text(char out[static TLS_TEXT]);

/* filter.c */
extern const weir_filter tls_filter;
/* One step of the handshake, as SSL_do_handshake(3) and SSL_get_error(3) tell of it; any thread.
 * And what follows from it, on the loop's: false: it has failed. */
int tls_step(struct tls_state *s, int *stopped, char text[static TLS_TEXT]);
bool tls_stepped(struct tls_state *s, int result, int stopped, const char *text);
/* The wire has ended: the error that this is. */
int tls_ended(struct tls_state *s);
/* Gives OpenSSL what came. */
void tls_take(struct tls_state *s, const uint8_t *bytes, uint32_t size);

/* job.c: gives the next step to the worker pool; false: it must be done here. */
struct tls_job;
bool tls_job_start(struct tls_state *s, const uint8_t *bytes, uint32_t size);
/* While one runs: what came meanwhile; what OpenSSL says; the connection goes. */
void tls_job_later(struct tls_state *s, const uint8_t *bytes, uint32_t size);
bool tls_job_write(struct tls_job *job, const void *data, size_t size);
void tls_job_leave(struct tls_state *s);
uint32_t tls_job_held(const struct tls_state *s); /* bytes that came, with the job */

/* cost.c: tells the loop what OpenSSL holds for the connection. */
void tls_cost_tell(struct tls_state *s);

/* rate.c: whether a server's handshake may begin with these bytes; false: they have been taken, and
 * it waits for the rest of them, or for its place, or has begun with all, or been refused. */
bool tls_rate_admits(struct tls_state *s, weir_view data);
uint32_t tls_rate_held(const struct tls_state *s); /* bytes of those that wait */
/* The connection goes: so does its place. */
void tls_rate_leave(struct tls_state *s);
void tls_count(struct tls_state *s, enum tls_count which);
/* bio.c: a BIO that reads from the input at hand and writes to the layer below. NULL: no memory. */
struct tls_state;
BIO *tls_bio_new(struct tls_state *state);

/* wire.c: the records that come, as far as they can be read. */
struct tls_wire {
    uint8_t header[5], header_size;   /* of a record (RFC 8446 section 5.1) */
    uint8_t message[4], message_size; /* of a message of the handshake: its header */
    bool begun, sealed;               /* sealed: messages are encrypted */
    uint8_t requests;                 /* for a new handshake */
    uint32_t record_left, message_left;
};
/* False: OpenSSL must not see it, .too_big or .too_many say why. */
bool tls_wire_look(struct tls_state *s, const uint8_t *bytes, size_t size);

/* One connection's. */
struct tls_state {
    weir_filter_at *at;
    weir_tls *tls;
    struct tls_loaded *loaded;
    SSL *ssl;
    const uint8_t *input; /* during a call of `input`: what OpenSSL has not taken yet */
    uint32_t input_size;
    uint32_t handshake_bytes;
    uint32_t cost;        /* as told to the loop */
    int down_error;       /* the layer below did not take something */
    uint32_t burst_bytes; /* encrypted since the last rest */
    weir_time output_at;
    struct tls_wire wire;
    bool client, ready, failed, peer_ended, too_big, too_many;
    bool spoke;                   /* OpenSSL said something: it has seen a hello, or sent its own */
    bool output_waits, end_waits; /* for the rest of a message behind the handshake */
    bool session_offered;
    bool admitted;         /* its handshake may go on */
    bool end_came;         /* of the wire, while a job ran */
    struct tls_job *job;   /* a step of the handshake is on the worker pool */
    struct tls_wait *wait; /* for that; NULL: it does not */
    uint8_t tickets;       /* that were kept */
    char *session_key;     /* a client's; NULL: nothing is kept */
    weir_time session_began, session_offered_began; /* the whole handshake */
    uint64_t handshake_ns;                          /* first the time at which it began */
};

#endif

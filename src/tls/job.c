/* A step of a server's handshake on the worker pool: what its private key does takes milliseconds,
 * in which a loop could have served hundreds of requests. The whole step goes there, with what has
 * come as its input and memory for its output. Meanwhile OpenSSL sees a copy of the connection's
 * state, for that may end: then the job has the SSL, and frees it in the end. */
#include <string.h>

#include "tls/tls.h"

struct tls_bytes {
    uint8_t *data;
    size_t size, room;
};

struct tls_job {
    struct tls_state copy; /* what OpenSSL sees; only the job's thread has it while that runs */
    struct tls_state *s;   /* NULL: the connection has gone */
    atomic_bool gone;      /* and nothing is to be made for it */
    struct tls_bytes in, later, out;
    bool no_room;
    int result, stopped; /* of SSL_do_handshake */
    char text[TLS_TEXT];
};

static bool append(struct tls_bytes *to, const void *data, size_t size)
{
    if (to->room - to->size < size) {
        size_t room = to->room + size + to->room / 2;
        uint8_t *moved = OPENSSL_realloc(to->data, room);
        if (moved == NULL)
            return false;
        to->data = moved;
        to->room = room;
    }
    if (size != 0)
        memcpy(to->data + to->size, data, size);
    to->size += size;
    return true;
}

static void job_free(struct tls_job *job)
{
    weir_tls *tls = job->copy.tls;
    OPENSSL_free(job->in.data);
    OPENSSL_free(job->later.data);
    OPENSSL_free(job->out.data);
    OPENSSL_free(job);
    atomic_fetch_sub(&tls->jobs, 1);
    weir_tls_free(tls); /* the job's reference */
}

static int job_run(void *arg)
{
    struct tls_job *job = arg;
    if (!atomic_load_explicit(&job->gone, memory_order_relaxed))
        job->result = tls_step(&job->copy, &job->stopped, job->text);
    return 0;
}

/* OpenSSL's callbacks find this state from now on. */
static void belongs(SSL *ssl, struct tls_state *state)
{
    BIO_set_data(SSL_get_rbio(ssl), state);
    SSL_set_app_data(ssl, state);
}

/* What the job has learnt of the connection. */
static void learn(struct tls_state *s, const struct tls_job *job)
{
    s->wire = job->copy.wire;
    s->handshake_bytes = job->copy.handshake_bytes;
    s->too_big = job->copy.too_big;
    s->too_many = job->copy.too_many;
    s->spoke = job->copy.spoke;
    if (job->no_room)
        s->down_error = WEIR_ENOMEM;
}

static void fail(struct tls_state *s, int error)
{
    s->failed = true;
    weir_filter_fail(s->at, error);
}

/* What the job did not take, and what has come meanwhile. */
static void go_on(struct tls_state *s, struct tls_job *job)
{
    const weir_conn conn = {weir_filter_conn(s->at)};
    size_t left = job->copy.input_size;
    memmove(job->in.data, job->in.data + (job->in.size - left), left);
    job->in.size = left;
    if (!append(&job->in, job->later.data, job->later.size)) {
        fail(s, WEIR_ENOMEM);
        return;
    }
    if (job->in.size != 0)
        tls_take(s, job->in.data, (uint32_t)job->in.size);
    if (s->job == NULL && s->end_came && weir_conn_alive(conn) && !s->failed && !s->peer_ended)
        weir_filter_cut(s->at, tls_ended(s));
}

static void job_done(weir_loop *loop, int result, void *arg)
{
    struct tls_job *job = arg;
    struct tls_state *s = job->s;
    SSL *ssl = job->copy.ssl;
    if (s == NULL) {
        SSL_free(ssl);
        tls_unref(job->copy.loaded);
        job_free(job);
        return;
    }
    const weir_conn conn = {weir_filter_conn(s->at)};
    s->job = NULL;
    belongs(ssl, s);
    learn(s, job);
    weir_filter_pause(s->at, false);
    if (s->down_error == 0 && job->out.size != 0 && !s->failed)
        s->down_error = weir_filter_down(s->at, weir_bytes(job->out.data, job->out.size));
    if (result < 0 && !s->failed) /* it was not begun: the loop ends */
        fail(s, result);
    else if (!s->failed && tls_stepped(s, job->result, job->stopped, job->text))
        go_on(s, job);
    if (weir_conn_alive(conn))
        tls_cost_tell(s);
    job_free(job);
}

/* It has a reference to the weir_tls, which may be freed as soon as the connection is gone. */
static struct tls_job *job_new(struct tls_state *s, const uint8_t *bytes, uint32_t size)
{
    struct tls_job *job = OPENSSL_zalloc(sizeof *job);
    if (job == NULL)
        return NULL;
    atomic_fetch_add_explicit(&s->tls->refs, 1, memory_order_relaxed);
    bool many = atomic_fetch_add(&s->tls->jobs, 1) >= s->tls->jobs_most;
    job->s = s;
    job->copy = *s;
    if (!many && append(&job->in, bytes, size))
        return job;
    job_free(job);
    return NULL;
}

bool tls_job_start(struct tls_state *s, const uint8_t *bytes, uint32_t size)
{
    struct tls_job *job = job_new(s, bytes, size);
    if (job == NULL)
        return false;
    job->copy.at = NULL;
    job->copy.job = job;
    job->copy.input = job->in.data;
    job->copy.input_size = size;
    s->job = job;
    belongs(s->ssl, &job->copy);
    if (weir__work(job_run, job_done, job) == 0) {
        weir_filter_pause(s->at, true);
        return true;
    }
    belongs(s->ssl, s); /* the pool has no room: so it is done here */
    s->job = NULL;
    job_free(job);
    return false;
}

/* Nothing is received any more, so this is what was on its way: much of it may be the client's, who
 * has ended its handshake, and not part of that. What is counts when OpenSSL takes it. */
void tls_job_later(struct tls_state *s, const uint8_t *bytes, uint32_t size)
{
    if (append(&s->job->later, bytes, size))
        tls_cost_tell(s);
    else
        fail(s, WEIR_ENOMEM);
}

uint32_t tls_job_held(const struct tls_state *s)
{
    return s->job != NULL ? (uint32_t)(s->job->in.room + s->job->later.room) : 0;
}

bool tls_job_write(struct tls_job *job, const void *data, size_t size)
{
    job->no_room |= !append(&job->out, data, size);
    return !job->no_room;
}

void tls_job_leave(struct tls_state *s)
{
    if (s->job == NULL)
        return;
    atomic_store_explicit(&s->job->gone, true, memory_order_relaxed);
    s->job->s = NULL;
    s->job = NULL;
    s->ssl = NULL; /* it has them now */
    s->loaded = NULL;
}

/* Between OpenSSL and the connection: reads from the view at hand, writes to the layer below, and
 * keeps nothing. */
#include <string.h>

#include "tls/tls.h"

static int bio_read(BIO *bio, char *out, size_t size, size_t *got)
{
    struct tls_state *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t part = size < s->input_size ? size : s->input_size;
    *got = part;
    if (part == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    if (!s->ready) {
        s->handshake_bytes += (uint32_t)part;
        s->too_big = s->handshake_bytes > s->loaded->config->handshake_max_bytes;
        if (s->too_big)
            return 0;
    }
    if (!tls_wire_look(s, s->input, part))
        return 0;
    memcpy(out, s->input, part);
    s->input += part;
    s->input_size -= (uint32_t)part;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *wrote)
{
    struct tls_state *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *wrote = 0;
    s->spoke = true;
    /* After an error of the layer below the connection has ended: it takes nothing. */
    int result = s->down_error;
    if (s->job != NULL)
        result = tls_job_write(s->job, data, size) ? 0 : WEIR_ENOMEM;
    else if (result == 0)
        result = weir_filter_down(s->at, weir_bytes(data, size));
    if (result < 0) {
        s->down_error = result;
        return 0;
    }
    *wrote = size;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH; /* what was written is on its way already */
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void method_make(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir");
    if (made == NULL)
        return;
    if (BIO_meth_set_read_ex(made, bio_read) == 1 && BIO_meth_set_write_ex(made, bio_write) == 1 &&
        BIO_meth_set_ctrl(made, bio_control) == 1)
        method = made;
    else
        BIO_meth_free(made);
}

BIO *tls_bio_new(struct tls_state *state)
{
    pthread_once(&method_once, method_make);
    BIO *bio = method != NULL ? BIO_new(method) : NULL;
    if (bio != NULL) {
        BIO_set_data(bio, state);
        BIO_set_init(bio, 1);
    }
    return bio;
}

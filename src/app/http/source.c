/* Bodies of answers that are not in memory: files, and pull sources with their framing. */
#include <string.h>
#include <unistd.h>

#include "app/http/server.h"
#include "base/alloc.h"

int answer_finish(struct exchange *x, int result)
{
    if (result < 0) { /* the head promised a body */
        conn_fail(x->server->loop, x->conn, WEIR_WHY_LIMIT, result);
        return result;
    }
    answer_ended(x);
    return 0;
}

int answer_piece(struct exchange *x, weir_view view)
{
    int result = weir_send(conn_handle(x->server->loop, x->conn), view);
    if (result >= 0)
        x->answer_bytes += view.size;
    return result < 0 ? result : 0;
}

int answer_piece_file(struct exchange *x, int fd, uint64_t offset, uint64_t size, bool own_fd)
{
    int result =
        weir_send_file(conn_handle(x->server->loop, x->conn), fd, (int64_t)offset, size, own_fd);
    if (result >= 0)
        x->answer_bytes += size;
    return result < 0 ? result : 0;
}

static int file_begin(weir_exchange handle, unsigned status, const char *type, int fd,
                      int64_t offset, uint64_t size, struct exchange **out)
{
    int result;
    struct exchange *x = answering(handle, &result);
    *out = x;
    if (x == NULL)
        return result;
    if (fd < 0 || offset < 0 || size > (uint64_t)INT64_MAX - (uint64_t)offset)
        return WEIR_EINVALID;
    return answer_begin(x, status, type, (int64_t)size);
}

int weir_http_file(weir_exchange handle, unsigned status, const char *type, int fd, int64_t offset,
                   uint64_t size, bool own_fd)
{
    struct exchange *x;
    int result = file_begin(handle, status, type, fd, offset, size, &x);
    if (result < 0 || x->head_only) {
        if (own_fd && fd >= 0)
            close(fd);
        return result < 0 ? result : answer_finish(x, 0);
    }
    return answer_finish(x, answer_piece_file(x, fd, (uint64_t)offset, size, own_fd));
}

/* A pull source between its owner and the connection: adds chunk framing, or holds it to its
 * length. The exchange goes on until it has ended. */
struct pulled {
    weir_pull_fn *pull;
    void *arg;
    weir_exchange exchange;
    bool chunked;
    bool ended;    /* nothing is asked of it any more */
    bool measured; /* its length was promised: */
    uint64_t left;
    uint64_t given;
};

static ssize_t ask(struct pulled *pulled, weir_conn conn, uint8_t *data, size_t size)
{
    ssize_t got = pulled->pull(conn, data, size, pulled->arg);
    if (got > 0 && (size_t)got > size)
        return WEIR_EMISUSE;
    pulled->ended = got == 0;
    pulled->given += got > 0 ? (size_t)got : 0;
    return got;
}

static ssize_t pull_chunk(struct pulled *pulled, weir_conn conn, uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    enum { HEAD = 10, TAIL = 2 }; /* eight digits and CR LF; CR LF */
    ssize_t got = ask(pulled, conn, data + HEAD, size - HEAD - TAIL);
    if (got < 0)
        return got;
    if (got == 0) {
        memcpy(data, HTTP1_CHUNK_LAST, sizeof HTTP1_CHUNK_LAST - 1);
        return sizeof HTTP1_CHUNK_LAST - 1;
    }
    for (unsigned i = 0; i < 8; i++)
        data[i] = (uint8_t)digits[(size_t)got >> (28 - 4 * i) & 15];
    memcpy(data + 8, "\r\n", 2);
    memcpy(data + HEAD + got, "\r\n", TAIL);
    return got + HEAD + TAIL;
}

static ssize_t pull_measured(struct pulled *pulled, weir_conn conn, uint8_t *data, size_t size)
{
    if (pulled->left == 0)
        return 0;
    ssize_t got = ask(pulled, conn, data, size < pulled->left ? size : (size_t)pulled->left);
    if (got > 0)
        pulled->left -= (uint64_t)got;
    return got == 0 ? WEIR_ETORN : got; /* fewer bytes than the head has promised */
}

static void pulled_over(struct pulled *pulled)
{
    pulled->pull((weir_conn){0}, NULL, 0, pulled->arg);
    struct exchange *x = exchange_of(pulled->exchange);
    if (x != NULL && x->answer == ANSWER_SOURCE) {
        x->answer_bytes = pulled->given;
        answer_ended(x);
    }
    weir__free(pulled);
}

static ssize_t pull_adapter(weir_conn conn, void *data, size_t size, void *arg)
{
    struct pulled *pulled = arg;
    if (data == NULL) {
        pulled_over(pulled);
        return 0;
    }
    if (pulled->ended)
        return 0;
    if (pulled->chunked)
        return pull_chunk(pulled, conn, data, size);
    return pulled->measured ? pull_measured(pulled, conn, data, size)
                            : ask(pulled, conn, data, size);
}

int weir_http_pull(weir_exchange handle, unsigned status, const char *type, int64_t length,
                   weir_pull_fn *pull, void *arg)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x == NULL || pull == NULL)
        return x == NULL ? result : WEIR_EINVALID;
    struct pulled *pulled = weir__alloc(sizeof *pulled);
    if (pulled == NULL)
        return WEIR_ENOMEM;
    result = answer_begin(x, status, type, length);
    if (result < 0) {
        weir__free(pulled);
        return result;
    }
    *pulled = (struct pulled){.pull = pull,
                              .arg = arg,
                              .exchange = handle,
                              .chunked = x->chunked,
                              .ended = x->head_only, /* it is told all the same, but not here */
                              .measured = length >= 0,
                              .left = length >= 0 ? (uint64_t)length : 0};
    result = weir_send_pull(conn_handle(x->server->loop, x->conn), pull_adapter, pulled);
    if (result < 0) {
        weir__free(pulled);
        return answer_finish(x, result);
    }
    x->answer = ANSWER_SOURCE;
    return 0;
}

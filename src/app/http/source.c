/* Bodies of answers that are not in memory: files, and pull sources with their framing. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/http/server.h"
#include "base/alloc.h"

static struct exchange *begin_source(weir_exchange handle, unsigned status, const char *type,
                                     int64_t length, int *result)
{
    struct exchange *x = exchange_of(handle);
    *result = x == NULL || x->conn == NULL || x->conn->phase != CONN_OPEN ? WEIR_EGONE : 0;
    if (*result == 0)
        *result = answer_begin(x, status, type, length);
    return x;
}

int answer_finish(struct exchange *x, int result)
{
    if (result < 0) { /* the head promised a body */
        conn_fail(x->server->loop, x->conn, WEIR_WHY_LIMIT, result);
        return result;
    }
    x->answer = ANSWER_ENDED;
    if (!x->handler_running)
        loop_ready_add(x->server->loop, &x->ready);
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

int weir_http_file(weir_exchange handle, unsigned status, const char *type, int fd, int64_t offset,
                   uint64_t size, bool own_fd)
{
    int result;
    struct exchange *x = begin_source(handle, status, type, (int64_t)size, &result);
    if (result < 0 || x->head_only) {
        if (own_fd && fd >= 0)
            close(fd);
        return result < 0 ? result : answer_finish(x, 0);
    }
    return answer_finish(x, answer_piece_file(x, fd, (uint64_t)offset, size, own_fd));
}

/* A pull source between its owner and the connection: adds chunk framing, or holds it to its
 * length. */
struct pulled {
    weir_pull_fn *pull;
    void *arg;
    bool chunked, ended;
    uint64_t left;
};

static ssize_t pull_chunk(weir_conn conn, uint8_t *data, size_t size, struct pulled *pulled)
{
    enum { HEAD = 10, TAIL = 2 }; /* eight digits and CR LF; CR LF */
    if (pulled->ended)
        return 0;
    ssize_t got = pulled->pull(conn, data + HEAD, size - HEAD - TAIL, pulled->arg);
    if (got < 0)
        return got;
    if (got == 0) {
        pulled->ended = true;
        memcpy(data, HTTP1_CHUNK_LAST, sizeof HTTP1_CHUNK_LAST - 1);
        return sizeof HTTP1_CHUNK_LAST - 1;
    }
    char head[24];
    snprintf(head, sizeof head, "%08zx\r\n", (size_t)got);
    memcpy(data, head, HEAD);
    memcpy(data + HEAD + got, "\r\n", TAIL);
    return got + HEAD + TAIL;
}

static ssize_t pull_adapter(weir_conn conn, void *data, size_t size, void *arg)
{
    struct pulled *pulled = arg;
    if (data == NULL) {
        pulled->pull(conn, NULL, 0, pulled->arg);
        weir__free(pulled);
        return 0;
    }
    if (pulled->chunked)
        return pull_chunk(conn, data, size, pulled);
    if (pulled->left == 0)
        return 0;
    if (size > pulled->left)
        size = (size_t)pulled->left;
    ssize_t got = pulled->pull(conn, data, size, pulled->arg);
    if (got > 0)
        pulled->left -= (uint64_t)got;
    bool cut = got == 0 && !pulled->ended; /* fewer bytes than the head has promised */
    return cut ? WEIR_ETORN : got;
}

int weir_http_pull(weir_exchange handle, unsigned status, const char *type, int64_t length,
                   weir_pull_fn *pull, void *arg)
{
    int result = WEIR_EINVALID;
    struct exchange *x = pull != NULL ? begin_source(handle, status, type, length, &result) : NULL;
    if (result < 0)
        return result;
    if (x->head_only) {
        pull(conn_handle(x->server->loop, x->conn), NULL, 0, arg);
        return answer_finish(x, 0);
    }
    struct pulled *pulled = weir__zalloc(sizeof *pulled);
    if (pulled == NULL)
        return answer_finish(x, WEIR_ENOMEM);
    *pulled = (struct pulled){.pull = pull,
                              .arg = arg,
                              .chunked = x->chunked,
                              .ended = length < 0 && !x->chunked,
                              .left = length >= 0 ? (uint64_t)length : UINT64_MAX};
    if (x->chunked)
        pulled->ended = false;
    result = weir_send_pull(conn_handle(x->server->loop, x->conn), pull_adapter, pulled);
    if (result < 0)
        weir__free(pulled);
    return answer_finish(x, result);
}

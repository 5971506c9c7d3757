/* The verbs of a connection: they queue and mark; what follows happens in the flush (K3). */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "net/conn.h"

/* The connection for a send, and whether it may send now. */
static int sendable(weir_conn handle, weir_loop **loop, struct conn **c)
{
    int result = conn_get(handle, loop, c);
    if (result < 0)
        return result;
    if ((conn_flags(*c) & CONN_TORN) != 0 && (*c)->phase < CONN_FLUSHING)
        return WEIR_ETORN;
    if ((*c)->phase >= CONN_FLUSHING)
        return WEIR_EGONE;
    if ((*c)->phase != CONN_OPEN || (conn_flags(*c) & CONN_OUTPUT_SHUT) != 0)
        return WEIR_EMISUSE;
    return 0;
}

/* A send that would pass the hard cap queues nothing. */
static int refuse_full(weir_loop *loop, struct conn *c)
{
    loop->net->counters.refused_full++;
    if (c->service->config.full == WEIR_FULL_CLOSE)
        conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_EFULL);
    return WEIR_EFULL;
}

static int queued(weir_loop *loop, struct conn *c, const struct output *out)
{
    conn_dirty(loop, c);
    if (out->unsent_bytes <= c->service->config.soft_mark_bytes)
        return 0;
    conn_flags(c) |= CONN_DRAIN_OWED;
    return WEIR_SEND_WAIT;
}

static bool counted(weir_view view)
{
    unsigned owner = view.owner >> WEIR_OWNER_SHIFT;
    return owner != WEIR_OWNER_LENT &&
           (owner != WEIR_OWNER_STATIC || view.size < OUTPUT_COPY_BELOW);
}

/* A lent view that was refused is given back: the caller will not send it again. */
static void views_return(weir_loop *loop, const weir_view *views, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (views[i].owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT && loop->net != NULL)
            loan_done(loop, views[i].owner & ((1u << WEIR_OWNER_SHIFT) - 1));
    }
}

/* On failure *returned tells how many of the views have been given back already. */
static int queue_views(weir_loop *loop, struct conn *c, struct output *out, const weir_view *views,
                       unsigned count, unsigned *returned)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        if (views[i].owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
            return WEIR_ENOMEM;
        total += counted(views[i]) ? views[i].size : 0;
    }
    if (c->queued_bytes + total > c->service->config.hard_cap_bytes ||
        out->count + count > LIMIT_SEGMENTS_MAX)
        return refuse_full(loop, c);
    /* What begins below the mark is never refused by the loop's budget: whoever only answers what
     * it reads stays in business. */
    bool forced = c->queued_bytes <= c->service->config.soft_mark_bytes;
    struct output_end end = output_end_now(out);
    for (unsigned i = 0; i < count; i++) {
        int result = output_view(loop, c, out, views[i], forced);
        if (result == 0)
            continue;
        output_take_back(loop, c, out, end); /* all or none; lent views among them are done with */
        *returned = i;
        return result == WEIR_EFULL ? refuse_full(loop, c) : result;
    }
    return queued(loop, c, out);
}

int weir_sendv(weir_conn conn, const weir_view *views, unsigned count)
{
    weir_loop *loop = loop_current();
    struct conn *c;
    unsigned returned = 0;
    if (views == NULL || count == 0)
        return WEIR_EINVALID;
    int result = sendable(conn, &loop, &c);
    if (result == 0 && count > LIMIT_VIEWS_MAX)
        result = WEIR_EINVALID;
    struct output *out = result == 0 ? conn_output(loop, c) : NULL;
    if (result == 0)
        result = out != NULL ? queue_views(loop, c, out, views, count, &returned) : WEIR_ENOMEM;
    if (result < 0 && loop != NULL)
        views_return(loop, views + returned, count - returned);
    return result;
}

int weir_send(weir_conn conn, weir_view view)
{
    return weir_sendv(conn, &view, 1);
}

static struct segment *add_source(weir_loop *loop, struct conn *c, struct output *out, uint8_t kind)
{
    if (out->count >= LIMIT_SEGMENTS_MAX) /* as of views: what room there is beyond is spare */
        return NULL;
    struct source *source = object_take(&loop->net->sources);
    if (source == NULL)
        return NULL;
    struct segment *s = output_add(loop, out);
    if (s == NULL) {
        object_give(&loop->net->sources, source);
        return NULL;
    }
    *source = (struct source){.fd = -1};
    s->kind = kind;
    s->source = source;
    return s;
}

int weir_send_file(weir_conn conn, int fd, int64_t offset, uint64_t size, bool own_fd)
{
    weir_loop *loop;
    struct conn *c;
    int result = sendable(conn, &loop, &c);
    if (result == 0 && (fd < 0 || offset < 0 || size > INT64_MAX - (uint64_t)offset))
        result = WEIR_EINVALID;
    struct output *out = result == 0 ? conn_output(loop, c) : NULL;
    if (result == 0 && out == NULL)
        result = WEIR_ENOMEM;
    struct segment *s = NULL;
    if (result == 0 && size != 0) {
        s = add_source(loop, c, out, SEGMENT_FILE);
        result = s == NULL ? WEIR_EFULL : 0;
    }
    if (s == NULL) {
        if (own_fd && fd >= 0)
            close(fd);
        return result;
    }
    s->source->fd = fd;
    s->source->own_fd = own_fd;
    s->source->offset = offset;
    s->size = size;
    out->unsent_bytes += size;
    return queued(loop, c, out);
}

int weir_send_pull(weir_conn conn, weir_pull_fn *pull, void *arg)
{
    weir_loop *loop;
    struct conn *c;
    int result = sendable(conn, &loop, &c);
    if (result < 0)
        return result;
    if (pull == NULL)
        return WEIR_EINVALID;
    struct output *out = conn_output(loop, c);
    struct segment *s = out != NULL ? add_source(loop, c, out, SEGMENT_PULL) : NULL;
    if (s == NULL)
        return WEIR_EFULL;
    s->source->pull = pull;
    s->source->arg = arg;
    return queued(loop, c, out);
}

int weir_pull_ready(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result < 0)
        return result;
    struct output *out = c->busy != NULL ? conn_output(loop, c) : NULL;
    struct segment *s = out != NULL ? output_front(out) : NULL;
    if (s != NULL && s->kind == SEGMENT_PULL) {
        s->source->waits = false;
        s->source->woken = true; /* it may be asking this from within its own call */
    }
    conn_dirty(loop, c);
    return 0;
}

static int send_fds(weir_conn conn, weir_view view, const int *fds, unsigned count)
{
    weir_loop *loop;
    struct conn *c;
    int result = sendable(conn, &loop, &c);
    if (result < 0)
        return result;
    if (fds == NULL || count == 0 || count > LIMIT_FDS_MAX || view.size == 0)
        return WEIR_EINVALID;
    if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        return WEIR_ENOMEM;
    if ((conn_flags(c) & CONN_FILTERED) != 0)
        return WEIR_ENOTSUP; /* they would be bound to other bytes than the program's */
    struct output *out = conn_output(loop, c);
    if (out == NULL)
        return WEIR_ENOMEM;
    if (c->queued_bytes + view.size > c->service->config.hard_cap_bytes)
        return refuse_full(loop, c);
    struct segment *s = add_source(loop, c, out, SEGMENT_FDS);
    if (s == NULL)
        return WEIR_EFULL;
    struct source *source = s->source;
    for (unsigned i = 0; i < count && result == 0; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            result = -errno;
        else
            source->fds[source->fd_count++] = copy;
    }
    if (result == 0)
        result = output_copy(loop, c, out, view.data, view.size, true);
    if (result < 0) {
        for (unsigned i = 0; i < source->fd_count; i++)
            close(source->fds[i]);
        object_give(&loop->net->sources, source);
        out->count--; /* it was the last one */
        return result;
    }
    return queued(loop, c, out);
}

int weir_send_fds(weir_conn conn, weir_view view, const int *fds, unsigned count)
{
    weir_loop *loop = loop_current();
    int result = send_fds(conn, view, fds, count);
    if (loop != NULL)
        views_return(loop, &view, 1); /* it was copied */
    return result;
}

int weir_flush(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result == 0)
        conn_dirty(loop, c);
    return result;
}

int weir_finish(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result < 0)
        return result;
    if (c->phase >= CONN_FLUSHING)
        return WEIR_EGONE;
    if (c->phase != CONN_OPEN)
        return WEIR_EMISUSE;
    conn_flags(c) |= CONN_OUTPUT_SHUT;
    conn_dirty(loop, c);
    return 0;
}

int weir_close(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result == 0)
        conn_close(loop, c);
    return result;
}

int weir_abort(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result == 0)
        conn_fail(loop, c, WEIR_WHY_CLOSED, 0);
    return result;
}

int weir_pause(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result == 0)
        conn_pause(loop, c, CONN_PAUSED_USER);
    return result;
}

int weir_resume(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result == 0)
        conn_unpause(loop, c, CONN_PAUSED_USER);
    return result;
}

bool weir_conn_alive(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    return conn_get(conn, &loop, &c) == 0 && c->phase < CONN_FLUSHING;
}

void *weir_conn_user(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    return conn_get(conn, &loop, &c) == 0 ? c->user : NULL;
}

int weir_conn_set_user(weir_conn conn, void *user)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result == 0)
        c->user = user;
    return result;
}

void *weir_conn_session(weir_conn conn)
{
    weir_loop *loop;
    struct conn *c;
    return conn_get(conn, &loop, &c) == 0 && c->service->config.conn_size != 0 ? c->session : NULL;
}

int weir_conn_stats_get(weir_conn conn, weir_conn_stats *out)
{
    weir_loop *loop;
    struct conn *c;
    int result = conn_get(conn, &loop, &c);
    if (result < 0)
        return result;
    if (out == NULL)
        return WEIR_EINVALID;
    *out = (weir_conn_stats){
        .received_bytes = c->received_bytes,
        .sent_bytes = c->sent_bytes,
        .queued_bytes = c->queued_bytes,
        .unsent_bytes = c->busy != NULL ? c->busy->out.unsent_bytes : 0,
        .held_bytes = c->busy != NULL ? c->busy->held_to - c->busy->held_from : 0,
        .opened = loop->now_ns - (uint64_t)(loop->now_ms - c->opened_ms) * WEIR_MS,
    };
    return 0;
}

/* What net/ keeps for one loop, made when the first listener or connection needs it. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/datagram.h"
#include "net/listener.h"

enum { TRIM_INTERVAL_S = 5 };

static void net_turn(weir_loop *loop)
{
    conn_flush_dirty(loop);
    if (loop->net->lists[CONN_LIST_READY].count != 0) {
        conn_ready_run(loop);
        conn_flush_dirty(loop);
    }
    if (loop->net->lists[CONN_LIST_BLOCKS].count != 0)
        conn_blocks_check(loop);
    if (loop->net->unclosed_count != 0)
        listeners_unclosed(loop);
    if (!list_empty(&loop->net->dgrams_dirty))
        dgrams_run(loop);
    if (loans_owed(loop->net->loans))
        loans_run(loop);
    budget_check(loop);
}

static bool net_busy(weir_loop *loop)
{
    const struct net *net = loop->net;
    return net->lists[CONN_LIST_READY].count != 0 || net->dirty != 0 || loans_owed(net->loans) ||
           net->unclosed_count != 0 || !list_empty(&net->dgrams_dirty) ||
           (net->lists[CONN_LIST_BLOCKS].count != 0 && loop->io->ops->blocks_free(loop->io));
}

/* Memory that a burst needed goes back to the system some seconds later; the timer runs only while
 * there is something to give. */
static void net_trim(weir_timer *timer, void *arg)
{
    weir_loop *loop = arg;
    struct net *net = loop->net;
    bool more = memory_trim(&loop->memory);
    more |= object_pool_trim(&net->busy);
    more |= object_pool_trim(&net->sources);
    for (struct list *link = net->services.next; link != &net->services; link = link->next) {
        struct service *service = weir_container(link, struct service, link);
        more |= object_pool_trim(&service->sessions);
        if (service->config.protocol != NULL && service->config.protocol->trim != NULL)
            more |= service->config.protocol->trim(service->protocol);
    }
    if (loop->coroutines_trim != NULL)
        more |= loop->coroutines_trim(loop);
    weir__alloc_trim();
    net->trimming = more;
    if (more)
        weir_timer_start(timer, weir_after(TRIM_INTERVAL_S * WEIR_S), net_trim, loop);
}

void net_trim_later(weir_loop *loop)
{
    struct net *net = loop->net;
    if (net->trimming || net->stopping)
        return;
    net->trimming = true;
    weir_timer_start(&net->trim_timer, weir_after(TRIM_INTERVAL_S * WEIR_S), net_trim, loop);
}

/* What comes after this net on the same loop, or on the next one of its number, counts on. */
static void generations_keep(weir_loop *loop)
{
    uint32_t conns = slab_generation_next(&loop->net->conns);
    uint32_t listeners = slab_generation_next(&loop->net->listeners);
    uint32_t dgrams = slab_generation_next(&loop->net->dgrams);
    loop->generation = conns > listeners ? conns : listeners;
    if (dgrams > loop->generation)
        loop->generation = dgrams;
}

static void net_free(weir_loop *loop)
{
    struct net *net = loop->net;
    generations_keep(loop);
    slab_free(&net->conns);
    slab_free(&net->listeners);
    dgrams_free(net);
    object_pool_end(&net->busy);
    object_pool_end(&net->sources);
    weir__free(net->unclosed);
    loans_free(loop);
    loop->net = NULL;
    loop->net_turn = NULL;
    loop->net_stop = NULL;
    loop->net_busy = NULL;
    loop->net_forked = NULL;
    loop->net_cancels = NULL;
    loop->hooks[LOOP_OWNER_CONN] = loop->hooks[LOOP_OWNER_LISTENER] =
        loop->hooks[LOOP_OWNER_DGRAM] = (struct loop_hooks){0};
    weir__free(net);
}

static void abort_each(weir_loop *loop, struct conn *c, void *arg)
{
    conn_fail(loop, c, WEIR_WHY_CLOSED, 0);
}

/* Ends every connection at once, and waits until the kernel has let go of them. */
bool net_end(weir_loop *loop)
{
    struct net *net = loop->net;
    uint64_t until_ns = weir__clock_now_ns() + LIMIT_END_MS * WEIR_MS;
    net->stopping = loop->coroutines_ending = true; /* no timer comes any more */
    weir_timer_cancel(&net->trim_timer);
    connect_waits_end(net);
    listeners_stop(loop);
    while (net->conns.used != 0 || net->listeners.used != 0 || net->unclosed_count != 0 ||
           net->dgrams.used != 0) {
        struct io_event event;
        if (net->stuck || weir__clock_now_ns() > until_ns) {
            net->stuck = true; /* waited for once, not again */
            weir__log(WEIR_LOG_ERROR, WEIR_ETIMEDOUT, 0,
                      "loop %u: %u connections, %u listeners and %u datagram sockets did not end "
                      "within %u ms",
                      loop->id, net->conns.used, net->listeners.used, net->dgrams.used,
                      (unsigned)LIMIT_END_MS);
            return false;
        }
        conn_each(net, abort_each, NULL);
        dgrams_close_all(loop, true);
        listeners_stop(loop); /* a cancel that was refused is asked again: no timer runs here */
        net_turn(loop);
        loop->io->ops->wait(loop->io, 5 * (int64_t)WEIR_MS);
        while (loop->io->ops->next(loop->io, &event) != 0)
            loop->hooks[IO_TOKEN_OWNER(event.token) % LOOP_OWNERS].event(loop, &event);
        loop_ready_run(loop);
        net_turn(loop);
        if (loop->cancels_owed)
            loop_cancels_run(loop);
    }
    return true;
}

static void net_stop(weir_loop *loop)
{
    if (net_end(loop))
        net_free(loop);
}

static void close_each(weir_loop *loop, struct conn *c, void *arg)
{
    if (c->fd.fd >= 0 && (c->fd.flags & IO_FD_DIRECT) == 0)
        close(c->fd.fd);
}

static void close_listener(weir_loop *loop, struct listener *l, void *arg)
{
    close(l->fd.fd);
}

/* In the child of a fork: the connections are the parent's; only our copies of descriptors go. */
static void net_forked(weir_loop *loop)
{
    conn_each(loop->net, close_each, NULL);
    listeners_each(loop->net, close_listener, NULL);
    dgrams_forked(loop);
    races_forked(loop->net);
    generations_keep(loop);
    loop->net = NULL; /* its memory is a copy of the parent's, small beside what follows a fork */
    loop->net_turn = NULL;
    loop->net_stop = NULL;
    loop->net_busy = NULL;
    loop->net_forked = NULL;
    loop->net_cancels = NULL;
}

static int net_fill(struct net *net)
{
    weir_loop *loop = net->loop;
    int result = slab_init(&net->conns, sizeof(struct conn), loop->options.conns_max);
    if (result < 0)
        return result;
    result = listeners_init(net);
    if (result < 0)
        return result;
    result = dgrams_init(net);
    if (result < 0)
        return result;
    slab_begin_at(&net->dgrams, loop->generation);
    slab_begin_at(&net->conns, loop->generation);
    slab_begin_at(&net->listeners, loop->generation);
    object_pool_init(&net->busy, sizeof(struct busy));
    object_pool_init(&net->sources, sizeof(struct source));
    list_init(&net->services);
    list_init(&net->connect_waits);
    list_init(&net->races);
    net->loans = loans_new();
    return net->loans != NULL ? 0 : WEIR_ENOMEM;
}

static void cancels_again(weir_loop *loop)
{
    listeners_cancel_again(loop);
    dgrams_cancel_again(loop);
}

int net_of(weir_loop *loop, struct net **out)
{
    if (loop->net != NULL) {
        *out = loop->net;
        return 0;
    }
    struct net *net = weir__zalloc(sizeof *net);
    if (net == NULL)
        return WEIR_ENOMEM;
    net->loop = loop;
    loop->net = net;
    int result = net_fill(net);
    if (result < 0) {
        net_free(loop);
        return result;
    }
    loop->net_turn = net_turn;
    loop->net_stop = net_stop;
    loop->net_busy = net_busy;
    loop->net_forked = net_forked;
    loop->net_cancels = cancels_again;
    loop->hooks[LOOP_OWNER_CONN] =
        (struct loop_hooks){.event = conn_event, .timer = conn_event_timer, .find = conn_find};
    loop->hooks[LOOP_OWNER_LISTENER] = (struct loop_hooks){
        .event = listener_event, .timer = listener_timer, .find = listener_find};
    loop->hooks[LOOP_OWNER_DGRAM] =
        (struct loop_hooks){.event = dgram_event, .timer = dgram_timer, .find = dgram_find};
    *out = net;
    return 0;
}

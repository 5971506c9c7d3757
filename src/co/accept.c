/* Accepting and connecting in a coroutine. */
#include "base/alloc.h"
#include "co/straight.h"

struct accepting {
    struct co_wait wait;
    struct list link;
    weir_conn conn;
};

static struct acceptance *acceptance_of(struct service *service)
{
    if (service->protocol != NULL)
        return service->protocol;
    struct acceptance *acceptance = weir__zalloc(sizeof *acceptance);
    if (acceptance == NULL)
        return NULL;
    list_init(&acceptance->conns);
    list_init(&acceptance->waiting);
    service->protocol = acceptance;
    service->protocol_free = weir__free;
    return acceptance;
}

void acceptance_add(weir_loop *loop, struct conn *c)
{
    struct acceptance *acceptance = acceptance_of(c->service);
    if (acceptance == NULL) {
        conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
        return;
    }
    if (acceptance->over) {
        conn_close(loop, c);
        return;
    }
    struct list *first = list_pop(&acceptance->waiting);
    if (first == NULL) {
        list_push(&acceptance->conns, &straight_of(c)->unaccepted);
        return;
    }
    struct accepting *accepting = weir_container(first, struct accepting, link);
    accepting->conn = conn_handle(loop, c);
    straight_of(c)->owned = true;
    straight_busy(loop, c);
    co_wake(&accepting->wait, 0);
}

/* All listeners of a service are closed at the same time. Whom nobody has accepted nobody can. */
void acceptance_end(weir_loop *loop, struct service *service)
{
    struct acceptance *acceptance = service->config.on_conn == NULL ? acceptance_of(service) : NULL;
    struct list *link;
    if (acceptance == NULL)
        return;
    acceptance->over = true;
    while ((link = list_pop(&acceptance->waiting)) != NULL)
        co_wake(&weir_container(link, struct accepting, link)->wait, WEIR_EGONE);
    while ((link = list_pop(&acceptance->conns)) != NULL) {
        struct straight *s = weir_container(link, struct straight, unaccepted);
        if (s->users == 0 && s->given_to == NULL) /* or on_open gave it to somebody */
            conn_close(loop, s->conn);
    }
}

int weir_accept(weir_listener listener, weir_conn *out, weir_time deadline)
{
    weir_loop *loop = loop_current();
    if (out != NULL)
        out->id = 0;
    int result = co_wait_possible();
    if (result < 0)
        return result;
    struct service *service = listener_service(listener, &loop);
    if (out == NULL)
        return WEIR_EINVALID;
    if (service == NULL)
        return WEIR_EGONE;
    if (service->consumer != &consumer_straight || service->config.on_conn != NULL)
        return WEIR_EMISUSE;
    struct acceptance *acceptance = acceptance_of(service);
    if (acceptance == NULL)
        return WEIR_ENOMEM;
    struct list *first = list_pop(&acceptance->conns);
    if (first != NULL) {
        struct conn *c = weir_container(first, struct straight, unaccepted)->conn;
        straight_of(c)->owned = true;
        straight_busy(loop, c);
        *out = conn_handle(loop, c);
        return 0;
    }
    struct accepting accepting = {.conn = {0}};
    list_push(&acceptance->waiting, &accepting.link);
    service_ref(service);
    result = co_wait(&accepting.wait, deadline);
    list_remove(&accepting.link);
    service_unref(loop, service);
    *out = accepting.conn;
    return result;
}

static const weir_service plain = {.straight = true};

int weir__connect_wait(weir_conn *out, const char *url, const weir_service *service, size_t size,
                       weir_time deadline)
{
    weir_loop *loop;
    struct conn *c;
    weir_conn conn;
    if (out != NULL)
        out->id = 0;
    int result = co_wait_possible();
    if (result < 0)
        return result;
    if (out == NULL || (service != NULL && (!service->straight || service->on_conn != NULL)))
        return WEIR_EINVALID;
    if (service == NULL)
        result = weir_connect(&conn, url, &plain, NULL);
    else
        result = weir__connect(&conn, url, service, size, NULL);
    if (result < 0)
        return result;
    result = conn_get(conn, &loop, &c);
    if (result < 0)
        return result;
    if (c->phase >= CONN_FLUSHING)
        return c->error < 0 ? c->error : WEIR_EGONE;
    struct co_wait wait = {.co = NULL};
    straight_of(c)->opening = &wait;
    straight_enter(c);
    result = co_wait(&wait, deadline);
    straight_of(c)->opening = NULL;
    straight_leave(loop, c);
    if (result == 0)
        *out = conn;
    else
        conn_fail(loop, c, WEIR_WHY_CLOSED, 0);
    return result;
}

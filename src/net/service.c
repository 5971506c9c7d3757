/* A service as the core keeps it: the program's description copied, checked, its defaults filled
 * in; and the consumer of plain event handlers. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/conn.h"

static void defaults(weir_service *config)
{
    limit_default(&config->connect_ms, LIMIT_CONNECT_MS);
    limit_default(&config->first_byte_ms, LIMIT_FIRST_BYTE_MS);
    limit_default(&config->idle_ms, LIMIT_IDLE_MS);
    limit_default(&config->write_ms, LIMIT_WRITE_MS);
    limit_default(&config->linger_ms, LIMIT_LINGER_MS);
    limit_default(&config->reader_idle_ms, WEIR_OFF);
    limit_default(&config->writer_idle_ms, WEIR_OFF);
    limit_default(&config->both_idle_ms, WEIR_OFF);
    limit_default(&config->soft_mark_bytes, LIMIT_SOFT_MARK);
    limit_default(&config->hard_cap_bytes, LIMIT_HARD_CAP);
    limit_default(&config->conns_max, LIMIT_CONNS_MAX);
}

/* What this version of the library does not know is not taken for something else. */
static int check_choices(const weir_service *config)
{
    const char *wrong = (unsigned)config->full > WEIR_FULL_REFUSE           ? "full"
                        : (unsigned)config->read_on > WEIR_READ_ALWAYS      ? "read_on"
                        : (unsigned)config->overload > WEIR_OVERLOAD_ANSWER ? "overload"
                                                                            : NULL;
    if (wrong == NULL)
        return 0;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "the service's .%s has no such value", wrong);
    return WEIR_EINVALID;
}

static int check(const weir_service *config, uint32_t block_bytes)
{
    if (config->conn_size > LIMIT_CONN_SIZE_MAX) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "conn_size is %u; at most %u is possible",
                  config->conn_size, LIMIT_CONN_SIZE_MAX);
        return WEIR_EINVALID;
    }
    /* One received view always fits between the mark and the cap (K6). */
    if (config->hard_cap_bytes < config->soft_mark_bytes ||
        config->hard_cap_bytes - config->soft_mark_bytes < block_bytes) {
        weir__log(
            WEIR_LOG_ERROR, WEIR_EINVALID, 0,
            "hard_cap_bytes (%u) must be at least soft_mark_bytes (%u) + %u, the largest view",
            config->hard_cap_bytes, config->soft_mark_bytes, block_bytes);
        return WEIR_EINVALID;
    }
    if (config->on_conn != NULL || config->straight) { /* a connection has one consumer */
        bool others = config->on_data != NULL || config->on_frame != NULL ||
                      config->on_end != NULL || config->on_drain != NULL ||
                      config->protocol != NULL;
        if (others)
            weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                      "a service with .on_conn or .straight takes no handler of input beside it");
        if (others)
            return WEIR_EINVALID;
    }
    if (config->frame.kind != 0) {
        int result = weir_frame_check(&config->frame);
        if (result < 0) {
            weir__log(WEIR_LOG_ERROR, result, 0, "the service's .frame is wrong: %s",
                      weir_error_text(result));
            return result;
        }
    }
    return 0;
}

static uint32_t count_filters(const weir_service *config)
{
    uint32_t count = 0;
    while (config->filters != NULL && config->filters[count] != NULL)
        count++;
    return count;
}

struct service *service_new(struct net *net, const weir_service *config, size_t size, int *error)
{
    struct service *service = weir__zalloc(sizeof *service);
    *error = WEIR_ENOMEM;
    if (service == NULL)
        return NULL;
    memcpy(&service->config, config, size < sizeof *config ? size : sizeof *config);
    defaults(&service->config);
    service->filter_count = count_filters(&service->config);
    *error = check_choices(&service->config);
    if (*error == 0)
        *error = check(&service->config, net->loop->io->block_size);
    if (*error == 0 && service->filter_count > LIMIT_FILTERS_MAX) {
        *error = WEIR_EINVALID;
        weir__log(WEIR_LOG_ERROR, *error, 0, "%u filters are too many for a service: at most %u",
                  service->filter_count, (unsigned)LIMIT_FILTERS_MAX);
    }
    if (*error < 0) {
        weir__free(service);
        return NULL;
    }
    config = &service->config;
    service->consumer = config->frame.kind != 0 ? &consumer_frames : &consumer_events;
    if (config->on_conn != NULL || config->straight)
        service->consumer = &consumer_straight;
    service->idle_told = config->reader_idle_ms != WEIR_OFF || config->writer_idle_ms != WEIR_OFF ||
                         config->both_idle_ms != WEIR_OFF;
    if (config->protocol != NULL)
        service->consumer = config->protocol->consumer;
    service->hold_max =
        service->consumer == &consumer_frames ? config->frame.max : service->consumer->hold_max;
    size_t session_size =
        config->protocol != NULL ? config->protocol->session_size : config->conn_size;
    session_size = (session_size + 7) & ~(size_t)7;
    service->told_offset = (uint32_t)session_size;
    if (service->idle_told)
        session_size += (sizeof(struct idle_told) + 7u) & ~(size_t)7;
    service->record_offset = (uint32_t)session_size;
    session_size += (service->consumer->record_bytes + 7) & ~(size_t)7;
    object_pool_init(&service->sessions, session_size);
    if (config->listen != NULL && strcasestr(config->listen, "unix:") != NULL)
        service->unix_hint = IO_FD_MAYBE_UNIX;
    service->refs = 1;
    list_push(&net->services, &service->link);
    if (config->protocol != NULL) {
        *error = config->protocol->start(net->loop, service, config->protocol_arg);
        service->protocol_free = config->protocol->free;
        if (*error < 0) {
            service_unref(net->loop, service);
            return NULL;
        }
    }
    return service;
}

void service_ref(struct service *service)
{
    service->refs++;
}

void service_unref(weir_loop *loop, struct service *service)
{
    if (--service->refs != 0)
        return;
    list_remove(&service->link);
    if (service->protocol_free != NULL)
        service->protocol_free(service->protocol);
    object_pool_end(&service->sessions);
    weir__free(service);
}

static void events_open(weir_loop *loop, struct conn *c)
{
    if (c->service->config.on_open != NULL)
        c->service->config.on_open(conn_handle(loop, c), c->session);
}

static size_t events_input(weir_loop *loop, struct conn *c, weir_view data)
{
    if (c->service->config.on_data != NULL)
        c->service->config.on_data(conn_handle(loop, c), data, c->session);
    return data.size;
}

static void events_end(weir_loop *loop, struct conn *c, size_t held)
{
    if (held != 0) /* the peer left in the middle of a frame */
        c->error = WEIR_EPROTO;
    if (c->service->config.on_end != NULL)
        c->service->config.on_end(conn_handle(loop, c), c->session);
    else
        conn_close(loop, c);
}

static void events_drain(weir_loop *loop, struct conn *c)
{
    if (c->service->config.on_drain != NULL)
        c->service->config.on_drain(conn_handle(loop, c), c->session);
}

static void events_close(weir_loop *loop, struct conn *c, weir_end end)
{
    if (c->service->config.on_close != NULL)
        c->service->config.on_close(conn_handle(loop, c), end, c->session);
}

const struct consumer consumer_events = {
    .open = events_open,
    .takes_any = true,
    .input = events_input,
    .end = events_end,
    .drain = events_drain,
    .close = events_close,
};

/* Whole frames, at most so many a turn: a flood of small ones on one connection does not starve the
 * others (K16). */
static size_t frames_input(weir_loop *loop, struct conn *c, weir_view data)
{
    const weir_service *config = &c->service->config;
    size_t at = 0, scanned = c->busy != NULL ? c->busy->scanned : 0;
    for (unsigned frames = 0; at < data.size && c->phase == CONN_OPEN; frames++) {
        if ((conn_flags(c) & CONN_PAUSED_INPUT) != 0 || conn_marked(loop, c))
            break;
        if (frames == LIMIT_FRAMES_A_TURN) {
            conn_again(loop, c);
            break;
        }
        weir_frame_found found;
        int result = weir_frame_next(&config->frame, (const char *)data.data + at, data.size - at,
                                     &scanned, &found);
        if (result == 0)
            break;
        if (result < 0) {
            conn_close_why(loop, c, result == WEIR_ETOOBIG ? WEIR_WHY_LIMIT : WEIR_WHY_ERROR,
                           result);
            return data.size;
        }
        scanned = 0;
        weir_view frame = weir_slice(data, at + found.payload_offset, found.payload_size);
        at += found.size;
        if (config->on_frame != NULL)
            config->on_frame(conn_handle(loop, c), frame, c->session);
    }
    if (c->phase != CONN_OPEN)
        return data.size;
    struct busy *b = at < data.size ? conn_busy(loop->net, c) : c->busy;
    if (b != NULL)
        b->scanned = (uint32_t)scanned;
    return at;
}

const struct consumer consumer_frames = {
    .open = events_open,
    .input = frames_input,
    .end = events_end,
    .drain = events_drain,
    .close = events_close,
};

/* What the HTTP services of a loop count, together. */
#include <stddef.h>
#include <string.h>

#include <weir/stats.h>

#include "app/http/mount.h"
#include "net/shared.h"

#define STAT_ROW(field, metric, unit, kind, what) \
    {#field, metric, unit, what, WEIR_STAT_##kind, offsetof(weir_http_stats, field)},
static const weir_stat table[] = {WEIR_HTTP_STATS(STAT_ROW)};
#undef STAT_ROW
enum { STATS = sizeof table / sizeof *table };

const weir_stat *weir_http_stats_table(unsigned *count)
{
    if (count != NULL)
        *count = STATS;
    return table;
}

void weir_http_stats_add(weir_http_stats *sum, const weir_http_stats *stats)
{
    stats_add(sum, stats, table, STATS);
}

int weir__http_stats_get(weir_loop *loop, weir_http_stats *out, size_t size)
{
    weir_http_stats stats = {0};
    if (loop == NULL || out == NULL)
        return WEIR_EINVALID;
    if (loop_foreign(loop))
        return WEIR_EMISUSE;
    const struct list *services = loop->net != NULL ? &loop->net->services : NULL;
    for (struct list *link = services != NULL ? services->next : NULL; link != services;
         link = link->next) {
        const struct service *service = weir_container(link, struct service, link);
        const struct http_server *server = service->protocol;
        if (service->consumer != http_protocol.consumer || server == NULL)
            continue;
        stats.http_requests += server->requests;
        stats.http_refused += server->refused;
        stats.http_exchanges += server->exchanges;
        stats.http_log_lost += server->log_lost;
        stats.http_shed += server->shed;
        mount_stats(server, &stats);
    }
    memset(out, 0, size);
    memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
    return 0;
}

static void extra_get(weir_loop *loop, uint64_t extra[SHARED_EXTRA_MAX])
{
    weir_http_stats stats = {0};
    weir_http_stats_get(loop, &stats);
    memcpy(extra, &stats, sizeof stats);
}

/* Workers of shape processes show these counters to each other. */
void http_stats_share(void)
{
    static const struct shared_extra extra = {extra_get, weir_http_stats_table};
    _Static_assert(sizeof(weir_http_stats) <= SHARED_EXTRA_MAX * sizeof(uint64_t), "room");
    atomic_store(&shared_extra, &extra);
}

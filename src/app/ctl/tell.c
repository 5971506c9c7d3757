/* What the loops told, as JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/version.h>

#include "app/ctl/ctl.h"

static void rows_tell(const weir_stat *table, unsigned count, const void *stats,
                      weir_json_writer *out)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)stats + table[i].offset, sizeof value);
        weir_json_number(out, table[i].field, value);
    }
}

void tell_counters(const weir_loop_stats *loop, const weir_http_stats *http, weir_json_writer *out)
{
    unsigned count;
    const weir_stat *table = weir_loop_stats_table(&count);
    rows_tell(table, count, loop, out);
    table = weir_http_stats_table(&count);
    rows_tell(table, count, http, out);
}

static void process_tell(weir_json_writer *out)
{
    weir_json_text(out, "version", weir_version());
    weir_json_number(out, "pid", (uint64_t)getpid());
    weir_json_number(out, "time_ns", weir_now());
}

static void part_head(const struct part *part, weir_json_writer *out)
{
    weir_json_number(out, "loop", part->loop_id);
    weir_json_bool(out, "answered", part->answered);
    if (!part->answered) {
        weir_json_text(out, "error",
                       part->asked ? "no answer within a second: its handlers hold it"
                                   : "its queue of messages is full");
        return;
    }
    weir_json_text(out, "backend", part->backend);
    weir_json_number(out, "thread", (uint64_t)part->thread);
}

void tell_stats(const struct gather *gather, weir_json_writer *out)
{
    weir_loop_stats sum = {0};
    weir_http_stats http = {0};
    process_tell(out);
    if (tell_workers(gather, true, out))
        return;
    weir_json_array(out, "loops");
    for (unsigned i = 0; i < gather->count; i++) {
        const struct part *part = &gather->parts[i];
        weir_json_object(out, NULL);
        part_head(part, out);
        if (part->answered) {
            weir_json_object(out, "stats");
            tell_counters(&part->stats, &part->http, out);
            weir_json_end(out);
            weir_loop_stats_add(&sum, &part->stats);
            weir_http_stats_add(&http, &part->http);
        }
        weir_json_end(out);
    }
    weir_json_end(out);
    weir_json_object(out, "sum");
    tell_counters(&sum, &http, out);
    weir_json_end(out);
}

void tell_busy(const weir_loop_stats *stats, weir_json_writer *out)
{
    weir_json_number(out, "conns", stats->conns);
    weir_json_number(out, "conns_active", stats->conns_active);
    weir_json_number(out, "listeners", stats->listeners);
    weir_json_number(out, "turns", stats->turns);
    weir_json_number(out, "waited_ns", stats->waited_ns);
    weir_json_number(out, "handled_ns", stats->handled_ns);
    weir_json_number(out, "stalls", stats->stalls);
    weir_json_number(out, "memory_bytes", stats->memory_bytes);
    weir_json_number(out, "memory_limit_bytes", stats->memory_limit_bytes);
    weir_json_number(out, "posts_waiting", stats->posts_waiting);
}

void tell_loops(const struct gather *gather, weir_json_writer *out)
{
    process_tell(out);
    if (tell_workers(gather, false, out))
        return;
    weir_json_array(out, "loops");
    for (unsigned i = 0; i < gather->count; i++) {
        const struct part *part = &gather->parts[i];
        weir_json_object(out, NULL);
        part_head(part, out);
        if (part->answered)
            tell_busy(&part->stats, out);
        weir_json_end(out);
    }
    weir_json_end(out);
}

static void row_tell(const struct part *part, const struct ctl_row *row, weir_json_writer *out)
{
    char id[20];
    snprintf(id, sizeof id, "%" PRIx64, row->conn.id);
    weir_json_object(out, NULL);
    weir_json_text(out, "id", id); /* as the log writes it; 64 bits are too many for some readers */
    weir_json_number(out, "loop", part->loop_id);
    weir_json_text(out, "peer", row->peer);
    weir_json_text(out, "service", row->listen);
    weir_json_number(out, "age_ms", row->age_ms);
    weir_json_number(out, "idle_ms", row->idle_ms);
    weir_json_number(out, "received_bytes", row->stats.received_bytes);
    weir_json_number(out, "sent_bytes", row->stats.sent_bytes);
    weir_json_text(out, "state", weir_conn_state_name(row->state));
    weir_json_number(out, "queued_bytes", row->stats.queued_bytes);
    weir_json_number(out, "unsent_bytes", row->stats.unsent_bytes);
    weir_json_number(out, "held_bytes", row->stats.held_bytes);
    weir_json_end(out);
}

void tell_conns(const struct gather *gather, weir_json_writer *out)
{
    uint64_t total = 0, shown = 0;
    bool more = false;
    process_tell(out);
    weir_json_array(out, "connections");
    for (unsigned i = 0; i < gather->count; i++) {
        const struct part *part = &gather->parts[i];
        if (!part->answered) {
            more = true;
            continue;
        }
        total += part->stats.conns;
        more |= part->more || part->row_count > gather->limit - shown;
        for (unsigned row = 0; row < part->row_count && shown < gather->limit; row++, shown++)
            row_tell(part, &part->rows[row], out);
    }
    weir_json_end(out);
    weir_json_number(out, "total", total);
    weir_json_bool(out, "more", more);
}

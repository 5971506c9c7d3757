/* Shape processes: a worker tells of all of them. Of itself it knows all, of the others what they
 * published last, a tenth of a second ago at most, and of those that are gone what they had counted
 * until then. */
#include <string.h>

#include "app/ctl/ctl.h"
#include "net/shared.h"

static const char *state_text(uint32_t state)
{
    static const char *const texts[] = {[SEAT_EMPTY] = "gone",
                                        [SEAT_STARTING] = "starting",
                                        [SEAT_READY] = "ready",
                                        [SEAT_SERVING] = "serving",
                                        [SEAT_LEAVING] = "leaving"};
    return state <= SEAT_LEAVING ? texts[state] : "?";
}

static void own_stats(const struct gather *gather, struct seat_stats *out)
{
    for (unsigned i = 0; i < gather->count; i++) {
        struct seat_stats one = {.loop = gather->parts[i].stats};
        memcpy(one.extra, &gather->parts[i].http, sizeof gather->parts[i].http);
        if (gather->parts[i].answered)
            seat_stats_add(out, &one);
    }
}

static void http_of(const struct seat_stats *stats, weir_http_stats *out)
{
    memcpy(out, stats->extra, sizeof *out);
}

static void counters_tell(const char *name, const struct seat_stats *stats, weir_json_writer *out)
{
    weir_http_stats http;
    http_of(stats, &http);
    weir_json_object(out, name);
    tell_counters(&stats->loop, &http, out);
    weir_json_end(out);
}

static void seat_tell(const struct gather *gather, const struct shared_view *view, unsigned number,
                      struct seat_stats *sum, bool all, weir_json_writer *out)
{
    const struct seat *seat = &view->shared->seats[number];
    struct seat_stats stats = {0};
    bool known = true;
    if ((int)number == view->own)
        own_stats(gather, &stats);
    else
        known = seat_stats_read(&seat->version, &seat->stats, &stats);
    weir_json_object(out, NULL);
    weir_json_number(out, "loop", number + 1);
    weir_json_bool(out, "answered", known);
    weir_json_text(out, "backend", gather->parts[0].backend);
    weir_json_number(out, "thread", (uint64_t)atomic_load(&seat->pid));
    weir_json_number(out, "process", (uint64_t)atomic_load(&seat->pid));
    weir_json_number(out, "starts", atomic_load(&seat->starts));
    weir_json_text(out, "state", state_text(atomic_load(&seat->state)));
    if (known && all)
        counters_tell("stats", &stats, out);
    else if (known)
        tell_busy(&stats.loop, out);
    else
        weir_json_text(out, "error", "its counters are being written all the time");
    weir_json_end(out);
    if (known)
        seat_stats_add(sum, &stats);
}

bool tell_workers(const struct gather *gather, bool all, weir_json_writer *out)
{
    struct shared_view view;
    struct seat_stats sum = {0}, past = {0};
    if (!run_shared(&view))
        return false;
    const struct shared *shared = view.shared;
    weir_json_number(out, "master", (uint64_t)view.master);
    weir_json_number(out, "crashes", atomic_load(&shared->crashes));
    weir_json_array(out, "loops");
    for (unsigned i = 0; i < view.seats; i++)
        seat_tell(gather, &view, i, &sum, all, out);
    weir_json_end(out);
    if (!all)
        return true;
    if (seat_stats_read(&shared->version, &shared->past, &past)) {
        counters_tell("gone", &past, out);
        seat_stats_add(&sum, &past);
    }
    counters_tell("sum", &sum, out);
    return true;
}

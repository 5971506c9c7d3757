/* The list of limits: each stands where it is used, and is named here for people. */
#include <pthread.h>
#include <string.h>

#include <weir/limits.h>
#include <weir/loop.h>

#include "app/ctl/ctl.h"
#include "app/http/accesslog.h"
#include "app/http/filecache.h"
#include "app/http/filepath.h"
#include "app/http/listing.h"
#include "app/http/mount.h"
#include "app/http/range.h"
#include "app/http/server.h"
#include "app/load/load.h"
#include "loop/limits.h"
#include "net/run.h"

enum { NAME_MAX_BYTES = 32 };

/* The core's table has its names in capitals, because they are enumerators. */
#define CORE_ROW(name, value, unit, what) {"core", #name, unit, what, (uint64_t)(value)},
static const weir_limit_row core[] = {WEIR_LIMITS(CORE_ROW)};
#undef CORE_ROW
enum { CORE = sizeof core / sizeof *core };

static const weir_limit_row others[] = {
    {"run", "loops_max", "loops", "loops of one weir_run", RUN_LOOPS_MAX},
    {"run", "services_max", "services", "services of one weir_run", RUN_SERVICES_MAX},
    {"run", "drain_ms", "ms", "to finish what is in progress when stopped, then abort",
     RUN_DRAIN_MS},
    {"run", "crashes_max", "crashes",
     "of each worker in a row, and none left alive: then the master gives up", RUN_CRASHES_MAX},
    {"run", "crash_lived_ms", "ms", "a worker that lived longer begins a new row of crashes",
     RUN_CRASH_LIVED_MS},
    {"run", "crash_pause_ms", "ms",
     "before the second start in a row of a worker that crashed; doubled each time",
     RUN_CRASH_PAUSE_MS},
    {"run", "crash_pause_max_ms", "ms", "the longest such pause", RUN_CRASH_PAUSE_MAX_MS},
    {"run", "kill_ms", "ms", "behind drain_ms: workers that have not ended are killed",
     RUN_KILL_MS},
    {"run", "publish_ms", "ms", "how often a busy worker shows its counters to the others",
     SHARED_PUBLISH_MS},
    {"http", "header_ms", "ms", "first to last byte of a request's head (408)", HTTP_HEADER_MS},
    {"http", "body_ms", "ms", "less than write_progress of a body (408)", HTTP_BODY_MS},
    {"http", "idle_ms", "ms", "between two requests", LIMIT_IDLE_MS},
    {"http", "line_max_bytes", "bytes", "request line (414)", HTTP1_LINE_BYTES},
    {"http", "head_max_bytes", "bytes", "head of a request (431)", HTTP1_HEAD_BYTES},
    {"http", "fields_max", "fields", "header fields of a request (431)", HTTP1_FIELDS},
    {"http", "body_max_bytes", "bytes", "body of a request (413)", HTTP_BODY_BYTES},
    {"http", "extension_max_bytes", "bytes", "chunk extensions of a body", HTTP1_EXTENSION_BYTES},
    {"http", "trailer_max_bytes", "bytes", "trailers of a body", HTTP1_TRAILER_BYTES},
    {"http", "requests_max", "requests", "requests on one connection", WEIR_NEVER},
    {"http", "exchanges_max", "exchanges", "requests being worked on, on a loop",
     HTTP_EXCHANGES_MAX},
    {"http", "handlers_max", "handlers", "handlers that wait at the same time, on a loop",
     HTTP_HANDLERS_MAX},
    {"http", "stack_bytes", "bytes",
     "stack of a handler's coroutine, of which only touched pages "
     "count",
     HTTP_STACK_BYTES},
    {"http", "params_max", "parameters", "parameters of a route", HTTP_PARAMS_MAX},
    {"http", "piece_max_bytes", "bytes", "of a request's body, given to a handler at once",
     HTTP_PIECE_MAX},
    {"http", "discard_max_bytes", "bytes", "of an unread body, read away to keep the connection",
     HTTP_DISCARD_MAX},
    {"http", "text_max_bytes", "bytes", "an answer by weir_http_text", HTTP_TEXT_MAX},
    {"http", "fields_out_bytes", "bytes", "fields that a handler adds to an answer",
     HTTP_FIELDS_MAX},
    {"http", "texts_bytes", "bytes", "decoded for a handler: parameters, values of the query",
     HTTP_ARENA_MAX},
    {"http", "head_most_bytes", "bytes", "that head_max_bytes may be raised to", HTTP_HEAD_MAX},
    {"http", "log_line_max_bytes", "bytes", "a line of the access log", ACCESSLOG_LINE_MAX},
    {"files", "path_max_bytes", "bytes", "a decoded path", FILEPATH_MAX},
    {"files", "ranges_max", "ranges", "ranges of one request", RANGE_MAX},
    {"files", "listing_max", "entries", "entries of a listed folder; the rest is counted",
     LISTING_ENTRIES},
    {"files", "listing_max_bytes", "bytes", "the page of a folder: a larger one is refused",
     LIST_TEXT_MAX},
    {"files", "listings_bytes", "bytes",
     "pages of folders being sent by a loop that its cache has no room for", LISTS_BYTES_MAX},
    {"files", "listing_wait_ms", "ms", "waiting until a loop has listed what others asked for",
     LISTS_WAIT_MS},
    {"ctl", "request_max_bytes", "bytes", "a request to the control socket", CTL_REQUEST_MAX},
    {"ctl", "conns_max", "connections", "connections to it on a loop", CTL_CONNS_MAX},
    {"ctl", "list_max", "connections", "connections listed in one answer", CTL_LIST_MAX},
    {"ctl", "answer_ms", "ms", "waiting for the answers of all loops", CTL_ANSWER_MS},
    {"load", "loops_max", "loops", "threads of a load", LOAD_LOOPS_MAX},
    {"load", "conns_max", "connections", "connections of a load", LOAD_CONNS_MAX},
    {"load", "connecting_max", "connections", "being opened on a loop at the same time",
     LOAD_CONNECTING_MAX},
    {"load", "pipeline_max", "requests", "in flight on a connection", LOAD_PIPELINE_MAX},
    {"load", "addresses_max", "addresses", "asked by a load", LOAD_GROUPS_MAX},
    {"load", "requests_max_bytes", "bytes", "all requests to an address, as they are laid out",
     LOAD_BYTES_MAX},
    {"load", "marker_max_bytes", "bytes", "the end marker of an answer", LOAD_MARKER_MAX},
    {"load", "intervals_max", "intervals", "that a result keeps", LOAD_INTERVALS_MAX},
    {"load", "duration_ms", "ms", "measured, unless a number of requests is asked for",
     LOAD_DURATION_NS / WEIR_MS},
    {"load", "timeout_ms", "ms", "for connecting, and for an answer", LOAD_TIMEOUT_NS / WEIR_MS},
};
enum { OTHERS = sizeof others / sizeof *others };

static char names[CORE][NAME_MAX_BYTES];
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

/* "CONNS_MAX" as "conns_max". */
static void names_make(void)
{
    for (unsigned at = 0; at < CORE; at++)
        for (unsigned i = 0; i + 1 < NAME_MAX_BYTES && core[at].name[i] != '\0'; i++)
            names[at][i] = (char)(core[at].name[i] | (core[at].name[i] == '_' ? 0 : 0x20));
}

static weir_limit_row limit_at(unsigned index)
{
    if (index < CORE) {
        weir_limit_row limit = core[index];
        limit.name = names[index];
        return limit;
    }
    if (index > CORE)
        return others[index - CORE - 1];
    return (weir_limit_row){"core", "memory_max_bytes", "bytes",
                            "output queues and held input of all loops: a quarter of the "
                            "machine's or the control group's memory",
                            limits_memory_bytes() / 4};
}

unsigned weir__limits(weir_limit_row *out, unsigned capacity, size_t size)
{
    pthread_once(&names_once, names_make);
    for (unsigned i = 0; i <= CORE + OTHERS && i < capacity; i++) {
        weir_limit_row limit = limit_at(i);
        char *place = (char *)out + i * size;
        memset(place, 0, size);
        memcpy(place, &limit, size < sizeof limit ? size : sizeof limit);
    }
    return CORE + OTHERS + 1;
}

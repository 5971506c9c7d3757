/* weir serve: what it was told, and what it keeps while it runs. */
#ifndef WEIR_CMD_SERVE_SERVE_H
#define WEIR_CMD_SERVE_SERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include <weir/http.h>
#include <weir/weir.h>

#include "cmd/ctlpath.h"
#include "cmd/option.h"

struct serve {
    /* the command line */
    struct option_texts listen, headers;
    const char *directory; /* NULL: the page of welcome */
    const char *backend, *features, *access_log, *ctl;
    int shape, spread, access_format, overload;
    uint32_t loops, max_conns, accept_rate, verbose;
    uint32_t idle_ms, header_ms, body_ms, write_ms, drain_ms;
    uint64_t max_body, memory;
    bool pin, listing, hidden, symlinks, no_precompressed, quiet;

    /* while it runs */
    char *urls;           /* all of --listen, with blanks between them */
    unsigned serving;     /* loops that hold connections */
    uint64_t descriptors; /* that the process may open */
    uint64_t conns;       /* at most, by --max-conns and by descriptors; 0: the library's limit */
    weir_http_app *app;
    weir_service service, control;
    char ctl_url[CTLPATH_URL_MAX]; /* "": none */
    pthread_t main_thread;
    weir_watch hangup, reopen, upgrade;
    bool is_select; /* the back end, whoever chose it */
    atomic_bool started;
    int log_code; /* the last error that was logged before it started */
};

extern const struct option serve_options[];

/* banner.c: says on standard error what was started and how. On the first loop. */
void serve_banner(const struct serve *serve);

#endif

/* weir serve: what it was told, and what it keeps while it runs. */
#ifndef WEIR_CMD_SERVE_SERVE_H
#define WEIR_CMD_SERVE_SERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include <weir/http.h>
#include <weir/weir.h>

#include "cmd/ctlpath.h"
#include "cmd/localcert.h"
#include "cmd/option.h"

struct weir_tls;

struct serve {
    /* the command line */
    struct option_texts listen, headers, certs, keys, staples;
    const char *directory; /* NULL: the page of welcome */
    const char *backend, *features, *access_log, *ctl, *client_ca, *ticket_keys;
    const char *user, *group; /* of the workers */
    int shape, spread, access_format, overload, tls_min;
    uint32_t workers, loops, max_conns, accept_rate, handshake_rate, verbose, hsts_days;
    uint32_t idle_ms, header_ms, body_ms, write_ms, drain_ms;
    uint64_t max_body, memory;
    bool pin, listing, hidden, symlinks, no_precompressed, quiet, tls, redirect, one_listener;
    bool handshake_pool;

    /* while it runs */
    char *urls;           /* all of --listen, with blanks between them */
    char *plain_urls;     /* those that only redirect */
    unsigned serving;     /* loops that hold connections */
    uint64_t descriptors; /* that the process may open */
    uint64_t conns;       /* at most, by --max-conns and by descriptors; 0: the library's limit */
    weir_http_app *app, *redirects;
    weir_service service, control;
    weir_service *late; /* shape processes: the control socket's, which gets its address last */
    struct weir_tls *secure; /* NULL: no address of https:// */
    const weir_layer *layer;
    struct localcert local; /* with --tls */
    char hsts[64];          /* the header field */
    int files_fd;           /* tells of changes in the folders of --cert, --key, … */
    weir_watch files;
    weir_timer settled;
    char ctl_url[CTLPATH_URL_MAX]; /* "": none */
    pthread_t main_thread;
    weir_watch hangup, reopen, upgrade;
    bool is_select; /* the back end, whoever chose it */
    atomic_bool started;
    int log_code; /* the last error that was logged before it started */
};

extern const struct option serve_options[];

/* redirect.c: an application that sends everybody to the first address of https://. NULL: no
 * memory. */
weir_http_app *redirect_app(const weir_http_options *options);

/* Finds the control socket's address: as asked for, or by the first one that is served. 0, or an
 * error that was said when one was asked for. */
int control_url(struct serve *serve);

/* processes.c: whether the options of shape processes fit; an exit code, said. */
int processes_check(struct serve *serve);
/* Fills in what weir_run needs for it, and adds the control socket's service. */
void processes_options(struct serve *serve, weir_run_options *run, weir_service *services,
                       unsigned *count);

/* banner.c: says on standard error what was started and how. On the first loop. */
void serve_banner(const struct serve *serve);

#endif

/* weir serve --shape processes: what is the master's. */
#include <signal.h>
#include <string.h>

#include <weir/ctl.h>

#include "cmd/command.h"
#include "cmd/serve/secure.h"
#include "cmd/serve/serve.h"

int processes_check(struct serve *serve)
{
    bool processes = serve->shape == WEIR_SHAPE_PROCESSES;
    const char *alone = serve->user != NULL    ? "--user"
                        : serve->group != NULL ? "--group"
                        : serve->workers != 0  ? "--workers"
                                               : NULL;
    if (!processes && alone != NULL)
        return say(EX_USAGE, "%s is for --shape processes, which alone has workers", alone);
    if (processes && serve->workers != 0 && serve->loops != 0)
        return say(EX_USAGE, "give --workers or --loops: a worker has one loop");
    return EX_OK;
}

/* The control socket belongs to all workers, as the other addresses do: whichever answers tells of
 * all. */
static int on_opened(void *arg)
{
    struct serve *serve = arg;
    if (serve->ctl != NULL && strcmp(serve->ctl, "none") == 0)
        return 0;
    int result = control_url(serve);
    if (result == 0)
        result = weir_ctl_service(serve->ctl_url, serve->late);
    if (result == 0)
        return 0;
    serve->ctl_url[0] = '\0';
    return serve->ctl != NULL ? result : 0; /* nobody asked for one */
}

static void on_serving(void *arg)
{
    struct serve *serve = arg;
    if (!serve->quiet)
        serve_banner(serve);
    atomic_store(&serve->started, true);
}

/* So that workers started later write to the new files, and have the new certificates. */
static void on_master_signal(int number, void *arg)
{
    struct serve *serve = arg;
    weir_http_reopen_logs(serve->app);
    if (number == SIGHUP)
        secure_reload(serve);
}

static void on_worker_end(void *arg)
{
    struct serve *serve = arg;
    weir_http_app_free(serve->app);
    weir_http_app_free(serve->redirects);
    secure_end(serve);
}

void processes_options(struct serve *serve, weir_run_options *run, weir_service *services,
                       unsigned *count)
{
    run->worker_user = serve->user;
    run->worker_group = serve->group;
    run->on_opened = on_opened;
    run->on_serving = on_serving;
    run->on_master_signal = on_master_signal;
    run->on_worker_end = on_worker_end;
    serve->late = &services[(*count)++];
    *serve->late = (weir_service){0};
}

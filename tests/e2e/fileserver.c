/* A file server for tests: what `weir serve` does, with every option of the library within reach.
 * Prints its port, serves until TERM; HUP reopens the access log.
 *
 *     fileserver ROOT [name=value...]
 *
 * check=1: only tells by its exit whether the back end can be had.
 * listing hidden symlinks no_precompressed (0 or 1), cache (bytes; -1: none), prefix, log, format,
 * loops, idle, sndbuf (bytes), listen, second (another root at /second), other (another root by
 * another application, on a port of its own that is printed next) */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/http.h>
#include <weir/weir.h>

static weir_http_app *app;
static weir_watch hangup;

static void on_hangup(weir_watch *watch, int number, void *arg)
{
    weir_http_reopen_logs(app);
}

/* On one of the loops, and canceled there. */
static _Atomic(weir_loop *) hearing;

static int on_loop_start(weir_loop *loop, void *user)
{
    weir_loop *nobody = NULL;
    return atomic_compare_exchange_strong(&hearing, &nobody, loop)
               ? weir_signal(&hangup, SIGHUP, on_hangup, NULL)
               : 0;
}

static void on_loop_stop(weir_loop *loop, void *user)
{
    if (hearing == loop)
        weir_watch_cancel(&hangup);
}

static void on_started(void *user)
{
    weir_address address;
    for (unsigned i = 0; weir_run_address(i, &address) == 0; i++)
        printf("port %d\n", weir_address_port(&address));
    fflush(stdout);
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
    size_t size = strlen(name);
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], name, size) == 0 && argv[i][size] == '=')
            return argv[i] + size + 1;
    }
    return otherwise;
}

#define NUMBER(name, otherwise) strtoull(option(argc, argv, name, otherwise), NULL, 0)

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    if (NUMBER("check", "0") != 0) {
        weir_loop_options only = {.backend = option(argc, argv, "backend", NULL)};
        weir_loop *loop = NULL;
        int result = weir_loop_new(&loop, &only);
        weir_loop_free(loop);
        return result < 0;
    }
    weir_http_options options = {
        .access_log = option(argc, argv, "log", NULL),
        .access_format = option(argc, argv, "format", NULL),
        .idle_ms = (uint32_t)NUMBER("idle", "0"),
    };
    weir_http_files files = {
        .listing = NUMBER("listing", "0") != 0,
        .hidden = NUMBER("hidden", "0") != 0,
        .symlinks = NUMBER("symlinks", "0") != 0,
        .no_precompressed = NUMBER("no_precompressed", "0") != 0,
        .cache_bytes = (uint64_t)strtoll(option(argc, argv, "cache", "0"), NULL, 0),
    };
    weir_log_set(weir_log_to_fd, (void *)2, WEIR_LOG_WARN);
    app = weir_http_app_new(&options);
    const char *second = option(argc, argv, "second", NULL);
    if (app == NULL ||
        weir_http_serve_files(app, option(argc, argv, "prefix", "/"), argv[1], &files) < 0 ||
        (second != NULL && weir_http_serve_files(app, "/second", second, &files) < 0))
        return 1;
    const char *listen = option(argc, argv, "listen", "http://127.0.0.1:0");
    const char *other_root = option(argc, argv, "other", NULL);
    weir_http_app *other = other_root != NULL ? weir_http_app_new(&options) : NULL;
    weir_service services[2];
    weir_http_service(app, listen, &services[0]);
    services[0].on_loop_start = on_loop_start;
    services[0].on_loop_stop = on_loop_stop;
    services[0].socket.send_buffer_bytes = (uint32_t)NUMBER("sndbuf", "0");
    if (other != NULL) {
        if (weir_http_serve_files(other, "/", other_root, &files) < 0)
            return 1;
        weir_http_service(other, listen, &services[1]);
    }
    unsigned loops = (unsigned)NUMBER("loops", "1");
    weir_run_options run = {
        .shape = loops > 1 ? WEIR_SHAPE_THREADS : WEIR_SHAPE_SINGLE,
        .loops = loops,
        .drain_ms = 2000,
        .on_started = on_started,
    };
    int result = weir_run(services, other != NULL ? 2 : 1, &run);
    weir_http_app_free(app);
    weir_http_app_free(other);
    return result < 0;
}

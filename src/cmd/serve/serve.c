/* weir serve: files over HTTP/1.1. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/weir.h>

#include "cmd/command.h"

struct serve {
    struct option_texts listen;
    const char *backend;
    uint32_t loops;
    int shape;
    char *urls; /* all of --listen, with blanks between them */
    weir_http_app *app;
};

static const struct option_choice shapes[] = {{"single", WEIR_SHAPE_SINGLE},
                                              {"threads", WEIR_SHAPE_THREADS},
                                              {"acceptor", WEIR_SHAPE_ACCEPTOR},
                                              {0}};

#define AT(member) offsetof(struct serve, member)
static const struct option options[] = {
    {.name = "listen", .kind = OPTION_TEXTS, .value_name = "URL", .offset = AT(listen),
     .help = "listen on this address instead of http://127.0.0.1:8080; may be repeated"},
    {.name = "backend", .kind = OPTION_TEXT, .value_name = "NAME", .offset = AT(backend),
     .help = "what to wait with: auto, uring, epoll, poll or select"},
    {.name = "loops", .kind = OPTION_NUMBER, .value_name = "N", .offset = AT(loops), .least = 1,
     .most = 512, .help = "number of event loops; default: one a CPU"},
    {.name = "shape", .kind = OPTION_CHOICE, .value_name = "SHAPE", .offset = AT(shape),
     .choices = shapes,
     .help = "how loops map to threads: threads (default; each accepts for itself), acceptor (one "
             "accepts, the others serve) or single"},
    {0}};

static void welcome(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "weir %s is up. It serves no folder yet.\n", weir_version());
}

static void started(void *user)
{
    char url[WEIR_ADDRESS_TEXT_MAX];
    weir_address address;
    for (unsigned i = 0; weir_run_address(i, &address) == 0; i++)
        if (weir_address_format(&address, url, sizeof url) > 0)
            printf("weir: listening on %s (%s)\n", url, weir_loop_backend(weir_loop_current()));
    fflush(stdout);
}

static int urls_join(struct serve *serve)
{
    size_t size = 1;
    if (serve->listen.count == 0)
        serve->listen.items[serve->listen.count++] = "http://127.0.0.1:8080";
    for (unsigned i = 0; i < serve->listen.count; i++)
        size += strlen(serve->listen.items[i]) + 1;
    serve->urls = calloc(1, size);
    for (unsigned i = 0; serve->urls != NULL && i < serve->listen.count; i++)
        strcat(strcat(serve->urls, i != 0 ? " " : ""), serve->listen.items[i]);
    return serve->urls != NULL ? 0 : WEIR_ENOMEM;
}

static int serve_run(const struct command *self, int argc, char **argv)
{
    struct serve serve = {.shape = WEIR_SHAPE_THREADS};
    int operands, code = command_options(self, argc, argv, &serve, &operands);
    if (code >= 0)
        return code;
    if (urls_join(&serve) < 0)
        return say(EX_OSERR, "out of memory");
    signal(SIGPIPE, SIG_IGN);
    serve.app = weir_http_app_new(NULL);
    weir_service service;
    weir_run_options run = {.shape = (enum weir_shape)serve.shape,
                            .loops = serve.loops,
                            .loop = {.backend = serve.backend},
                            .on_started = started};
    int result = WEIR_ENOMEM;
    if (serve.app != NULL)
        result = weir_http_get(serve.app, "/", welcome, NULL);
    if (result == 0) {
        weir_http_service(serve.app, serve.urls, &service);
        result = weir_run(&service, 1, &run);
    }
    weir_http_app_free(serve.app);
    free(serve.urls);
    return exit_code_of(result);
}

const struct command command_serve = {
    .name = "serve",
    .summary = "serve files over HTTP/1.1",
    .usage = "[OPTIONS]",
    .about = "Serves a page of welcome over HTTP/1.1 until it is told to stop.",
    .examples = "  weir serve --listen http://127.0.0.1:8000 --backend epoll\n",
    .options = options,
    .run = serve_run,
};

/* weir serve: files over HTTP/1.1. */
#include "cmd/serve/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>

#include <weir/ctl.h>

#include "cmd/command.h"
#include "cmd/serve/secure.h"

static const char *const format_names[] = {"common", "combined", "json"};

/* Until the server has started, what is logged is for whoever called the command; then it is a log
 * with times. */
static void log_line(const weir_log_line *line, void *arg)
{
    struct serve *serve = arg;
    if (atomic_load(&serve->started)) {
        weir_log_to_fd(line, (void *)(intptr_t)STDERR_FILENO);
        return;
    }
    if (line->level == WEIR_LOG_ERROR)
        serve->log_code = line->code;
    fprintf(stderr, "weir: %s", line->level == WEIR_LOG_WARN ? "warning: " : "");
    for (const char *c = line->text; *c != '\0'; c++) { /* in one line, which moves no cursor */
        if (*c == '\n')
            fputs("; ", stderr);
        else
            fputc((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c, stderr);
    }
    fputc('\n', stderr);
}

static void log_begin(struct serve *serve)
{
    enum weir_log_level level = serve->quiet         ? WEIR_LOG_ERROR
                                : serve->verbose > 1 ? WEIR_LOG_DEBUG
                                : serve->verbose > 0 ? WEIR_LOG_INFO
                                                     : WEIR_LOG_WARN;
    weir_log_set(log_line, serve, level);
}

/* What a hurried person writes for an address, and what was meant. */
static const char *url_meant(const char *url, char *out, size_t size)
{
    size_t digits = strspn(url, "0123456789");
    if (digits != 0 && url[digits] == '\0')
        snprintf(out, size, "http://127.0.0.1:%s", url);
    else if (strstr(url, "://") == NULL && strchr(url, ':') != NULL)
        snprintf(out, size, "http://%s", url);
    else if (url[0] == '/')
        snprintf(out, size, "unix:%s", url);
    else
        return NULL;
    return weir_address_parse(out, &(weir_address){0}, NULL) == 0 ? out : NULL;
}

static int url_bad(const char *url, const struct weir_address_error *error)
{
    char text[512], meant[256];
    if (weir_address_explain(url, error, text, sizeof text) < 0)
        text[0] = '\0';
    say(EX_USAGE, "cannot listen on \"%s\"%s%s\n%s", url,
        url_meant(url, meant, sizeof meant) != NULL ? ": did you mean " : "",
        url_meant(url, meant, sizeof meant) != NULL ? meant : "", text);
    return EX_USAGE;
}

/* A socket that this process was started with: "fd:3", "systemd:web", "https+systemd:web". */
static bool is_inherited(const char *url)
{
    const char *plus = strchr(url, '+'), *colon = strchr(url, ':');
    const char *rest = plus != NULL && colon != NULL && plus < colon ? plus + 1 : url;
    return strncmp(rest, "fd:", 3) == 0 || strncmp(rest, "systemd:", 8) == 0;
}

static int url_check(const char *url)
{
    weir_address address;
    struct weir_address_error error;
    if (strchr(url, ' ') != NULL)
        return say(EX_USAGE, "cannot listen on \"%s\": one address for each --listen", url);
    if (is_inherited(url))
        return EX_OK; /* the library looks at the socket behind it */
    if (weir_address_parse(url, &address, &error) < 0)
        return url_bad(url, &error);
    if (address.transport == WEIR_TRANSPORT_UDP || address.scheme == WEIR_SCHEME_TLS)
        return say(EX_USAGE, "cannot listen on %s: HTTP/1.1 needs http://, https:// or unix:", url);
    if (address.target_size > 1)
        return say(EX_USAGE, "cannot listen on %s: leave out the path %s", url,
                   url + address.target_offset);
    return EX_OK;
}

static int urls_join(struct serve *serve)
{
    size_t size = 1;
    if (serve->listen.count == 0)
        serve->listen.items[serve->listen.count++] = serve->tls || serve->certs.count != 0
                                                         ? "https://127.0.0.1:8443"
                                                         : "http://127.0.0.1:8080";
    for (unsigned i = 0; i < serve->listen.count; i++) {
        int code = url_check(serve->listen.items[i]);
        if (code != EX_OK)
            return code;
        size += strlen(serve->listen.items[i]) + strlen(" http+");
    }
    serve->urls = calloc(1, size);
    serve->plain_urls = calloc(1, size);
    if (serve->urls == NULL || serve->plain_urls == NULL)
        return say(EX_OSERR, "out of memory");
    for (unsigned i = 0; i < serve->listen.count; i++) {
        const char *url = serve->listen.items[i];
        char *into = serve->redirect && secure_is_plain(url) ? serve->plain_urls : serve->urls;
        strcat(into, into[0] != '\0' ? " " : "");
        strcat(into, is_inherited(url) && strchr(url, '+') == NULL ? "http+" : "");
        strcat(into, url);
    }
    return EX_OK;
}

static int directory_check(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return EX_OK;
    }
    switch (errno) {
    case ENOENT:
        return say(EX_NOINPUT, "cannot serve %s: there is no such folder", path);
    case ENOTDIR:
        return say(EX_NOINPUT, "cannot serve %s: it is no folder; serve the one that it is in",
                   path);
    case EACCES:
        return say(EX_NOPERM,
                   "cannot serve %s: no permission to read it; run as its owner, or chmod a+rx it",
                   path);
    default:
        return say(EX_OSERR, "cannot serve %s: %m", path);
    }
}

static unsigned cpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (unsigned)count : 1;
}

static void loops_count(struct serve *serve)
{
    unsigned count = cpus();
    if (serve->workers != 0)
        serve->loops = serve->workers;
    if (serve->shape == WEIR_SHAPE_ACCEPTOR && count > 1)
        count--; /* the one that accepts has a CPU too */
    serve->serving = serve->shape == WEIR_SHAPE_SINGLE ? 1
                     : serve->loops != 0               ? serve->loops
                                                       : count;
}

/* Each connection is a descriptor: the soft limit is for programs that use select. */
static void descriptors_raise(struct serve *serve)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    serve->descriptors = limit.rlim_cur;
    if (serve->is_select && serve->descriptors > FD_SETSIZE)
        serve->descriptors = FD_SETSIZE; /* select(2) knows no higher number */
}

/* A connection takes a descriptor (a direct one: a slot of its ring's table, which may be as large
 * as that limit too), and so does a file that is being sent: some are kept for files
 * and for the loops themselves, or a crowd of connections would leave nothing to answer with. */
static void conns_count(struct serve *serve)
{
    enum { FILES_MAX = 4096, OURS = 16, LOOP = 4, TABLE_MAX = 32768 };
    uint64_t files = serve->descriptors / 8 < FILES_MAX ? serve->descriptors / 8 : FILES_MAX;
    uint64_t kept = files + OURS + (uint64_t)LOOP * serve->serving;
    uint64_t room = serve->descriptors > kept ? serve->descriptors - kept : 1;
    if (serve->shape == WEIR_SHAPE_PROCESSES) /* each has a table of its own */
        room *= serve->serving;
    bool direct = serve->features != NULL && strstr(serve->features, "+direct") != NULL;
    if (direct) { /* each loop has a table, with some room for those who are refused */
        room = serve->descriptors < TABLE_MAX ? serve->descriptors : TABLE_MAX;
        room = (room - room / 64) * serve->serving;
    }
    serve->conns = serve->max_conns;
    if (serve->descriptors != 0 && (serve->conns == 0 || serve->conns > room))
        serve->conns = room;
}

static void on_hangup(weir_watch *watch, int number, void *arg)
{
    weir_http_reopen_logs(((struct serve *)arg)->app);
    if (number == SIGHUP)
        secure_reload(arg);
}

/* Without a handler it would end the process, and people expect it to be harmless. */
static void on_upgrade(weir_watch *watch, int number, void *arg)
{
    weir_log_line line = {.level = WEIR_LOG_WARN,
                          .text = "USR2 is ignored: upgrading in place needs a server of several "
                                  "processes (--shape processes)"};
    if (weir_log_level_now() >= WEIR_LOG_WARN)
        weir_log_to_fd(&line, (void *)(intptr_t)STDERR_FILENO);
}

/* The control socket's address: as asked for, or by the first address that is served. */
int control_url(struct serve *serve)
{
    char path[CTLPATH_MAX];
    weir_address first;
    int result = 0;
    if (serve->ctl == NULL) {
        result = weir_run_address(0, &first);
        if (result == 0)
            result = ctlpath_of(&first, path, sizeof path);
    }
    if (result == 0)
        result = ctlpath_url(serve->ctl != NULL ? serve->ctl : path, serve->ctl_url,
                             sizeof serve->ctl_url);
    if (result < 0 && serve->ctl != NULL)
        return say(result, "no control socket at %s: %s", serve->ctl, weir_error_text(result));
    return result;
}

/* On every loop, before it starts; the main thread's is the first. */
static int on_loop_start(weir_loop *loop, void *arg)
{
    struct serve *serve = arg;
    if (!pthread_equal(pthread_self(), serve->main_thread) ||
        serve->shape == WEIR_SHAPE_PROCESSES || /* there it is the master's, as others are */
        (serve->ctl != NULL && strcmp(serve->ctl, "none") == 0))
        return 0;
    int result = control_url(serve);
    if (result == 0)
        result = weir_ctl_service(serve->ctl_url, &serve->control);
    if (result == 0)
        result = weir_listen(NULL, &serve->control); /* says by itself why not */
    if (result == 0)
        return 0;
    serve->ctl_url[0] = '\0';
    return serve->ctl != NULL ? result : 0; /* nobody asked for one */
}

static void on_started(void *arg)
{
    struct serve *serve = arg;
    weir_signal(&serve->hangup, SIGHUP, on_hangup, serve);
    weir_signal(&serve->reopen, SIGUSR1, on_hangup, serve);
    secure_watch(serve);
    if (serve->shape != WEIR_SHAPE_PROCESSES) {
        weir_signal(&serve->upgrade, SIGUSR2, on_upgrade, serve);
        if (!serve->quiet)
            serve_banner(serve);
    }
    atomic_store(&serve->started, true);
}

/* What the addresses of http:// say when all is served over https://. */
static int redirect_make(struct serve *serve)
{
    weir_http_options options = {
        .header_ms = serve->header_ms, .idle_ms = serve->idle_ms, .no_keep_alive = true};
    if (!serve->redirect)
        return EX_OK;
    serve->redirects = redirect_app(&options);
    return serve->redirects != NULL ? EX_OK : exit_code_of(WEIR_ENOMEM);
}

static int app_make(struct serve *serve)
{
    weir_http_options options = {.header_ms = serve->header_ms,
                                 .body_ms = serve->body_ms,
                                 .idle_ms = serve->idle_ms,
                                 .body_max_bytes = serve->max_body,
                                 .access_log = serve->access_log,
                                 .access_format = format_names[serve->access_format],
                                 .access_user = serve->user,
                                 .access_group = serve->group,
                                 .headers = serve->headers.items};
    weir_http_files files = {.listing = serve->listing,
                             .hidden = serve->hidden,
                             .symlinks = serve->symlinks,
                             .no_precompressed = serve->no_precompressed};
    serve->app = weir_http_app_new(&options);
    if (serve->app == NULL) /* it was logged: a header, or the access log */
        return serve->log_code == -ENOENT || serve->log_code == -EISDIR
                   ? EX_CANTCREAT
                   : exit_code_of(serve->log_code != 0 ? serve->log_code : WEIR_ENOMEM);
    int result = serve->directory != NULL
                     ? weir_http_serve_files(serve->app, "/", serve->directory, &files)
                     : weir_http_welcome(serve->app);
    return exit_code_of(result);
}

/* What belongs to the whole server, and the library counts for each loop. */
static uint32_t share(const struct serve *serve, uint64_t whole)
{
    uint64_t part = whole / serve->serving + (whole % serve->serving != 0);
    return part < UINT32_MAX ? (uint32_t)part : 0; /* no limit of ours */
}

/* The library's limit of a loop is raised for those who ask for more. */
static uint32_t loop_conns(const struct serve *serve)
{
    enum { USUAL = 1 << 20, CONTROL = 64 };
    uint32_t part = share(serve, serve->conns);
    return part > USUAL - CONTROL ? part + CONTROL : 0;
}

static int serve_start(struct serve *serve)
{
    unsigned loops = serve->serving + (serve->shape == WEIR_SHAPE_ACCEPTOR);
    weir_run_options run = {.shape = (enum weir_shape)serve->shape,
                            .loops = serve->serving,
                            .pin = serve->pin,
                            .spread = (enum weir_spread)serve->spread,
                            .loop = {.backend = serve->backend,
                                     .features = serve->features,
                                     .conns_max = loop_conns(serve),
                                     .memory_max_bytes = serve->memory / loops},
                            .drain_ms = serve->drain_ms,
                            .on_started = on_started,
                            .one_listener = serve->one_listener,
                            .notify = true,
                            .user = serve};
    unsigned count = 1;
    weir_http_service(serve->app, serve->urls, &serve->service);
    serve->service.user = serve;
    serve->service.tls = serve->layer;
    serve->service.on_loop_start = on_loop_start;
    serve->service.write_ms = serve->write_ms;
    serve->service.overload = (enum weir_overload)serve->overload;
    serve->service.conns_max = share(serve, serve->conns);
    serve->service.accept_rate = share(serve, serve->accept_rate);
    weir_service services[3] = {serve->service};
    if (serve->redirect) { /* they are short, and need but a part of the connections */
        weir_http_service(serve->redirects, serve->plain_urls, &services[1]);
        services[1].write_ms = serve->write_ms;
        services[1].overload = WEIR_OVERLOAD_RESET;
        services[1].conns_max = serve->service.conns_max / 16 + 16;
        count++;
    }
    if (serve->shape == WEIR_SHAPE_PROCESSES)
        processes_options(serve, &run, services, &count);
    return exit_code_of(weir_run(services, count, &run));
}

static int backend_check(struct serve *serve)
{
    weir_plan plan;
    int error = weir_plan_probe(serve->backend, serve->features, &plan);
    serve->is_select = strcmp(plan.backend, "select") == 0;
    if (error == 0)
        return EX_OK;
    return say(exit_code_of(error) == EX_OSERR ? EX_UNAVAILABLE : exit_code_of(error),
               "back end %s cannot be used: %s", plan.backend, plan.why);
}

static int serve_all(struct serve *serve)
{
    int code = processes_check(serve);
    if (code == EX_OK)
        code = urls_join(serve);
    if (code == EX_OK)
        code = secure_check(serve);
    if (code == EX_OK && serve->directory != NULL)
        code = directory_check(serve->directory);
    if (code == EX_OK)
        code = backend_check(serve);
    if (code != EX_OK)
        return code;
    signal(SIGPIPE, SIG_IGN); /* standard output may be a pipe whose reader has gone */
    signal(SIGXFSZ,
           SIG_IGN); /* a log that may not grow (ulimit -f) loses lines, as on a full disk */
    loops_count(serve);
    descriptors_raise(serve);
    conns_count(serve);
    log_begin(serve);
    code = secure_make(serve);
    if (code == EX_OK)
        code = app_make(serve);
    if (code == EX_OK)
        code = redirect_make(serve);
    if (code == EX_OK)
        code = serve_start(serve);
    weir_http_app_free(serve->app);
    weir_http_app_free(serve->redirects);
    secure_end(serve);
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    return code;
}

static int serve_run(const struct command *self, int argc, char **argv)
{
    static struct serve serve;
    serve = (struct serve){.shape = WEIR_SHAPE_THREADS,
                           .overload = WEIR_OVERLOAD_ANSWER,
                           .access_format = 1,
                           .main_thread = pthread_self()};
    int operands, code = command_options(self, argc, argv, &serve, &operands);
    if (code >= 0)
        return code;
    if (operands > 1)
        return say(EX_USAGE, "serve takes one folder, not \"%s\" and \"%s\"", argv[1], argv[2]);
    serve.directory = operands == 1 ? argv[1] : NULL;
    code = serve_all(&serve);
    free(serve.urls);
    free(serve.plain_urls);
    return code;
}

const struct command command_serve = {
    .name = "serve",
    .summary = "serve files over HTTP/1.1",
    .usage = "[OPTIONS] [DIR]",
    .about =
        "Serves the files of a folder to GET and HEAD, or a page of welcome when none is given, "
        "until it is told to stop. Times are written 250ms, 10s, 1m30s or never; sizes 512, 64K, "
        "10M.\n\nTERM and QUIT let requests in progress finish, a second one ends at once, as INT "
        "(Ctrl-C) does; HUP and USR1 open the access log again, and HUP loads certificates, keys "
        "and "
        "OCSP answers anew, which also happens when their files change.",
    .examples = "  weir serve                                a page of welcome\n"
                "  weir serve --listing ~/public             a folder, with its contents\n"
                "  weir serve --listen http://:80 --access-log /var/log/weir.log /srv/www\n"
                "  weir serve --backend epoll --loops 2 --max-conns 10000 --idle 15s .\n"
                "  weir serve --tls ~/public                 over HTTPS, for this host\n"
                "  weir serve --listen https://:443 --cert web.pem --key web.key /srv/www\n"
                "  weir serve --header 'Cache-Control: no-cache' --listen unix:/run/web.sock .\n",
    .options = serve_options,
    .run = serve_run,
};

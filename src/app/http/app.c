/* An application: options, routes, and how it becomes a service. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "app/http/accesslog.h"
#include "app/http/server.h"
#include "base/alloc.h"
#include "base/log.h"

static void defaults(weir_http_options *o)
{
    limit_default(&o->header_ms, HTTP_HEADER_MS);
    limit_default(&o->body_ms, HTTP_BODY_MS);
    limit_default(&o->idle_ms, LIMIT_IDLE_MS);
    limit_default(&o->line_max_bytes, HTTP1_LINE_BYTES);
    limit_default(&o->head_max_bytes, HTTP1_HEAD_BYTES);
    limit_default(&o->fields_max, HTTP1_FIELDS);
    limit_default(&o->stack_bytes, HTTP_STACK_BYTES);
    limit_default(&o->handlers_max, HTTP_HANDLERS_MAX);
    limit_default(&o->shed_ms, LIMIT_SHED_MS);
    if (o->body_max_bytes == 0)
        o->body_max_bytes = HTTP_BODY_BYTES;
}

static int option_refused(const char *text)
{
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "HTTP options: %s", text);
    return WEIR_EINVALID;
}

static int options_check(const weir_http_options *o)
{
    if (o->fields_max > HTTP1_FIELDS)
        return option_refused("fields_max is more than 64");
    if (o->head_max_bytes > HTTP_HEAD_MAX)
        return option_refused("head_max_bytes is more than 65536");
    if (o->line_max_bytes > o->head_max_bytes)
        return option_refused("line_max_bytes is more than head_max_bytes");
    if (o->stack_bytes < HTTP_STACK_MIN)
        return option_refused("stack_bytes is less than 16384");
    if (o->stack_bytes > HTTP_STACK_MAX)
        return option_refused("stack_bytes is more than 1 GiB");
    return 0;
}

static int extra_add(weir_http_app *app, struct http_text name, struct http_text value)
{
    size_t size = name.length + value.length + 4;
    char *grown = weir__realloc(app->extra_head, app->extra_head_size + size);
    if (grown == NULL)
        return WEIR_ENOMEM;
    app->extra_head = grown;
    struct http1_writer w = http1_writer_on(grown + app->extra_head_size, size);
    http1_write_field(&w, name, value);
    if (w.error != 0)
        return WEIR_EINVALID;
    app->extra_head_size += size;
    return 0;
}

/* Fields whose value follows from each answer: a second one would contradict the first, and a
 * second length would let somebody smuggle an answer past a proxy. */
static bool is_of_answers(struct http_text name)
{
    static const char *const own[] = {"content-type", "content-range", "content-encoding", "etag",
                                      "last-modified"};
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
        if (strlen(own[i]) == name.length && strncasecmp(own[i], name.at, name.length) == 0)
            return true;
    return field_own(name);
}

static int header_take(weir_http_app *app, const char *header)
{
    size_t size = strcspn(header, ":");
    struct http_text name = {header, size};
    int result = WEIR_EINVALID;
    if (is_of_answers(name)) {
        weir__log(WEIR_LOG_ERROR, result, 0, "header \"%s\": weir writes this field itself",
                  header);
        return result;
    }
    if (header[size] == ':') {
        const char *value = header + size + 1 + strspn(header + size + 1, " \t");
        result = extra_add(app, name, (struct http_text){value, strlen(value)});
    }
    if (result < 0)
        weir__log(WEIR_LOG_ERROR, result, 0, "header \"%s\" is not NAME: VALUE", header);
    return result;
}

static int headers_take(weir_http_app *app)
{
    const weir_http_options *o = &app->options;
    int result = 0;
    if (o->server_name != NULL)
        result = extra_add(app, (struct http_text){"Server", 6},
                           (struct http_text){o->server_name, strlen(o->server_name)});
    if (result < 0)
        weir__log(WEIR_LOG_ERROR, result, 0, "\"%s\" cannot be the value of a field",
                  o->server_name);
    for (unsigned i = 0; result == 0 && o->headers != NULL && o->headers[i] != NULL; i++)
        result = header_take(app, o->headers[i]);
    return result;
}

weir_http_app *weir__http_app_new(const weir_http_options *options, size_t size)
{
    weir_http_app *app = weir__zalloc(sizeof *app);
    if (app == NULL)
        return NULL;
    if (options != NULL)
        memcpy(&app->options, options, size < sizeof *options ? size : sizeof *options);
    defaults(&app->options);
    const weir_http_options *o = &app->options;
    app->limits = (struct http1_limits){
        .line_bytes = o->line_max_bytes, .head_bytes = o->head_max_bytes, .fields = o->fields_max};
    app->routes = route_tree_new();
    int result = options_check(o);
    if (result == 0)
        result = app->routes != NULL ? headers_take(app) : WEIR_ENOMEM;
    if (result == 0 && o->access_log != NULL)
        result = accesslog_open(app);
    if (result < 0) {
        weir_http_app_free(app);
        return NULL;
    }
    return app;
}

void weir_http_app_free(weir_http_app *app)
{
    if (app == NULL)
        return;
    route_tree_free(app->routes);
    mounts_free(app);
    accesslog_close(app);
    weir__free(app->extra_head);
    weir__free(app);
}

int weir_http_route(weir_http_app *app, const char *method, const char *pattern, weir_http_fn *fn,
                    void *user, unsigned flags)
{
    if (app == NULL || method == NULL || pattern == NULL || fn == NULL)
        return WEIR_EINVALID;
    int result = route_add(app->routes, method, pattern, (struct route){fn, user, flags});
    if (result < 0)
        weir__log(WEIR_LOG_ERROR, result, 0, "route %s %s is malformed or in conflict with another",
                  method, pattern);
    return result;
}

weir_view http_busy_answer(void)
{
    static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: 56\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
                               "503 Service Unavailable\ncause: too many connections now\n";
    return weir_static(busy, sizeof busy - 1);
}

void weir__http_service(weir_http_app *app, const char *listen, weir_service *out, size_t size)
{
    weir_service service = {.listen = listen,
                            .overload = WEIR_OVERLOAD_ANSWER,
                            .overload_answer = http_busy_answer(),
                            .idle_ms = app->options.idle_ms,
                            .protocol = &http_protocol,
                            .protocol_arg = app};
    http_stats_share();
    memset(out, 0, size);
    memcpy(out, &service, size < sizeof service ? size : sizeof service);
}

int weir_http_serve(weir_http_app *app, const char *listen)
{
    if (app == NULL || listen == NULL)
        return WEIR_EINVALID;
    weir_service service;
    weir_http_service(app, listen, &service);
    return weir_run(&service, 1, NULL);
}

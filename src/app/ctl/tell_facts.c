/* What is known without asking other loops: the plan, the limits in force. */
#include <weir/limits.h>
#include <weir/plan.h>

#include "app/ctl/ctl.h"
#include "app/http/server.h"
#include "net/conn.h"

int answer_plan(const struct request *request, weir_json_writer *out)
{
    weir_plan plan;
    weir_plan_of(loop_current(), &plan);
    weir_json_text(out, "backend", plan.backend);
    weir_json_text(out, "reason", plan.why);
    weir_json_array(out, "features");
    for (unsigned i = 0; i < plan.count; i++) {
        weir_json_object(out, NULL);
        weir_json_text(out, "feature", plan.rows[i].feature);
        weir_json_bool(out, "used", plan.rows[i].used);
        weir_json_text(out, "reason", plan.rows[i].reason);
        weir_json_end(out);
    }
    weir_json_end(out);
    return 0;
}

/* A deadline that is off has no number. */
static void limit_ms(weir_json_writer *out, const char *name, uint32_t ms)
{
    if (ms == WEIR_OFF)
        weir_json_text(out, name, NULL);
    else
        weir_json_number(out, name, ms);
}

static void limit_or_none(weir_json_writer *out, const char *name, uint64_t value)
{
    if (value == 0)
        weir_json_text(out, name, NULL);
    else
        weir_json_number(out, name, value);
}

static void http_limits(const struct service *service, weir_json_writer *out)
{
    const struct http_server *server = service->protocol;
    const weir_http_options *o = &server->app->options;
    limit_ms(out, "header_ms", o->header_ms);
    limit_ms(out, "body_ms", o->body_ms);
    weir_json_number(out, "line_max_bytes", o->line_max_bytes);
    weir_json_number(out, "head_max_bytes", o->head_max_bytes);
    weir_json_number(out, "fields_max", o->fields_max);
    weir_json_number(out, "body_max_bytes", o->body_max_bytes);
    limit_or_none(out, "requests_max", o->requests_max);
    weir_json_number(out, "handlers_max", o->handlers_max);
}

static void service_limits(const struct service *service, weir_json_writer *out)
{
    const weir_service *config = &service->config;
    weir_json_object(out, NULL);
    weir_json_text(out, "listen", config->listen);
    weir_json_object(out, "limits");
    weir_json_number(out, "conns_max", config->conns_max);
    limit_or_none(out, "accept_rate", config->accept_rate);
    limit_ms(out, "first_byte_ms", config->first_byte_ms);
    limit_ms(out, "idle_ms", config->idle_ms);
    limit_ms(out, "write_ms", config->write_ms);
    limit_ms(out, "linger_ms", config->linger_ms);
    weir_json_number(out, "soft_mark_bytes", config->soft_mark_bytes);
    weir_json_number(out, "hard_cap_bytes", config->hard_cap_bytes);
    if (service->consumer == http_protocol.consumer)
        http_limits(service, out);
    weir_json_end(out);
    weir_json_end(out);
}

static void loop_limits(const weir_loop *loop, weir_json_writer *out)
{
    weir_json_object(out, "loop");
    weir_json_number(out, "conns_max", loop->options.conns_max);
    weir_json_number(out, "memory_max_bytes", loop->options.memory_max_bytes);
    weir_json_number(out, "posts_max", loop->options.posts_max);
    weir_json_number(out, "posts_max_bytes", loop->options.posts_max_bytes);
    weir_json_number(out, "stall_ms", loop->options.stall_ms);
    weir_json_end(out);
}

int answer_limits(const struct request *request, weir_json_writer *out)
{
    const weir_loop *loop = loop_current();
    loop_limits(loop, out);
    weir_json_array(out, "services");
    const struct list *services = &loop->net->services;
    for (struct list *link = services->next; link != services; link = link->next)
        service_limits(weir_container(link, struct service, link), out);
    weir_json_end(out);
    return 0;
}

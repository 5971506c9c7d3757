/* The service behind the control socket: a line is a request, a line is its answer. */
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/ctl.h>
#include <weir/error.h>
#include <weir/log.h>
#include <weir/service.h>

#include "app/ctl/ctl.h"
#include "base/alloc.h"
#include "net/shared.h"

static int answer_drain(const struct request *request, weir_json_writer *out)
{
    weir_address address;
    if (weir_run_address(0, &address) < 0)
        return ctl_refuse(out, "this process was not started by weir_run",
                          "end it as its own program does");
    weir_json_bool(out, "draining", true);
    return 0;
}

static int answer_log_level(const struct request *request, weir_json_writer *out)
{
    const weir_json_value *level = weir_json_find(request->values, request->values, "level");
    char name[16] = "";
    struct shared_view view;
    weir_json_text(out, "former", weir_log_level_name(weir_log_level_now()));
    if (level != NULL) {
        enum weir_log_level i = WEIR_LOG_ERROR;
        weir_json_to_text(level, name, sizeof name);
        while (i <= WEIR_LOG_OFF && strcmp(name, weir_log_level_name(i)) != 0)
            i++;
        if (i > WEIR_LOG_OFF)
            return ctl_refuse(out, "no such log level", "one of error, warn, info, debug, off");
        weir_log_set_level(i);
        if (run_shared(&view)) /* each worker takes it with its next turn */
            atomic_store(&view.shared->log_level, (int32_t)i);
    }
    weir_json_text(out, "level", weir_log_level_name(weir_log_level_now()));
    return 0;
}

static int answer_help(const struct request *request, weir_json_writer *out)
{
    weir_json_array(out, "commands");
    for (const struct ctl_command *command = ctl_commands; command->name != NULL; command++) {
        weir_json_object(out, NULL);
        weir_json_text(out, "command", command->name);
        weir_json_text(out, "what", command->what);
        weir_json_end(out);
    }
    weir_json_end(out);
    return 0;
}

const struct ctl_command ctl_commands[] = {
    {.name = "stats",
     .what = "counters of each loop, and their sum",
     .collect = collect_stats,
     .tell = tell_stats},
    {.name = "loops",
     .what = "the loops and how busy they are",
     .collect = collect_stats,
     .tell = tell_loops},
    {.name = "connections",
     .what = "the living connections; \"limit\": at most so many",
     .collect = collect_conns,
     .tell = tell_conns},
    {.name = "plan", .what = "the back end, its features, and the reasons", .answer = answer_plan},
    {.name = "limits", .what = "the bounds in force", .answer = answer_limits},
    {.name = "drain",
     .what = "finish what is in progress, then exit",
     .answer = answer_drain,
     .after = weir_stop},
    {.name = "log-level",
     .what = "tell the log level, or set it to \"level\"",
     .answer = answer_log_level},
    {.name = "help", .what = "these commands", .answer = answer_help},
    {0}};

const struct ctl_command *ctl_command_named(const char *name)
{
    for (const struct ctl_command *command = ctl_commands; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

void ctl_begin(weir_json_writer *out)
{
    weir_json_object(out, NULL);
    weir_json_bool(out, "ok", true);
}

/* Whatever was written so far is dropped: an answer is an answer or an error. */
int ctl_refuse(weir_json_writer *out, const char *error, const char *fix)
{
    weir_json_free(out);
    *out = (weir_json_writer){0};
    weir_json_object(out, NULL);
    weir_json_bool(out, "ok", false);
    weir_json_text(out, "error", error);
    weir_json_text(out, "fix", fix);
    return WEIR_EINVALID;
}

static void text_release(const void *data, size_t size, void *text)
{
    weir__free(text);
}

void ctl_answer(weir_conn conn, weir_json_writer *out)
{
    weir_json_end(out);
    if (weir_json_done(out) != 0) {
        weir_json_free(out);
        weir_abort(conn);
        return;
    }
    /* Lent, because it may be larger than what a connection may queue. */
    if (weir_send(conn, weir_own(out->data, out->size, text_release, out->data)) < 0)
        weir_abort(conn);
}

static void refuse(weir_conn conn, const char *error, const char *fix)
{
    weir_json_writer out = {0};
    ctl_refuse(&out, error, fix);
    ctl_answer(conn, &out);
}

static unsigned limit_of(const struct request *request)
{
    uint64_t limit = CTL_LIST;
    if (weir_json_to_number(weir_json_find(request->values, request->values, "limit"), &limit) < 0)
        limit = CTL_LIST;
    return limit < CTL_LIST_MAX ? (unsigned)limit : CTL_LIST_MAX;
}

static void run(weir_conn conn, const struct ctl_command *command, const struct request *request)
{
    weir_json_writer out = {0};
    if (command->collect != NULL) {
        if (gather_begin(conn, command, limit_of(request)) < 0)
            refuse(conn, "out of memory", "try again when less is going on");
        return;
    }
    ctl_begin(&out);
    int result = command->answer(request, &out);
    ctl_answer(conn, &out);
    if (result == 0 && command->after != NULL)
        command->after();
}

static void on_request(weir_conn conn, weir_view line, void *memory)
{
    struct ctl_session *session = memory;
    weir_json_value values[CTL_VALUES_MAX];
    struct request request = {values};
    char name[32];
    if (session->gather != NULL) {
        refuse(conn, "the last request is not answered yet", "wait for its line");
        return;
    }
    if (weir_json_read(line.data, line.size, values, CTL_VALUES_MAX) < 0 ||
        weir_json_to_text(weir_json_find(values, values, "command"), name, sizeof name) < 0) {
        refuse(conn, "not a request", "send a line such as {\"command\":\"help\"}");
        return;
    }
    const struct ctl_command *command = ctl_command_named(name);
    if (command == NULL)
        refuse(conn, "no such command", "{\"command\":\"help\"} lists them");
    else
        run(conn, command, &request);
}

/* The client may end its side behind its request: the answer is still on its way. */
static void on_end(weir_conn conn, void *memory)
{
    struct ctl_session *session = memory;
    session->ended = true;
    if (session->gather == NULL)
        weir_close(conn);
}

static void on_close(weir_conn conn, weir_end end, void *memory)
{
    struct ctl_session *session = memory;
    if (session->gather != NULL)
        gather_abandon(session->gather);
}

static int check_listen(const char *listen)
{
    weir_address address;
    if (listen == NULL)
        return WEIR_EINVALID;
    int result = weir_address_parse(listen, &address, NULL);
    if (result < 0)
        return result;
    const struct sockaddr_un *name = (const struct sockaddr_un *)(const void *)&address.socket;
    return address.transport == WEIR_TRANSPORT_UNIX && name->sun_path[0] != '\0' ? 0
                                                                                 : WEIR_EINVALID;
}

int weir__ctl_service(const char *listen, weir_service *out, size_t size)
{
    weir_service service = {.listen = listen,
                            .conn_size = sizeof(struct ctl_session),
                            .on_frame = on_request,
                            .on_end = on_end,
                            .on_close = on_close,
                            .frame = weir_frame_line(CTL_REQUEST_MAX),
                            .conns_max = CTL_CONNS_MAX,
                            .overload = WEIR_OVERLOAD_RESET,
                            .socket = {.unix_mode = 0600}};
    int result = check_listen(listen);
    if (out == NULL || result < 0)
        return out == NULL ? WEIR_EINVALID : result;
    memset(out, 0, size);
    memcpy(out, &service, size < sizeof service ? size : sizeof service);
    return 0;
}

/* Connects through proxies at the hands of a script. Each line of the input is a command, each line
 * of the output what came of one:
 *   dial ID URL CONNECT_MS VIA...      by events: sends "hi" when open, and closes at the peer's
 * end wait ID URL DEADLINE_MS VIA...     by a coroutine, which closes when it has sent "hi" quit ID
 * refused ERROR | ID open | ID data HEX | ID close WHY DEADLINE ERROR | ID waited ERROR */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/via.h>
#include <weir/weir.h>

struct job {
    unsigned id;
    unsigned deadline_ms;
    char url[400];
    const weir_via *via;
    weir_service service;
};

static weir_loop *loop;
static weir_watch input;
static char lines[65536];
static size_t lines_size;

static void on_open(weir_conn conn, void *session)
{
    struct job *job = weir_conn_user(conn);
    printf("%u open\n", job->id);
    if (weir_send(conn, weir_str("hi")) < 0)
        weir_abort(conn);
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
    struct job *job = weir_conn_user(conn);
    printf("%u data ", job->id);
    for (size_t i = 0; i < data.size; i++)
        printf("%02x", ((const unsigned char *)data.data)[i]);
    printf("\n");
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    static const char *const whys[] = {"none",  "finished", "reset", "deadline",
                                       "limit", "closed",   "error"};
    struct job *job = weir_conn_user(conn);
    printf("%u close %s %d %s\n", job->id, whys[end.why], (int)end.deadline,
           end.error != 0 ? weir_error_name(end.error) : "0");
}

static void wait_for(void *arg)
{
    struct job *job = arg;
    weir_conn conn;
    int result =
        weir_connect_wait(&conn, job->url, &job->service, weir_after(job->deadline_ms * WEIR_MS));
    if (result == 0) {
        result = weir_send_all(conn, weir_str("hi"), weir_after(5 * WEIR_S));
        weir_close(conn);
    }
    printf("%u waited %s\n", job->id, result != 0 ? weir_error_name(result) : "0");
}

/* Jobs stay until the end: their services must outlive their connections. */
static void command(char *line)
{
    static struct job *jobs[8192];
    static unsigned count;
    char *words[5] = {NULL}, *at = line;

    for (int i = 0; i < 5; i++)
        words[i] = i < 4 ? strsep(&at, " ") : at;
    if (strcmp(words[0], "quit") == 0) {
        weir_loop_stop(loop);
        return;
    }
    if (words[3] == NULL || count == sizeof jobs / sizeof jobs[0])
        exit(64);
    struct job *job = jobs[count++] = calloc(1, sizeof *job);
    bool waits = strcmp(words[0], "wait") == 0;
    job->id = (unsigned)atoi(words[1]);
    snprintf(job->url, sizeof job->url, "%s", words[2]);
    job->deadline_ms = (unsigned)atoi(words[3]);
    int result = words[4] != NULL ? weir_via_new(&job->via, words[4]) : 0;
    job->service = (weir_service){.via = job->via, .on_close = on_close};
    if (waits) {
        job->service.straight = true;
        job->service.on_close = NULL;
    } else {
        job->service.on_open = on_open;
        job->service.on_data = on_data;
        job->service.connect_ms = job->deadline_ms;
    }
    if (result == 0 && waits)
        result = weir_spawn(wait_for, job);
    else if (result == 0)
        result = weir_connect(NULL, job->url, &job->service, job);
    if (result < 0)
        printf("%u refused %s\n", job->id, weir_error_name(result));
}

static void on_input(weir_watch *watch, int events, void *arg)
{
    ssize_t got = read(0, lines + lines_size, sizeof lines - lines_size);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        weir_loop_stop(loop);
        return;
    }
    lines_size += got > 0 ? (size_t)got : 0;
    char *at = lines, *end;
    while ((end = memchr(at, '\n', lines_size - (size_t)(at - lines))) != NULL) {
        *end = '\0';
        command(at);
        at = end + 1;
    }
    lines_size -= (size_t)(at - lines);
    memmove(lines, at, lines_size);
    weir_poll(&input, 0, POLLIN, on_input, NULL);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)2, WEIR_LOG_INFO);
    int result = weir_loop_new(&loop, NULL);
    if (result < 0) {
        fprintf(stderr, "%s\n", weir_error_text(result));
        return 1;
    }
    weir_loop_enter(loop);
    fcntl(0, F_SETFL, O_NONBLOCK);
    weir_poll(&input, 0, POLLIN, on_input, NULL);
    weir_loop_run(loop);
    weir_loop_enter(loop);
    weir_watch_cancel(&input);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    return 0;
}

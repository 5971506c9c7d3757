/* The verbs that echo does not use: unix sockets with a file, descriptors sent with a message, a
 * file sent, two connections coupled by weir_pipe, foreign descriptors, signals, posts, the loop's
 * own descriptor. Each of them works, or says why it did not. */
#include "layer.h"
#include "nth.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/weir.h>

enum { STEP_MS = 4000, FILE_BYTES = 200000, PIECE_BYTES = 30000 };

static char folder[40], file_path[64], socket_url[64];
static uint8_t pattern[FILE_BYTES];
static weir_loop *loop;
static int port;
static unsigned opened, closed;

static void prepare(void)
{
    FILE *file;

    for (uint32_t i = 0; i < FILE_BYTES; i++)
        pattern[i] = (uint8_t)(i * 11 ^ i >> 8);
    strcpy(folder, "/tmp/weir-nth-XXXXXX");
    if (mkdtemp(folder) == NULL)
        exit(2);
    snprintf(file_path, sizeof(file_path), "%s/file", folder);
    snprintf(socket_url, sizeof(socket_url), "unix:%s/socket", folder);
    file = fopen(file_path, "wb");
    if (file == NULL || fwrite(pattern, 1, FILE_BYTES, file) != FILE_BYTES || fclose(file) != 0)
        exit(2);
}

/* A run that the layer stopped may leave its socket, which the next one takes over. */
static void clean(void)
{
    char path[80];

    remove(file_path);
    snprintf(path, sizeof(path), "%s", socket_url + 5);
    remove(path);
    strcat(path, ".lock");
    remove(path);
    remove(folder);
}

/* Turns until the condition holds. */
#define UNTIL(condition)                                         \
    do {                                                         \
        weir_time until_ = weir_now() + STEP_MS * WEIR_MS;       \
        while (!(condition)) {                                   \
            if (weir_now() > until_)                             \
                nth_wrong("this does not come: %s", #condition); \
            weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);      \
        }                                                        \
    } while (0)

/* What a verb may answer: nothing wrong, or an error with a name while something fails. */
static bool works(const char *verb, int result, unsigned faults)
{
    if (result >= 0)
        return true;
    if (strcmp(weir_error_name(result), "unknown") == 0)
        nth_wrong("%s says %d, which has no name", verb, result);
    if (faults == nth_run->faults)
        nth_wrong("%s says %s without a fault", verb, weir_error_name(result));
    return false;
}

/* --- services --------------------------------------------------------------------------------- */

static void on_open(weir_conn c, void *session)
{
    opened++;
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    closed++;
    if (end.why == WEIR_WHY_NONE ||
        (end.why == WEIR_WHY_ERROR && strcmp(weir_error_name(end.error), "unknown") == 0))
        nth_wrong("a connection ended for no reason that has a name");
}

static void echo_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

/* "f": the file; "d": a descriptor of it; "v": pieces of memory, all or none. */
static void serve_data(weir_conn c, weir_view in, void *session)
{
    const weir_view pieces[] = {weir_bytes(pattern, PIECE_BYTES), weir_str("middle"),
                                weir_bytes(pattern + PIECE_BYTES, PIECE_BYTES)};
    int fd = open(file_path, O_RDONLY | O_CLOEXEC), result;

    if (fd < 0) {
        weir_abort(c);
        return;
    }
    if (((const char *)in.data)[0] == 'v') {
        result = weir_sendv(c, pieces, 3);
        __real_close(fd);
    } else if (((const char *)in.data)[0] == 'f') {
        result = weir_send_file(c, fd, 0, FILE_BYTES, true);
    } else {
        result = weir_send_fds(c, weir_str("here"), &fd, 1);
        __real_close(fd);
    }
    if (result < 0)
        weir_abort(c);
    else
        weir_close(c);
}

static const weir_service echo = {
    .listen = "tcp://127.0.0.1:0",
    .on_open = on_open,
    .on_data = echo_data,
    .on_close = on_close,
    .linger_ms = 200,
};
static const weir_service giver = {
    .listen = socket_url,
    .on_open = on_open,
    .on_data = serve_data,
    .on_close = on_close,
    .linger_ms = 200,
};

/* The proxy's far side: coupled with the near one, which waits paused, as soon as it is open. */
static void far_open(weir_conn far, void *session)
{
    weir_conn *near = weir_conn_user(far);

    opened++;
    if (weir_pipe(*near, far) < 0) {
        weir_abort(*near);
        weir_abort(far);
    }
    weir_resume(*near);
}

static weir_conn near;
static bool near_gone;

static void far_close(weir_conn far, weir_end end, void *session)
{
    on_close(far, end, session);
    if (!near_gone)
        weir_abort(near);
}

static const weir_service far_service = {
    .on_open = far_open, .on_close = far_close, .linger_ms = 200};

static void near_open(weir_conn c, void *session)
{
    char url[40];

    opened++;
    near = c;
    near_gone = false;
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
    if (weir_pause(c) < 0 || weir_connect(NULL, url, &far_service, &near) < 0)
        weir_abort(c);
}

static void near_close(weir_conn c, weir_end end, void *session)
{
    near_gone = true;
    on_close(c, end, session);
}

static const weir_service proxy = {
    .listen = "tcp://127.0.0.1:0",
    .on_open = near_open,
    .on_close = near_close,
    .linger_ms = 200,
};

/* --- peers ------------------------------------------------------------------------------------ */

static uint8_t taken[FILE_BYTES + 1];
static size_t taken_size;
static int taken_fd;

/* Takes what is there, descriptors too; true when the connection is over. */
static bool take(int fd)
{
    char room[CMSG_SPACE(sizeof(int))];

    for (;;) {
        struct iovec iov = {taken + taken_size, sizeof(taken) - taken_size};
        struct msghdr message = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
        ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        struct cmsghdr *head = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;

        if (head != NULL && head->cmsg_type == SCM_RIGHTS)
            memcpy(&taken_fd, CMSG_DATA(head), sizeof(int));
        if (size <= 0)
            return size == 0 || errno != EAGAIN;
        taken_size += (size_t)size;
    }
}

static void unix_peer(const char *what)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned faults = nth_run->faults;
    int fd = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool whole;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_url + 5);
    taken_size = 0;
    taken_fd = -1;
    if (fd < 0 || __real_connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        nth_wrong("the unix socket cannot be reached: %s", strerror(errno));
    __real_send(fd, what, 1, MSG_NOSIGNAL);
    UNTIL(take(fd));
    __real_close(fd);
    if (taken_size > FILE_BYTES || (*what == 'f' && memcmp(taken, pattern, taken_size) != 0))
        nth_wrong("the file is not what came");
    whole = *what == 'f' ? taken_size == FILE_BYTES
            : *what == 'v'
                ? taken_size == 2 * PIECE_BYTES + 6 && memcmp(taken + PIECE_BYTES, "middle", 6) == 0
                : taken_size == 4 && taken_fd >= 0 && memcmp(taken, "here", 4) == 0;
    if (*what == 'v' && memcmp(taken, pattern, taken_size < PIECE_BYTES ? taken_size : PIECE_BYTES))
        nth_wrong("the pieces are not what came");
    if (taken_fd >= 0)
        __real_close(taken_fd);
    if (!whole && faults == nth_run->faults)
        nth_wrong("what was asked for did not come, without a fault");
}

static void proxy_peer(int proxy_port)
{
    unsigned faults = nth_run->faults;
    int fd = nth_dial(proxy_port);
    bool over = false;

    taken_size = 0;
    __real_send(fd, "through", 7, MSG_NOSIGNAL);
    UNTIL((over = take(fd)) || taken_size == 7);
    if (taken_size != 7 && faults == nth_run->faults)
        nth_wrong("nothing came through the pipe, without a fault");
    if (taken_size > 7 || memcmp(taken, "through", taken_size) != 0)
        nth_wrong("something else came through the pipe");
    if (!over) {
        __real_shutdown(fd, SHUT_WR);
        UNTIL(take(fd));
    }
    __real_close(fd);
}

/* --- the loop's own verbs --------------------------------------------------------------------- */

static struct {
    int polled, signals, posts, ticks;
} seen;

static void on_poll(weir_watch *watch, int events, void *arg)
{
    seen.polled = events != 0 ? events : -1;
}

static void on_signal(weir_watch *watch, int number, void *arg)
{
    seen.signals++;
}

static void on_post(weir_task *task, void *arg)
{
    seen.posts++;
}

static void on_tick(weir_timer *timer, void *arg)
{
    seen.ticks++;
}

static void loop_verbs(void)
{
    static weir_watch watch, signal_watch;
    static weir_task task;
    static weir_timer timer;
    unsigned faults = nth_run->faults;
    int ends[2];

    nth_step("descriptors, signals, posts and timers");
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        nth_wrong("no pipe");
    if (works("weir_poll", weir_poll(&watch, ends[0], POLLIN, on_poll, NULL), faults)) {
        weir_loop_turn(loop, 0);
        __real_close(ends[1]); /* a hang-up */
        ends[1] = -1;
        UNTIL(seen.polled != 0);
        if (seen.polled < 0)
            works("the poll", seen.polled, faults);
    }
    weir_watch_cancel(&watch);
    __real_close(ends[0]);
    if (ends[1] >= 0)
        __real_close(ends[1]);
    faults = nth_run->faults;
    if (works("weir_signal", weir_signal(&signal_watch, SIGUSR1, on_signal, NULL), faults)) {
        raise(SIGUSR1);
        UNTIL(seen.signals == 1);
        weir_watch_cancel(&signal_watch);
    }
    faults = nth_run->faults;
    if (works("weir_post", weir_post(loop, &task, on_post, NULL), faults))
        UNTIL(seen.posts == 1);
    faults = nth_run->faults;
    if (works("weir_timer_start_precise",
              weir_timer_start_precise(&timer, weir_after(WEIR_MS), on_tick, NULL), faults))
        UNTIL(seen.ticks == 1);
}

/* --- the program ------------------------------------------------------------------------------ */

static int listen_on(const weir_service *service, int *chosen)
{
    weir_listener listener;
    weir_address address;
    unsigned faults = nth_run->faults;
    int result = weir_listen(&listener, service);

    if (!works("weir_listen", result, faults))
        return result;
    faults = nth_run->faults;
    result = weir_listener_address(listener, &address);
    if (!works("weir_listener_address", result, faults))
        return result;
    if (chosen != NULL)
        *chosen = weir_address_port(&address);
    return 0;
}

static uint64_t conns(void)
{
    weir_loop_stats stats;

    return weir_loop_stats_get(loop, &stats) == 0 ? stats.conns_active : 1;
}

static void serve(int proxy_port)
{
    nth_step("a file over a unix socket");
    unix_peer("f");
    nth_step("a descriptor over a unix socket");
    unix_peer("d");
    nth_step("pieces over a unix socket");
    unix_peer("v");
    nth_step("a proxy");
    proxy_peer(proxy_port);
    loop_verbs();
    nth_disarm();
    nth_step("a proxy after the fault");
    proxy_peer(proxy_port);
    nth_step("a file after the fault");
    unix_peer("f");
    unix_peer("d");
    nth_arm();
    nth_step("connections end");
    UNTIL(conns() == 0 && closed >= opened);
}

static void run(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    unsigned faults = nth_run->faults;
    weir_loop *former;
    int proxy_port;

    nth_step("the loop begins");
    if (!works("weir_loop_new", weir_loop_new(&loop, &options), faults))
        return;
    former = weir_loop_enter(loop);
    nth_step("the servers listen");
    if (listen_on(&echo, &port) == 0 && listen_on(&giver, NULL) == 0 &&
        listen_on(&proxy, &proxy_port) == 0)
        serve(proxy_port);
    nth_step("the loop ends");
    weir_loop_enter(former);
    weir_loop_free(loop);
}

const struct nth_program nth_program = {
    .name = "verbs", .prepare = prepare, .clean = clean, .run = run};

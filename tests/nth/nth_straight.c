/* Straight-line code: a coroutine for each connection, and one that connects, sends what no buffer
 * holds, receives it back, and waits for a worker, a descriptor and a file. Each wait ends, with
 * what was asked for or with an error that has a name. */
#include "layer.h"
#include "nth.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/weir.h>

enum { STEP_MS = 6000, SENT_BYTES = 300000 };

static uint8_t pattern[SENT_BYTES];
static weir_loop *loop;
static char url[WEIR_ADDRESS_TEXT_MAX];
static unsigned done, sent, opened, closed;

static void prepare(void)
{
    for (uint32_t i = 0; i < SENT_BYTES; i++)
        pattern[i] = (uint8_t)(i * 13 ^ i >> 7);
}

static void clean(void)
{
}

static int named(const char *verb, int result)
{
    if (result >= 0)
        return result;
    if (strcmp(weir_error_name(result), "unknown") == 0)
        nth_wrong("%s says %d, which has no name", verb, result);
    if (nth_run->faults == 0)
        nth_wrong("%s says %s without a fault", verb, weir_error_name(result));
    return result;
}

static weir_time soon(void)
{
    return weir_after(1500 * WEIR_MS);
}

static void echo(weir_conn c, void *session)
{
    weir_view in;
    while (weir_recv(c, &in, soon()) > 0)
        if (named("weir_send_all", weir_send_all(c, in, soon())) < 0)
            return;
}

static void on_open(weir_conn c, void *session)
{
    opened++;
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    closed++;
}

static void send_all(void *arg)
{
    const weir_conn c = *(const weir_conn *)arg;
    int result = weir_send_all(c, weir_bytes(pattern, SENT_BYTES), soon());
    if (named("weir_send_all", result) < 0)
        weir_abort(c);
    else
        weir_finish(c);
    sent++;
}

static void receive_all(weir_conn c)
{
    weir_view in;
    uint32_t got = 0;
    int result = weir_recv_exact(c, &in, 1000, soon());
    for (; result > 0; result = weir_recv(c, &in, soon())) {
        if (got + in.size > SENT_BYTES || memcmp(in.data, pattern + got, in.size) != 0)
            nth_wrong("other bytes came back than were sent");
        got += in.size;
    }
    if (named("weir_recv", result) == 0 && got != SENT_BYTES && nth_run->faults == 0)
        nth_wrong("%u bytes came back without a fault", got);
}

static void work(void *arg)
{
    *(int *)arg = 1;
}

static void others(void)
{
    int worked = 0, fds[2];
    char bytes[8];
    int result = weir_offload(work, &worked, soon());
    if (named("weir_offload", result) == 0 && !worked)
        nth_wrong("weir_offload says that it has run, and it has not");
    if (pipe2(fds, O_CLOEXEC) == 0) {
        result = weir_wait_fd(fds[1], POLLOUT, soon());
        named("weir_wait_fd", result);
        __real_close(fds[0]);
        __real_close(fds[1]);
    }
    int fd = weir_file_open("/proc/self/stat", O_RDONLY, 0, soon());
    if (named("weir_file_open", fd) < 0)
        return;
    result = weir_file_read(fd, bytes, sizeof bytes, 0, soon());
    named("weir_file_read", result);
    if (named("weir_file_close", weir_file_close(fd)) < 0)
        __real_close(fd); /* a close that failed has not closed, here */
}

static void client(void *arg)
{
    weir_conn c;
    int result = weir_connect_wait(&c, url, NULL, soon());
    if (named("weir_connect_wait", result) == 0) {
        result = weir_spawn(send_all, &c);
        if (named("weir_spawn", result) == 0) {
            unsigned before = sent;
            receive_all(c);
            weir_close(c);
            while (sent == before && weir_yield() == 0)
                ;
        }
        weir_close(c);
    }
    others();
    done++;
}

static void run_client(void)
{
    unsigned before = done;
    int result = weir_spawn(client, NULL);
    if (named("weir_spawn", result) < 0)
        return;
    weir_time until = weir_after(STEP_MS * WEIR_MS);
    while (done < before + 1 || closed < opened) {
        if (weir_now() > until)
            nth_wrong("the client has not ended");
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    }
}

static void run(const char *backend)
{
    static const weir_service service = {.listen = "tcp://127.0.0.1:0",
                                         .on_open = on_open,
                                         .on_conn = echo,
                                         .on_close = on_close,
                                         .linger_ms = 200};
    weir_loop_options options = {.backend = backend};
    weir_listener listener;
    weir_address address;
    nth_step("the loop begins");
    if (named("weir_loop_new", weir_loop_new(&loop, &options)) < 0)
        return;
    weir_loop *former = weir_loop_enter(loop);
    nth_step("the server listens");
    if (named("weir_listen", weir_listen(&listener, &service)) == 0 &&
        named("address", weir_listener_address(listener, &address)) == 0 &&
        weir_address_format(&address, url, sizeof url) >= 0) {
        nth_step("a client");
        run_client();
        nth_disarm();
        nth_step("a client after the fault");
        run_client();
        nth_arm();
    }
    nth_step("the loop ends");
    weir_loop_enter(former);
    weir_loop_free(loop);
}

const struct nth_program nth_program = {
    .name = "straight", .prepare = prepare, .clean = clean, .run = run};

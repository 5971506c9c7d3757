/* A straight-line server that is told to stop: who works goes on to the end, who waits is closed.
 * ctest: backends */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/weir.h>

static int working, idle; /* the other ends: plain sockets */
static int slept, late, why_idle;
static uint64_t began_ns, idle_ns;

static int dial(unsigned listener)
{
    weir_address address;
    assert_int_equal(weir_run_address(listener, &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    return fd;
}

static void work(weir_conn c)
{
    weir_view in;
    if (weir_recv_exact(c, &in, 4, weir_after(20 * WEIR_S)) != 4)
        return; /* the idle one */
    began_ns = weir_now();
    weir_stop();
    slept = weir_sleep(weir_after(60 * WEIR_MS));
    if (weir_send_all(c, weir_str("answer"), weir_after(5 * WEIR_S)) < 0)
        return;
    late = weir_recv(c, &in, weir_after(20 * WEIR_S)); /* nothing new is begun */
}

static void serve(weir_conn c, void *session)
{
    work(c);
}

static void closed(weir_conn c, weir_end end, void *session)
{
    if (idle_ns == 0) {
        idle_ns = weir_now();
        why_idle = (int)end.why;
    }
}

static void started(void *user)
{
    idle = dial(0);
    working = dial(0);
    assert_int_equal(send(working, "work", 4, MSG_NOSIGNAL), 4);
}

static void run(const weir_service *service)
{
    char answer[16] = "";
    weir_run_options options = {.on_started = started, .quiet = true, .drain_ms = 20000};
    slept = late = why_idle = 1;
    began_ns = idle_ns = 0;
    assert_int_equal(weir_run(service, 1, &options), 0);
    assert_int_equal(slept, 0);
    assert_int_equal(late, WEIR_EGONE);
    assert_int_equal(recv(working, answer, sizeof answer, MSG_WAITALL), 6);
    assert_string_equal(answer, "answer");
    assert_int_equal(recv(idle, answer, sizeof answer, 0), 0);
    assert_true(idle_ns - began_ns < 10 * WEIR_S);
    assert_int_equal(why_idle, WEIR_WHY_CLOSED);
    close(working);
    close(idle);
}

static void a_coroutine_of_the_connection(void **state)
{
    weir_service service = {
        .listen = "tcp://127.0.0.1:0", .on_conn = serve, .on_close = closed, .linger_ms = 50};
    run(&service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_coroutine_of_the_connection)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A client that sends on behind a request with "Connection: close" gets its answer all the same,
 * whenever its bytes come: a close that finds input unread drops what waits for the FIN. */
#include "app_test.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/weir.h>

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

static int client; /* of the test that runs */

/* What the client sends now comes behind the server's last look at the socket. */
static void meddle(weir_exchange x, void *user)
{
    assert_int_equal(send(client, "X", 1, MSG_NOSIGNAL), 1);
    weir_http_text(x, 200, "answered");
}

static int connect_to(const weir_address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)weir_address_port(address)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&to, sizeof(to)), 0);
    return fd;
}

static void answered_though_more_came(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    weir_loop *loop;
    if (weir_loop_new(&loop, &options) < 0) {
        print_message("SKIPPED: %s: not in this kernel\n", backend);
        return;
    }
    weir_http_app *app = weir_http_app_new(NULL);
    weir_service service;
    weir_listener listener;
    weir_address address;
    assert_int_equal(weir_http_route(app, "GET", "/", meddle, NULL, WEIR_HTTP_PLAIN), 0);
    weir_loop *former = weir_loop_enter(loop);
    weir_http_service(app, "tcp://127.0.0.1:0", &service);
    assert_int_equal(weir_listen(&listener, &service), 0);
    assert_int_equal(weir_listener_address(listener, &address), 0);
    weir_loop_enter(former);

    client = connect_to(&address);
    assert_int_equal(send(client, REQUEST, sizeof(REQUEST) - 1, 0), sizeof(REQUEST) - 1);
    for (int i = 0; i < 50; i++)
        assert_int_equal(weir_loop_turn(loop, 0), 0);
    char got[1024] = "";
    ssize_t size = recv(client, got, sizeof(got) - 1, MSG_DONTWAIT);
    assert_true(size > 0);
    assert_non_null(strstr(got, "answered"));
    close(client);
    weir_loop_free(loop);
    weir_http_app_free(app);
}

static void uring(void **state)
{
    answered_though_more_came("uring");
}

static void epoll(void **state)
{
    answered_though_more_came("epoll");
}

static void poll_(void **state)
{
    answered_though_more_came("poll");
}

static void select_(void **state)
{
    answered_though_more_came("select");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uring),
        cmocka_unit_test(epoll),
        cmocka_unit_test(poll_),
        cmocka_unit_test(select_),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

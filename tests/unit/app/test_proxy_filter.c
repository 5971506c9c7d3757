/* The PROXY protocol's filters between sockets: headers in pieces, who must send one, who must not,
 * and what is sent in front of a connection. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/proxy.h>
#include <weir/weir.h>

static weir_loop *loop;
static weir_listener listener;
static weir_address address;
static weir_proxy_in_options in_options;
static struct {
    unsigned opened, closed;
    weir_end end;
    char data[64];
    size_t size;
    int got; /* what weir_proxy_get said */
    weir_proxy_header header;
} seen;

static void on_open(weir_conn conn, void *session)
{
    seen.opened++;
    seen.got = weir_proxy_get(conn, &seen.header);
}

static void on_data(weir_conn conn, weir_view in, void *session)
{
    assert_true(seen.size + in.size <= sizeof seen.data);
    memcpy(seen.data + seen.size, in.data, in.size);
    seen.size += in.size;
    assert_int_equal(weir_send(conn, in), 0);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    seen.closed++;
    seen.end = end;
}

static const weir_filter *const filters[] = {&weir_proxy_in, NULL};
static void *const configs[] = {&in_options};
static weir_service service = {.listen = "tcp://127.0.0.1:0",
                               .on_open = on_open,
                               .on_data = on_data,
                               .on_close = on_close,
                               .filters = filters,
                               .filter_configs = configs};

static int begin(void **state)
{
    memset(&seen, 0, sizeof seen);
    in_options.from = NULL;
    if (weir_loop_new(&loop, NULL) < 0)
        return -1;
    weir_loop_enter(loop);
    return weir_listen(&listener, &service) < 0 || weir_listener_address(listener, &address) < 0;
}

static int end(void **state)
{
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    return 0;
}

static void turn(unsigned ms)
{
    weir_time last = weir_after(ms * WEIR_MS);
    do {
        weir_loop_turn(loop, last);
        weir_loop_enter(loop);
    } while (weir_now() < last);
}

static void turn_until(const unsigned *what)
{
    for (int i = 0; i < 500 && *what == 0; i++)
        turn(5);
    assert_int_equal(*what, 1);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    return fd;
}

static void put(int fd, const char *data, size_t size)
{
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), size);
}

static void source_is(const char *url)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    assert_int_equal(seen.got, 0);
    assert_true(weir_address_format(&seen.header.source, text, sizeof text) > 0);
    assert_string_equal(text, url);
}

static const char header[] = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nhello";

static void at_once(void **state)
{
    int fd = dial();
    put(fd, header, strlen(header));
    turn_until(&seen.opened);
    turn(10);
    source_is("tcp://192.0.2.1:1234");
    assert_int_equal(seen.size, 5);
    assert_memory_equal(seen.data, "hello", 5);
    char echo[5];
    assert_int_equal(recv(fd, echo, 5, MSG_WAITALL), 5); /* and nothing else goes back */
    close(fd);
    turn_until(&seen.closed);
    assert_int_equal(seen.end.why, WEIR_WHY_PEER_FINISHED);
}

static void in_pieces(void **state)
{
    int fd = dial();
    for (size_t i = 0; i < strlen(header); i++) {
        put(fd, header + i, 1);
        turn(1);
        if (i + 7 < strlen(header)) /* the line is not over */
            assert_int_equal(seen.opened, 0);
    }
    turn_until(&seen.opened);
    turn(10);
    source_is("tcp://192.0.2.1:1234");
    assert_int_equal(seen.size, 5);
    close(fd);
}

static void refused(const char *data, size_t size, bool ends)
{
    int fd = dial();
    put(fd, data, size);
    if (ends)
        shutdown(fd, SHUT_WR);
    turn_until(&seen.closed);
    assert_int_equal(seen.opened, 0);
    assert_int_equal(seen.end.why, WEIR_WHY_ERROR);
    assert_int_equal(seen.end.error, WEIR_EPROTO);
    close(fd);
}

static void no_header(void **state)
{
    refused("GET / HTTP/1.1\r\n\r\n", 18, false);
}

static void torn_header(void **state)
{
    refused(header, 20, true);
}

static void endless_header(void **state)
{
    static char much[WEIR_PROXY_HEADER_MAX + 100] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\x01";
    refused(much, sizeof much, false);
}

/* Whoever comes from elsewhere sends none, and is not asked for one. */
static void networks(void **state)
{
    in_options.from = "10.0.0.0/8 ::1/128 127.0.0.2";
    int fd = dial();
    turn_until(&seen.opened);
    assert_int_equal(seen.got, WEIR_ENODATA);
    put(fd, header, 6);
    turn(20);
    assert_int_equal(seen.size, 6);
    assert_memory_equal(seen.data, "PROXY ", 6);
    close(fd);
    turn_until(&seen.closed);
    memset(&seen, 0, sizeof seen);
    in_options.from = "10.0.0.0/8  127.0.0.0/31";
    fd = dial();
    turn(20);
    assert_int_equal(seen.opened, 0);
    put(fd, header, strlen(header));
    turn_until(&seen.opened);
    source_is("tcp://192.0.2.1:1234");
    close(fd);
    turn_until(&seen.closed);
}

static void bad_networks(void **state)
{
    static const char *const bad[] = {
        "10.0.0.0/33", "10.0.0/8",    "::/129",        "x",
        "10.0.0.0/",   "10.0.0.0/8x", "10.0.0.0/0008", "10.0.0.0/8,::1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(&seen, 0, sizeof seen);
        in_options.from = bad[i];
        int fd = dial();
        turn_until(&seen.closed);
        assert_int_equal(seen.opened, 0);
        assert_int_equal(seen.end.error, WEIR_EINVALID);
        close(fd);
    }
}

/* --- out, into our own in --------------------------------------------------------------------- */

static unsigned out_opened, out_closed;
static int out_error;

static int out_header(weir_conn conn, void *user, weir_proxy_header *out)
{
    if (user == NULL)
        return -EPERM;
    weir_address_parse(user, &out->source, NULL);
    weir_address_parse("tcp://[::2]:80", &out->destination, NULL);
    return 0;
}

static void out_on_open(weir_conn conn, void *session)
{
    out_opened++;
    assert_int_equal(weir_send(conn, weir_str("hi")), 0);
}

static void out_on_close(weir_conn conn, weir_end why, void *session)
{
    out_closed++;
    out_error = why.error;
}

static void out(void **state)
{
    static weir_proxy_out_options options;
    static const weir_filter *const out_filters[] = {&weir_proxy_out, NULL};
    static void *const out_configs[] = {&options};
    static char from[] = "tcp://[2001:db8::1]:99";
    char url[WEIR_ADDRESS_TEXT_MAX];
    weir_conn conn;

    weir_address_format(&address, url, sizeof url);
    for (int version = 0; version <= 3; version++) {
        weir_service client = {.on_open = out_on_open,
                               .on_close = out_on_close,
                               .filters = out_filters,
                               .filter_configs = out_configs};
        options = (weir_proxy_out_options){.version = (uint8_t)version, .header = out_header};
        if (version == 3)
            options = (weir_proxy_out_options){0};
        memset(&seen, 0, sizeof seen);
        out_opened = out_closed = 0;
        assert_int_equal(weir_connect(&conn, url, &client, from), 0);
        turn_until(&seen.opened);
        turn(20);
        assert_int_equal(out_opened, 1);
        assert_int_equal(seen.header.version, version == 1 ? 1 : 2);
        if (version == 3)
            assert_true(seen.header.unknown);
        else
            source_is(from);
        assert_int_equal(seen.size, 2);
        weir_abort(conn);
        turn_until(&out_closed);
        turn_until(&seen.closed);
    }
    weir_service client = {
        .on_close = out_on_close, .filters = out_filters, .filter_configs = out_configs};
    options = (weir_proxy_out_options){.header = out_header};
    out_closed = 0;
    assert_int_equal(weir_connect(&conn, url, &client, NULL), 0);
    turn_until(&out_closed);
    assert_int_equal(out_error, -EPERM);
    weir_proxy_header ignored;
    assert_int_equal(weir_proxy_get(conn, &ignored), WEIR_EGONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(at_once, begin, end),
        cmocka_unit_test_setup_teardown(in_pieces, begin, end),
        cmocka_unit_test_setup_teardown(no_header, begin, end),
        cmocka_unit_test_setup_teardown(torn_header, begin, end),
        cmocka_unit_test_setup_teardown(endless_header, begin, end),
        cmocka_unit_test_setup_teardown(networks, begin, end),
        cmocka_unit_test_setup_teardown(bad_networks, begin, end),
        cmocka_unit_test_setup_teardown(out, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

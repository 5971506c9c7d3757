/* What the verbs of datagram sockets say to arguments that are none, to peers that they cannot
 * reach, and to handles of the past; what was lent comes home all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/datagram.h>
#include <weir/error.h>
#include <weir/log.h>
#include <weir/weir.h>

static struct {
    weir_loop *loop;
    weir_dgram udp, other, named;
    weir_address address; /* of udp */
    int closes, released, came;
    char logged[1024];
} it;

static void on_close(weir_dgram socket, weir_end end, void *user)
{
    it.closes++;
}

static void on_datagram(weir_dgram socket, const weir_datagram *in, void *user)
{
    it.came++;
}

static const weir_dgram_service plain = {
    .on_datagram = on_datagram, .on_close = on_close, .user = &it};

static void note_line(const weir_log_line *line, void *arg)
{
    snprintf(it.logged, sizeof it.logged, "%s", line->text);
}

static int set_up(void **state)
{
    char name[64];
    memset(&it, 0, sizeof it);
    weir_log_set(note_line, NULL, WEIR_LOG_ERROR);
    if (weir_loop_new(&it.loop, &(weir_loop_options){.backend = "epoll"}) < 0)
        return -1;
    weir_loop_enter(it.loop);
    snprintf(name, sizeof name, "unix-dgram:@weir-misuse-%d", (int)getpid());
    if (weir_dgram_open(&it.udp, "udp://127.0.0.1:0", &plain) < 0 ||
        weir_dgram_open(&it.other, "udp://127.0.0.1:0", &plain) < 0 ||
        weir_dgram_open(&it.named, name, &plain) < 0)
        return -1;
    return weir_dgram_local(it.udp, &it.address);
}

static int tear_down(void **state)
{
    weir_loop_enter(NULL);
    weir_loop_free(it.loop);
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    return 0;
}

static void turns(int count)
{
    while (count-- > 0)
        assert_int_equal(weir_loop_turn(it.loop, weir_after(WEIR_MS)), 0);
}

static weir_address address_of(const char *url)
{
    weir_address address;
    assert_int_equal(weir_address_parse(url, &address, NULL), 0);
    return address;
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void released(const void *data, size_t size, void *arg)
{
    it.released++;
}

static void opening(void **state)
{
    weir_dgram socket;
    unsigned files = open_files();
    assert_int_equal(weir_dgram_open(&socket, NULL, &plain), WEIR_EINVALID);
    assert_int_equal(weir_dgram_open(&socket, "udp://127.0.0.1:0", NULL), WEIR_EINVALID);
    assert_true(weir_dgram_open(&socket, "udp://no:port:0", &plain) < 0);
    assert_non_null(strstr(it.logged, "no address for datagrams: udp://no:port:0:\n"));
    assert_non_null(strchr(it.logged, '^'));
    assert_int_equal(weir_dgram_open(&socket, "tcp://127.0.0.1:0", &plain), WEIR_ENOTSUP);
    assert_non_null(strstr(it.logged, "is not for datagrams"));
    assert_true(weir_dgram_connect(&socket, "udp://255.255.255.255:9", NULL, &plain) < 0);
    assert_non_null(strstr(it.logged, "cannot connect to udp://255.255.255.255:9: "));
    const weir_dgram_service longs = {.groups = "239.1.1.1%an_interface_whose_name_is_longer_than_"
                                                "any_that_there_can_be_and_then_some_more_of_it_"
                                                "which_nobody_would_write_but_by_mistake"};
    assert_int_equal(weir_dgram_open(&socket, "udp://127.0.0.1:0", &longs), WEIR_EADDRESS);
    assert_int_equal(open_files(), files);
    /* Who does not want the handle need not take it. */
    assert_int_equal(weir_dgram_open(NULL, "udp://127.0.0.1:0", &plain), 0);
    assert_int_equal(weir_dgram_connect(NULL, "udp://127.0.0.1:9", NULL, &plain), 0);
    assert_int_equal(open_files(), files + 2);
}

static void peers_out_of_reach(void **state)
{
    weir_address ip6 = address_of("udp://[::1]:9"), none = it.address;
    weir_address unix_one = address_of("unix-dgram:@weir-nobody");
    assert_int_equal(weir_dgram_send(it.udp, weir_str("x")), WEIR_EADDRESS);
    assert_int_equal(weir_dgram_send_to(it.udp, &ip6, weir_str("x")), WEIR_EADDRESS);
    assert_int_equal(weir_dgram_send_to(it.udp, &unix_one, weir_str("x")), WEIR_EADDRESS);
    assert_int_equal(weir_dgram_send_to(it.named, &it.address, weir_str("x")), WEIR_EADDRESS);
    weir_address_set_port(&none, 0);
    assert_int_equal(weir_dgram_send_to(it.udp, &none, weir_str("x")), WEIR_EADDRESS);
    none.socket_size = 1;
    assert_int_equal(weir_dgram_send_to(it.udp, &none, weir_str("x")), WEIR_EADDRESS);
    none.socket_size = sizeof none.socket;
    assert_int_equal(weir_dgram_send_to(it.named, &none, weir_str("x")), WEIR_EADDRESS);
    weir_dgram_stats stats;
    assert_int_equal(weir_dgram_stats_get(it.udp, &stats), 0);
    assert_int_equal(stats.queued_datagrams, 0);
}

static int send_with(weir_dgram socket, weir_dgram_message message)
{
    static char bytes[300];
    int before = it.released;
    message.view = weir_own(bytes, sizeof bytes, released, NULL);
    int result = weir_dgram_send_with(socket, &message);
    turns(2);
    assert_int_equal(it.released, before + 1); /* refused or not */
    return result;
}

static void messages_that_contradict_themselves(void **state)
{
    weir_address ip6 = address_of("udp://[::1]:9"), here = address_of("udp://127.0.0.1:9");
    weir_address unix_one = address_of("unix-dgram:@weir-nobody");
    const weir_address *peer = &it.address;
    weir_view none = {.owner = (uint32_t)WEIR_OWNER_NONE << WEIR_OWNER_SHIFT};
    assert_int_equal(weir_dgram_send_with(it.other, NULL), WEIR_EINVALID);
    assert_int_equal(weir_dgram_send_to(it.other, peer, none), WEIR_ENOMEM);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = peer, .ecn = 5}),
                     WEIR_EINVALID);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = peer, .local = &unix_one}),
                     WEIR_EADDRESS);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = &ip6}), WEIR_EADDRESS);
    assert_int_equal(
        send_with(it.named, (weir_dgram_message){.peer = &unix_one, .segment_bytes = 10}),
        WEIR_EINVALID);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = peer, .segment_bytes = 4}),
                     WEIR_EINVALID); /* 75 of them */
    assert_int_equal(send_with((weir_dgram){0}, (weir_dgram_message){.peer = peer}), WEIR_EGONE);
    assert_int_equal(it.came, 0);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = peer, .segment_bytes = 5}),
                     0);
    turns(3);
    assert_int_equal(it.came, 60);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = peer, .segment_bytes = 300}),
                     0);
    assert_int_equal(send_with(it.other, (weir_dgram_message){.peer = peer, .local = &here}), 0);
    turns(3);
    assert_int_equal(it.came, 62);
}

/* An answer to a group, or to everybody, leaves from an address of this host all the same. */
static void answers_from_nobodys_address(void **state)
{
    static const uint8_t addresses[][4] = {
        {224, 0, 0, 1}, {239, 255, 1, 1}, {127, 255, 255, 255}, {127, 0, 0, 1}};
    weir_datagram in = {.peer = (const struct sockaddr *)&it.address.socket,
                        .peer_size = it.address.socket_size,
                        .flags = WEIR_DATAGRAM_LOCAL,
                        .local_family = AF_INET};
    for (unsigned i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        memcpy(in.local, addresses[i], 4);
        assert_int_equal(weir_dgram_reply(it.other, &in, weir_str("x")), 0);
        turns(3);
        assert_int_equal(it.came, i + 1);
    }
    weir_dgram_stats stats;
    assert_int_equal(weir_dgram_stats_get(it.other, &stats), 0);
    assert_int_equal(stats.sent_datagrams, 4);
    assert_int_equal(stats.dropped_error, 0);
}

static void groups_that_are_none(void **state)
{
    assert_int_equal(weir_dgram_join(it.udp, NULL), WEIR_EINVALID);
    assert_int_equal(weir_dgram_leave(it.udp, NULL), WEIR_EINVALID);
    assert_int_equal(weir_dgram_join(it.named, "239.1.1.1"), WEIR_EADDRESS);
    assert_int_equal(weir_dgram_join(it.udp, "239.1.1.1%no_such_one"), -ENODEV);
}

static void questions(void **state)
{
    weir_address address;
    weir_dgram_stats stats;
    assert_ptr_equal(weir_dgram_user(it.udp), &it);
    assert_int_equal(weir_dgram_set_user(it.udp, &address), 0);
    assert_ptr_equal(weir_dgram_user(it.udp), &address);
    assert_int_equal(weir_dgram_set_user(it.udp, &it), 0);
    assert_int_equal(weir_dgram_local(it.udp, NULL), WEIR_EINVALID);
    assert_int_equal(weir_dgram_peer(it.udp, NULL), WEIR_EINVALID);
    assert_int_equal(weir_dgram_peer(it.udp, &address), -ENOTCONN);
    assert_int_equal(weir_dgram_stats_get(it.udp, NULL), WEIR_EINVALID);
    assert_true(weir_dgram_alive(it.udp));
    assert_int_equal(weir_dgram_abort(it.udp), 0);
    turns(3);
    assert_int_equal(it.closes, 1);
    assert_false(weir_dgram_alive(it.udp));
    assert_null(weir_dgram_user(it.udp));
    assert_int_equal(weir_dgram_set_user(it.udp, &it), WEIR_EGONE);
    assert_int_equal(weir_dgram_local(it.udp, &address), WEIR_EGONE);
    assert_int_equal(weir_dgram_peer(it.udp, &address), WEIR_EGONE);
    assert_int_equal(weir_dgram_stats_get(it.udp, &stats), WEIR_EGONE);
    assert_int_equal(weir_dgram_pause(it.udp), WEIR_EGONE);
    assert_int_equal(weir_dgram_resume(it.udp), WEIR_EGONE);
    assert_int_equal(weir_dgram_close(it.udp), WEIR_EGONE);
    assert_int_equal(weir_dgram_join(it.udp, "239.1.1.1"), WEIR_EGONE);
    weir_loop_enter(NULL);
    assert_int_equal(weir_dgram_close(it.other), WEIR_EMISUSE);
    assert_int_equal(weir_dgram_open(&it.udp, "udp://127.0.0.1:0", &plain), WEIR_EMISUSE);
    weir_loop_enter(it.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opening, set_up, tear_down),
        cmocka_unit_test_setup_teardown(peers_out_of_reach, set_up, tear_down),
        cmocka_unit_test_setup_teardown(messages_that_contradict_themselves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_from_nobodys_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(groups_that_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(questions, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

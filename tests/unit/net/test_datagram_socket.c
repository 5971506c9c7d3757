/* Datagram sockets without a loop: options that reach the kernel, and the spread of a shared port.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/datagram.h"

static int bound(const char *url, const weir_dgram_service *service, weir_address *address,
                 bool reuseport)
{
    struct weir__socket_file file;
    if (address->socket_size == 0)
        assert_int_equal(weir_address_parse(url, address, NULL), 0);
    int fd = dgram_socket_bind(address, service, reuseport, &file);
    assert_true(fd >= 0);
    return fd;
}

static int option(int fd, int level, int number)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, number, &value, &size), 0);
    return value;
}

static void no_error(weir_dgram socket, const weir_datagram_error *error, void *user)
{
}

static void test_options_of_ip4(void **state)
{
    const weir_dgram_service service = {
        .on_error = no_error,
        .meta = WEIR_DATAGRAM_ECN | WEIR_DATAGRAM_HOPS | WEIR_DATAGRAM_TIME,
        .mtu = WEIR_MTU_PROBE,
        .broadcast = WEIR_SWITCH_ON,
        .multicast_loop = WEIR_SWITCH_OFF,
        .hops = 9,
        .multicast_hops = 5,
        .gro = WEIR_SWITCH_ON,
    };
    weir_address address = {0};
    int fd = bound("udp://127.0.0.1:0", &service, &address, false);
    assert_true(weir_address_port(&address) > 0);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVTOS), 1);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVTTL), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_TIMESTAMPNS), 1);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVERR), 1);
    assert_int_equal(option(fd, IPPROTO_IP, IP_PKTINFO), 0); /* it has one address */
    assert_int_equal(option(fd, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
    assert_int_equal(option(fd, SOL_SOCKET, SO_BROADCAST), 1);
    assert_int_equal(option(fd, IPPROTO_IP, IP_MULTICAST_LOOP), 0);
    assert_int_equal(option(fd, IPPROTO_IP, IP_TTL), 9);
    assert_int_equal(option(fd, IPPROTO_IP, IP_MULTICAST_TTL), 5);
    assert_int_equal(option(fd, IPPROTO_UDP, 104), 1);
    close(fd);
}

static void test_options_of_both(void **state)
{
    const weir_dgram_service service = {.on_error = no_error,
                                        .meta = WEIR_DATAGRAM_ECN,
                                        .mtu = WEIR_MTU_DO,
                                        .hops = 9,
                                        .gro = WEIR_SWITCH_OFF};
    weir_address address = {0};
    int fd = bound("udp://:0", &service, &address, false);
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO), 1); /* any address */
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS), 1);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVTOS), 1);
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_RECVERR), 1);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVERR), 1);
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_DO);
    assert_int_equal(option(fd, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
    assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 9);
    assert_int_equal(option(fd, IPPROTO_IP, IP_TTL), 9);
    assert_int_equal(option(fd, IPPROTO_UDP, 104), 0);
    close(fd);
}

static void test_nothing_asked_for(void **state)
{
    const weir_dgram_service service = {0};
    weir_address address = {0};
    int fd = bound("udp://127.0.0.1:0", &service, &address, false);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVTOS), 0);
    assert_int_equal(option(fd, IPPROTO_IP, IP_RECVERR), 0);
    assert_int_equal(option(fd, SOL_SOCKET, SO_TIMESTAMPNS), 0);
    assert_int_equal(option(fd, SOL_SOCKET, SO_BROADCAST), 0);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    close(fd);
}

enum { SHARERS = 4, HOSTS = 16, PORTS = 8 };

/* Which of the sharers got a datagram from this host. */
static int taker(const int *fds, const weir_address *to, const char *host)
{
    struct pollfd polled[SHARERS];
    weir_address from;
    char url[64], byte;
    int taken = -1, fd = socket(to->socket.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(url, sizeof url, "udp://%s:0", host);
    assert_int_equal(weir_address_parse(url, &from, NULL), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&from.socket, from.socket_size), 0);
    assert_int_equal(sendto(fd, "x", 1, 0, (const struct sockaddr *)&to->socket, to->socket_size),
                     1);
    for (int i = 0; i < SHARERS; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    assert_int_equal(poll(polled, SHARERS, 5000), 1);
    for (int i = 0; i < SHARERS; i++) {
        if (polled[i].revents == 0)
            continue;
        taken = i;
        assert_int_equal(recv(fds[i], &byte, 1, 0), 1);
    }
    close(fd);
    return taken;
}

static void steered(const char *url, enum weir_dgram_steer steer, const char *target)
{
    const weir_dgram_service service = {0};
    weir_address address = {0}, to;
    int fds[SHARERS], moved = 0;
    bool seen[SHARERS] = {false};
    for (int i = 0; i < SHARERS; i++)
        fds[i] = bound(url, &service, &address, true);
    if (steer != WEIR_STEER_FLOW)
        assert_int_equal(dgram_socket_steer(fds[0], address.socket.ss_family, steer, SHARERS), 0);
    char text[64];
    snprintf(text, sizeof text, "udp://%s:%d", target, weir_address_port(&address));
    assert_int_equal(weir_address_parse(text, &to, NULL), 0);
    for (int host = 1; host <= HOSTS; host++) {
        char name[32] = "[::1]";
        if (to.socket.ss_family == AF_INET)
            snprintf(name, sizeof name, "127.0.0.%d", host);
        int first = taker(fds, &to, name);
        seen[first] = true;
        for (int port = 1; port < PORTS; port++)
            moved += taker(fds, &to, name) != first;
    }
    int all = 0;
    for (int i = 0; i < SHARERS; i++) {
        all += seen[i];
        close(fds[i]);
    }
    if (steer == WEIR_STEER_PEER)
        assert_int_equal(moved, 0); /* one host, one socket, whatever its port */
    if (steer == WEIR_STEER_FLOW)
        assert_true(moved > 0);
    if (steer == WEIR_STEER_PEER && to.socket.ss_family == AF_INET)
        assert_true(all >= 3); /* of 4, and the hosts are neighbours */
}

static void test_steering(void **state)
{
    steered("udp://127.0.0.1:0", WEIR_STEER_FLOW, "127.0.0.1");
    steered("udp://127.0.0.1:0", WEIR_STEER_PEER, "127.0.0.1");
    steered("udp://[::1]:0", WEIR_STEER_PEER, "[::1]");
    steered("udp://:0", WEIR_STEER_PEER, "[::1]");
    steered("udp://:0", WEIR_STEER_PEER, "127.0.0.1"); /* IPv4 on a socket of both */
    steered("udp://127.0.0.1:0", WEIR_STEER_CPU, "127.0.0.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_ip4),
        cmocka_unit_test(test_options_of_both),
        cmocka_unit_test(test_nothing_asked_for),
        cmocka_unit_test(test_steering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

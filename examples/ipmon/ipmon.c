/* The links, addresses and routes of this host, and then what becomes of them, by rtnetlink(7) and
 * libmnl. A dump is of one moment, or made again; when events were lost all is shown anew.
 *
 *     ./ipmon */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include <weir/weir.h>

#include "describe.h"

enum { AGAIN_MOST = 100 };

/* What a socket tells, until the end of a dump: 0; -EINTR: it is of no one moment
 * (NLM_F_DUMP_INTR, which libmnl looks at); -ENOBUFS: events were lost. */
static int receive(struct mnl_socket *socket, unsigned number, FILE *out)
{
    _Alignas(struct nlmsghdr) static char bytes[65536];
    for (int result = MNL_CB_OK; result > MNL_CB_STOP; fflush(out)) {
        result = weir_wait_fd(mnl_socket_get_fd(socket), POLLIN, WEIR_NEVER);
        ssize_t got = result < 0 ? result : mnl_socket_recvfrom(socket, bytes, sizeof bytes);
        if (got > 0)
            result = mnl_cb_run(bytes, (size_t)got, number, 0, print, out);
        if (got <= 0 || result < 0)
            return result < -1 ? result : -errno;
    }
    return 0;
}

static int dump(unsigned kind)
{
    struct {
        struct nlmsghdr head;
        struct rtgenmsg body;
    } ask = {{sizeof ask, (uint16_t)(RTM_GETLINK + 4 * kind), NLM_F_REQUEST | NLM_F_DUMP, 7, 0},
             {0}};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size); /* shown when it is whole */
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int result = -ENOMEM;
    if (out != NULL && socket != NULL)
        result = mnl_socket_sendto(socket, &ask, sizeof ask) < 0 ? -errno : receive(socket, 7, out);
    if (out != NULL)
        fclose(out);
    fputs(result == 0 ? text : "", stdout);
    free(text);
    if (socket != NULL)
        mnl_socket_close(socket);
    return result;
}

/* Events are asked for first, so that none is missed between a dump and them. */
static void monitor(void *loop)
{
    unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                      RTMGRP_IPV6_ROUTE;
    struct mnl_socket *events = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int result = -EPROTONOSUPPORT;
    if (events != NULL && mnl_socket_bind(events, groups, MNL_SOCKET_AUTOPID) == 0)
        result = 0;
    while (result == 0) {
        for (unsigned kind = 0, again = 0; kind < KINDS && result == 0; kind++) {
            while ((result = dump(kind)) == -EINTR && ++again < AGAIN_MOST)
                fprintf(stderr, "it changed meanwhile: once more\n");
        }
        printf("that is all\n");
        fflush(stdout);
        if (result == 0)
            result = receive(events, 0, stdout);
        if (result == -ENOBUFS) {
            printf("events were lost: all of it anew\n");
            result = 0;
        }
    }
    fprintf(stderr, "ended: %s\n", weir_error_text(result));
    if (events != NULL)
        mnl_socket_close(events);
    weir_loop_stop(loop);
}

int main(void)
{
    weir_loop *loop;
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)2, WEIR_LOG_WARN);
    if (weir_loop_new(&loop, NULL) < 0)
        return 1;
    weir_loop_enter(loop);
    int result = weir_spawn(monitor, loop);
    weir_loop_enter(NULL);
    if (result == 0)
        weir_loop_run(loop);
    weir_loop_free(loop);
    return 1; /* it ends only when something went wrong */
}

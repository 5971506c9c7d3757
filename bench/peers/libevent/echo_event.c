/* libevent's bufferevents, as its book recommends for speed: no locks (one thread), the change list
 * for epoll ("may reduce the number of needless system calls"; safe, no descriptor is duplicated),
 * and the input's chains moved to the output, never copied. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { READ = 64 * 1024, SINK = 256 * 1024 };

static bool once, sink; /* close after the first answer; read and forget */

static void on_event(struct bufferevent *conn, short what, void *arg)
{
    (void)arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        bufferevent_free(conn);
}

/* The output is empty: all was sent. */
static void on_written(struct bufferevent *conn, void *arg)
{
    (void)arg;
    bufferevent_free(conn);
}

static void on_read(struct bufferevent *conn, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(conn);

    (void)arg;
    if (sink) {
        evbuffer_drain(input, evbuffer_get_length(input));
        return;
    }
    evbuffer_add_buffer(bufferevent_get_output(conn), input);
    if (once)
        bufferevent_setcb(conn, NULL, on_written, on_event, NULL);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int size, void *arg)
{
    struct bufferevent *conn =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    int one = 1;

    (void)peer;
    (void)size;
    (void)arg;
    if (conn == NULL)
        abort();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    /* The default of 16 KiB for one read or write would cut the large messages. */
    bufferevent_set_max_single_read(conn, sink ? SINK : READ);
    bufferevent_set_max_single_write(conn, READ);
    bufferevent_setcb(conn, on_read, NULL, on_event, NULL);
    bufferevent_enable(conn, EV_READ); /* writing is enabled from the start, and waits for output */
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct event_config *config = event_config_new();
    struct event_base *base;

    if (argc < 2) {
        fprintf(stderr, "usage: %s PORT [echo|accept|sink]\n", argv[0]);
        return 64;
    }
    once = argc > 2 && strcmp(argv[2], "accept") == 0;
    sink = argc > 2 && strcmp(argv[2], "sink") == 0;
    signal(SIGPIPE, SIG_IGN); /* as its book says: it writes without MSG_NOSIGNAL */
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    base = event_base_new_with_config(config);
    if (base == NULL ||
        evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE,
                                4096, (struct sockaddr *)&address, sizeof(address)) == NULL) {
        perror("listen");
        return 1;
    }
    return event_base_dispatch(base);
}

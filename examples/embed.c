/* Embedding: a loop inside a host that has a poll() loop of its own. The host never sleeps past
 * weir_loop_due and turns the loop when its descriptor is readable.
 *
 *     ./embed [URL]                default tcp://127.0.0.1:7004; ends when standard input ends
 */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include <weir/weir.h>

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

/* Milliseconds that the host may sleep, rounded up. */
static int sleep_ms(const weir_loop *loop)
{
    weir_time due = weir_loop_due(loop), now = weir_now();
    if (due == WEIR_NEVER)
        return -1;
    return due <= now ? 0 : (int)((due - now + WEIR_MS - 1) / WEIR_MS);
}

int main(int argc, char **argv)
{
    weir_loop *loop;
    weir_log_set(weir_log_to_fd, (void *)(intptr_t)STDERR_FILENO, WEIR_LOG_WARN);
    if (weir_loop_new(&loop, NULL) < 0)
        return 1;
    int fd = weir_loop_fd(loop);
    if (fd < 0) {
        fprintf(stderr, "back end %s cannot be embedded: %s\n", weir_loop_backend(loop),
                weir_error_text(fd));
        weir_loop_free(loop);
        return 77;
    }
    weir_service echo = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7004", .on_data = on_data};
    weir_loop *former = weir_loop_enter(loop);
    int result = weir_listen(NULL, &echo);
    weir_loop_enter(former);
    char byte;
    while (result == 0) {
        struct pollfd fds[] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        if (poll(fds, 2, sleep_ms(loop)) > 0 && fds[1].revents != 0 &&
            read(STDIN_FILENO, &byte, 1) <= 0)
            break;
        result = weir_loop_turn(loop, 0);
    }
    weir_loop_free(loop);
    return result < 0;
}

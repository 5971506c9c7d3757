/* Addresses that cannot be had: what the kernel says comes back from weir_listen, with the reason
 * in the log. Apart from the contracts' tests, because each refusal takes the two seconds for which
 * a taken address is tried. */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/harness.h"

static int try_listen(struct side *s, const char *url, uint8_t reuseport)
{
    s->service.listen = url;
    s->service.socket.reuseport = reuseport;
    return V(s->world, weir_listen(NULL, &s->service));
}

static void in_use_and_not_available(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *again = side_new(w);
    side_listen(s, NULL);
    /* Sharing takes the consent of all that have it. */
    assert_int_equal(try_listen(again, side_url(s), WEIR_SWITCH_ON), -EADDRINUSE);
    assert_true(log_count("EADDRINUSE") >= 1);
    /* 192.0.2.0/24 is for documentation (RFC 5737): nobody has it. */
    assert_int_equal(try_listen(again, "tcp://192.0.2.1:0", WEIR_SWITCH_DEFAULT), -EADDRNOTAVAIL);
    again->service.socket.freebind = WEIR_SWITCH_ON;
    assert_int_equal(try_listen(again, "tcp://192.0.2.1:0", WEIR_SWITCH_DEFAULT), 0);
    world_end(w);
}

/* Runs in a child, as another user or the same: the result of listening where the parent does. */
static int listen_as(unsigned user, const char *url, uint8_t reuseport)
{
    weir_loop *loop;
    weir_service service = {.listen = url, .socket.reuseport = reuseport};
    if (setuid(user) != 0)
        return 100;
    if (weir_loop_new(&loop, NULL) < 0)
        return 101;
    weir_loop *former = weir_loop_enter(loop);
    int result = weir_listen(NULL, &service);
    weir_loop_enter(former);
    weir_loop_free(loop);
    return result == 0 ? 0 : result == -EADDRINUSE ? 1 : 102;
}

static int in_child(unsigned user, const char *url, uint8_t reuseport)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(listen_as(user, url, reuseport));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* SO_REUSEPORT shares a port among sockets of one effective user: nobody can steal connections. */
static void shared_by_one_user_only(void **state)
{
    if (geteuid() != 0)
        skip_because("becoming another user needs root");
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.socket.reuseport = WEIR_SWITCH_ON;
    side_listen(s, NULL);
    assert_int_equal(in_child(0, side_url(s), WEIR_SWITCH_ON), 0);
    assert_int_equal(in_child(65534, side_url(s), WEIR_SWITCH_ON), 1);
    world_end(w);
}

K_MAIN(T(in_use_and_not_available), T(shared_by_one_user_only))

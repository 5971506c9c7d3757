#include "io_suite.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "io/uring.h"

/* A kernel that is made to look like 6.0: liburing's calls come through here, and what came later
 * is answered as that kernel does. */

static unsigned unknown_setup = IORING_SETUP_DEFER_TASKRUN;
enum { LAST_OPERATION = 48 };

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
    int (*real)(unsigned, struct io_uring *, struct io_uring_params *);
    int result;
    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
    if (p->flags & unknown_setup)
        return -EINVAL;
    result = real(entries, ring, p);
    p->features &= (1u << 13) - 1;
    return result;
}

int io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned count)
{
    int (*real)(unsigned, unsigned, const void *, unsigned);
    int result;
    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_register");
    if (opcode == IORING_REGISTER_PBUF_RING && ((const struct uring_pbuf_reg *)arg)->flags)
        return -EINVAL;
    result = real(fd, opcode, arg, count);
    if (opcode == IORING_REGISTER_PROBE && result == 0) {
        struct io_uring_probe *probe = (struct io_uring_probe *)(uintptr_t)arg;
        probe->last_op = LAST_OPERATION;
        for (unsigned i = LAST_OPERATION + 1; i < count; i++)
            probe->ops[i].flags = 0;
    }
    return result;
}

static void the_facts_are_noticed(void **state)
{
    const struct uring_facts *facts = uring_facts();
    (void)state;
    assert_int_equal(facts->error, 0);
    assert_null(facts->multishot_recv);
    assert_non_null(strstr(facts->incremental, "6.12"));
    assert_non_null(strstr(facts->no_iowait, "6.15"));
    assert_non_null(strstr(facts->direct, "6.8"));
}

static void direct_is_refused(void **state)
{
    const struct io_config config = {.features = "+direct"};
    const char *why = NULL;
    struct io *io;
    (void)state;
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), -ENOSYS);
    assert_non_null(strstr(why, "6.8"));
}

/* The ring works, but epoll does better: "auto" says so. */
static void auto_prefers_epoll(void **state)
{
    const struct io_config config = {0}, by_hand = {.features = "-defer_taskrun"};
    const char *why = NULL;
    struct io *io;
    (void)state;
    assert_int_equal(weir__io_open(&io, "auto", &config, &why), 0);
    assert_string_equal(io->ops->name, "epoll");
    assert_non_null(strstr(why, "6.1"));
    io->ops->close(io);
    assert_int_equal(weir__io_open(&io, "auto", &by_hand, &why), 0);
    assert_string_equal(io->ops->name, "uring");
    assert_null(why);
    io->ops->close(io);
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), 0);
    assert_non_null(strstr(io->second, "6.1"));
    assert_true(uring_of(io)->setup_flags & IORING_SETUP_COOP_TASKRUN);
    assert_false(uring_of(io)->buffers.incremental);
    io->ops->close(io);
    /* And without any flag. */
    unknown_setup |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
                     IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL;
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), 0);
    assert_int_equal(uring_of(io)->setup_flags & unknown_setup, 0);
    io->ops->close(io);
}

int main(void)
{
    const struct CMUnitTest old[] = {
        cmocka_unit_test(the_facts_are_noticed),
        cmocka_unit_test(direct_is_refused),
        cmocka_unit_test(auto_prefers_epoll),
    };
    int failed = _cmocka_run_group_tests("old kernel", old, 3, NULL, NULL);
    failed += io_suite_run("uring of an old kernel", &weir__io_uring, NULL, NULL);
    return failed;
}

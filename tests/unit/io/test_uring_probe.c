/* What is known of kernels by their version, and what the probe of a fresh process leaves behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/uring.h"
#include "support/skip.h"

static const char *release; /* NULL: uname fails */

/* In the place of the C library's. */
int uname(struct utsname *names)
{
    if (release == NULL) {
        errno = EFAULT;
        return -1;
    }
    memset(names, 0, sizeof(*names));
    snprintf(names->release, sizeof(names->release), "%s", release);
    return 0;
}

static void versions_with_quirks(void **state)
{
    static const struct {
        const char *release, *feature;
        bool known;
    } rows[] = {
        {"6.2.16", "multishot_accept", false},
        {"6.3.0", "multishot_accept", true},
        {"6.6.19-lts", "multishot_accept", true},
        {"6.6.20", "multishot_accept", false},
        {"6.7.0", "multishot_accept", true},
        {"6.7.7", "multishot_accept", true},
        {"6.7.8", "multishot_accept", false},
        {"6.8", "multishot_accept", false},
        {"6.16.12", "unix_end", false},
        {"6.17", "unix_end", true},
        {"6.18.44-x", "unix_end", true},
        {"7.0.0", "unix_end", false},
        {"6.18.44", "multishot_accept", false},
        {"6.6.1", "unix_end", false},
        {"6.6.1", "no_such_thing", false},
        {"next", "unix_end", false},
        {NULL, "unix_end", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        release = rows[i].release;
        assert_int_equal(uring_quirk(rows[i].feature) != NULL, rows[i].known);
    }
}

static int fds_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static struct io_fd *find_none(void *owner, uint64_t token)
{
    return NULL;
}

/* Called first: the probe runs once in a process. */
static void the_probe_leaves_nothing(void **state)
{
    int open_before = fds_open();
    uint64_t live = weir__alloc_live();
    struct io_config config = {.find = find_none};
    const char *why = NULL;
    struct io *io;
    release = "6.18.44";
    const struct uring_facts *facts = uring_facts();
    if (facts->error < 0)
        skip_because("no io_uring here");
    assert_int_equal(fds_open(), open_before);
    assert_int_equal(weir__alloc_live(), live);
    assert_non_null(facts->unix_end); /* by its version */
    assert_ptr_equal(uring_facts(), facts);
    assert_int_equal(weir__io_uring.open(&io, &config, &why), 0);
    io->ops->close(io);
    assert_int_equal(fds_open(), open_before);
    assert_int_equal(weir__alloc_live(), live);
}

/* What `weir backends` shows has a row for each thing that there is to tell. */
static void the_plan_has_all_rows(void **state)
{
    struct io_config config = {.find = find_none};
    const char *why = NULL;
    char found[1024] = "";
    struct io *io;
    if (weir__io_uring.open(&io, &config, &why) < 0)
        skip_because("no io_uring here");
    for (int i = 0; i < io->plan.rows; i++) {
        strcat(found, io->plan.row[i].feature);
        strcat(found, " ");
        assert_true(strlen(io->plan.row[i].reason) > 10);
    }
    assert_string_equal(
        found,
        "single_issuer defer_taskrun coop_taskrun taskrun_flag restrictions ring_fd no_iowait "
        "multishot_accept multishot_recv multishot_message buffer_ring incremental recv_cap "
        "poll_first cancel_op warm_move direct bundles send_zc send_vectorized recv_zc "
        "registered_buffers registered_waits min_wait napi msg_ring sqpoll splice ");
    io->ops->close(io);
}

static void blocks_as_they_are_asked_for(void **state)
{
    static const struct {
        const char *features;
        unsigned size, count;
        int error;
    } rows[] = {
        {"block=small,blocks=small", 4096, 2, 0},
        {"block=8192,blocks=3", 8192, 3, 0},
        {"block=255", 0, 0, -EINVAL},
        {"blocks=32769", 0, 0, -EINVAL},
        {"block=1048576,blocks=1,-multishot_recv", 65536, 1, 0},
        {"block=1048576,blocks=1", 65536, 1, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct io_config config = {.find = find_none, .features = rows[i].features};
        const char *why = NULL;
        uint64_t live = weir__alloc_live();
        struct io *io;
        int error = weir__io_uring.open(&io, &config, &why);
        if (error == -ENOSYS || error == -EPERM)
            skip_because("no io_uring here");
        assert_int_equal(error, rows[i].error);
        if (error == 0) {
            assert_int_equal(io->block_size, rows[i].size);
            assert_int_equal(io->blocks, rows[i].count);
            /* One receive never brings more than an event may carry. */
            assert_true(uring_of(io)->buffers.cap <= uring_of(io)->event_max);
            assert_true(uring_of(io)->buffers.size == rows[i].size ||
                        uring_of(io)->buffers.cap == uring_of(io)->event_max ||
                        uring_facts()->recv_cap != NULL);
            io->ops->close(io);
        }
        assert_int_equal(weir__alloc_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_probe_leaves_nothing),
        cmocka_unit_test(the_plan_has_all_rows),
        cmocka_unit_test(blocks_as_they_are_asked_for),
        cmocka_unit_test(versions_with_quirks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Time, chance, memory, files and facts of the simulated machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "perform.h"
#include "wrap.h"

enum { CLOCK_BASE_S = 1000 };

/* --- time ------------------------------------------------------------------------------------- */

uint64_t sim_now(void)
{
    return world.now_ns;
}

void sim_sleep(uint64_t ns)
{
    uint64_t until_ns = world.now_ns + ns;
    while (world.now_ns < until_ns)
        actor_wait(until_ns, "time to pass");
    if (ns == 0)
        actor_yield();
}

void sim_stall(uint64_t ns)
{
    sim_sleep(ns);
}

static uint64_t clock_now(void *arg)
{
    enum { LOOK_NS = 20 };
    world.now_ns += LOOK_NS; /* a loop that only looks at the clock gets on */
    return CLOCK_BASE_S * 1000000000ull + world.now_ns;
}

static uint64_t clock_wall(void *arg)
{
    enum { STEP_S = 7200 };
    if (fault_rare(SIM_FAULT_CLOCK_STEP, OP_CLOCK))
        world.wall_offset_ns = ((int64_t)chance(2 * STEP_S) - STEP_S) * 1000000000;
    return SIM_WALL_BASE_NS + world.now_ns + (uint64_t)world.wall_offset_ns;
}

static uint64_t clock_cpu(void *arg)
{
    return world.now_ns;
}

static void clock_sleep(uint64_t ns, void *arg)
{
    sim_sleep(ns);
}

/* --- memory ----------------------------------------------------------------------------------- */

struct piece {
    size_t size;
    sim_host *host;
};

static void *memory_alloc(size_t size, void *arg)
{
    enum { FRESH = 0xa5 };
    struct piece *piece;
    if (fault(SIM_FAULT_NO_MEMORY, OP_ALLOC))
        return NULL;
    piece = malloc(sizeof(*piece) + size);
    if (piece == NULL)
        return NULL;
    *piece = (struct piece){size, world.host_now};
    if (world.host_now != NULL)
        world.host_now->bytes_live += size;
    memset(piece + 1, FRESH, size);
    return piece + 1;
}

static void memory_free(void *memory, void *arg)
{
    enum { GONE = 0xdd };
    struct piece *piece = (struct piece *)memory - 1;
    if (memory == NULL)
        return;
    sim_check(piece->host == world.host_now, "memory of one host is freed by another");
    if (piece->host != NULL)
        piece->host->bytes_live -= piece->size;
    memset(memory, GONE, piece->size);
    free(piece);
}

static void *memory_realloc(void *memory, size_t size, void *arg)
{
    void *moved = memory_alloc(size, arg);
    size_t former = memory != NULL ? ((struct piece *)memory - 1)->size : 0;
    if (moved == NULL)
        return NULL;
    if (memory != NULL) {
        memcpy(moved, memory, former < size ? former : size);
        memory_free(memory, arg);
    }
    return moved;
}

void *__wrap_weir__pages_alloc(size_t size)
{
    return fault(SIM_FAULT_NO_MEMORY, OP_ALLOC) ? NULL : __real_weir__pages_alloc(size);
}

/* --- files ------------------------------------------------------------------------------------ */

static int errors_of_open(void)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, EACCES, EIO};
    return errors[chance(sizeof(errors) / sizeof(*errors))];
}

/* Numbers and times differ from folder to folder, and go into what is sent (entity tags). */
static void same_everywhere(struct statx *status)
{
    enum { FIRST_INODE = 1000000, CHANGED_S = 1600000000 };
    const struct statx_timestamp changed = {.tv_sec = CHANGED_S};
    status->stx_ino = FIRST_INODE + status->stx_size % FIRST_INODE;
    status->stx_dev_major = status->stx_dev_minor = 1;
    status->stx_mtime = status->stx_ctime = status->stx_btime = changed;
}

int file_perform(struct io_file *file)
{
    struct io_file cut = *file;
    int result;
    if (file->verb != IO_FILE_CALL && file->verb != IO_FILE_CLOSE &&
        fault(SIM_FAULT_FILE_ERROR, OP_FILE))
        return file->verb == IO_FILE_OPEN ? -errors_of_open() : -EIO;
    if (file->verb == IO_FILE_READ && cut.size > 1 && fault(SIM_FAULT_FILE_SHORT, OP_FILE))
        cut.size = chance(8) == 0 ? 0 : chance_size(cut.size);
    if (file->verb == IO_FILE_READ && cut.size == 0)
        return 0;
    result = __real_weir__pool_perform(&cut);
    if (file->verb == IO_FILE_STAT && result == 0)
        same_everywhere(file->statx);
    record("file", file->verb, file->verb == IO_FILE_OPEN && result >= 0 ? 0 : result, 0);
    return result;
}

int __wrap_weir__pool_perform(struct io_file *file)
{
    enum { SLOW_NS = 2000000000, FAST_NS = 300000 };
    actor_wait(world.now_ns + 1 +
                   (fault(SIM_FAULT_FILE_SLOW, OP_FILE) ? chance_size(SLOW_NS) : chance(FAST_NS)),
               "a disk");
    return file_perform(file);
}

bool __wrap_weir__pool_perform_cached(struct io_file *file)
{
    return false;
}

static bool hidden(const char *path)
{
    return strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0 ||
           strcmp(path, "/proc") == 0;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (hidden(path)) {
        errno = ENOENT;
        return -1;
    }
    return __real_open(path, flags, mode);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (hidden(path)) {
        errno = ENOENT;
        return NULL;
    }
    return __real_fopen(path, mode);
}

DIR *__wrap_opendir(const char *path)
{
    if (hidden(path)) {
        errno = ENOENT;
        return NULL;
    }
    return __real_opendir(path);
}

/* --- facts ------------------------------------------------------------------------------------ */

long __wrap_sysconf(int name)
{
    enum { PAGES = 1 << 18 };
    if (name == _SC_PHYS_PAGES)
        return PAGES;
    if (name == _SC_NPROCESSORS_ONLN && world.host_now != NULL)
        return (long)world.host_now->cpus;
    return __real_sysconf(name);
}

pid_t __wrap_getpid(void)
{
    enum { FIRST_PID = 1000 };
    return world.host_now != NULL ? (pid_t)(FIRST_PID + world.host_now->id) : __real_getpid();
}

int __wrap_prctl(int option, ...)
{
    return 0;
}

const char *__wrap_weir__getenv(const char *name)
{
    return NULL;
}

void __wrap_weir__assert_failed(const char *what, const char *file, int line)
{
    const char *name = strrchr(file, '/');
    sim_fail("assertion in %s:%d: this must hold: %s", name != NULL ? name + 1 : file, line, what);
}

/* --- back ends -------------------------------------------------------------------------------- */

const struct io_ops *__wrap_weir__io_named(const char *name)
{
    return &sim_readiness;
}

int __wrap_weir__io_open(struct io **io, const char *name, const struct io_config *config,
                         const char **why)
{
    enum { OWN = 6, EPOLL = 8, POLL = 9, SELECT = 10 };
    const struct io_ops *ops;
    int result;
    uint64_t drawn = chance(SELECT);
    ops = drawn < OWN     ? &sim_completion
          : drawn < EPOLL ? &weir__io_epoll
          : drawn < POLL  ? &weir__io_poll
                          : &weir__io_select;
    if (drawn >= OWN)
        record(ops->name, 0, 0, 0);
    result = ops->open(io, config, why);
    if (result == 0)
        turns_watch(*io);
    return result;
}

static void log_line(const weir_log_line *line, void *arg)
{
    sim_note("log: %s", line->text);
}

void wrap_install(void)
{
    static const struct clock_source source = {clock_now, clock_wall, clock_cpu, clock_sleep, NULL};
    static const weir_allocator allocator = {memory_alloc, memory_realloc, memory_free, NULL};
    weir__clock_set_source(&source);
    weir__random_set_source(&world.library_random);
    if (weir_set_allocator(&allocator) < 0)
        abort();
    weir_log_set(log_line, NULL, WEIR_LOG_WARN);
}

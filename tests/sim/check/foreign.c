/* Descriptors that are not weir's: who watches one is told once, when it can be read, and not after
 * giving up. */
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sim/check/check_in.h"

struct check_foreign {
    weir_watch watch;
    struct check_loop *cl;
    int fd; /* an eventfd */
    bool watched, readable;
    weir_time since; /* both of them */
    unsigned turns;  /* that it has been so */
    struct check_foreign *next;
};

struct check_foreign *check_foreign_new(struct check_loop *cl)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return NULL;
    struct check_foreign *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->cl = cl;
    f->fd = fd;
    f->next = cl->foreigns;
    cl->foreigns = f;
    return f;
}

static void changed(struct check_foreign *f)
{
    f->since = weir_now();
    f->turns = 0;
}

void check_foreign_poke(struct check_foreign *f)
{
    uint64_t one = 1;
    if (f->readable)
        return;
    check_that(write(f->fd, &one, sizeof one) == sizeof one, "check", "an eventfd takes a count");
    f->readable = true;
    changed(f);
}

static void told(weir_watch *watch, int events, void *arg)
{
    struct check_foreign *f = arg;
    uint64_t count;
    handler_begin(f->cl, "a watch");
    check_that(watch == &f->watch, "K4.watch", "a watch with its own address; another");
    check_that(f->watched, "K4.watch", "nothing of a watch that was given up or told; it was");
    f->watched = false;
    check_that(events >= 0 || !sim_quiet(), "K4.watch", "no error of a watch; %s",
               weir_error_name(events));
    if (events >= 0) {
        check_that((events & POLLIN) != 0, "K4.watch", "what was asked for, POLLIN; %d", events);
        check_that(f->readable || sim_fault_on(SIM_FAULT_SPURIOUS), "K4.watch",
                   "told when it can be read; it cannot");
    }
    if (f->readable)
        check_that(read(f->fd, &count, sizeof count) == sizeof count, "check",
                   "an eventfd gives its count");
    f->readable = false;
    handler_end(f->cl);
}

void check_foreign_turn(struct check_foreign *f)
{
    struct check_loop *cl = f->cl;
    verb_begin(cl);
    if (f->watched) {
        weir_watch_cancel(&f->watch);
        f->watched = false;
    } else {
        f->watch = (weir_watch){0};
        int result = weir_poll(&f->watch, f->fd, POLLIN, told, f);
        check_that(result == 0 || !sim_quiet(), "K4.watch", "a descriptor is watched; %s",
                   weir_error_name(result));
        f->watched = result == 0;
        changed(f);
    }
    verb_end(cl);
}

void foreigns_check(struct check_loop *cl)
{
    enum { TURNS_MOST = 300, TURNS_SURE = 16 };
    for (struct check_foreign *f = cl->foreigns; f != NULL; f = f->next) {
        if (!f->watched || !f->readable)
            continue;
        f->turns++;
        bool late = f->turns > TURNS_SURE && weir_now() > f->since + WEIR_S &&
                    !sim_fault_on(SIM_FAULT_LATE);
        check_that(f->turns <= TURNS_MOST && !late, "K4.watch_lost",
                   "a watch told of what can be read; it is not, for %llu ms and %u turns",
                   (unsigned long long)((weir_now() - f->since) / WEIR_MS), f->turns);
    }
}

void foreigns_end(struct check_loop *cl)
{
    struct check_foreign *next;
    for (struct check_foreign *f = cl->foreigns; f != NULL; f = next) {
        next = f->next;
        close(f->fd);
        free(f);
    }
    cl->foreigns = NULL;
}

/* Memory that goes and comes home: lent buffers, retained views, pull sources, files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/check/check_in.h"

/* --- lent buffers ----------------------------------------------------------------------------- */

struct lent {
    struct check_loop *cl;
    struct check_conn *cc;
    size_t size;
    bool home;
    uint8_t *mirror; /* the same bytes, never given away */
    uint8_t bytes[];
};

static void lent_home(const void *data, size_t size, void *arg)
{
    struct lent *lent = arg;
    struct check_loop *cl = lent->cl;
    bool early = cl->lent_early_fine;
    if (!early)
        handler_begin(cl, "a release callback");
    check_that(!lent->home, "K4.lent_once", "a lent buffer comes home once; again");
    check_that(data == lent->bytes && size == lent->size, "K4.lent_same",
               "a lent buffer comes home as it was lent; another address or size");
    check_that(memcmp(lent->bytes, lent->mirror, size) == 0, "K8.lent",
               "lent bytes are not written to; they changed");
    lent->home = true;
    lent->cc->lent--;
    cl->lent_out--;
    memset(lent->bytes, 0xcd, size);
    free(lent->mirror);
    free(lent);
    if (!early)
        handler_end(cl);
}

/* weir_own of a copy. */
static weir_view lend(struct check_conn *cc, const void *data, size_t size)
{
    struct check_loop *cl = cc->side->cl;
    struct lent *lent = malloc(sizeof *lent + size + 1);
    if (lent == NULL)
        abort();
    *lent = (struct lent){.cl = cl, .cc = cc, .size = size, .mirror = malloc(size + 1)};
    if (lent->mirror == NULL)
        abort();
    memcpy(lent->bytes, data, size);
    memcpy(lent->mirror, data, size);
    cc->lent++;
    cl->lent_out++;
    /* Only when there is no place to note it the buffer comes back at once. */
    cl->lent_early_fine = sim_fault_on(SIM_FAULT_NO_MEMORY);
    verb_begin(cl);
    weir_view view = weir_own(lent->bytes, size, lent_home, lent);
    verb_end(cl);
    cl->lent_early_fine = false;
    return view;
}

int check_send_lent(struct check_conn *cc, const void *data, size_t size)
{
    weir_view view = lend(cc, data, size);
    if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        return WEIR_ENOMEM;
    return check_send(cc, view);
}

/* --- retained views --------------------------------------------------------------------------- */

struct check_kept {
    struct check_loop *cl;
    weir_view view;
    uint8_t mirror[];
};

struct check_kept *check_retain(struct check_loop *cl, weir_view view)
{
    struct check_kept *kept = malloc(sizeof *kept + view.size);
    if (kept == NULL)
        abort();
    kept->cl = cl;
    memcpy(kept->mirror, view.data, view.size);
    verb_begin(cl);
    kept->view = weir_retain(view);
    verb_end(cl);
    if (kept->view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE) {
        check_that(sim_fault_on(SIM_FAULT_NO_MEMORY) || cl->options.memory_max_bytes != 0,
                   "K8.retain", "a view is retained while there is memory; it was not");
        free(kept);
        return NULL;
    }
    check_that(kept->view.size == view.size, "K8.retain", "%u bytes retained; %u", view.size,
               kept->view.size);
    cl->kept_out++;
    return kept;
}

weir_view check_kept_view(const struct check_kept *kept)
{
    check_that(memcmp(kept->view.data, kept->mirror, kept->view.size) == 0, "K8.kept",
               "retained bytes stay as they are; they changed");
    return kept->view;
}

void check_release(struct check_kept *kept)
{
    weir_view view = check_kept_view(kept);
    verb_begin(kept->cl);
    weir_release(view);
    verb_end(kept->cl);
    kept->cl->kept_out--;
    free(kept);
}

int check_send_kept(struct check_conn *cc, weir_view view)
{
    struct check_kept *kept = check_retain(cc->side->cl, view);
    if (kept == NULL)
        return WEIR_ENOMEM;
    int result = check_send(cc, check_kept_view(kept));
    check_release(kept);
    return result;
}

/* --- pull sources ----------------------------------------------------------------------------- */

struct pull {
    struct check_conn *cc;
    size_t size, given;
    unsigned waits; /* answers of "nothing yet" that are left */
    bool fails, ended, waiting;
    uint8_t bytes[];
};

static void pull_again(struct check_loop *cl, void *arg)
{
    struct pull *pull = arg;
    pull->waiting = false;
    if (pull->ended) { /* it was waited for here only */
        free(pull);
        return;
    }
    verb_begin(cl);
    int result = weir_pull_ready(pull->cc->conn);
    verb_end(cl);
    check_that(result == 0 || result == WEIR_EGONE, "K9.verb", "weir_pull_ready gives 0; %s",
               weir_error_name(result));
}

static void pull_end(struct pull *pull)
{
    struct check_loop *cl = pull->cc->side->cl;
    check_that(!pull->ended, "K4.pull_once", "a pull source is told its end once; again");
    pull->ended = true;
    pull->cc->pulls--;
    cl->pulls_out--;
    if (!pull->waiting)
        free(pull);
}

static ssize_t pull_wait(struct pull *pull, weir_conn conn)
{
    struct check_loop *cl = pull->cc->side->cl;
    pull->waits--;
    if (check_random(cl->check, 3) == 0) { /* it finds bytes while it is being asked */
        verb_begin(cl);
        (void)weir_pull_ready(conn);
        verb_end(cl);
    } else {
        pull->waiting = true;
        check_timer(cl, weir_after(check_random(cl->check, 20) * WEIR_MS), false, pull_again, pull);
    }
    return WEIR_PULL_WAIT;
}

static ssize_t pull_call(weir_conn conn, void *data, size_t size, void *arg)
{
    struct pull *pull = arg;
    struct check_conn *cc = pull->cc;
    struct check_loop *cl = cc->side->cl;
    ssize_t result;
    handler_begin(cl, "a pull source");
    check_that(!pull->ended, "K4.pull_once", "a pull source is not asked after its end; it is");
    if (data == NULL) {
        check_that(size == 0, "K4.pull_end", "no size with the end; %zu", size);
        pull_end(pull);
        result = 0;
    } else {
        check_that(weir_conn_is(conn, cc->conn), "K2.handle",
                   "%s: its own handle in a pull source; "
                   "another",
                   check_name(cc));
        check_that(!pull->waiting, "K4.pull_wait",
                   "%s: a source that waits is asked when it is ready; before", check_name(cc));
        size_t left = pull->size - pull->given;
        size_t part = left < size ? left : size;
        if (part != 0 && check_random(cl->check, 2) == 0)
            part = 1 + check_random(cl->check, part);
        part = part < left ? part : left;
        if (pull->waits != 0) {
            result = pull_wait(pull, conn);
        } else if (part == 0 && pull->fails) {
            cc->pull_failed = true;
            result = -EIO;
        } else {
            memcpy(data, pull->bytes + pull->given, part);
            pull->given += part;
            pull->waits = check_random(cl->check, 8) == 0 ? 1 : 0;
            cc->drain_may = true;
            result = (ssize_t)part;
        }
    }
    handler_end(cl);
    return result;
}

int check_send_pull(struct check_conn *cc, size_t size, bool fails)
{
    struct check_loop *cl = cc->side->cl;
    struct pull *pull = malloc(sizeof *pull + size + 1);
    if (pull == NULL)
        abort();
    *pull = (struct pull){.cc = cc, .size = size, .fails = fails};
    pull->waits = (unsigned)check_random(cl->check, 3);
    check_noise(cl->check, pull->bytes, size);
    verb_begin(cl);
    int result = weir_send_pull(cc->conn, pull_call, pull);
    verb_end(cl);
    if (result < 0) {
        check_that(result != WEIR_EMISUSE || cc->finish_called || cc->opens == 0, "K4.misuse",
                   "%s: a pull source is taken; WEIR_EMISUSE", check_name(cc));
        cc->gone_seen |= result == WEIR_EGONE;
        free(pull);
        return result;
    }
    check_that(check_living(cc) && !cc->finish_called, "K2.send",
               "%s: a pull source on what is closed or finished fails; it gave %d", check_name(cc),
               result);
    cc->pulls++;
    cc->pulled = true;
    cl->pulls_out++;
    cc->drain_may = true;
    cc->drain_owed |= result == WEIR_SEND_WAIT;
    stream_put(&cc->out, pull->bytes, size);
    return result;
}

/* --- files ------------------------------------------------------------------------------------ */

enum { FILE_TABLES = 16 };
#define FILE_NAME "noise.bin"

void check_setup(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/" FILE_NAME, folder);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        sim_fail("check: cannot write %s", path);
    for (int i = 0; i < FILE_TABLES; i++)
        if (fwrite(noise_table(), 1, CHECK_NOISE, file) != CHECK_NOISE)
            sim_fail("check: cannot write %s", path);
    fclose(file);
}

uint8_t check_file_byte(uint64_t at)
{
    return noise_table()[at % CHECK_NOISE];
}

int check_send_file(struct check_conn *cc, size_t size, size_t short_by)
{
    struct check_loop *cl = cc->side->cl;
    size_t there = (size_t)FILE_TABLES * CHECK_NOISE;
    char path[4096];
    if (size > there)
        size = there;
    size_t offset = short_by != 0 ? there - size : check_random(cl->check, there - size + 1);
    snprintf(path, sizeof path, "%s/" FILE_NAME, sim_folder());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return check_send_static(cc, 1 + size % CHECK_NOISE);
    uint64_t total = stream_total(&cc->out);
    for (size_t at = 0; at < size;) {
        size_t from = (offset + at) % CHECK_NOISE, part = CHECK_NOISE - from;
        part = part < size - at ? part : size - at;
        stream_put(&cc->out, noise_table() + from, part);
        at += part;
    }
    verb_begin(cl);
    int result = weir_send_file(cc->conn, fd, (int64_t)offset, size + short_by, true);
    verb_end(cl);
    if (result < 0) {
        stream_cut(&cc->out, total);
        cc->gone_seen |= result == WEIR_EGONE;
        return result;
    }
    check_that(check_living(cc) && !cc->finish_called, "K2.send",
               "%s: a file on what is closed or finished fails; it gave %d", check_name(cc),
               result);
    cc->torn |= short_by != 0;
    cc->drain_owed |= result == WEIR_SEND_WAIT;
    cc->pieces++;
    return result;
}

/* --- any of them ------------------------------------------------------------------------------ */

static int send_mixed(struct check_conn *cc, const uint8_t *bytes, size_t size)
{
    struct check_loop *cl = cc->side->cl;
    weir_view views[6];
    unsigned count = 0;
    while (size != 0 && count < 6) {
        size_t part = count == 5 ? size : 1 + check_random(cl->check, size);
        switch (check_random(cl->check, 3)) {
        case 0:
            views[count++] = lend(cc, bytes, part);
            break;
        case 1:
            part = part < CHECK_NOISE ? part : CHECK_NOISE;
            views[count++] = weir_static(noise_table(), part);
            break;
        default:
            views[count++] = weir_bytes(bytes, part);
            break;
        }
        bytes += part;
        size -= part;
    }
    return check_sendv(cc, views, count);
}

int check_send_any(struct check_conn *cc, size_t size)
{
    struct check_loop *cl = cc->side->cl;
    uint8_t *bytes = malloc(size + 1);
    int result = 0;
    if (bytes == NULL)
        abort();
    check_noise(cl->check, bytes, size);
    switch (check_random(cl->check, 8)) {
    case 0:
        result = check_send_lent(cc, bytes, size);
        break;
    case 1:
        result = check_send_static(cc, size);
        break;
    case 2:
        result = check_send_kept(cc, weir_bytes(bytes, size));
        break;
    case 3:
        result = check_send_file(cc, size, 0);
        break;
    case 4:
        result = check_send_pull(cc, size, false);
        break;
    case 5:
        result = send_mixed(cc, bytes, size);
        break;
    default:
        result = check_send_bytes(cc, bytes, size);
        break;
    }
    free(bytes);
    return result;
}

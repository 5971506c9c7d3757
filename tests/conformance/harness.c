/* The world of a test: loop, sides, and the rules that are checked everywhere. */
#include "conformance/harness.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "conformance/harness_in.h"
#include "loop/loop.h"

uint64_t now_ns(void)
{
    return weir__clock_now_ns();
}

unsigned slowness(void)
{
    const char *times = getenv("WEIR_TEST_SLOWNESS");
    return times != NULL ? (unsigned)strtoul(times, NULL, 10) : 1;
}

int fds_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static struct {
    char last[1024];
    char all[64 * 1024]; /* lines, each with its newline */
    size_t size;
    unsigned lines;
} logged;

static void note_line(const weir_log_line *line, void *arg)
{
    size_t size = strlen(line->text);
    logged.lines++;
    snprintf(logged.last, sizeof logged.last, "%s", line->text);
    if (size + 2 > sizeof logged.all - logged.size)
        return;
    memcpy(logged.all + logged.size, line->text, size);
    logged.size += size;
    logged.all[logged.size++] = '\n';
    logged.all[logged.size] = 0;
}

unsigned log_lines(void)
{
    return logged.lines;
}

const char *log_last(void)
{
    return logged.last;
}

unsigned log_count(const char *part)
{
    unsigned count = 0;
    for (const char *at = logged.all; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

/* What a process makes once and keeps (the probe of io_uring, its table of facts) is made before
 * anything is counted. */
static void warm_up(const weir_loop_options *options)
{
    static bool warm;
    weir_loop *loop;
    if (warm)
        return;
    warm = true;
    if (weir_loop_new(&loop, options) == 0)
        weir_loop_free(loop);
}

struct world *world_open(const weir_loop_options *options)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    weir_log_set(note_line, NULL, WEIR_LOG_WARN);
    warm_up(options);
    memset(&logged, 0, sizeof logged);
    w->fds_before = fds_open();
    w->alloc_before = weir__alloc_live();
    w->check_leaks = true;
    int result = weir_loop_new(&w->loop, options);
    if (result < 0) {
        fprintf(stderr, "skip: %s: no loop: %s\n", getenv("WEIR_BACKEND"), log_last());
        free(w);
        skip();
    }
    w->backend = weir_loop_backend(w->loop);
    return w;
}

static void sides_check(struct world *w)
{
    for (struct side *s = w->sides; s != NULL; s = s->next)
        for (unsigned i = 0; i < s->count; i++)
            if (s->recs[i]->closes != 1)
                fail_msg("connection %u had %d on_close (%s)", i, s->recs[i]->closes,
                         s->recs[i]->log);
}

static void sides_free(struct world *w)
{
    struct side *next;
    for (struct side *s = w->sides; s != NULL; s = next) {
        next = s->next;
        for (unsigned i = 0; i < s->count; i++) {
            free(s->recs[i]->kept);
            free(s->recs[i]);
        }
        free(s);
    }
}

void world_end(struct world *w)
{
    weir_loop_free(w->loop);
    w->loop = NULL;
    for (unsigned i = 0; i < w->peer_count; i++) {
        peer_close(w->peers[i]);
        free(w->peers[i]->kept);
        free(w->peers[i]);
    }
    if (w->broken[0] != 0)
        fail_msg("%s", w->broken);
    sides_check(w);
    if (w->check_leaks) {
        assert_int_equal(fds_open(), w->fds_before);
        assert_int_equal(weir__alloc_live(), w->alloc_before);
    }
    sides_free(w);
    free(w);
}

void world_turn_ms(struct world *w, unsigned ms)
{
    bool moved = false;
    for (unsigned i = 0; i < w->peer_count; i++)
        moved |= peer_move(w->peers[i]);
    w->turns++;
    int result = weir_loop_turn(w->loop, moved ? 0 : now_ns() + ms * WEIR_MS);
    if (result < 0 && result != WEIR_ESTOPPED)
        fail_msg("the turn failed: %s", weir_error_text(result));
    if (w->broken[0] != 0)
        fail_msg("%s", w->broken);
}

void world_turn(struct world *w)
{
    world_turn_ms(w, 2);
}

void world_run_ms(struct world *w, unsigned ms)
{
    uint64_t end = now_ns() + ms * WEIR_MS;
    while (now_ns() < end)
        world_turn(w);
}

void world_broke(struct world *w, const char *format, ...)
{
    va_list args;
    if (w->broken[0] != 0)
        return;
    va_start(args, format);
    vsnprintf(w->broken, sizeof w->broken, format, args);
    va_end(args);
}

bool world_is(const struct world *w, const char *backend)
{
    return strcmp(w->backend, backend) == 0;
}

bool world_feature(const char *text)
{
    const char *features = getenv("WEIR_FEATURES");
    return features != NULL && strstr(features, text) != NULL;
}

bool world_direct(const struct world *w)
{
    return w->loop->io->direct;
}

uint64_t world_syscalls(const struct world *w)
{
    return w->loop->io->stats.syscalls;
}

uint64_t world_memory(const struct world *w)
{
    return w->loop->memory.used_bytes;
}

void verb_begin(struct world *w)
{
    w->former = weir_loop_enter(w->loop);
    w->in_verb++;
}

int verb_end(struct world *w, int result)
{
    w->in_verb--;
    (void)weir_loop_enter(w->former);
    return result;
}

void h_begin(struct world *w)
{
    w->in_verb++;
}

int h_end(struct world *w, int result)
{
    w->in_verb--;
    return result;
}

/* --- sides and the records of their connections ----------------------------------------------- */

struct session { /* a connection's .conn_size bytes */
    struct rec *rec;
};

static struct rec *rec_new(struct side *s, weir_conn conn)
{
    if (s->count == WORLD_RECS) {
        world_broke(s->world, "more connections than the test can note");
        abort();
    }
    struct rec *r = calloc(1, sizeof *r);
    r->side = s;
    r->conn = conn;
    r->number = s->count;
    r->in_pattern = true;
    s->recs[s->count++] = r;
    return r;
}

static void rec_log(struct rec *r, char what)
{
    size_t size = strlen(r->log);
    r->last_ns = now_ns();
    if (what == 'D' && size != 0 && r->log[size - 1] == 'D')
        return;
    if (size + 1 < sizeof r->log)
        r->log[size] = what;
}

/* What holds whenever a handler runs. */
static struct rec *enter(weir_conn conn, void *session, const char *handler)
{
    struct side *s = weir_conn_user(conn);
    struct session *own = session;
    if (s == NULL)
        abort(); /* there is nobody to tell */
    struct world *w = s->world;
    if (own->rec == NULL)
        own->rec = rec_new(s, conn);
    struct rec *r = own->rec;
    if (w->in_verb != 0)
        world_broke(w, "%s ran inside a verb (K3)", handler);
    if (w->in_handler != 0)
        world_broke(w, "%s ran inside another handler (K3)", handler);
    if (weir_loop_current() != w->loop)
        world_broke(w, "%s ran without its loop being current (K1)", handler);
    if (!weir_conn_is(r->conn, conn))
        world_broke(w, "%s got another handle than on_open (K2)", handler);
    if (r->closes != 0)
        world_broke(w, "%s after on_close (K4), log %s", handler, r->log);
    w->in_handler++;
    return r;
}

static void leave(struct rec *r)
{
    r->side->world->in_handler--;
}

static void on_open(weir_conn conn, void *session)
{
    struct rec *r = enter(conn, session, "on_open");
    rec_log(r, 'O');
    r->opened_ns = weir_now(); /* deadlines count from the time that the turn has taken */
    if (r->opens++ != 0)
        world_broke(r->side->world, "on_open twice (K4)");
    r->side->opened++;
    if (r->side->open != NULL)
        r->side->open(r);
    leave(r);
}

static void take_in(struct rec *r, weir_view data)
{
    if (!pattern_is(data.data, r->received, data.size))
        r->in_pattern = false;
    size_t keep = KEPT_MAX - r->kept_size;
    if (keep > data.size)
        keep = data.size;
    if (keep != 0) {
        if (r->kept == NULL)
            r->kept = malloc(KEPT_MAX); /* its pages are touched when they are needed */
        memcpy(r->kept + r->kept_size, data.data, keep);
        r->kept_size += keep;
    }
    r->received += data.size;
    if (data.size > r->largest)
        r->largest = data.size;
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
    struct rec *r = enter(conn, session, "on_data");
    rec_log(r, 'D');
    r->datas++;
    if (r->opens != 1 || r->ends != 0)
        world_broke(r->side->world, "on_data before on_open or after on_end (K4), log %s", r->log);
    if (data.size == 0)
        world_broke(r->side->world, "on_data without data");
    take_in(r, data);
    if (r->side->data != NULL)
        r->side->data(r, data);
    leave(r);
}

static void on_frame(weir_conn conn, weir_view frame, void *session)
{
    struct rec *r = enter(conn, session, "on_frame");
    rec_log(r, 'D');
    r->frames++;
    if (r->opens != 1 || r->ends != 0)
        world_broke(r->side->world, "on_frame before on_open or after on_end (K4)");
    take_in(r, frame);
    if (r->side->frame != NULL)
        r->side->frame(r, frame);
    leave(r);
}

static void on_end(weir_conn conn, void *session)
{
    struct rec *r = enter(conn, session, "on_end");
    rec_log(r, 'E');
    if (r->ends++ != 0 || r->opens != 1)
        world_broke(r->side->world, "on_end twice or before on_open (K4)");
    r->side->end(r);
    leave(r);
}

static void on_drain(weir_conn conn, void *session)
{
    struct rec *r = enter(conn, session, "on_drain");
    rec_log(r, 'R');
    r->drains++;
    if (r->side->drain != NULL)
        r->side->drain(r);
    leave(r);
}

static void on_idle(weir_conn conn, enum weir_idle which, void *session)
{
    struct rec *r = enter(conn, session, "on_idle");
    rec_log(r, 'I');
    r->idles[which & 3]++;
    if (r->side->idle != NULL)
        r->side->idle(r, which);
    leave(r);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    struct rec *r = enter(conn, session, "on_close");
    rec_log(r, 'C');
    r->closes++;
    r->end = end;
    r->closed_ns = now_ns();
    if (r->opens == 0 && !r->side->early_close_fine)
        world_broke(r->side->world, "on_close without on_open");
    r->side->opened -= (unsigned)r->opens;
    r->side->closed++;
    if (r->side->close != NULL)
        r->side->close(r);
    leave(r);
}

struct side *side_new(struct world *w)
{
    struct side *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->world = w;
    s->next = w->sides;
    w->sides = s;
    s->service = (weir_service){
        .user = s,
        .conn_size = sizeof(struct session),
        .on_open = on_open,
        .on_data = on_data,
        .on_frame = on_frame,
        .on_idle = on_idle,
        .on_close = on_close,
        .on_drain = on_drain,
    };
    return s;
}

static void side_handlers(struct side *s)
{
    s->service.on_end = s->end != NULL ? on_end : NULL;
    if (s->service.on_conn == NULL && !s->service.straight)
        return;
    s->service.on_data = NULL; /* a coroutine receives in their place */
    s->service.on_frame = NULL;
    s->service.on_drain = NULL;
}

void side_listen(struct side *s, const char *url)
{
    side_handlers(s);
    s->service.listen = url != NULL ? url : "tcp://127.0.0.1:0";
    int result = V(s->world, weir_listen(&s->listener, &s->service));
    if (result < 0)
        fail_msg("cannot listen: %s (%s)", weir_error_text(result), log_last());
    assert_int_equal(V(s->world, weir_listener_address(s->listener, &s->address)), 0);
}

const char *side_url(struct side *s)
{
    static char text[WEIR_ADDRESS_TEXT_MAX];
    assert_true(weir_address_format(&s->address, text, sizeof text) >= 0);
    return text;
}

weir_conn side_connect(struct side *s, const char *url)
{
    weir_conn conn = {0};
    s->early_close_fine = true;
    side_handlers(s);
    int result = V(s->world, weir_connect(&conn, url, &s->service, NULL));
    if (result < 0)
        fail_msg("cannot connect to %s: %s", url, weir_error_text(result));
    return conn;
}

struct rec *side_rec(struct side *s, weir_conn conn)
{
    for (unsigned i = 0; i < s->count; i++)
        if (weir_conn_is(s->recs[i]->conn, conn))
            return s->recs[i];
    return NULL;
}

/* --- handlers that many tests use ------------------------------------------------------------- */

void do_echo(struct rec *r, weir_view data)
{
    int result = H(r, weir_send(r->conn, data));
    if (result < 0)
        world_broke(r->side->world, "an echo was refused: %s", weir_error_name(result));
    r->sent += data.size;
}

void do_close(struct rec *r)
{
    if (H(r, weir_close(r->conn)) != 0)
        world_broke(r->side->world, "weir_close failed");
}

void do_abort(struct rec *r)
{
    if (H(r, weir_abort(r->conn)) != 0)
        world_broke(r->side->world, "weir_abort failed");
}

void do_nothing(struct rec *r)
{
}

int rec_send_pattern(struct rec *r, size_t size)
{
    uint8_t *data = malloc(size != 0 ? size : 1);
    pattern_fill(data, r->sent, size);
    int result = weir_send(r->conn, weir_bytes(data, size));
    if (result >= 0)
        r->sent += size;
    free(data);
    return result;
}

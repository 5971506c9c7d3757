/* A chat: each line goes to everybody, as one retained view for all; who does not read is bounded
 * by the cap, and dropped or skipped as the room decides. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/check/prog.h"

/* Where a window may be a byte wide, all that is said must still arrive before the run's end. */
enum { PORT = 7300, PEOPLE = 64, LINE = 300, NARROW_LINE = 30 };

struct chat {
    struct check *check;
    bool ready, patient;
    char url[64];
    struct check_conn *people[PEOPLE];
    unsigned count;
    uint64_t said, told, dropped;
    unsigned living, tries, at_once;
};

/* --- the room --------------------------------------------------------------------------------- */

static void room_open(struct check_conn *cc)
{
    struct chat *run = cc->side->note;
    if (run->count == PEOPLE)
        check_close(cc);
    else
        run->people[run->count++] = cc;
}

static void room_line(struct check_conn *cc, weir_view line)
{
    struct chat *run = cc->side->note;
    struct check_kept *kept = check_retain(cc->side->cl, line);
    if (kept == NULL)
        return; /* unheard */
    run->said++;
    for (unsigned i = 0; i < run->count; i++) {
        struct check_conn *other = run->people[i];
        if (!check_living(other) || other->finish_called)
            continue;
        const weir_view words[] = {check_kept_view(kept), weir_bytes("\n", 1)};
        int result = check_sendv(other, words, 2);
        run->told += result >= 0;
        if (result == WEIR_EFULL)
            run->dropped++;
        sim_check(result != WEIR_EFULL ||
                      other->refused == (other->side->service.full == WEIR_FULL_CLOSE) ||
                      sim_fault_on(SIM_FAULT_NO_MEMORY) || !run->patient,
                  "K6.full: who does not read is closed, or skipped; neither");
    }
    check_release(kept);
}

static void room_close(struct check_conn *cc)
{
    struct chat *run = cc->side->note;
    for (unsigned i = 0; i < run->count; i++)
        if (run->people[i] == cc)
            run->people[i] = run->people[--run->count];
}

static int room_main(void *arg)
{
    struct chat *run = arg;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "room");
    prog_service(&side->service, &options, run->patient);
    side->service.frame = (weir_frame){.kind = WEIR_FRAME_LINE, .max = LINE + 2};
    side->service.full = sim_chance(1, 2) ? WEIR_FULL_REFUSE : WEIR_FULL_CLOSE;
    /* Whoever talks without listening must not make the others wait. */
    side->service.read_on = WEIR_READ_ALWAYS;
    side->hello = true;
    side->note = run;
    side->open = room_open;
    side->frame = room_line;
    side->close = room_close;
    prog_enter(cl);
    int result = check_listen(side, run->url);
    prog_leave();
    sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
    run->ready = true;
    prog_run(cl);
    return 0;
}

/* --- people ----------------------------------------------------------------------------------- */

struct person {
    unsigned lines; /* still to be said */
    bool deaf;      /* stops reading for long */
    struct check_timer *timer;
};

static void talk(struct check_loop *cl, void *arg)
{
    struct check_conn *cc = arg;
    struct person *p = cc->note;
    struct chat *run = cc->side->note;
    char line[LINE + 1];
    p->timer = NULL;
    if (!check_living(cc))
        return;
    if (cc->paused && (!p->deaf || p->lines == 0))
        check_resume(cc);
    if (p->lines == 0) {
        check_finish(cc);
        return;
    }
    p->lines--;
    size_t most = sim_fault_on(SIM_FAULT_SMALL_WINDOW) ? NARROW_LINE : LINE;
    size_t size = check_random(run->check, most);
    for (size_t i = 0; i < size; i++)
        line[i] = (char)('a' + check_random(run->check, 26));
    line[size] = '\n';
    int result = check_send_bytes(cc, line, size + 1);
    if (result < 0 && check_living(cc))
        check_abort(cc);
    else if (p->deaf)
        check_pause(cc);
    p->timer = check_timer(cl, weir_after(check_random(run->check, 20 * WEIR_MS)), false, talk, cc);
}

static void person_open(struct check_conn *cc)
{
    if (check_hello(cc) < 0)
        check_abort(cc);
    else
        talk(cc->side->cl, cc);
}

static void people_go_on(struct check_side *side);

static void person_close(struct check_conn *cc)
{
    struct person *p = cc->note;
    struct chat *run = cc->side->note;
    if (p->timer != NULL)
        check_timer_cancel(p->timer);
    free(p);
    run->living--;
    people_go_on(cc->side);
}

static void people_go_on(struct check_side *side)
{
    struct chat *run = side->note;
    while (run->living < run->at_once && run->tries != 0) {
        int error;
        struct person *p = calloc(1, sizeof *p);
        p->lines = (unsigned)check_random(run->check, 60);
        p->deaf = check_random(run->check, 5) == 0;
        run->tries--;
        if (check_connect(side, run->url, p, &error) != NULL)
            run->living++;
        else
            free(p);
    }
    if (run->living == 0)
        prog_stop(side->cl);
}

static int people_main(void *arg)
{
    struct chat *run = arg;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "person");
    prog_service(&side->service, &options, run->patient);
    side->open = person_open;
    side->close = person_close;
    side->error_fine = sim_can_break();
    side->note = run;
    run->tries = (unsigned)sim_size(30);
    run->at_once = (unsigned)sim_size(run->tries);
    prog_enter(cl);
    people_go_on(side);
    prog_leave();
    prog_run(cl);
    return 0;
}

static void run(void)
{
    struct chat *run = calloc(1, sizeof *run);
    prog_begin();
    run->check = check_new(sim_seed());
    run->patient = sim_chance(1, 2);
    prog_url(run->url, sizeof run->url, 1, PORT);
    sim_host *room = prog_host("room", 1, room_main, run);
    sim_host *people = prog_host("people", 2, people_main, run);
    prog_start(room, &run->ready);
    sim_host_start(people);
    sim_sleep(sim_size(20) * WEIR_S);
    sim_faults_stop();
    prog_wait(people, 3000 * WEIR_S);
    prog_end(room);
    sim_note("%llu lines said, told %llu times, %llu unheard", (unsigned long long)run->said,
             (unsigned long long)run->told, (unsigned long long)run->dropped);
    check_end(run->check);
    free(run);
}

SIM_PROGRAM(chat, .what = "a chat: every line to everybody", .run = run, .setup = check_setup);

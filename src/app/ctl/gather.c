/* Asking every loop of the process: a message to each, which collects there what was asked for and
 * comes home with it. No loop's data is touched by another thread. */
#include <weir/error.h>

#include "app/ctl/ctl.h"
#include "base/alloc.h"
#include "base/mpsc.h"

static void gather_unref(struct gather *gather)
{
    if (atomic_fetch_sub(&gather->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < gather->count; i++)
        part_end(&gather->parts[i]);
    weir__free(gather);
}

static void gather_tell(struct gather *gather)
{
    weir_json_writer out = {0};
    struct ctl_session *session = weir_conn_session(gather->conn);
    weir_timer_cancel(&gather->timer);
    gather->done = true;
    if (session != NULL) {
        session->gather = NULL;
        ctl_begin(&out);
        gather->command->tell(gather, &out);
        ctl_answer(gather->conn, &out);
        if (session->ended)
            weir_close(gather->conn);
    }
    gather_unref(gather);
}

void gather_abandon(struct gather *gather)
{
    weir_timer_cancel(&gather->timer);
    gather->done = true;
    gather_unref(gather);
}

static void time_over(weir_timer *timer, void *gather)
{
    gather_tell(gather);
}

/* On the asking loop. When that one is gone, another may have its number: then `done` is set. */
static void part_home(weir_loop *loop, struct loop_mail *mail)
{
    struct part *part = weir_container(mail, struct part, mail);
    struct gather *gather = part->gather;
    mpsc_done(&loop->posts, 0);
    if (!gather->done) {
        part->answered = true;
        if (--gather->waiting == 0)
            gather_tell(gather);
    }
    gather_unref(gather);
}

static void part_run(weir_loop *loop, struct loop_mail *mail)
{
    struct part *part = weir_container(mail, struct part, mail);
    struct gather *gather = part->gather;
    mpsc_done(&loop->posts, 0);
    gather->command->collect(loop, part);
    weir_loop *home = loop_pin(gather->home_id);
    if (home == NULL) {
        gather_unref(gather);
        return;
    }
    uint32_t home_id = gather->home_id; /* behind the send the gather may be gone */
    mail->run = part_home;
    loop_mail_send(home, mail, 0, true); /* reserved: an answer is never refused */
    loop_unpin(home_id);
}

static void part_ask(struct gather *gather, struct part *part)
{
    weir_loop *loop = loop_pin(part->loop_id);
    if (loop == NULL)
        return;
    if (loop == loop_current()) {
        part->asked = part->answered = true;
        gather->command->collect(loop, part);
    } else {
        part->mail.run = part_run;
        atomic_fetch_add(&gather->refs, 1);
        part->asked = loop_mail_send(loop, &part->mail, 0, false) == 0;
        if (part->asked)
            gather->waiting++;
        else
            atomic_fetch_sub(&gather->refs, 1); /* never the last one: ours is left */
    }
    loop_unpin(part->loop_id);
}

static unsigned loops_count(uint32_t *ids)
{
    unsigned count = 0;
    for (uint32_t id = 1; id <= LOOP_ID_MAX; id++) {
        if (loop_pin(id) == NULL)
            continue;
        loop_unpin(id);
        ids[count++] = id;
    }
    return count;
}

int gather_begin(weir_conn conn, const struct ctl_command *command, unsigned limit)
{
    uint32_t ids[LOOP_ID_MAX];
    unsigned count = loops_count(ids);
    struct gather *gather = weir__zalloc(sizeof *gather + count * sizeof gather->parts[0]);
    if (gather == NULL)
        return WEIR_ENOMEM;
    *gather = (struct gather){.command = command,
                              .conn = conn,
                              .home_id = weir_loop_id(loop_current()),
                              .limit = limit,
                              .refs = 1,
                              .count = count};
    ((struct ctl_session *)weir_conn_session(conn))->gather = gather;
    for (unsigned i = 0; i < count; i++) {
        gather->parts[i].gather = gather;
        gather->parts[i].loop_id = ids[i];
    }
    for (unsigned i = 0; i < count; i++)
        part_ask(gather, &gather->parts[i]);
    if (gather->waiting == 0)
        gather_tell(gather);
    else
        weir_timer_start(&gather->timer, weir_after(CTL_ANSWER_MS * WEIR_MS), time_over, gather);
    return 0;
}

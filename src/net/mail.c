/* Sending to a handle from another thread (K1): the bytes travel as a copy on one node, which then
 * carries the answer home. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/conn.h"

struct mail {
    struct loop_mail mail;
    weir_conn conn;
    weir_mail_fn *done;
    void *arg;
    uint32_t home; /* the sender's loop; 0: it has none */
    int error;
    size_t size;
    uint8_t data[];
};

static void mail_home(weir_loop *loop, struct loop_mail *node)
{
    struct mail *mail = weir_container(node, struct mail, mail);
    mpsc_done(&loop->posts, 0);
    mail->done(mail->conn, mail->error, mail->arg);
    weir__free(mail);
}

static void mail_arrived(weir_loop *loop, struct loop_mail *node)
{
    struct mail *mail = weir_container(node, struct mail, mail);
    mpsc_done(&loop->posts, mail->size);
    mail->error = weir_send(mail->conn, weir_bytes(mail->data, mail->size));
    if (mail->error < 0 && loop->net != NULL)
        loop->net->counters.mails_dropped++;
    if (mail->error > 0)
        mail->error = 0;
    uint32_t home_id = mail->home; /* once sent home it may be read and freed there at any time */
    weir_loop *home = mail->done != NULL ? loop_pin(home_id) : NULL;
    if (home == NULL) {
        weir__free(mail);
        return;
    }
    mail->mail.run = mail_home;
    loop_mail_send(home, &mail->mail, 0, true); /* reserved: the answer is never refused */
    loop_unpin(home_id);
}

int weir_mail(weir_conn conn, const void *data, size_t size, weir_mail_fn *done, void *arg)
{
    uint32_t id = (uint32_t)(conn.id >> 54);
    if (data == NULL || size == 0)
        return WEIR_EINVALID;
    if (size > LIMIT_HARD_CAP)
        return WEIR_ETOOBIG;
    struct mail *mail = weir__alloc(sizeof *mail + size);
    if (mail == NULL)
        return WEIR_ENOMEM;
    *mail = (struct mail){
        .mail = {.run = mail_arrived}, .conn = conn, .done = done, .arg = arg, .size = size};
    mail->home = loop_current() != NULL ? loop_current()->id : 0;
    memcpy(mail->data, data, size);
    weir_loop *loop = loop_pin(id);
    if (loop != NULL && loop_is_orphan(loop)) {
        loop_unpin(id);
        weir__free(mail);
        return -EOWNERDEAD;
    }
    int result = loop != NULL ? loop_mail_send(loop, &mail->mail, size, false) : WEIR_EGONE;
    if (loop != NULL)
        loop_unpin(id);
    if (result < 0)
        weir__free(mail);
    return result;
}

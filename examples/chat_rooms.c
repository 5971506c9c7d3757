/* Chat with rooms and nicknames, straight-line: for each person a coroutine that reads, and one
 * that writes what has come through a bounded channel. Who does not read is put out.
 *
 *     ./chat_rooms [URL]           default tcp://127.0.0.1:7003
 *     nc 127.0.0.1 7003            the first line is the name; /join ROOM goes to one
 */
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

enum { NAME_BYTES = 17, LINE_BYTES = 512, SAID_BYTES = 600, UNREAD_MAX = 32, PEOPLE_MAX = 1000 };

static struct person {
    char name[NAME_BYTES], room[NAME_BYTES];
    weir_chan *unread; /* of SAID_BYTES each */
    weir_conn conn;
    weir_scope scope;
    struct person *next;
} * people; /* one loop, so plain static state is right */

static void tell(const struct person *from, const char *between, const char *what)
{
    char said[SAID_BYTES];
    snprintf(said, sizeof said, "%s%s%s\n", from->name, between, what);
    for (struct person *p = people; p != NULL; p = p->next)
        if (strcmp(p->room, from->room) == 0 && weir_chan_send(p->unread, said, 0) < 0)
            weir_scope_cancel(&p->scope); /* it is full: one who does not read harms nobody else */
}

/* Receives a line of less than `size` bytes, as text that a terminal may show. */
static bool hear(weir_conn c, char *line, size_t size, weir_time deadline)
{
    weir_view in;
    if (weir_recv_frame(c, &in, deadline) != 1 || in.size >= size)
        return false;
    snprintf(line, size, "%.*s", (int)in.size, (const char *)in.data);
    for (char *at = line; *at != '\0'; at++)
        *at = (unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at;
    return true;
}

static int write_unread(void *arg)
{
    struct person *me = arg;
    char said[SAID_BYTES];
    while (weir_chan_recv(me->unread, said, WEIR_NEVER) == 1)
        if (weir_send_all(me->conn, weir_str(said), weir_after(10 * WEIR_S)) < 0)
            return WEIR_EGONE; /* which ends the reader's wait too */
    return 0;
}

static void take_part(struct person *me)
{
    char line[LINE_BYTES];
    tell(me, " is here", "");
    while (hear(me->conn, line, LINE_BYTES, weir_after(600 * WEIR_S))) {
        bool moves = strncmp(line, "/join ", 6) == 0 && strlen(line + 6) < NAME_BYTES;
        tell(me, moves ? " goes to " : ": ", moves ? line + 6 : line);
        if (moves)
            tell(me, " is now in ", strcpy(me->room, line + 6));
    }
    tell(me, " is gone", "");
}

static void serve(weir_conn c, void *session)
{
    struct person *me = session, **at;
    if (!hear(c, me->name, NAME_BYTES, weir_after(30 * WEIR_S)))
        return;
    for (at = &people; *at != NULL; at = &(*at)->next)
        if (strcmp((*at)->name, me->name) == 0)
            return; /* the name is taken */
    if (weir_chan_new(&me->unread, SAID_BYTES, UNREAD_MAX) < 0)
        return;
    me->conn = c;
    *at = me; /* the last in the list */
    weir_scope_open(&me->scope, NULL);
    if (weir_scope_spawn(&me->scope, write_unread, me) == 0)
        take_part(me);
    for (at = &people; *at != me;)
        at = &(*at)->next;
    *at = me->next;
    weir_chan_close(me->unread); /* what is left is written still */
    if (weir_scope_leave(&me->scope, weir_after(5 * WEIR_S)) < 0)
        weir_abort(c);
    weir_chan_free(me->unread);
}

int main(int argc, char **argv)
{
    weir_service chat = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7003", .on_conn = serve};
    chat.conn_size = sizeof(struct person);
    chat.frame = weir_frame_line(LINE_BYTES);
    chat.conns_max = PEOPLE_MAX;
    chat.idle_ms = WEIR_OFF; /* who says nothing may listen */
    return weir_run(&chat, 1, NULL) < 0;
}

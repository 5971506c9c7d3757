/* Chat: every line goes to everybody else. One loop, so plain static state is right.
 *
 *     ./chat [URL]                 default tcp://127.0.0.1:7003
 *     nc 127.0.0.1 7003            in several terminals
 */
#include <stdio.h>

#include <weir/weir.h>

enum { PEOPLE_MAX = 1024 };

static weir_conn people[PEOPLE_MAX];
static unsigned count, visitors;

struct person {
    unsigned number;
};

static void on_open(weir_conn c, void *session)
{
    struct person *person = session;
    person->number = ++visitors;
    if (count == PEOPLE_MAX) {
        weir_close(c);
        return;
    }
    people[count++] = c;
}

static void on_line(weir_conn c, weir_view line, void *session)
{
    const struct person *person = session;
    char name[32];
    int size = snprintf(name, sizeof name, "%u: ", person->number);
    weir_view said[] = {weir_bytes(name, (size_t)size), line, weir_static("\n", 1)};
    for (unsigned i = 0; i < count; i++) {
        /* One who does not read is closed by its own output limit, and harms nobody else. */
        if (!weir_conn_is(people[i], c) && weir_sendv(people[i], said, 3) < 0)
            continue;
    }
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    for (unsigned i = 0; i < count; i++) {
        if (weir_conn_is(people[i], c)) {
            people[i] = people[--count];
            return;
        }
    }
}

int main(int argc, char **argv)
{
    weir_service chat = {
        .listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7003",
        .conn_size = sizeof(struct person),
        .frame = {.kind = WEIR_FRAME_LINE, .max = 1024},
        .idle_ms = WEIR_OFF,
        .first_byte_ms = WEIR_OFF,
        .on_open = on_open,
        .on_frame = on_line,
        .on_close = on_close,
    };
    return weir_run(&chat, 1, NULL) < 0;
}

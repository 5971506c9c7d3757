/* What a load notes of its connections' beginnings: how long connecting took, and where there is
 * TLS how long the handshake did, and what it settled. */
#include "app/load/load.h"

#include <string.h>

static bool is_same(const weir_load_secured *a, const weir_load_secured *b)
{
    return a->version == b->version && strcmp(a->cipher, b->cipher) == 0 &&
           strcmp(a->group, b->group) == 0 && strcmp(a->alpn, b->alpn) == 0;
}

/* Adds to the row of what was settled. A load meets few kinds: beyond them only the sum is kept. */
static void add_row(weir_load_secured_row *rows, unsigned *count, const weir_load_secured *what,
                    uint64_t times, uint64_t resumed)
{
    unsigned i = 0;
    while (i < *count && !is_same(&rows[i].what, what))
        i++;
    if (i == *count && i < WEIR_LOAD_SECURED_ROWS)
        rows[(*count)++] = (weir_load_secured_row){.what = *what};
    if (i == WEIR_LOAD_SECURED_ROWS)
        i--;
    rows[i].count += times;
    rows[i].resumed += resumed;
}

void load_note_opened(struct load_conn *conn, weir_conn handle, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    const weir_load_options *options = &loop->load->options;
    weir_load_secured what = {0};
    uint64_t took_ns = now_ns - conn->connect_ns;
    if (conn->group->secure && options->tls_look != NULL && options->tls_look(handle, &what) == 0) {
        uint64_t shaken_ns = what.handshake_ns < took_ns ? what.handshake_ns : took_ns;
        took_ns -= shaken_ns;
        histogram_add(&loop->now->handshake, shaken_ns);
        if (what.resumed)
            loop->counts.resumed++;
        else
            loop->counts.handshakes++;
        add_row(loop->secured, &loop->secured_count, &what, 1, what.resumed);
    }
    histogram_add(&loop->now->connect, took_ns);
}

void load_secured_sum(const struct load_loop *loop, weir_load_result *told)
{
    for (unsigned i = 0; i < loop->secured_count; i++)
        add_row(told->secured, &told->secured_rows, &loop->secured[i].what, loop->secured[i].count,
                loop->secured[i].resumed);
}

enum load_error load_handshake_error(weir_end end)
{
    if (end.why == WEIR_WHY_DEADLINE)
        return end.deadline == WEIR_DEADLINE_FIRST_BYTE ? LOAD_ERROR_handshake_timeout
                                                        : LOAD_ERROR_connect_timeout;
    return end.error == WEIR_ECERT                               ? LOAD_ERROR_certificate
           : end.error == WEIR_ETLS || end.error == WEIR_ETOOBIG ? LOAD_ERROR_handshake
                                                                 : LOAD_ERROR_none;
}

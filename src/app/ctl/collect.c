/* What each loop tells of itself; runs there. */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/http.h>

#include "app/ctl/ctl.h"
#include "base/alloc.h"
#include "net/conn.h"

enum { HANDLES = 128 };

void collect_stats(weir_loop *loop, struct part *part)
{
    weir_loop_stats_get(loop, &part->stats);
    weir_http_stats_get(loop, &part->http);
    part->backend = weir_loop_backend(loop);
    part->thread = (int)syscall(SYS_gettid);
}

static char *peer_text(weir_conn conn)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    weir_address peer;
    if (weir_conn_peer(conn, &peer) < 0 || weir_address_format(&peer, text, sizeof text) < 0)
        return NULL;
    size_t size = strlen(text) + 1;
    char *copy = weir__alloc(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

static void row_fill(struct ctl_row *row, weir_loop *loop, struct conn *c)
{
    uint32_t active_ms = (int32_t)(c->read_ms - c->write_ms) > 0 ? c->read_ms : c->write_ms;
    *row = (struct ctl_row){.conn = conn_handle(loop, c), .listen = c->service->config.listen};
    row->state = weir_conn_state(row->conn);
    row->age_ms = loop->now_ms - c->opened_ms;
    row->idle_ms = loop->now_ms - active_ms;
    weir_conn_stats_get(row->conn, &row->stats);
    row->peer = peer_text(row->conn);
}

static bool room_make(struct part *part)
{
    if (part->row_count < part->row_room)
        return true;
    unsigned room = part->row_room != 0 ? part->row_room * 2 : HANDLES;
    struct ctl_row *grown = weir__realloc(part->rows, room * sizeof *grown);
    if (grown == NULL)
        return false;
    part->rows = grown;
    part->row_room = room;
    return true;
}

void collect_conns(weir_loop *loop, struct part *part)
{
    weir_conn handles[HANDLES], after = {0};
    unsigned count = HANDLES;
    collect_stats(loop, part);
    weir_loop *former = loop_enter(loop); /* it runs between handlers here, or in one */
    while (count == HANDLES) {
        count = weir_conn_list(after, handles, HANDLES);
        for (unsigned i = 0; i < count; i++) {
            struct conn *c;
            after = handles[i];
            if (conn_get(handles[i], &loop, &c) < 0)
                continue;
            part->more = part->row_count == part->gather->limit || !room_make(part);
            if (part->more) {
                count = 0;
                break;
            }
            row_fill(&part->rows[part->row_count++], loop, c);
        }
    }
    loop_enter(former);
}

void part_end(struct part *part)
{
    for (unsigned i = 0; i < part->row_count; i++)
        weir__free(part->rows[i].peer);
    weir__free(part->rows);
}

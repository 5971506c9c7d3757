/* Sends of every kind, and the account of what was lent or asked for meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance/harness_sends.h"

const char *const kind_names[KINDS] = {"copied",   "static",    "lent",       "gathered",
                                       "retained", "file kept", "file owned", "pulled"};
const bool kind_counted[KINDS] = {[COPY] = true, [VECTOR] = true, [RETAINED] = true};

uint8_t *text;
int text_file;
struct item items[ITEMS];
unsigned item_count;
uint64_t lent_until;

void sends_begin(void)
{
    text = malloc(TEXT);
    assert_non_null(text);
    pattern_fill(text, 0, TEXT);
    text_file = memfd_create("text", MFD_CLOEXEC);
    assert_true(text_file >= 0);
    assert_int_equal(write(text_file, text, TEXT), TEXT);
    item_count = 0;
    lent_until = 0;
}

static void tell(struct item *item)
{
    struct world *w = item->rec->side->world;
    if (w->in_verb != 0)
        world_broke(w, "told of a %s send inside a verb (K3)", kind_names[item->kind]);
    if (item->told++ != 0)
        world_broke(w, "told twice of a %s send (K4)", kind_names[item->kind]);
    if (item->then != NULL)
        item->then(item->rec);
}

void item_released(const void *data, size_t size, void *arg)
{
    struct item *item = arg;
    struct world *w = item->rec->side->world;
    weir_conn_stats stats;
    if (data != text + item->from || size != item->size)
        world_broke(w, "other memory came back than was lent");
    if (item->queued && weir_conn_stats_get(item->rec->conn, &stats) == 0 &&
        item->rec->closes == 0) {
        if (item->from < lent_until)
            world_broke(w, "lent memory came back out of order");
        lent_until = item->from + item->size;
        /* A filter has made something else of it by then. */
        if (item->rec->side->service.filters == NULL && item->rec->side->service.tls == NULL &&
            weir_conn_alive(item->rec->conn) && stats.sent_bytes < lent_until)
            world_broke(w, "lent memory came back before it was sent");
    }
    tell(item);
}

static ssize_t pulled(weir_conn conn, void *data, size_t size, void *arg)
{
    struct item *item = arg;
    if (item->told != 0)
        world_broke(item->rec->side->world, "a source was asked after its end");
    if (data == NULL) {
        tell(item);
        return 0;
    }
    size_t part = item->size - item->pulled < size ? item->size - item->pulled : size;
    pattern_fill(data, item->from + item->pulled, part);
    item->pulled += part;
    return (ssize_t)part;
}

static int send_vector(struct rec *r, const uint8_t *at, size_t size)
{
    weir_view views[5];
    size_t cut = size / 4;
    for (int i = 0; i < 4; i++)
        views[i] = weir_bytes(at + (size_t)i * cut, i < 3 ? cut : size - 3 * cut);
    views[4] = weir_bytes(at, 0); /* an empty one is fine */
    return weir_sendv(r->conn, views, 5);
}

static int send_retained(struct rec *r, const uint8_t *at, size_t size)
{
    weir_view kept = weir_retain(weir_bytes(at, size));
    int result = weir_send(r->conn, kept);
    if (kept.size != 0)
        memset((void *)(uintptr_t)kept.data, 0, kept.size);
    weir_release(kept);
    return result;
}

int send_kind(struct rec *r, enum send_kind kind, size_t size)
{
    struct item *item = &items[item_count++ % ITEMS];
    const uint8_t *at = text + r->sent;
    int result = 0;
    if (r->sent + size > TEXT) {
        world_broke(r->side->world, "the test sends more than it has");
        return WEIR_EFULL;
    }
    *item = (struct item){.rec = r, .kind = kind, .from = r->sent, .size = size, .queued = true};
    h_begin(r->side->world);
    switch (kind) {
    case COPY: {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, at, size);
        result = weir_send(r->conn, weir_bytes(copy, size));
        memset(copy, 0, size);
        free(copy);
        break;
    }
    case STATIC:
        result = weir_send(r->conn, weir_static(at, size));
        break;
    case OWN:
        result = weir_send(r->conn, weir_own(at, size, item_released, item));
        break;
    case VECTOR:
        result = send_vector(r, at, size);
        break;
    case RETAINED:
        result = send_retained(r, at, size);
        break;
    case FILE_KEPT:
        result = weir_send_file(r->conn, text_file, (int64_t)r->sent, size, false);
        break;
    case FILE_OWNED: /* that they are closed is seen by the descriptors at the end */
        result = weir_send_file(r->conn, fcntl(text_file, F_DUPFD_CLOEXEC, 0), (int64_t)r->sent,
                                size, true);
        break;
    default:
        result = weir_send_pull(r->conn, pulled, item);
        break;
    }
    h_end(r->side->world, 0);
    item->queued = result >= 0;
    if (result >= 0)
        r->sent += size;
    return result;
}

int send_kind_now(struct rec *r, enum send_kind kind, size_t size)
{
    verb_begin(r->side->world);
    return verb_end(r->side->world, send_kind(r, kind, size));
}

void must_send(struct rec *r, enum send_kind kind, size_t size)
{
    int result = send_kind(r, kind, size);
    if (result < 0)
        world_broke(r->side->world, "a %s send of %zu bytes was refused: %s", kind_names[kind],
                    size, weir_error_name(result));
}

void sends_finish(struct world *w)
{
    world_turn(w);
    world_turn(w);
    /* The loop's end gives everything back: what was refused, or of a connection that is gone, came
     * back before. */
    for (unsigned i = 0; i < item_count && i < ITEMS; i++)
        if (items[i].kind == OWN && (!items[i].queued || items[i].rec->closes != 0) &&
            items[i].told != 1)
            fail_msg("lent memory %u was kept until the loop's end", i);
    world_end(w);
    assert_true(item_count <= ITEMS);
    for (unsigned i = 0; i < item_count; i++) {
        struct item *item = &items[i];
        int wanted = item->kind == OWN || (item->kind == PULL && item->queued);
        if (item->told != wanted)
            fail_msg("%s send %u of %zu bytes: told %d times, not %d", kind_names[item->kind], i,
                     item->size, item->told, wanted);
    }
    free(text);
    close(text_file);
}

void send_all_kinds(struct rec *r)
{
    for (int kind = 0; kind < KINDS; kind++)
        must_send(r, (enum send_kind)kind, 30000);
}

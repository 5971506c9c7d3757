/* Receive blocks. The kernel takes them from a ring of buffers in order; with incremental use it
 * fills one block with receives of many sockets, slice after slice, and hands it back when full. */
#include "io/uring.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/assert.h"

enum {
    INCREMENTAL_SIZE = 1024 * 1024,
    INCREMENTAL_COUNT = 2,
    WHOLE_SIZE = 16 * 1024,
    WHOLE_COUNT = 256,
    LEAST_SIZE = 16 * 1024, /* of an incremental block, however many loops share */
    LEAST_COUNT = 8,        /* of whole ones */
    MOST_BLOCKS = 32768,
    COLOUR = 128, /* two cache lines: the heads of whole blocks spread over all cache sets */
};

/* Lends a block to the kernel. */
static void lend(struct uring_buffers *buffers, unsigned index)
{
    struct io_uring_buf *entry = &buffers->entry[buffers->tail & buffers->mask];

    buffers->block[index] = (struct uring_block){0};
    entry->addr = (uintptr_t)(buffers->memory + (size_t)index * buffers->stride);
    entry->len = buffers->size;
    entry->bid = (uint16_t)index;
    buffers->tail++;
    buffers->lent++;
    /* The tail of the ring lies in the spare field of its first entry. */
    __atomic_store_n(&buffers->entry[0].resv, buffers->tail, __ATOMIC_RELEASE);
}

void uring_block_return(struct uring_buffers *buffers, unsigned block)
{
    lend(buffers, block);
}

void uring_hold(struct io *io, unsigned block)
{
    struct uring_block *held = &uring_of(io)->buffers.block[block];

    WEIR_ASSERT(block < uring_of(io)->buffers.count && held->refs > 0);
    held->refs++;
}

void uring_release(struct io *io, unsigned block)
{
    struct uring_buffers *buffers = &uring_of(io)->buffers;
    struct uring_block *held = &buffers->block[block];

    WEIR_ASSERT(block < buffers->count && held->refs > 0);
    if (--held->refs == 0 && held->mine)
        lend(buffers, block);
}

bool uring_blocks_free(struct io *io)
{
    return uring_of(io)->buffers.lent > 0;
}

static uint32_t chosen(uint32_t switched, uint32_t configured, uint32_t small, uint32_t usual)
{
    if (switched == IO_SIZE_SMALL)
        return small;
    return switched ? switched : configured ? configured : usual;
}

static int choose(struct uring *ring, const struct uring_facts *facts, const char **why)
{
    struct uring_buffers *buffers = &ring->buffers;
    const struct io_features *features = &ring->features;
    /* What serves a CPU best is shared out among its loops: of many only few are busy at a time,
     * but in the end each would have touched all of its own. */
    uint32_t size = uring_share(INCREMENTAL_SIZE, ring->config.sharers, LEAST_SIZE), count;

    buffers->incremental =
        !facts->incremental && features->on[IO_SWITCH_incremental] && !ring->config.no_incremental;
    buffers->size = chosen(features->size[IO_SIZE_block], ring->config.block_size, 4096,
                           buffers->incremental ? size : WHOLE_SIZE);
    count =
        chosen(features->size[IO_SIZE_blocks], ring->config.blocks, 2,
               buffers->incremental ? INCREMENTAL_COUNT
                                    : uring_share(WHOLE_COUNT, ring->config.sharers, LEAST_COUNT));
    if (count > MOST_BLOCKS || buffers->size < 256 || buffers->size > 1u << 30) {
        *why = "receive blocks: at most 32768, each from 256 bytes to 1 GiB";
        return -EINVAL;
    }
    buffers->count = (uint16_t)count;
    buffers->stride = buffers->incremental ? buffers->size : buffers->size + COLOUR;
    ring->event_max = buffers->size < URING_EVENT_MAX ? buffers->size : URING_EVENT_MAX;
    if (buffers->size > ring->event_max && ring->multishot_recv && !facts->recv_cap &&
        features->on[IO_SWITCH_recv_cap])
        buffers->cap = ring->event_max;
    if (!ring->multishot_recv)
        buffers->cap = ring->event_max; /* a one-shot receive has always had a length */
    ring->io.block_size = ring->event_max;
    ring->io.blocks = count;
    return 0;
}

static int allocate(struct uring_buffers *buffers)
{
    unsigned entries = 1;

    while (entries < buffers->count)
        entries *= 2;
    buffers->mask = (uint16_t)(entries - 1);
    buffers->ring_bytes = entries * sizeof(struct io_uring_buf);
    buffers->memory_bytes = (size_t)buffers->count * buffers->stride;
    buffers->block = weir__zalloc(buffers->count * sizeof(*buffers->block));
    buffers->memory = weir__pages_alloc(buffers->memory_bytes);
    buffers->entry = weir__pages_alloc(buffers->ring_bytes);
    if (!buffers->block || !buffers->memory || !buffers->entry)
        return -ENOMEM;
    /* The kernel has these pages pinned; a child must not make copies of them. */
    if (madvise(buffers->entry, buffers->ring_bytes, MADV_DONTFORK) < 0)
        return -errno;
    return 0;
}

int uring_buffers_open(struct uring *ring, const struct uring_facts *facts, const char **why)
{
    struct uring_buffers *buffers = &ring->buffers;
    struct uring_pbuf_reg reg = {.bgid = URING_GROUP};
    int result = choose(ring, facts, why);

    if (result < 0)
        return result;
    result = allocate(buffers);
    if (result < 0) {
        *why = "no memory for the receive blocks: fewer or smaller ones, or a higher limit";
        return result;
    }
    reg.ring_addr = (uintptr_t)buffers->entry;
    reg.ring_entries = buffers->mask + 1u;
    reg.flags = buffers->incremental ? URING_PBUF_RING_INC : 0;
    result = io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    if (result < 0) {
        *why = result == -EINVAL ? "no buffer rings: the kernel is older than 5.19, weir needs 6.1"
                                 : "the kernel refuses the receive buffer ring: raise memlock";
        return result;
    }
    for (unsigned i = 0; i < buffers->count; i++)
        lend(buffers, i);
    return 0;
}

/* In a forked child the entries are not mapped (MADV_DONTFORK), and something else may be where
 * they were. */
void uring_buffers_close(struct uring *ring)
{
    struct uring_buffers *buffers = &ring->buffers;

    if (buffers->entry && !ring->forked)
        weir__pages_free(buffers->entry, buffers->ring_bytes);
    if (buffers->memory)
        weir__pages_free(buffers->memory, buffers->memory_bytes);
    weir__free(buffers->block);
    *buffers = (struct uring_buffers){0};
}

/* A node lies on the level of the highest bit in which its due time differs from the wheel's time
 * (six bits a level), in the slot of its own bits there. From this rule follows all the rest:
 *
 * - What lies on a level is due before all that lies on the levels above it, and after the level's
 *   current slot; so the first occupied slot of the lowest occupied level holds the earliest nodes,
 *   and time can jump straight to it, over any distance.
 * - Time may move up to the beginning of that slot without touching a node. At that point a slot of
 *   level 0 is due; a slot of a higher level is spread over the levels below (cascaded).
 * - A node is cascaded at most once a level.
 *
 * The highest level uses 4 slots only (2 bits are left of 32) and is circular: a node is taken for
 * one in the future when it lies less than 3 * 2^30 ms ahead, which is at most three slots away, so
 * never in the current one. The other quarter of the circle is the past. */
#include "base/wheel.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"

enum { TOP = WHEEL_LEVELS - 1, TOP_SLOTS = 1 << (32 - WHEEL_BITS * TOP) };

#define AHEAD_MAX_MS (3u << 30) /* from here on a distance means the past */

_Static_assert(sizeof(struct wheel_node) == 24, "a node is part of every connection's record");
_Static_assert(TOP_SLOTS == 4, "AHEAD_MAX_MS relies on it");

static inline uint32_t index_at(uint32_t time_ms, uint32_t level)
{
    return time_ms >> (WHEEL_BITS * level) & (WHEEL_SLOTS - 1);
}

void wheel_init(struct wheel *wheel, uint32_t now_ms)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->now_ms = now_ms;
    wheel->expired_tail = &wheel->expired;
}

static inline void put_in_slot(struct wheel *wheel, struct wheel_node *node, uint32_t level,
                               uint32_t index)
{
    struct wheel_node **slot = &wheel->slot[level][index];
    node->next = *slot;
    if (node->next != NULL)
        node->next->link = &node->next;
    *slot = node;
    node->link = slot;
    wheel->occupied[level] |= 1ull << index;
}

/* Puts a node where it belongs. One that is due goes to the current slot of level 0, which the next
 * step of wheel_advance empties before it moves on. */
static inline void place(struct wheel *wheel, struct wheel_node *node)
{
    uint32_t due_ms = node->due_ms;
    if (due_ms - wheel->now_ms >= AHEAD_MAX_MS)
        due_ms = wheel->now_ms;
    uint32_t level = (31u - (uint32_t)__builtin_clz((due_ms ^ wheel->now_ms) | 1u)) / WHEEL_BITS;
    put_in_slot(wheel, node, level, index_at(due_ms, level));
}

static inline void unlink_node(struct wheel *wheel, struct wheel_node *node)
{
    struct wheel_node **link = node->link;
    *link = node->next;
    if (node->next != NULL) {
        node->next->link = link;
        return;
    }
    if (wheel->expired_tail == &node->next)
        wheel->expired_tail = link;
    /* The last one of its list: if the list was a slot, the slot is empty now. */
    uintptr_t offset = (uintptr_t)link - (uintptr_t)&wheel->slot[0][0];
    if (offset < sizeof(wheel->slot)) {
        size_t number = offset / sizeof(wheel->slot[0][0]);
        wheel->occupied[number / WHEEL_SLOTS] &= ~(1ull << number % WHEEL_SLOTS);
    }
}

void wheel_start(struct wheel *wheel, struct wheel_node *node, uint32_t due_ms)
{
    WEIR_DEBUG_ASSERT(!wheel_started(node));
    node->due_ms = due_ms;
    place(wheel, node);
    wheel->count++;
}

void wheel_cancel(struct wheel *wheel, struct wheel_node *node)
{
    if (node->link == NULL)
        return;
    unlink_node(wheel, node);
    node->next = NULL;
    node->link = NULL;
    wheel->count--;
}

/* The first occupied slot of the lowest occupied level; *level is WHEEL_LEVELS when there is none.
 * Returns how far away its beginning is, in milliseconds. */
static uint32_t first_slot(const struct wheel *wheel, uint32_t *level, uint32_t *index)
{
    uint32_t now_ms = wheel->now_ms;
    for (uint32_t l = 0; l < TOP; l++) {
        if (wheel->occupied[l] == 0)
            continue;
        *level = l;
        *index = (uint32_t)__builtin_ctzll(wheel->occupied[l]);
        uint32_t slot_ms = 1u << (WHEEL_BITS * l), round_ms = slot_ms << WHEEL_BITS;
        uint32_t start_ms = (now_ms & ~(round_ms - 1)) | *index * slot_ms;
        return start_ms - now_ms;
    }
    if (wheel->occupied[TOP] == 0) {
        *level = WHEEL_LEVELS;
        return UINT32_MAX;
    }
    uint32_t current = index_at(now_ms, TOP);
    uint64_t twice = wheel->occupied[TOP] | wheel->occupied[TOP] << TOP_SLOTS;
    *level = TOP;
    *index = (current + (uint32_t)__builtin_ctzll(twice >> current)) & (TOP_SLOTS - 1);
    return (*index << (WHEEL_BITS * TOP)) - now_ms;
}

static void append_expired(struct wheel *wheel, struct wheel_node *node)
{
    node->next = NULL;
    node->link = wheel->expired_tail;
    *wheel->expired_tail = node;
    wheel->expired_tail = &node->next;
}

/* Moves nodes out of a slot whose time has come: those that are due to the list of expired ones,
 * the others to lower levels. Returns what is left of the budget; the slot is empty unless it is 0.
 */
static uint32_t empty_slot(struct wheel *wheel, uint32_t level, uint32_t index, uint32_t budget)
{
    struct wheel_node **slot = &wheel->slot[level][index];
    struct wheel_node *node;
    while (budget > 0 && (node = *slot) != NULL) {
        *slot = node->next;
        if (node->next != NULL)
            node->next->link = slot;
        /* On level 0 all are due, also those that were started when they already were past. */
        if (level == 0 || node->due_ms == wheel->now_ms)
            append_expired(wheel, node);
        else
            place(wheel, node);
        budget--;
    }
    if (*slot == NULL)
        wheel->occupied[level] &= ~(1ull << index);
    return budget;
}

/* Collects and cascades up to now_ms as far as the budget goes; true when that was not far enough.
 */
static bool advance_within(struct wheel *wheel, uint32_t now_ms, uint32_t budget)
{
    if (wheel->cascading != 0) {
        uint32_t level = wheel->cascading;
        uint32_t index = index_at(wheel->now_ms, level);
        budget = empty_slot(wheel, level, index, budget);
        if (wheel->slot[level][index] != NULL)
            return true;
        wheel->cascading = 0;
    }
    for (;;) {
        uint32_t level, index;
        uint32_t ahead_ms = first_slot(wheel, &level, &index);
        if (level == WHEEL_LEVELS || ahead_ms > now_ms - wheel->now_ms) {
            wheel->now_ms = now_ms;
            return false;
        }
        wheel->now_ms += ahead_ms;
        budget = empty_slot(wheel, level, index, budget);
        if (wheel->slot[level][index] != NULL) {
            /* The rest of this slot may be due before what was already spread from it: the next
             * call begins with it. (Level 0 needs no mark: its current slot is always first.) */
            wheel->cascading = (uint16_t)level;
            return true;
        }
    }
}

bool wheel_advance(struct wheel *wheel, uint32_t now_ms, uint32_t budget)
{
    if (now_ms - wheel->now_ms >= AHEAD_MAX_MS)
        now_ms = wheel->now_ms; /* an older time than the last one: time stands still */
    wheel->behind = advance_within(wheel, now_ms, budget);
    return wheel->behind;
}

struct wheel_node *wheel_expire(struct wheel *wheel)
{
    struct wheel_node *node = wheel->expired;
    if (node == NULL)
        return NULL;
    wheel_cancel(wheel, node);
    return node;
}

uint32_t wheel_wait_ms(const struct wheel *wheel)
{
    if (wheel->expired != NULL || wheel->behind)
        return 0;
    uint32_t level, index;
    return first_slot(wheel, &level, &index);
}

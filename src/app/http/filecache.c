/* An open hash with linear probing; removal closes the gap, so that there are no tombstones and a
 * lookup stays short. Eviction is a queue with a second chance: an entry that was used since it was
 * last passed goes to the end instead. */
#include "app/http/filecache.h"

#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"

enum {
    SLOTS_MIN = 64,
    /* How many entries are passed in the search for one to evict. More would make one request pay
     * for a cache full of entries that are being sent. */
    SEARCH_MAX = 128
};

struct slot {
    uint64_t hash;
    struct filecache_entry *entry; /* NULL: free */
};

struct filecache {
    struct slot *slots;
    uint32_t mask;       /* slots - 1 */
    uint32_t held_count; /* entries with references */
    struct filecache_config config;
    struct filecache_stats stats;
    struct list files, absences; /* next to be evicted first */
    bool ended;
};

static uint64_t load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Both halves of the product, folded: every bit of each factor reaches the whole result. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The last word of a path that is not a multiple of 8 long: overlapping reads cost less than a loop
 * and never pass the end. */
static void load_tail(const char *at, size_t length, uint64_t word[2])
{
    uint32_t low, high;

    word[0] = word[1] = 0;
    if (length >= 8) {
        word[0] = load(at);
        word[1] = load(at + length - 8);
    } else if (length >= 4) {
        memcpy(&low, at, 4);
        memcpy(&high, at + length - 4, 4);
        word[0] = (uint64_t)low << 32 | high;
    } else if (length > 0) {
        word[0] = (uint64_t)(unsigned char)at[0] << 16 |
                  (uint64_t)(unsigned char)at[length / 2] << 8 | (unsigned char)at[length - 1];
    }
}

static uint64_t hash_key(const struct filecache *cache, struct http_text path, uint8_t coding)
{
    const uint64_t *seed = cache->config.seed;
    const char *at = path.at;
    size_t left = path.length;
    uint64_t state = seed[0] ^ ((uint64_t)path.length << 8 | coding) * 0x9E6C63D0876A9A47u;
    uint64_t word[2];

    for (; left > 16; at += 16, left -= 16)
        state = fold(load(at) ^ seed[1], load(at + 8) ^ state);
    load_tail(at, left, word);
    state = fold(word[0] ^ seed[1], word[1] ^ state);
    return fold(state ^ 0xB5026F5AA96619E9u, seed[1] | 1);
}

static bool is_same(const struct filecache_entry *entry, struct http_text path, uint8_t coding)
{
    return entry->key_length == path.length && entry->coding == coding &&
           memcmp(entry->key, path.at, path.length) == 0;
}

static struct filecache_entry *look_up(const struct filecache *cache, uint64_t hash,
                                       struct http_text path, uint8_t coding)
{
    uint32_t i = (uint32_t)hash & cache->mask;

    for (; cache->slots[i].entry; i = (i + 1) & cache->mask)
        if (cache->slots[i].hash == hash && is_same(cache->slots[i].entry, path, coding))
            return cache->slots[i].entry;
    return NULL;
}

static void place(struct slot *slots, uint32_t mask, struct filecache_entry *entry)
{
    uint32_t i = (uint32_t)entry->hash & mask;

    while (slots[i].entry)
        i = (i + 1) & mask;
    slots[i].hash = entry->hash;
    slots[i].entry = entry;
}

/* Takes an entry's slot away and moves up what had probed past it. */
static void remove_slot(struct filecache *cache, const struct filecache_entry *entry)
{
    uint32_t mask = cache->mask;
    uint32_t hole = (uint32_t)entry->hash & mask;
    uint32_t i;

    while (cache->slots[hole].entry != entry)
        hole = (hole + 1) & mask;
    for (i = (hole + 1) & mask; cache->slots[i].entry; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)cache->slots[i].hash & mask;
        /* It may move when its home is not between the hole and where it stands. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            cache->slots[hole] = cache->slots[i];
            hole = i;
        }
    }
    cache->slots[hole].entry = NULL;
}

static uint64_t entry_bytes(const struct filecache_entry *entry)
{
    return sizeof(*entry) + entry->key_length + entry->content_bytes;
}

static void end_if_done(struct filecache *cache)
{
    if (!cache->ended || cache->held_count > 0)
        return;
    weir__free(cache->slots);
    weir__free(cache);
}

static void free_entry(struct filecache *cache, struct filecache_entry *entry)
{
    cache->stats.bytes -= entry_bytes(entry);
    if (entry->content && cache->config.release)
        cache->config.release(entry->content, entry->content_bytes, cache->config.release_arg);
    weir__free(entry);
}

/* Nobody finds it any more; freed now, or when it is given back. */
static void detach(struct filecache *cache, struct filecache_entry *entry)
{
    if (!entry->attached)
        return;
    entry->attached = false;
    remove_slot(cache, entry);
    list_remove(&entry->link);
    if (entry->status == 200)
        cache->stats.files--;
    else
        cache->stats.absences--;
    if (entry->references == 0)
        free_entry(cache, entry);
}

struct filecache *filecache_new(const struct filecache_config *config)
{
    struct filecache *cache = weir__zalloc(sizeof(*cache));

    if (!cache)
        return NULL;
    cache->slots = weir__zalloc(SLOTS_MIN * sizeof(*cache->slots));
    if (!cache->slots) {
        weir__free(cache);
        return NULL;
    }
    cache->mask = SLOTS_MIN - 1;
    cache->config = *config;
#define XX(name, value)          \
    if (cache->config.name == 0) \
        cache->config.name = (value);
    FILECACHE_LIMITS(XX)
#undef XX
    list_init(&cache->files);
    list_init(&cache->absences);
    return cache;
}

void filecache_free(struct filecache *cache)
{
    if (!cache)
        return;
    while (!list_empty(&cache->files))
        detach(cache, weir_container(cache->files.next, struct filecache_entry, link));
    while (!list_empty(&cache->absences))
        detach(cache, weir_container(cache->absences.next, struct filecache_entry, link));
    cache->ended = true;
    end_if_done(cache);
}

static void hold(struct filecache *cache, struct filecache_entry *entry)
{
    if (entry->references++ == 0)
        cache->held_count++;
}

enum filecache_answer filecache_find(struct filecache *cache, struct http_text path, uint8_t coding,
                                     uint64_t now_ms, struct filecache_entry **found)
{
    uint64_t hash = hash_key(cache, path, coding);
    struct filecache_entry *entry = look_up(cache, hash, path, coding);

    *found = entry;
    if (!entry) {
        cache->stats.misses++;
        return FILECACHE_MISS;
    }
    if (entry->status != 200) {
        if (now_ms - entry->checked_ms < cache->config.absence_ms) {
            cache->stats.absence_hits++;
            return FILECACHE_ABSENT;
        }
        detach(cache, entry);
        *found = NULL;
        cache->stats.misses++;
        return FILECACHE_MISS;
    }
    entry->used = true;
    hold(cache, entry);
    if (now_ms - entry->checked_ms < cache->config.fresh_ms) {
        cache->stats.hits++;
        return FILECACHE_FRESH;
    }
    /* Those who come before the answer do not ask again; if it never comes, the question is put
     * once more after another interval. */
    entry->checked_ms = now_ms;
    cache->stats.stales++;
    return FILECACHE_STALE;
}

/* Evicts one entry that is not in use; what is in use would free nothing. */
static bool evict_one(struct filecache *cache)
{
    for (uint32_t i = 0; i < SEARCH_MAX && !list_empty(&cache->files); i++) {
        struct list *first = cache->files.next;
        struct filecache_entry *entry = weir_container(first, struct filecache_entry, link);
        if (entry->references == 0 && !entry->used) {
            detach(cache, entry);
            cache->stats.evictions++;
            return true;
        }
        entry->used = false;
        list_remove(first);
        list_push(&cache->files, first);
    }
    return false;
}

static bool grow(struct filecache *cache)
{
    uint32_t used = cache->stats.files + cache->stats.absences;
    uint32_t count = 2 * (cache->mask + 1);
    struct slot *slots;

    if (used < (cache->mask + 1) / 2)
        return true;
    slots = weir__zalloc(count * sizeof(*slots));
    if (!slots)
        return false;
    for (uint32_t i = 0; i <= cache->mask; i++)
        if (cache->slots[i].entry)
            place(slots, count - 1, cache->slots[i].entry);
    weir__free(cache->slots);
    cache->slots = slots;
    cache->mask = count - 1;
    return true;
}

/* Makes an entry and puts it where it is found, in the place of an older one. NULL when out of
 * memory. */
static struct filecache_entry *attach(struct filecache *cache, struct http_text path,
                                      uint8_t coding, uint64_t now_ms, uint16_t status)
{
    uint64_t hash = hash_key(cache, path, coding);
    struct filecache_entry *old = look_up(cache, hash, path, coding);
    struct filecache_entry *entry;

    if (!grow(cache) || !(entry = weir__zalloc(sizeof(*entry) + path.length)))
        return NULL;
    if (old)
        detach(cache, old);
    entry->cache = cache;
    entry->hash = hash;
    entry->checked_ms = now_ms;
    entry->key_length = (uint16_t)path.length;
    entry->coding = coding;
    entry->status = status;
    entry->attached = true;
    memcpy(entry->key, path.at, path.length);
    place(cache->slots, cache->mask, entry);
    list_push(status == 200 ? &cache->files : &cache->absences, &entry->link);
    cache->stats.bytes += entry_bytes(entry);
    return entry;
}

static int make_room(struct filecache *cache, uint64_t bytes)
{
    if (bytes > cache->config.total_bytes)
        return WEIR_ETOOBIG;
    while (cache->stats.files >= cache->config.files ||
           cache->stats.bytes + bytes > cache->config.total_bytes)
        if (!evict_one(cache))
            return WEIR_EFULL;
    return 0;
}

int filecache_add(struct filecache *cache, struct http_text path, uint8_t coding, uint64_t now_ms,
                  const struct filecache_addition *addition, struct filecache_entry **added)
{
    struct filecache_entry *entry = NULL;
    int error = 0;

    *added = NULL;
    if (path.length > FILECACHE_KEY_MAX || addition->content_bytes > cache->config.file_bytes)
        error = WEIR_ETOOBIG;
    else
        error = make_room(cache, sizeof(*entry) + path.length + addition->content_bytes);
    if (error == 0 && !(entry = attach(cache, path, coding, now_ms, 200)))
        error = WEIR_ENOMEM;
    if (error != 0) {
        cache->stats.refusals++;
        return error;
    }
    cache->stats.files++;
    cache->stats.bytes += addition->content_bytes;
    entry->content = addition->content;
    entry->content_bytes = addition->content_bytes;
    entry->mime = addition->mime;
    entry->young = addition->young;
    entry->file = addition->file;
    entry->etag_length =
        (uint32_t)weir__etag_make(addition->file.size_bytes, addition->file.mtime_ns,
                                  addition->file.inode, addition->young, entry->etag);
    hold(cache, entry);
    *added = entry;
    return 0;
}

int filecache_add_absence(struct filecache *cache, struct http_text path, uint8_t coding,
                          uint64_t now_ms, uint16_t status)
{
    int error = 0;

    if (path.length > FILECACHE_KEY_MAX)
        error = WEIR_ETOOBIG;
    else if (status == 200)
        error = WEIR_EINVALID;
    while (error == 0 && cache->stats.absences >= cache->config.absences)
        detach(cache, weir_container(cache->absences.next, struct filecache_entry, link));
    if (error == 0 && cache->stats.bytes + sizeof(struct filecache_entry) + path.length >
                          cache->config.total_bytes)
        error = WEIR_EFULL;
    if (error == 0 && !attach(cache, path, coding, now_ms, status))
        error = WEIR_ENOMEM;
    if (error != 0) {
        cache->stats.refusals++;
        return error;
    }
    cache->stats.absences++;
    return 0;
}

bool filecache_confirm(struct filecache *cache, struct filecache_entry *entry,
                       const struct filecache_file *file, uint64_t now_ms)
{
    const struct filecache_file *known = &entry->file;
    bool same = known->size_bytes == file->size_bytes && known->inode == file->inode &&
                known->device == file->device && known->mtime_ns == file->mtime_ns;

    if (same && !entry->young && entry->attached) {
        entry->checked_ms = now_ms;
        return true;
    }
    detach(cache, entry);
    return false;
}

void filecache_doubt(struct filecache *cache, struct filecache_entry *entry, uint64_t now_ms)
{
    entry->checked_ms = now_ms - cache->config.fresh_ms;
}

void filecache_drop(struct filecache *cache, struct filecache_entry *entry)
{
    detach(cache, entry);
}

void filecache_retain(struct filecache_entry *entry)
{
    entry->references++;
}

void filecache_release(struct filecache *cache, struct filecache_entry *entry)
{
    if (--entry->references > 0)
        return;
    cache->held_count--;
    if (!entry->attached)
        free_entry(cache, entry);
    end_if_done(cache);
}

void filecache_read_stats(const struct filecache *cache, struct filecache_stats *stats)
{
    *stats = cache->stats;
}

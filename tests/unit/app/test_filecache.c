#include "app_test.h"

#include <stdbool.h>

#include <weir/error.h>

#include "app/http/filecache.h"

enum { RELEASED_MAX = 4096 };

/* Contents are pointers into this array; each counts how often it came back. */
static unsigned char released[RELEASED_MAX];
static unsigned released_count;
static struct filecache *cache;
static struct scarce memory;
static uint64_t now_ms;

static void take_back(void *content, uint64_t content_bytes, void *arg)
{
    unsigned char *count = content;

    assert_ptr_equal(arg, released);
    assert_in_range(content_bytes, 0, 2u << 20);
    (*count)++;
    released_count++;
}

static struct filecache_config config_of(void)
{
    return (struct filecache_config){
        .seed = {0x0123456789abcdef, 0xfedcba9876543210},
        .release = take_back,
        .release_arg = released,
    };
}

static int set_up_with(const struct filecache_config *config)
{
    memset(released, 0, sizeof(released));
    released_count = 0;
    now_ms = 1000000;
    cache = filecache_new(config);
    return cache ? 0 : -1;
}

static int set_up(void **state)
{
    struct filecache_config config = config_of();
    return set_up_with(&config);
}

static int tear_down(void **state)
{
    filecache_free(cache);
    cache = NULL;
    for (int i = 0; i < RELEASED_MAX; i++)
        assert_in_range(released[i], 0, 1); /* nothing came back twice */
    return 0;
}

static struct filecache_addition addition_of(int content, uint64_t bytes)
{
    return (struct filecache_addition){
        .file = {.size_bytes = bytes, .inode = (uint64_t)content, .device = 1, .mtime_ns = 5},
        .content = &released[content],
        .content_bytes = bytes,
        .mime = "text/plain",
    };
}

/* Adds and gives back at once. */
static int add(const char *path, int content, uint64_t bytes)
{
    struct filecache_addition addition = addition_of(content, bytes);
    struct filecache_entry *entry;
    int error = filecache_add(cache, text_of(path), 0, now_ms, &addition, &entry);

    if (error == 0)
        filecache_release(cache, entry);
    else
        assert_null(entry);
    return error;
}

/* Looks up and gives back at once. */
static enum filecache_answer find(const char *path)
{
    struct filecache_entry *entry;
    enum filecache_answer answer = filecache_find(cache, text_of(path), 0, now_ms, &entry);

    if (answer == FILECACHE_FRESH || answer == FILECACHE_STALE)
        filecache_release(cache, entry);
    return answer;
}

static struct filecache_stats stats(void)
{
    struct filecache_stats all;
    filecache_read_stats(cache, &all);
    return all;
}

static void found_as_added(void **state)
{
    struct filecache_entry *entry, *other;
    struct filecache_addition addition = addition_of(7, 100);
    char tag[ETAG_SIZE];

    assert_int_equal(find("a"), FILECACHE_MISS);
    assert_int_equal(filecache_add(cache, T("a"), 0, now_ms, &addition, &entry), 0);
    assert_int_equal(entry->references, 1);
    assert_int_equal(filecache_find(cache, T("a"), 0, now_ms, &other), FILECACHE_FRESH);
    assert_ptr_equal(entry, other);
    assert_int_equal(entry->references, 2);
    assert_ptr_equal(entry->content, &released[7]);
    assert_int_equal(entry->content_bytes, 100);
    assert_int_equal(entry->file.inode, 7);
    assert_string_equal(entry->mime, "text/plain");
    weir__etag_make(100, 5, 7, false, tag);
    assert_string_equal(entry->etag, tag);
    assert_int_equal(entry->etag_length, strlen(tag));
    filecache_release(cache, entry);
    filecache_release(cache, other);
    /* Another coding, a longer and a shorter path are other files. */
    assert_int_equal(filecache_find(cache, T("a"), 1, now_ms, &other), FILECACHE_MISS);
    assert_null(other);
    assert_int_equal(find("ab"), FILECACHE_MISS);
    assert_int_equal(find(""), FILECACHE_MISS);
    assert_int_equal(filecache_find(cache, T("a\0"), 0, now_ms, &other), FILECACHE_MISS);
    assert_int_equal(stats().files, 1);
    assert_int_equal(stats().hits, 1);
    assert_int_equal(stats().misses, 5);
}

static void stale_is_told_once_an_interval(void **state)
{
    struct filecache_entry *entry;
    struct filecache_file file = addition_of(1, 10).file;

    assert_int_equal(add("a", 1, 10), 0);
    now_ms += 999;
    assert_int_equal(find("a"), FILECACHE_FRESH);
    now_ms += 1;
    assert_int_equal(filecache_find(cache, T("a"), 0, now_ms, &entry), FILECACHE_STALE);
    /* While the first one looks, the others go on; and ask again if it never answers. */
    assert_int_equal(find("a"), FILECACHE_FRESH);
    now_ms += 500;
    assert_int_equal(find("a"), FILECACHE_FRESH);
    assert_true(filecache_confirm(cache, entry, &file, now_ms));
    filecache_release(cache, entry);
    now_ms += 999;
    assert_int_equal(find("a"), FILECACHE_FRESH);
    now_ms += 1;
    assert_int_equal(find("a"), FILECACHE_STALE);
    now_ms += 1000;
    assert_int_equal(find("a"), FILECACHE_STALE);
    assert_int_equal(stats().stales, 3);
    /* Nobody was told anything: the next one looks, and only that one. */
    assert_int_equal(find("a"), FILECACHE_FRESH);
    now_ms += 1000;
    assert_int_equal(filecache_find(cache, T("a"), 0, now_ms, &entry), FILECACHE_STALE);
    filecache_doubt(cache, entry, now_ms);
    filecache_release(cache, entry);
    assert_int_equal(find("a"), FILECACHE_STALE);
    assert_int_equal(find("a"), FILECACHE_FRESH);
}

static void changed_file_is_noticed(void **state)
{
    struct filecache_file file = addition_of(1, 10).file;
    struct filecache_file changed[4] = {file, file, file, file};

    changed[0].size_bytes++;
    changed[1].inode++;
    changed[2].device++;
    changed[3].mtime_ns++;
    for (int i = 0; i < 4; i++) {
        struct filecache_entry *entry;
        struct filecache_addition addition = addition_of(1, 10);
        released[1] = 0;
        assert_int_equal(filecache_add(cache, T("a"), 0, now_ms, &addition, &entry), 0);
        assert_true(filecache_confirm(cache, entry, &file, now_ms));
        assert_false(filecache_confirm(cache, entry, &changed[i], now_ms));
        assert_int_equal(find("a"), FILECACHE_MISS);
        assert_int_equal(released[1], 0); /* still held */
        /* An entry that was dropped cannot come back. */
        assert_false(filecache_confirm(cache, entry, &file, now_ms));
        filecache_drop(cache, entry);
        filecache_release(cache, entry);
        assert_int_equal(released[1], 1);
    }
    assert_int_equal(stats().files, 0);
    assert_int_equal(stats().bytes, 0);
}

static void young_file_is_read_again(void **state)
{
    struct filecache_addition addition = addition_of(1, 10);
    struct filecache_entry *entry;

    addition.young = true;
    assert_int_equal(filecache_add(cache, T("a"), 0, now_ms, &addition, &entry), 0);
    assert_memory_equal(entry->etag, "W/\"", 3);
    assert_false(filecache_confirm(cache, entry, &addition.file, now_ms));
    filecache_release(cache, entry);
    assert_int_equal(find("a"), FILECACHE_MISS);
}

static void held_entry_outlives_eviction(void **state)
{
    struct filecache_addition addition = addition_of(1, 10);
    struct filecache_entry *entry, *again;

    assert_int_equal(filecache_add(cache, T("a"), 0, now_ms, &addition, &entry), 0);
    filecache_retain(entry);
    assert_int_equal(add("a", 2, 10), 0); /* takes its place */
    assert_int_equal(filecache_find(cache, T("a"), 0, now_ms, &again), FILECACHE_FRESH);
    assert_ptr_equal(again->content, &released[2]);
    filecache_release(cache, again);
    assert_int_equal(stats().files, 1);
    assert_true(stats().bytes > 2 * sizeof(*entry) + 20); /* both are counted while both live */
    filecache_release(cache, entry);
    assert_int_equal(released[1], 0);
    filecache_release(cache, entry);
    assert_int_equal(released[1], 1);
    assert_int_equal(stats().bytes, sizeof(*entry) + 1 + 10);
    assert_int_equal(released[2], 0);
    filecache_free(cache);
    assert_int_equal(released[2], 1);
    cache = NULL;
}

static void cache_ends_with_the_last_entry(void **state)
{
    struct filecache_addition addition = addition_of(1, 10);
    struct filecache_entry *a, *b;

    assert_int_equal(filecache_add(cache, T("a"), 0, now_ms, &addition, &a), 0);
    addition.content = &released[2];
    assert_int_equal(filecache_add(cache, T("b"), 0, now_ms, &addition, &b), 0);
    assert_int_equal(add("c", 3, 10), 0);
    filecache_free(cache);
    assert_int_equal(released_count, 1);
    filecache_release(cache, b);
    assert_int_equal(a->etag[0], '"'); /* still there: address sanitizer watches */
    filecache_release(cache, a);       /* and this frees the rest: the leak check watches */
    assert_int_equal(released_count, 3);
    cache = NULL;
}

static void bounded_by_bytes(void **state)
{
    struct filecache_config config = config_of();
    struct filecache_entry *entry;
    char path[16];

    filecache_free(cache);
    config.total_bytes = 100000;
    config.file_bytes = 20000;
    assert_int_equal(set_up_with(&config), 0);
    assert_int_equal(add("too large", 0, 20001), WEIR_ETOOBIG);
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof(path), "%d", i);
        assert_int_equal(add(path, i, 20000), 0);
        assert_true(stats().bytes <= 100000);
    }
    assert_int_equal(stats().files, 4);
    assert_int_equal(stats().evictions, 96);
    assert_int_equal(released_count, 96);
    assert_int_equal(find("99"), FILECACHE_FRESH);
    assert_int_equal(find("95"), FILECACHE_MISS);

    /* What was just used stays, what was not goes. */
    assert_int_equal(find("96"), FILECACHE_FRESH);
    assert_int_equal(add("new", 200, 20000), 0);
    assert_int_equal(find("96"), FILECACHE_FRESH);
    assert_int_equal(find("97"), FILECACHE_MISS);

    /* An entry in use is passed over; when all are, the newcomer is refused. */
    struct filecache_entry *held[4];
    static const char *const names[4] = {"96", "98", "99", "new"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(filecache_find(cache, text_of(names[i]), 0, now_ms, &held[i]),
                         FILECACHE_FRESH);
    assert_int_equal(add("b", 201, 20000), WEIR_EFULL);
    assert_int_equal(released[201], 0); /* the content stayed the caller's */
    assert_int_equal(stats().files, 4);
    filecache_release(cache, held[2]);
    assert_int_equal(add("b", 201, 20000), 0);
    assert_int_equal(find("99"), FILECACHE_MISS);
    /* Dropped but held memory still counts. */
    filecache_drop(cache, held[0]);
    filecache_drop(cache, held[1]);
    filecache_drop(cache, held[3]);
    assert_int_equal(stats().files, 1);
    assert_int_equal(add("c", 202, 20000), 0);
    assert_int_equal(find("b"), FILECACHE_MISS);
    assert_true(stats().bytes <= 100000);
    filecache_release(cache, held[0]);
    filecache_release(cache, held[1]);
    filecache_release(cache, held[3]);
    assert_int_equal(filecache_find(cache, T("c"), 0, now_ms, &entry), FILECACHE_FRESH);
    filecache_release(cache, entry);
    assert_int_equal(stats().refusals, 2);
}

static void bounded_by_entries(void **state)
{
    struct filecache_config config = config_of();
    char path[16];

    filecache_free(cache);
    config.files = 100;
    assert_int_equal(set_up_with(&config), 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof(path), "%d", i);
        assert_int_equal(add(path, i, 0), 0);
        assert_int_equal(find("0"), FILECACHE_FRESH); /* in use all the time, so it stays */
        assert_true(stats().files <= 100);
    }
    assert_int_equal(stats().files, 100);
    assert_int_equal(stats().evictions, 900);
    assert_int_equal(released_count, 900);
}

static void limits_below_one_entry(void **state)
{
    struct filecache_config config = config_of();

    filecache_free(cache);
    config.total_bytes = 100;
    assert_int_equal(set_up_with(&config), 0);
    assert_int_equal(add("a", 1, 10), WEIR_ETOOBIG);
    assert_int_equal(filecache_add_absence(cache, T("a"), 0, now_ms, 404), WEIR_EFULL);
    assert_int_equal(stats().bytes, 0);
}

static void absences(void **state)
{
    struct filecache_entry *entry;
    char path[16];

    assert_int_equal(filecache_add_absence(cache, T("gone"), 0, now_ms, 404), 0);
    assert_int_equal(filecache_add_absence(cache, T("locked"), 0, now_ms, 403), 0);
    assert_int_equal(filecache_find(cache, T("gone"), 0, now_ms, &entry), FILECACHE_ABSENT);
    assert_int_equal(entry->status, 404);
    now_ms += 499;
    assert_int_equal(filecache_find(cache, T("locked"), 0, now_ms, &entry), FILECACHE_ABSENT);
    assert_int_equal(entry->status, 403);
    now_ms += 1;
    assert_int_equal(find("gone"), FILECACHE_MISS);
    assert_int_equal(find("gone"), FILECACHE_MISS);
    assert_int_equal(stats().absences, 1);

    /* The file appears, and goes again. */
    assert_int_equal(filecache_add_absence(cache, T("gone"), 0, now_ms, 404), 0);
    assert_int_equal(add("gone", 1, 10), 0);
    assert_int_equal(find("gone"), FILECACHE_FRESH);
    assert_int_equal(stats().absences, 1);
    assert_int_equal(filecache_add_absence(cache, T("gone"), 0, now_ms, 404), 0);
    assert_int_equal(find("gone"), FILECACHE_ABSENT);
    assert_int_equal(released[1], 1);
    assert_int_equal(stats().files, 0);

    /* A flood of bad paths evicts bad paths only. */
    assert_int_equal(add("file", 2, 10), 0);
    for (int i = 0; i < 5000; i++) {
        snprintf(path, sizeof(path), "bad %d", i);
        assert_int_equal(filecache_add_absence(cache, text_of(path), 0, now_ms, 404), 0);
    }
    assert_int_equal(stats().absences, 1024);
    assert_int_equal(find("file"), FILECACHE_FRESH);
    assert_int_equal(find("bad 4999"), FILECACHE_ABSENT);
    assert_int_equal(find("bad 3975"), FILECACHE_MISS);
    assert_int_equal(stats().evictions, 0);
    assert_int_equal(filecache_add_absence(cache, T("x"), 0, now_ms, 200), WEIR_EINVALID);
}

static void long_paths_are_not_kept(void **state)
{
    static char path[FILECACHE_KEY_MAX + 1];
    struct filecache_addition addition = addition_of(1, 10);
    struct filecache_entry *entry;
    struct http_text key = {path, sizeof(path)};

    memset(path, 'p', sizeof(path));
    assert_int_equal(filecache_add(cache, key, 0, now_ms, &addition, &entry), WEIR_ETOOBIG);
    assert_int_equal(filecache_add_absence(cache, key, 0, now_ms, 404), WEIR_ETOOBIG);
    assert_int_equal(filecache_find(cache, key, 0, now_ms, &entry), FILECACHE_MISS);
    key.length--;
    assert_int_equal(filecache_add(cache, key, 0, now_ms, &addition, &entry), 0);
    filecache_release(cache, entry);
    assert_int_equal(filecache_find(cache, key, 0, now_ms, &entry), FILECACHE_FRESH);
    filecache_release(cache, entry);
}

static void count_back(void *content, uint64_t content_bytes, void *arg)
{
    (*(unsigned *)arg)++;
}

/* Against a plain array that knows what should be there, through growth and removal, so that
 * probing chains form and are cut in every way. */
static void agrees_with_a_model(void **state)
{
    enum { KEYS = 600, STEPS = 200000 };
    static struct filecache_entry *held[KEYS];
    static char content[STEPS];
    static char *model[KEYS];
    struct filecache_config config = config_of();
    unsigned added = 0, came_back = 0, alive = 0;
    uint64_t random = 88172645463325252u;

    config.fresh_ms = config.absence_ms = 1u << 30;
    config.release = count_back;
    config.release_arg = &came_back;
    filecache_free(cache);
    assert_int_equal(set_up_with(&config), 0);
    for (int step = 0; step < STEPS; step++) {
        char path[40];
        struct filecache_entry *entry;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned key = (unsigned)(random % KEYS), action = (unsigned)(random >> 32) % 4;
        snprintf(path, sizeof(path), "%.*s%u", (int)key % 23, "0123456789/abcdefghijkl", key);
        enum filecache_answer answer = filecache_find(cache, text_of(path), 0, now_ms, &entry);
        assert_int_equal(answer, model[key] ? FILECACHE_FRESH : FILECACHE_MISS);
        if (answer == FILECACHE_MISS) {
            struct filecache_addition addition = {.content = &content[step], .content_bytes = 1};
            assert_int_equal(filecache_add(cache, text_of(path), 0, now_ms, &addition, &entry), 0);
            model[key] = &content[step];
            added++;
        } else if (action == 0) {
            assert_ptr_equal(entry->content, model[key]);
            filecache_drop(cache, entry);
            model[key] = NULL;
        }
        if (held[key] && action == 2) {
            filecache_release(cache, held[key]);
            held[key] = NULL;
        }
        if (!held[key] && action == 1)
            held[key] = entry; /* given back much later */
        else
            filecache_release(cache, entry);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        if (held[i])
            filecache_release(cache, held[i]);
        alive += model[i] != NULL;
    }
    assert_int_equal(stats().files, alive);
    assert_int_equal(came_back, added - alive);
    filecache_free(cache);
    assert_int_equal(came_back, added);
    cache = NULL;
}

/* The n-th allocation fails, for every n: the caller keeps the content, the cache stays whole. */
static void out_of_memory(void **state)
{
    for (unsigned long n = 1; n < 300; n++) {
        struct filecache_config config = config_of();
        unsigned refused = 0;
        char path[16];
        filecache_free(cache);
        memory.calls = 0;
        memory.fail_at = n;
        if (set_up_with(&config) < 0) {
            assert_in_range(n, 1, 2);
            memory.fail_at = 0;
            assert_int_equal(set_up(state), 0);
            continue;
        }
        for (int i = 0; i < 100; i++) {
            snprintf(path, sizeof(path), "%d", i);
            int error = i % 10 == 9 ? filecache_add_absence(cache, text_of(path), 0, now_ms, 404)
                                    : add(path, i, 1);
            assert_true(error == 0 || error == WEIR_ENOMEM);
            refused += error != 0;
            assert_int_equal(find(path), error != 0    ? FILECACHE_MISS
                                         : i % 10 == 9 ? FILECACHE_ABSENT
                                                       : FILECACHE_FRESH);
        }
        assert_int_equal(stats().files + stats().absences, 100 - refused);
        assert_int_equal(stats().refusals, refused);
        memory.fail_at = 0;
        assert_int_equal(released_count, 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(found_as_added),
        TEST(stale_is_told_once_an_interval),
        TEST(changed_file_is_noticed),
        TEST(young_file_is_read_again),
        TEST(held_entry_outlives_eviction),
        TEST(cache_ends_with_the_last_entry),
        TEST(bounded_by_bytes),
        TEST(bounded_by_entries),
        TEST(limits_below_one_entry),
        TEST(absences),
        TEST(long_paths_are_not_kept),
        TEST(agrees_with_a_model),
        TEST(out_of_memory),
    };

    if (scarce_set(&memory) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

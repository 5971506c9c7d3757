/* Birth, end and files of a resolver. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/module.h>

#include "dns/resolver.h"

/* --- files ------------------------------------------------------------------------------------ */

static struct file_mark mark_of(const struct stat *info)
{
    struct file_mark mark;
    memset(&mark, 0, sizeof mark); /* it is compared as bytes */
    mark.device = info->st_dev;
    mark.inode = info->st_ino;
    mark.size = info->st_size;
    mark.modified = info->st_mtim;
    mark.changed = info->st_ctim;
    return mark;
}

/* Whether the file looks different from what was read; a file that is not there looks like zero. */
static bool file_changed(const struct resolver_file *file)
{
    struct stat info;
    struct file_mark now;

    memset(&now, 0, sizeof now);
    if (stat(file->path, &info) == 0)
        now = mark_of(&info);
    return memcmp(&now, &file->mark, sizeof now) != 0;
}

/* Makes a file differ from whatever it is, also from one that is missing. */
static void file_doubt(struct resolver_file *file)
{
    memset(&file->mark, 0xff, sizeof file->mark);
}

/* Reads what a file has, at most `most` bytes, into memory of the caller's; one that cannot be
 * read is empty, unless it is this process or machine that has no room for it: -errno. These files
 * are small, local and in memory: they are read here and now. */
static int file_read(struct resolver_file *file, size_t most, char **text, size_t *size)
{
    struct stat info;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    memset(&file->mark, 0, sizeof file->mark);
    *size = 0;
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
        file_doubt(file);
        return -errno;
    }
    if (fd >= 0 && fstat(fd, &info) == 0) {
        file->mark = mark_of(&info);
        if (!S_ISREG(info.st_mode) || (size_t)info.st_size > most) {
            weir__log(WEIR_LOG_WARN, WEIR_ETOOBIG, 0,
                      "resolver: %s: no file, or one of over %zu"
                      " bytes: it is passed over",
                      file->path, most);
            info.st_size = 0;
        }
    } else {
        weir__log(WEIR_LOG_DEBUG, -errno, 0, "resolver: %s: %s", file->path, strerror(errno));
        info.st_size = 0;
    }
    size_t room = (size_t)info.st_size;
    *text = weir__alloc(room + 1);
    while (*text != NULL && *size < room) {
        ssize_t got = read(fd, *text + *size, room - *size);
        if (got <= 0 && (got == 0 || errno != EINTR))
            break;
        *size += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    return *text != NULL ? 0 : WEIR_ENOMEM;
}

static int read_resolv(weir_resolver *r)
{
    char *text;
    size_t size;
    int result = file_read(&r->resolv_conf, CONFIG_FILE_MAX, &text, &size);
    if (result < 0)
        return result;
    config_read_resolv(&r->resolv, text, size);
    weir__free(text);
    if (r->resolv.ignored > 0)
        weir__log(WEIR_LOG_WARN, 0, 0, "resolver: %s: %u entries that make no sense",
                  r->resolv_conf.path, r->resolv.ignored);
    return 0;
}

static int read_switch(weir_resolver *r)
{
    char *text;
    size_t size;
    int result = file_read(&r->nsswitch, CONFIG_FILE_MAX, &text, &size);
    if (result < 0)
        return result;
    config_read_switch(&r->order, text, size);
    weir__free(text);
    return 0;
}

int resolver_hosts(weir_resolver *r, struct hosts **out)
{
    if (r->hosts == NULL) {
        char *text;
        size_t size;
        int result = file_read(&r->hosts_file, HOSTS_FILE_MAX, &text, &size);
        if (result == 0)
            result = hosts_new(&r->hosts, text, size);
        if (result < 0)
            return result;
    }
    *out = r->hosts;
    return 0;
}

/* A new channel takes the place of the old one. Questions that somebody waits for are asked anew,
 * but not for ever, or they would never end; the others are given up. */
static int channel_renew(weir_resolver *r)
{
    struct channel *old = r->channel, *made;
    struct list left, *link;
    int result = channel_new(&made, r);

    if (result < 0)
        return result;
    r->channel = made;
    channel_free(old);
    list_init(&left);
    list_splice(&left, &r->asked);
    while ((link = list_pop(&left)) != NULL) {
        struct question *q = weir_container(link, struct question, age);
        list_push(&r->asked, &q->age);
        if (list_empty(&q->waiters))
            question_free(q);
        else if (++q->renewals > RENEWALS_MAX)
            question_answer(q, -ETIMEDOUT, NULL, 0);
        else
            channel_send(r->channel, q);
    }
    return 0;
}

/* c-ares cannot be told to stop asking one question, so that those whose lookups have ended keep
 * their places until their time is over. The price of another channel is that the others begin
 * again. */
void resolver_make_room(weir_resolver *r, unsigned places)
{
    weir_time now = weir_now();
    unsigned idle = 0;

    if (r->stats.asked + (uint64_t)places <= r->options.questions_max ||
        now - r->room_at < ROOM_MS * WEIR_MS)
        return;
    r->room_at = now;
    for (struct list *link = r->asked.next; link != &r->asked; link = link->next)
        idle += list_empty(&weir_container(link, struct question, age)->waiters);
    if (idle == 0 || idle < r->stats.asked / 4)
        return;
    int result = channel_renew(r);
    if (result < 0)
        weir__log(WEIR_LOG_WARN, result, 0, "resolver: no room for questions: %s",
                  weir_error_text(result));
}

int resolver_refresh(weir_resolver *r)
{
    weir_time now = weir_now();
    int result = 0;

    if (now - r->checked < REFRESH_MS * WEIR_MS)
        return 0;
    r->checked = now;
    if (file_changed(&r->hosts_file)) {
        r->stats.reloads++;
        hosts_free(r->hosts);
        r->hosts = NULL; /* read when it is needed */
        struct hosts *hosts;
        result = resolver_hosts(r, &hosts);
    }
    if (result == 0 && file_changed(&r->nsswitch)) {
        r->stats.reloads++;
        result = read_switch(r);
        if (result < 0)
            file_doubt(&r->nsswitch);
    }
    if (result == 0 && file_changed(&r->resolv_conf)) {
        r->stats.reloads++;
        result = read_resolv(r);
        if (result == 0) {
            cache_clear(r);
            result = channel_renew(r);
        }
        if (result < 0)
            file_doubt(&r->resolv_conf);
    }
    if (result < 0)
        r->checked = 0; /* again with the next lookup */
    return result;
}

/* --- birth and end ---------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static int file_name(struct resolver_file *file, const char *given, const char *fallback)
{
    const char *path = given != NULL ? given : fallback;
    size_t size = strlen(path) + 1;
    file->path = weir__alloc(size);
    if (file->path == NULL)
        return WEIR_ENOMEM;
    memcpy(file->path, path, size);
    return 0;
}

static int take_servers(weir_resolver *r, const char *text)
{
    r->servers_given = true;
    while (*text != '\0') {
        size_t size = strcspn(text, " \t\n,");
        if (size > 0 && (r->server_count == CONFIG_SERVERS_MAX ||
                         config_read_server(&r->servers[r->server_count++], text, size) < 0))
            return WEIR_EADDRESS;
        text += size + (text[size] != '\0');
    }
    return r->server_count > 0 ? 0 : WEIR_EADDRESS;
}

static int resolver_open(weir_resolver *r, const weir_resolver_options *o)
{
    int result = file_name(&r->resolv_conf, o->resolv_conf, "/etc/resolv.conf");
    if (result == 0)
        result = file_name(&r->hosts_file, o->hosts, "/etc/hosts");
    if (result == 0)
        result = file_name(&r->nsswitch, o->nsswitch, "/etc/nsswitch.conf");
    if (result == 0 && o->servers != NULL)
        result = take_servers(r, o->servers);
    if (result == 0)
        result = read_resolv(r);
    if (result == 0)
        result = read_switch(r);
    struct hosts *hosts;
    if (result == 0)
        result = resolver_hosts(r, &hosts);
    if (result == 0)
        result = channel_new(&r->channel, r);
    r->checked = weir_now();
    return result;
}

void resolver_destroy(weir_resolver *r)
{
    channel_free(r->channel);
    cache_clear(r);
    while (!list_empty(&r->asked)) { /* nobody waits for them any more */
        struct question *q = weir_container(r->asked.next, struct question, age);
        list_remove(&q->age);
        weir__free(q);
    }
    hosts_free(r->hosts);
    weir__free(r->resolv_conf.path);
    weir__free(r->hosts_file.path);
    weir__free(r->nsswitch.path);
    weir__free(r);
}

int weir__resolver_new(weir_resolver **out, const weir_resolver_options *options, size_t size)
{
    weir_resolver_options own = {0};

    if (out == NULL)
        return WEIR_EINVALID;
    if (weir_loop_current() == NULL)
        return WEIR_EMISUSE;
    if (options != NULL)
        memcpy(&own, options, size < sizeof own ? size : sizeof own);
    if (own.timeout_ms > 3600000 || own.attempts > 100)
        return WEIR_EINVALID;
    own.cache_max = or_default(own.cache_max, CACHE_MAX);
    own.cache_max_bytes = or_default(own.cache_max_bytes, CACHE_MAX_BYTES);
    own.ttl_max_s = or_default(own.ttl_max_s, TTL_MAX_S);
    own.no_ttl_max_s = or_default(own.no_ttl_max_s, NO_TTL_MAX_S);
    own.lookups_max = or_default(own.lookups_max, LOOKUPS_MAX);
    own.questions_max = or_default(own.questions_max, QUESTIONS_MAX);
    weir_resolver *r = weir__zalloc(sizeof *r);
    if (r == NULL)
        return WEIR_ENOMEM;
    r->loop = weir_loop_current();
    r->options = own;
    for (unsigned i = 0; i < QUESTION_PLACES; i++)
        list_init(&r->places[i]);
    list_init(&r->kept);
    list_init(&r->asked);
    list_init(&r->lookups);
    list_init(&r->ready);
    int result = resolver_open(r, &own);
    if (result < 0) {
        resolver_destroy(r);
        return result;
    }
    weir__names_set(&resolver_names, r); /* the loop's first one is what weir_connect asks */
    *out = r;
    return 0;
}

void weir_resolver_free(weir_resolver *r)
{
    if (r == NULL || r->dead)
        return;
    r->dead = true;
    weir_timer_cancel(&r->tell);
    weir__names_unset(r->loop, r);
    while (!list_empty(&r->lookups)) {
        struct lookup *l = weir_container(r->lookups.next, struct lookup, link);
        void *memory = resolver_names_memory(l);
        lookup_end(l);
        weir__free(memory);
    }
    if (!r->telling) /* else by whoever tells, when the handler has returned */
        resolver_destroy(r);
}

void weir_resolver_forget(weir_resolver *r)
{
    cache_clear(r);
}

void weir__resolver_stats_get(const weir_resolver *r, weir_resolver_stats *out, size_t size)
{
    size_t own = sizeof r->stats;
    memset(out, 0, size);
    memcpy(out, &r->stats, size < own ? size : own);
}

/* Dropping privileges: in each worker, before it makes anything. */
#include "net/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/log.h"

enum { ENTRY_BYTES = 16384, NAME_BYTES = 256 };

/* A number by itself, as "1000". */
static bool number_of(const char *text, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number >= UINT32_MAX)
        return false;
    *out = (uint32_t)number;
    return true;
}

static int unknown(const char *kind, const char *name)
{
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "workers cannot run as %s %s: this host knows none of that name; name one of "
              "\"getent %s\", or a number",
              kind, name, strcmp(kind, "user") == 0 ? "passwd" : "group");
    return WEIR_EINVALID;
}

/* getpwnam(3): some of its databases tell by these that there is none. */
static int lookup_failed(const char *kind, const char *name, int error)
{
    if (error == 0 || error == ENOENT || error == ESRCH)
        return 0;
    weir__log(WEIR_LOG_ERROR, -error, 0, "%s %s, whom workers run as, cannot be looked up: %s",
              kind, name, weir_error_text(-error));
    return -error;
}

static int groupless(const char *name)
{
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "workers cannot run as user %s alone: this host knows no user of that number, and so "
              "no group of his; name --group too",
              name);
    return WEIR_EINVALID;
}

/* The user's number, main group and name; a number needs no entry, but a group then. */
static int user_find(struct privileges *p, const char *text, bool grouped, char name[NAME_BYTES],
                     char *entry)
{
    struct passwd found, *result = NULL;
    uint32_t number;
    bool by_number = number_of(text, &number);
    int error = by_number ? getpwuid_r(number, &found, entry, ENTRY_BYTES, &result)
                          : getpwnam_r(text, &found, entry, ENTRY_BYTES, &result);
    error = lookup_failed("user", text, error);
    if (error < 0)
        return error;
    if (result == NULL && !by_number)
        return unknown("user", text);
    if (result == NULL && !grouped)
        return groupless(text);
    p->user = by_number ? number : found.pw_uid;
    if (result != NULL) {
        p->group = found.pw_gid;
        snprintf(name, NAME_BYTES, "%s", found.pw_name);
    }
    return 0;
}

static int group_find(struct privileges *p, const char *text, char *entry)
{
    struct group found, *result = NULL;
    uint32_t number;
    if (number_of(text, &number)) {
        p->group = number;
        return 0;
    }
    int error = lookup_failed("group", text, getgrnam_r(text, &found, entry, ENTRY_BYTES, &result));
    if (error < 0)
        return error;
    if (result == NULL)
        return unknown("group", text);
    p->group = found.gr_gid;
    return 0;
}

static bool has_capability(unsigned number)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &header, data) != 0)
        return geteuid() == 0;
    return (data[number / 32].effective & 1u << number % 32) != 0;
}

/* Whether this process has these supplementary groups and no others. */
static bool same_groups(const struct privileges *p)
{
    gid_t now[PRIVILEGES_GROUPS_MAX];
    int count = getgroups(PRIVILEGES_GROUPS_MAX, now);
    if (count < 0)
        return false;
    for (int i = 0; i < count; i++) {
        bool found = now[i] == p->group;
        for (int j = 0; j < p->group_count && !found; j++)
            found = now[i] == p->groups[j];
        if (!found)
            return false;
    }
    return true;
}

static int check_allowed(struct privileges *p, const char *user, const char *group)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    getresuid(&real, &effective, &saved);
    getresgid(&real_group, &effective_group, &saved_group);
    bool user_same = real == p->user && effective == p->user && saved == p->user;
    bool group_same = real_group == p->group && effective_group == p->group &&
                      saved_group == p->group && same_groups(p);
    p->changes = !user_same || !group_same;
    bool may_user = user_same || has_capability(CAP_SETUID);
    bool may_group = group_same || has_capability(CAP_SETGID);
    if (may_user && may_group)
        return 0;
    weir__log(WEIR_LOG_ERROR, -EPERM, 0,
              "workers cannot run as user %s, group %s: this process has not %s%s%s; start it as "
              "root, or leave user and group out",
              user != NULL ? user : "of its own", group != NULL ? group : "of that user",
              may_user ? "" : "CAP_SETUID", may_user || may_group ? "" : " and ",
              may_group ? "" : "CAP_SETGID");
    return -EPERM;
}

int privileges_find(struct privileges *p, const char *user, const char *group)
{
    char name[NAME_BYTES] = "";
    *p = (struct privileges){.user = geteuid(), .group = getegid()};
    p->drop = user != NULL || group != NULL;
    if (!p->drop)
        return 0;
    char *entry = weir__alloc(ENTRY_BYTES);
    if (entry == NULL)
        return WEIR_ENOMEM;
    int result = user != NULL ? user_find(p, user, group != NULL, name, entry) : 0;
    if (result == 0 && group != NULL)
        result = group_find(p, group, entry);
    weir__free(entry);
    if (result < 0)
        return result;
    p->group_count = 0;
    if (name[0] != '\0' && group == NULL) {
        p->group_count = PRIVILEGES_GROUPS_MAX;
        if (getgrouplist(name, p->group, p->groups, &p->group_count) < 0) {
            weir__log(WEIR_LOG_ERROR, WEIR_ETOOBIG, 0,
                      "user %s is in %d groups, and workers take %d at most: name one by itself",
                      name, p->group_count, PRIVILEGES_GROUPS_MAX);
            return WEIR_ETOOBIG;
        }
    }
    return check_allowed(p, user, group);
}

static int drop_failed(const char *what)
{
    int error = -errno;
    weir__log(WEIR_LOG_ERROR, error, 0, "a worker cannot drop its privileges: %s: %s", what,
              weir_error_text(error));
    return error;
}

int privileges_drop(const struct privileges *p)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (!p->drop)
        return 0;
    if (p->changes && setgroups((size_t)p->group_count, p->groups) != 0)
        return drop_failed("setgroups");
    if (p->changes && setresgid(p->group, p->group, p->group) != 0)
        return drop_failed("setresgid");
    if (p->changes && setresuid(p->user, p->user, p->user) != 0)
        return drop_failed("setresuid");
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* also by capset, in theory */
    if (syscall(SYS_capset, &header, none) != 0)
        return drop_failed("capset");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return drop_failed("no_new_privs");
    if (p->user != 0 && setuid(0) == 0) {
        weir__log(WEIR_LOG_ERROR, -EPERM, 0,
                  "a worker could become root again, which must not be: it ends");
        return -EPERM;
    }
    return 0;
}

struct lender { /* what the thread was */
    uid_t user;
    gid_t group;
    gid_t *groups;
    int group_count;
    struct __user_cap_data_struct caps[2];
    int death_signal, dumpable; /* which the kernel forgets when the user changes */
};

static int lender_note(struct lender *l)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    l->user = (uid_t)setfsuid((uid_t)-1); /* no such user: it tells, and changes nothing */
    l->group = (gid_t)setfsgid((gid_t)-1);
    l->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_GET_PDEATHSIG, &l->death_signal, 0, 0, 0);
    l->group_count = getgroups(0, NULL);
    if (l->group_count < 0 || syscall(SYS_capget, &header, l->caps) != 0)
        return -errno;
    l->groups = weir__alloc(((size_t)l->group_count + 1) * sizeof *l->groups);
    if (l->groups == NULL)
        return WEIR_ENOMEM;
    l->group_count = getgroups(l->group_count, l->groups);
    return l->group_count < 0 ? -errno : 0;
}

/* This thread's alone: the C library's setgroups is for all. */
static bool groups_set(const gid_t *groups, int count)
{
    return syscall(SYS_setgroups, (long)count, groups) == 0;
}

static bool files_as(uid_t user, gid_t group)
{
    setfsgid(group);
    setfsuid(user);
    return (gid_t)setfsgid((gid_t)-1) == group && (uid_t)setfsuid((uid_t)-1) == user;
}

static bool lend(const struct privileges *p, const struct lender *l)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {l->caps[0], l->caps[1]};
    if (!groups_set(p->groups, p->group_count) || !files_as(p->user, p->group))
        return false;
    caps[0].effective = caps[1].effective = 0;
    return syscall(SYS_capset, &header, caps) == 0;
}

static void lend_end(const struct lender *l)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    bool back = syscall(SYS_capset, &header, l->caps) == 0 && files_as(l->user, l->group) &&
                groups_set(l->groups, l->group_count) && syscall(SYS_capset, &header, l->caps) == 0;
    if (!back) {
        weir__log(WEIR_LOG_ERROR, -errno, 0,
                  "the master cannot come back from the workers' user, and ends: %s",
                  weir_error_text(-errno));
        abort();
    }
    if (l->death_signal != 0)
        prctl(PR_SET_PDEATHSIG, l->death_signal, 0, 0, 0);
    if (l->dumpable == 1)
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

int privileges_lend(const struct privileges *p, int (*fn)(const char *name), const char *name)
{
    struct lender l = {0};
    if (!p->drop || (!has_capability(CAP_SETUID) && !has_capability(CAP_SETGID)))
        return fn(name);
    int result = lender_note(&l);
    if (result == 0) {
        errno = 0;
        bool lent = lend(p, &l);
        int error = errno;
        result = lent ? fn(name) : error != 0 ? -error : -EPERM;
        lend_end(&l);
        if (!lent)
            weir__log(WEIR_LOG_ERROR, result, 0, "the master cannot act as the workers' user: %s",
                      weir_error_text(result));
    }
    weir__free(l.groups);
    return result;
}

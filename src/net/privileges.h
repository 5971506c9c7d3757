/* Whom workers run as. */
#ifndef WEIR_NET_PRIVILEGES_H
#define WEIR_NET_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

enum { PRIVILEGES_GROUPS_MAX = 256 };

struct privileges {
    bool drop;    /* a user or a group was given */
    bool changes; /* it is another one than this process is */
    uid_t user;
    gid_t group;
    gid_t groups[PRIVILEGES_GROUPS_MAX]; /* supplementary */
    int group_count;
};

/* Looks up user and group (a name or a number each, NULL: not given), and whether this process may
 * become them. 0, or an error that was logged with what is missing. Before any worker; it asks the
 * system's databases and may block. */
int privileges_find(struct privileges *privileges, const char *user, const char *group);

/* Becomes them for good, with no capability left, none to be had by a later exec, and no way back,
 * which is tried. 0, or an error that was logged. credentials(7), capabilities(7). */
int privileges_drop(const struct privileges *privileges);

/* Calls fn with that user's and these groups' rights to files and with no capability, and returns
 * to what the thread was; the process ends when that is refused. Where it may not become them (a
 * worker that is that user) or is them, fn is called as it is. The thread's own alone: setfsuid(2).
 * What fn returns, or an error that was logged. */
int privileges_lend(const struct privileges *privileges, int (*fn)(const char *name),
                    const char *name);

#endif

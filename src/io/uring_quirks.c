/* Kernels known to be bad: what a probe cannot find, because it shows now and then only. Versions
 * are those of kernel.org; a distribution that has mended its older kernel loses a little speed. */
#include "io/uring.h"

#include <stdio.h>
#include <sys/utsname.h>

#define VERSION(a, b, c) ((unsigned)(a) << 24 | (unsigned)(b) << 16 | (unsigned)(c))

struct quirk {
    const char *feature;
    unsigned first, good; /* bad from `first` on, good again from `good` */
    const char *reason;
};

#define ACCEPT_REASON \
    "kernels 6.3 to 6.7 could yield a false descriptor (liburing issue 1062): one accept each"
#define UNIX_REASON                                                                              \
    "kernels 6.17 to 6.19 may miss the end of a unix stream (liburing issue 1549): one receive " \
    "each there"

static const struct quirk quirks[] = {
    /* Under DEFER_TASKRUN, when the completion queue overflowed, a multishot accept could answer
     * with a number that is no descriptor. Seen on 6.6.1, 6.6.9, 6.7.4 and 6.8-rc3, not on 6.2
     * (liburing issue 1062); mended in February 2024. */
    {"multishot_accept", VERSION(6, 3, 0), VERSION(6, 6, 20), ACCEPT_REASON},
    {"multishot_accept", VERSION(6, 7, 0), VERSION(6, 7, 8), ACCEPT_REASON},
    /* When bytes and the end arrive together, both wake-ups are answered by one receive, and the
     * end is never seen. Only unix sockets, which since 6.17 say that nothing is left before the
     * end (TCP says that there is something). Mended in 7.0 and in the stable releases that
     * followed March 2026 (liburing issue 1549); which ones is not known: 6.18.44, tried and taken
     * for good at first, still missed an end in some tens of thousands. */
    {"unix_end", VERSION(6, 17, 0), VERSION(7, 0, 0), UNIX_REASON},
};

static unsigned running_version(void)
{
    struct utsname names;
    unsigned major, minor, patch = 0;

    if (uname(&names) < 0 || sscanf(names.release, "%u.%u.%u", &major, &minor, &patch) < 2)
        return 0;
    return VERSION(major & 255, minor & 255, patch & 65535);
}

const char *uring_quirk(const char *feature)
{
    unsigned version = running_version();

    for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++)
        if (strcmp(quirks[i].feature, feature) == 0 && version >= quirks[i].first &&
            version < quirks[i].good)
            return quirks[i].reason;
    return NULL;
}

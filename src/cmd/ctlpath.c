#include "cmd/ctlpath.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/error.h>

int ctlpath_folder(char *out, size_t size, bool make)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat facts;
    if (runtime == NULL || runtime[0] != '/')
        return -ENOENT;
    int length = snprintf(out, size, "%s/weir", runtime);
    if (length < 0 || (size_t)length >= size)
        return -ENAMETOOLONG;
    if (make && mkdir(out, 0700) != 0 && errno != EEXIST)
        return -errno;
    if (lstat(out, &facts) != 0)
        return -errno;
    if (!S_ISDIR(facts.st_mode))
        return -ENOTDIR;
    return facts.st_uid == geteuid() && (facts.st_mode & 077) == 0 ? 0 : -EPERM;
}

int ctlpath_of(const weir_address *address, char *out, size_t size)
{
    char text[WEIR_ADDRESS_TEXT_MAX];
    int result = ctlpath_folder(out, size, true);
    if (result < 0)
        return result;
    if (weir_address_format(address, text, sizeof text) < 0)
        return -EINVAL;
    char *name = strstr(text, "://");
    name = name != NULL ? name + 3 : text;
    for (char *slash = name; (slash = strchr(slash, '/')) != NULL;)
        *slash = '_';
    size_t used = strlen(out);
    int length = snprintf(out + used, size - used, "/%s.ctl", name);
    return length >= 0 && (size_t)length < size - used ? 0 : -ENAMETOOLONG;
}

int ctlpath_url(const char *path, char *out, size_t size)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    weir_address address;
    if (*path == '\0' || strlen(path) >= sizeof name.sun_path)
        return *path == '\0' ? -EINVAL : -ENAMETOOLONG;
    strcpy(name.sun_path, path);
    int result = weir_address_from_sockaddr((const struct sockaddr *)&name, sizeof name,
                                            WEIR_TRANSPORT_UNIX, &address);
    if (result == 0)
        result = weir_address_format(&address, out, size);
    return result < 0 ? result : 0;
}

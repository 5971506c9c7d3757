#include "cmd/localcert.h"

#if WEIR_HAVE_TLS

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <weir/cert.h>
#include <weir/weir.h>

#include "cmd/command.h"

enum { DAY_S = 86400, RENEW_DAYS = 30, CERT_DAYS = 365 };

static const char *const names[] = {"localhost", "127.0.0.1", "::1", NULL};

/* $XDG_STATE_HOME/weir, or ~/.local/state/weir (XDG base directory specification). */
static int folder_find(char *out, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length = -1;
    if (state != NULL && state[0] == '/')
        length = snprintf(out, size, "%s/weir", state);
    else if (home != NULL && home[0] == '/')
        length = snprintf(out, size, "%s/.local/state/weir", home);
    if (length > 0 && (size_t)length < size)
        return EX_OK;
    return say(EX_CANTCREAT, "no folder for a certificate: set HOME or XDG_STATE_HOME");
}

/* Makes it, and those above it, for the user alone. */
static int folder_make(char *path)
{
    for (char *slash = path + 1;; slash++) {
        slash = strchr(slash, '/');
        if (slash != NULL)
            *slash = '\0';
        int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        if (slash != NULL)
            *slash = '/';
        if (failed)
            return say(EX_CANTCREAT, "cannot make the folder %s: %m", path);
        if (slash == NULL)
            break;
    }
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        return say(EX_CANTCREAT, "%s is no folder", path);
    if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return say(EX_NOPERM, "others can write to %s: chmod 700 it, and look at what is in it",
                   path);
    return EX_OK;
}

static bool lasts(const char *cert, const char *key, int days)
{
    weir_cert_info info;
    struct stat status;
    if (access(cert, F_OK) != 0 || access(key, F_OK) != 0 || weir_cert_look(cert, &info) < 0)
        return false;
    if (stat(key, &status) != 0 || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return false; /* a key that others could read is not used any more */
    return info.until_s > (int64_t)time(NULL) + (int64_t)days * DAY_S &&
           weir_cert_pair(cert, key) == 0; /* one may have been written without the other */
}

static int files_make(const struct localcert *files)
{
    char host[256] = "this host";
    char common[300];
    bool made = false;
    if (gethostname(host, sizeof host - 1) != 0)
        strcpy(host, "this host");
    snprintf(common, sizeof common, "weir, for localhost of %.40s", host);
    if (!lasts(files->ca, files->ca_key, CERT_DAYS)) {
        weir_cert_want ca = {.cert_file = files->ca,
                             .key_file = files->ca_key,
                             .common_name = common,
                             .names = names,
                             .ca = true};
        unlink(files->cert); /* nobody who trusts the new CA could verify it */
        if (weir_cert_make(&ca) < 0)
            return EX_CANTCREAT;
        made = true;
    }
    if (!made && lasts(files->cert, files->key, RENEW_DAYS))
        return EX_OK;
    weir_cert_want want = {.cert_file = files->cert,
                           .key_file = files->key,
                           .issuer_cert_file = files->ca,
                           .issuer_key_file = files->ca_key,
                           .names = names,
                           .days = CERT_DAYS};
    return weir_cert_make(&want) < 0 ? EX_CANTCREAT : EX_OK;
}

int localcert_make(struct localcert *out)
{
    char folder[LOCALCERT_PATH - 32], lock[LOCALCERT_PATH];
    int code = folder_find(folder, sizeof folder);
    if (code == EX_OK)
        code = folder_make(folder);
    if (code != EX_OK)
        return code;
    snprintf(out->ca, sizeof out->ca, "%s/ca.pem", folder);
    snprintf(out->ca_key, sizeof out->ca_key, "%s/ca.key", folder);
    snprintf(out->cert, sizeof out->cert, "%s/localhost.pem", folder);
    snprintf(out->key, sizeof out->key, "%s/localhost.key", folder);
    snprintf(lock, sizeof lock, "%s/lock", folder);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        code = say(EX_CANTCREAT, "cannot lock %s: %m", lock);
        if (fd >= 0)
            close(fd);
        return code;
    }
    code = files_make(out);
    close(fd);
    return code;
}

#endif

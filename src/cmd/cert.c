/* weir cert: certificates of one's own, made and looked at. */
#include "cmd/command.h"

#if WEIR_HAVE_TLS

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/cert.h>
#include <weir/weir.h>

enum { PATH_ROOM = 1024, DAY_S = 86400, NAMES_MAX = 100, SOON_DAYS = 30, EX_SOON = 1 };

struct given {
    const char *out, *ca, *ca_key, *name;
    uint32_t days;
    bool client;
};
#define AT(member) .offset = offsetof(struct given, member)

static const struct option options[] = {
    {.name = "out",
     .kind = OPTION_TEXT,
     .value_name = "PREFIX",
     AT(out),
     .help = "write PREFIX.pem and PREFIX.key; default the first name, or \"ca\""},
    {.name = "ca",
     .kind = OPTION_TEXT,
     .value_name = "FILE",
     AT(ca),
     .help = "the CA that issues it; default ca.pem"},
    {.name = "ca-key",
     .kind = OPTION_TEXT,
     .value_name = "FILE",
     AT(ca_key),
     .help = "the CA's key; default ca.key"},
    {.name = "name",
     .kind = OPTION_TEXT,
     .value_name = "TEXT",
     AT(name),
     .help = "whom it is of; default the first name"},
    {.name = "days",
     .kind = OPTION_NUMBER,
     .value_name = "N",
     AT(days),
     .least = 1,
     .most = 36500,
     .help = "how long it is valid, default 90, a CA 3650; with check: how long it must be, "
             "default 30"},
    {.name = "client",
     .kind = OPTION_FLAG,
     AT(client),
     .help = "it is for clients, not for servers"},
    {0}};

static void log_line(const weir_log_line *line, void *arg)
{
    fprintf(stderr, "weir: %s%s\n", line->level == WEIR_LOG_WARN ? "warning: " : "", line->text);
}

static int files_name(const char *prefix, char cert[static PATH_ROOM], char key[static PATH_ROOM])
{
    if (strlen(prefix) + sizeof ".pem" > PATH_ROOM)
        return say(EX_USAGE, "%s: too long for a file's name", prefix);
    snprintf(cert, PATH_ROOM, "%s.pem", prefix);
    snprintf(key, PATH_ROOM, "%s.key", prefix);
    return EX_OK;
}

static int make(const struct given *given, const char *const *names, const char *cert,
                const char *key, bool ca)
{
    weir_cert_want want = {.cert_file = cert,
                           .key_file = key,
                           .common_name = given->name,
                           .names = names,
                           .ca = ca,
                           .client = given->client,
                           .days = given->days};
    if (!ca) {
        want.issuer_cert_file = given->ca != NULL ? given->ca : "ca.pem";
        want.issuer_key_file = given->ca_key != NULL ? given->ca_key : "ca.key";
    }
    if (weir_cert_make(&want) < 0) /* it was logged */
        return EX_CANTCREAT;
    printf("%s and %s\n", cert, key);
    return EX_OK;
}

static int make_new(const struct given *given, int count, char **names, bool ca)
{
    char cert[PATH_ROOM], key[PATH_ROOM];
    const char *list[NAMES_MAX + 1] = {NULL};
    if (count > NAMES_MAX)
        return say(EX_USAGE, "more than %d names", NAMES_MAX);
    if (count == 0 && !ca)
        return say(EX_USAGE, "for which hosts? weir cert new www.example 192.0.2.1");
    for (int i = 0; i < count; i++)
        list[i] = names[i];
    struct given full = *given;
    if (ca && full.name == NULL)
        full.name = "a CA of weir's";
    const char *first = count != 0 && names[0][0] == '*' ? names[0] + 1 : names[0];
    int code = files_name(given->out != NULL ? given->out : ca ? "ca" : first, cert, key);
    if (code != EX_OK)
        return code;
    if (access(cert, F_OK) == 0 || access(key, F_OK) == 0)
        return say(EX_CANTCREAT, "%s or %s is there already: name another with --out", cert, key);
    return make(&full, list, cert, key, ca);
}

/* The same names, a new key, a new time. */
static int renew(const struct given *given, const char *cert)
{
    weir_cert_info info;
    char prefix[PATH_ROOM], other[PATH_ROOM], key[PATH_ROOM];
    const char *list[NAMES_MAX + 1] = {NULL};
    size_t size = strlen(cert), count = 0;
    if (size < 5 || size >= PATH_ROOM || strcmp(cert + size - 4, ".pem") != 0)
        return say(EX_USAGE, "%s: not NAME.pem, beside which its key is NAME.key", cert);
    if (weir_cert_look(cert, &info) < 0)
        return EX_NOINPUT;
    if (info.ca || info.names[0] == '\0' || strstr(info.names, "...") != NULL)
        return say(EX_DATAERR, "%s: not a certificate for some hosts", cert);
    for (char *name = strtok(info.names, " "); name != NULL; name = strtok(NULL, " ")) {
        if (count == NAMES_MAX)
            return say(EX_DATAERR, "%s: more than %d names", cert, NAMES_MAX);
        list[count++] = name;
    }
    memcpy(prefix, cert, size - 4);
    prefix[size - 4] = '\0';
    int code = files_name(prefix, other, key);
    return code == EX_OK ? make(given, list, cert, key, false) : code;
}

static const char *day(int64_t seconds, char out[static 32])
{
    time_t when = (time_t)seconds;
    struct tm parts;
    if (gmtime_r(&when, &parts) == NULL || strftime(out, 32, "%Y-%m-%d", &parts) == 0)
        out[0] = '\0';
    return out;
}

static int64_t days_left(const weir_cert_info *info)
{
    int64_t left_s = info->until_s - (int64_t)time(NULL);
    return left_s >= 0 ? left_s / DAY_S : -1;
}

static int show(const char *file)
{
    weir_cert_info info;
    char from[32], until[32];
    if (weir_cert_look(file, &info) < 0)
        return EX_NOINPUT;
    int64_t left = days_left(&info);
    printf("%s\n  subject  %s\n  issuer   %s%s\n", file, info.subject,
           info.self_signed ? "itself" : info.issuer, info.ca ? "; may issue others" : "");
    if (info.names[0] != '\0')
        printf("  names    %s\n", info.names);
    printf("  valid    %s to %s", day(info.from_s, from), day(info.until_s, until));
    if (left < 0)
        puts(": it has ended");
    else
        printf(", %" PRId64 " days more\n", left);
    printf("  sha256   %s\n", info.fingerprint);
    return EX_OK;
}

static int check(const struct given *given, const char *file)
{
    weir_cert_info info;
    char until[32];
    if (weir_cert_look(file, &info) < 0)
        return EX_NOINPUT;
    int64_t left = days_left(&info), wanted = given->days != 0 ? given->days : SOON_DAYS;
    const char *what = left < 0 ? "has ended" : left < wanted ? "ends soon" : "lasts";
    printf("%s %s: until %s\n", file, what, day(info.until_s, until));
    return left >= wanted ? EX_OK : EX_SOON;
}

static int cert_run(const struct command *self, int argc, char **argv)
{
    struct given given = {0};
    int operands, code = command_options(self, argc, argv, &given, &operands), worst = EX_OK;
    if (code >= 0)
        return code;
    weir_log_set(log_line, NULL, WEIR_LOG_WARN);
    const char *verb = operands != 0 ? argv[1] : "";
    char **rest = argv + 2;
    int count = operands - 1;
    if (strcmp(verb, "ca") == 0 || strcmp(verb, "new") == 0)
        return make_new(&given, count, rest, strcmp(verb, "ca") == 0);
    bool renews = strcmp(verb, "renew") == 0, shows = strcmp(verb, "show") == 0;
    if (!renews && !shows && strcmp(verb, "check") != 0)
        return say(EX_USAGE, "weir cert ca, new, renew, show or check, not \"%s\"", verb);
    if (count == 0)
        return say(EX_USAGE, "weir cert %s needs a certificate's file", verb);
    for (int i = 0; i < count; i++) {
        code = renews ? renew(&given, rest[i]) : shows ? show(rest[i]) : check(&given, rest[i]);
        worst = code > worst ? code : worst;
    }
    return worst;
}

#else

static const struct option options[] = {{0}};

static int cert_run(const struct command *self, int argc, char **argv)
{
    return say(EX_USAGE, "this weir was built without TLS");
}

#endif

const struct command command_cert = {
    .name = "cert",
    .summary = "certificates of one's own: make, renew, show, check",
    .usage = "ca|new|renew|show|check [OPTIONS] [NAME|FILE]...",
    .about =
        "ca makes a CA, which may issue for the given names alone, or for any when there are none. "
        "new makes a certificate for hosts and addresses, issued by it; renew does so again with a "
        "new key. show tells what stands in certificates, and check whether they last another 30 "
        "days: the exit code is 1 when one does not.\n\nKeys are of the curve P-256, and files "
        "that "
        "only the user can read.",
    .examples = "  weir cert ca --name 'Our CA' example.org\n"
                "  weir cert new www.example.org *.www.example.org 192.0.2.1\n"
                "  weir cert renew www.example.org.pem\n"
                "  weir cert check --days 14 /etc/web/*.pem\n",
    .options = options,
    .run = cert_run,
};

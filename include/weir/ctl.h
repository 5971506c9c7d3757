/* The control socket: a service that tells about the process it runs in and takes a few orders. It
 * speaks lines of JSON over a unix socket that only its owner can open: one request line, one
 * answer line.
 *
 *   {"command":"stats"}                      -> {"ok":true,"loops":[...],"sum":{...},...}
 *   {"command":"connections","limit":100}    -> {"ok":true,"connections":[...],"more":false}
 *   {"command":"nonsense"}                   -> {"ok":false,"error":"...","fix":"..."}
 *
 * Commands: stats, loops, connections (limit: at most so many; default 1000), plan, limits, drain,
 * log-level (level: "error", "warn", "info", "debug"; without it: tells), help. Loops are asked by
 * messages; one that does not answer within a second is reported as such, and the rest is told. */
#ifndef WEIR_CTL_H
#define WEIR_CTL_H

#include <weir/export.h>
#include <weir/service.h>

WEIR_BEGIN

WEIR_API int weir__ctl_service(const char *listen, weir_service *out, size_t size);
/* Fills a service for weir_run or weir_listen with the control socket at `listen`, "unix:/path",
 * which must live as long as the service. Its file is made with mode 0600; an abstract name is
 * refused, for everybody could connect to it. 0, WEIR_EADDRESS, or WEIR_EINVALID: not a unix
 * socket with a path. */
static inline int weir_ctl_service(const char *listen, weir_service *out)
{
    return weir__ctl_service(listen, out, sizeof *out);
}

WEIR_END
#endif

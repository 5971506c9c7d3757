/* The access log: one file for all loops, and a bounded double buffer for each. */
#ifndef WEIR_APP_HTTP_LOG_H
#define WEIR_APP_HTTP_LOG_H

#include <stdatomic.h>

#include "app/http/accesslog.h"
#include "app/http/server.h"
#include "net/privileges.h"

/* The file. Counted: a write may be under way when the application is gone. */
struct accesslog {
    _Atomic uint32_t refs;
    int fd; /* stays the same number over a reopening, which puts another file behind it */
    _Atomic bool
        stream; /* a pipe, a terminal: several writers mix beyond what one write keeps whole */
    enum accesslog_format format;
    char *name;             /* NULL: standard output */
    struct privileges whom; /* with whose rights it is opened, when .drop */
};

void accesslog_release(struct accesslog *log);

#endif

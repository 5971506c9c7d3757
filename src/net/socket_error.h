/* How a call about sockets ended, in words for the person who has to mend it. */
#ifndef WEIR_NET_SOCKET_ERROR_H
#define WEIR_NET_SOCKET_ERROR_H

/* The caller owns it; each call fills it anew. Warnings are set also when nothing failed. */
struct weir__socket_error {
    int code;           /* 0, -errno, or one of weir's own */
    const char *what;   /* the option or the step that failed ("mark", "bind"), or NULL; static */
    char text[768];     /* one line: what, cause, fix; empty when nothing failed */
    unsigned warnings;  /* how many lines there are in `warning` */
    char warning[1024]; /* lines with \n between them */
};

/* Fills the error with one line of text and returns `code`; `what` is static. */
int weir__socket_fail(struct weir__socket_error *error, int code, const char *what,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Adds a line to the warnings. */
void weir__socket_warn(struct weir__socket_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

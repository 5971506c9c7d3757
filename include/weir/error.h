/* Error codes: 0 or a count is success; a negative number is an error. From -1 to -4095 it is the
 * system's (-errno); below -4096 it is weir's own, from the one table here. */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include <weir/export.h>

/* XX(name, number, text). Numbers are never reused: they are part of the binary interface. */
#define WEIR_ERRORS(XX)                                                                  \
    XX(GONE, -4097, "the connection is closed: its handle is stale")                     \
    XX(FULL, -4098, "the queue is full: a limit was reached and nothing was queued")     \
    XX(TIMEDOUT, -4099, "the deadline passed")                                           \
    XX(CANCELED, -4100, "the wait was canceled")                                         \
    XX(TORN, -4101, "a send was withdrawn halfway: the stream takes nothing but close")  \
    XX(PROTO, -4102, "the peer broke the protocol")                                      \
    XX(TOOBIG, -4103, "larger than the limit")                                           \
    XX(INVALID, -4104, "a parameter is out of its range or contradicts another")         \
    XX(MISUSE, -4105, "called from the wrong thread, loop or state")                     \
    XX(NOTSUP, -4106, "not supported by this back end or kernel")                        \
    XX(NOMEM, -4107, "out of memory, or beyond weir's own memory limit")                 \
    XX(ADDRESS, -4108, "the address could not be understood")                            \
    XX(REFUSED, -4109, "refused by a limit")                                             \
    XX(STOPPED, -4110, "the loop has stopped")                                           \
    XX(NONAME, -4112, "the name does not exist")                                         \
    XX(NODATA, -4113, "the name has no record of this type")                             \
    XX(NAMESERVER, -4114, "the name servers failed, or are not there")                   \
    XX(TLS, -4115, "the TLS handshake, or what came behind it, failed")                  \
    XX(CERT, -4116, "the peer's certificate was not accepted")                           \
    XX(CUT, -4117, "the stream was cut: it ended without the end that its protocol has") \
    XX(PROXYAUTH, -4118, "the proxy does not take these credentials, or wants some")     \
    XX(PROXYRULES, -4119, "the proxy's rules forbid this connection")                    \
    XX(PROXYFAILED, -4120, "the proxy could not connect, and gives no reason")           \
    XX(PROXYNET, -4121, "the proxy has no way to the target's network")                  \
    XX(PROXYHOST, -4122, "the proxy cannot reach the target's host")                     \
    XX(PROXYREFUSED, -4123, "the target refused the proxy's connection")                 \
    XX(PROXYTIME, -4124, "the target did not answer the proxy in time")                  \
    XX(PROXYVERB, -4125, "the proxy does not make connections for others")               \
    XX(PROXYKIND, -4126, "the proxy cannot connect to this kind of address")             \
    XX(PROXYREPLY, -4127, "the proxy's answer is not in the protocol it was asked in")   \
    XX(PROXYCUT, -4128, "the proxy ended the connection before it had answered")

#define WEIR_ERROR_ENUM(name, number, text) WEIR_E##name = number,
enum weir_error { WEIR_ERRORS(WEIR_ERROR_ENUM) WEIR_ERROR_LAST = -4129 };
#undef WEIR_ERROR_ENUM

WEIR_BEGIN

/* The text of an error, weir's or the system's (pass the negative number). Never NULL; the text is
 * static or thread-local and holds until the thread's next call. Any thread. */
WEIR_API const char *weir_error_text(int error);

/* The name of an error: "WEIR_EGONE", "ECONNRESET"; "unknown" otherwise. Static. Any thread. */
WEIR_API const char *weir_error_name(int error);

WEIR_END
#endif

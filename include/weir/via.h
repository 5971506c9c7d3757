/* Connecting through others: proxies that speak SOCKS version 5 (RFC 1928, RFC 1929) or HTTP's
 * CONNECT (RFC 9110 section 9.3.6).
 *
 *     const weir_via *via;
 *     if (weir_via_new(&via, "socks5://user:secret@127.0.0.1:1080") < 0)
 *         return 1;
 *     weir_service service = {.via = via, .on_data = on_data};
 *     weir_connect(NULL, "tcp://example.com:80", &service, NULL);
 *
 * It holds for every way to connect that takes a service: weir_connect, weir_connect_wait, pools;
 * under TLS too. A name in the connection's URL is not looked up here: the proxy is told the name.
 * weir_conn_peer is the first proxy. */
#ifndef WEIR_VIA_H
#define WEIR_VIA_H

#include <weir/export.h>
#include <weir/filter.h>

WEIR_BEGIN

/* Makes what .via of a service takes, of URLs separated by spaces, the first one next to us: each
 * proxy is asked to connect to the one behind it.
 *
 *     socks5://[USER:PASSWORD@]HOST[:PORT]      port 1080 when there is none (socks5h: the same)
 *     http://[USER[:PASSWORD]@]HOST[:PORT]      port 8080
 *
 * Bytes of user and password may be written as %XX. HOST is an address in numbers, IPv6 in
 * brackets, or a name: that of the first one is looked up where the loop has a resolver. The
 * password is sent as it is, to whoever answers there: neither protocol hides it.
 *
 * 0; WEIR_EADDRESS: a URL is wrong, which is logged without its password; WEIR_EFULL: more than
 * WEIR_VIA_MAX; WEIR_ENOMEM. Any thread.
 *
 * A connection that fails tells in on_close (or weir_connect_wait) why: what weir_connect says when
 * the first proxy cannot be reached, WEIR_EPROXYREFUSED and its like (<weir/error.h>) when a proxy
 * does not do what it was asked, a status of HTTP that has no error of its own in the log. */
WEIR_API int weir_via_new(const weir_via **out, const char *urls);

/* After every service that names it, and their connections, have ended. NULL is fine. */
WEIR_API void weir_via_free(const weir_via *via);

WEIR_END
#endif

/* Status codes and their texts (RFC 9110 15, and the registry). */
#ifndef WEIR_PROTO_HTTPSTATUS_H
#define WEIR_PROTO_HTTPSTATUS_H

#include "proto/httpname.h"

/* Gives the registered text of a status, empty for one that has none. Static. */
struct http_text http_status_text(unsigned status);

/* Gives the whole status line "HTTP/1.1 200 OK\r\n"; empty for one that has no text. Static. */
struct http_text http_status_line(unsigned status);

#endif

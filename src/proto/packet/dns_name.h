/* Names inside of a DNS message. */
#ifndef WEIR_PROTO_PACKET_DNS_NAME_H
#define WEIR_PROTO_PACKET_DNS_NAME_H

#include <weir/dns_message.h>

#include "proto/packet/wire.h"

/* The name at `at`, its pointers followed: the bytes that it has there, or WEIR_EPROTO. */
int dns_name_read(const uint8_t *message, size_t size, size_t at, weir_dns_name *out);
/* Whether its labels end where it does. */
bool dns_name_is(const weir_dns_name *name);

#endif

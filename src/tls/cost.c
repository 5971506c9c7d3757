/* What OpenSSL holds for a connection, told to the loop, whose memory it is. OpenSSL takes it from
 * the C library and tells nobody how much: so these are what was measured with 3.0 in each state;
 * tests/conformance/test_tls_memory.c compares them with what is really taken. */
#include "tls/tls.h"

enum {
    BEGUN = 71 << 10,   /* a part of a hello has come, be it a byte */
    SHAKING = 41 << 10, /* between the two halves of a handshake; beside the messages */
    READY = 14 << 10,   /* of which SSL itself is 7.6 KiB, and the ciphers are 1.9 */
    RECORD = 17 << 10   /* a buffer, while a part of a record is in it */
};

void tls_cost_tell(struct tls_state *s)
{
    uint32_t cost = tls_rate_held(s) + tls_job_held(s);
    if (s->ssl != NULL && !s->ready)
        cost += s->handshake_bytes + (uint32_t)(s->spoke ? SHAKING : BEGUN);
    else if (s->ssl != NULL)
        cost += READY + (uint32_t)(SSL_has_pending(s->ssl) == 1 ? RECORD : 0);
    if (cost == s->cost)
        return;
    s->cost = cost;
    weir_filter_charge(s->at, cost);
}

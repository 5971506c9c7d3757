#ifndef WEIR_TESTS_SIM_WARM_H
#define WEIR_TESTS_SIM_WARM_H

#include <weir/tls.h>

/* Lets OpenSSL make what it keeps; for a program's setup. Both are freed. */
void warm_up(weir_tls *server, weir_tls *client);

#endif

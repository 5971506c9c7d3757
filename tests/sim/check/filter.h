/* A filter that both ends of a connection have: it mixes the bytes, cuts them, and holds some back
 * for a while. */
#ifndef WEIR_TESTS_SIM_CHECK_FILTER_H
#define WEIR_TESTS_SIM_CHECK_FILTER_H

#include <weir/weir.h>

void check_filter_use(weir_service *service);

#endif

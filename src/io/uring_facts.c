#include "io/uring.h"
#include <pthread.h>
static struct uring_facts facts;
const struct uring_facts *uring_facts(void){ return &facts; }

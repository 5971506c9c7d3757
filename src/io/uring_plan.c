#include "io/uring.h"
void uring_plan(struct uring *ring, const struct uring_facts *facts) { ring->io.plan.backend = "uring"; (void)facts; }

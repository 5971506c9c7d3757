#include "base/env.h"

#include <stddef.h>
#include <stdlib.h>

const char *weir__getenv(const char *name)
{
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

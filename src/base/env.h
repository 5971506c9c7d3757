/* The environment comes through here only. */
#ifndef WEIR_BASE_ENV_H
#define WEIR_BASE_ENV_H

/* The value of an environment variable, or NULL when it is not set or empty, and always in a
 * program that runs with more rights than its caller has (set-uid, set-gid, file capabilities:
 * secure_getenv(3)). The text belongs to the environment. Any thread, while nobody calls setenv. */
const char *weir__getenv(const char *name);

#endif

/* The C library behind the layer: what the tests' own peers call. */
#ifndef WEIR_TESTS_NTH_LAYER_H
#define WEIR_TESTS_NTH_LAYER_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
int __real_socket(int domain, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_close(int fd);
int __real_shutdown(int fd, int how);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __real_getsockname(int fd, struct sockaddr *address, socklen_t *size);
int __real_getpeername(int fd, struct sockaddr *address, socklen_t *size);

#endif

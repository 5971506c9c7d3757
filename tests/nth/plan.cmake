# What stands between the library and the C library: the functions of layer.c and layer_ring.c. One
# that is there and not here, or here and not there, does not link.
set(nth_wrapped
  accept4 bind chmod close connect dup3 epoll_create1 epoll_ctl epoll_pwait2 epoll_wait eventfd
  eventfd_write fchmod fcntl fdopendir flock fopen fstat fstatat fsync getpeername getrandom
  getsockname getsockopt ioctl listen lstat madvise mmap mprotect munmap open openat opendir
  poll ppoll pread preadv2 pselect pthread_create pwrite read readdir recv send sendfile sendmsg
  setsockopt shutdown socket socketpair statx syscall unlink weir__alloc weir__pages_alloc
  weir__realloc weir__strdup weir__zalloc write)
set(nth_wrapped_ring
  io_uring_queue_init_params io_uring_register io_uring_ring_dontfork io_uring_submit
  io_uring_submit_and_wait_timeout uring_real_enter)

# On the ring an operation is made to fail by putting a NOP in its place, which a restricted ring
# refuses.
file(GLOB nth_programs CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/nth/nth_*.c)
foreach(source ${nth_programs})
  weir_add_nth(${source} uring:-restrictions epoll poll
    uring:-restrictions,-multishot_recv,-multishot_accept)
endforeach()

# Which conformance tests run on more than the four back ends as they are: here the tests of io.h,
# with each main feature of the io_uring back end switched.

set(uring_switched uring:+direct uring:-multishot_recv uring:-multishot_accept
  uring:-incremental uring:-defer_taskrun uring:-defer_taskrun,-coop_taskrun uring:-recv_cap
  uring:cq=small,sq=small uring:blocks=2,block=4096 uring:-incremental,blocks=2,block=4096
  uring:-restrictions,-ring_fd,-taskrun_flag)

foreach(name test_io_stream test_io_accept)
  weir_add_conformance(${name} uring epoll ${uring_switched})
endforeach()

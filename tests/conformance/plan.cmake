# Which conformance tests run on more than the four back ends as they are: all with one loop, with
# each main feature of the io_uring back end switched. tools/conformance.py reads this list.

set(uring_switched uring:+direct uring:-multishot_recv,-multishot_accept uring:-incremental
  uring:cq=small,sq=small uring:blocks=2,block=4096 uring:-incremental,blocks=2,block=4096)

file(GLOB contract_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/conformance/test_*.c)
list(FILTER contract_tests EXCLUDE REGEX "/test_(run|tls[a-z_]*)\\.c$")
foreach(source ${contract_tests})
  cmake_path(GET source STEM name)
  weir_add_conformance(${name} uring epoll poll select ${uring_switched})
endforeach()

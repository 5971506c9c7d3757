# The simulator: release objects, unchanged, with the calls of the C library and of weir's base that
# reach the outside given by tests/sim. --wrap works on what one object asks of another.
set(sim_wrapped socket bind listen accept accept4 connect send sendmsg recv shutdown close read
  recvmsg recvmmsg sendmmsg write fcntl ioctl setsockopt getsockopt getsockname getpeername poll pthread_create pthread_join
  pthread_self pthread_setname_np pthread_sigmask pthread_mutex_init pthread_mutex_destroy
  pthread_mutex_lock pthread_mutex_trylock pthread_mutex_unlock pthread_cond_init
  pthread_cond_destroy pthread_cond_wait pthread_cond_timedwait pthread_cond_signal
  pthread_cond_broadcast pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_rwlock_unlock
  sched_yield sched_getaffinity sched_setaffinity sigaction open fopen opendir sysconf getpid prctl
  weir__pages_alloc weir__getenv weir__assert_failed weir__pool_perform weir__pool_perform_cached
  weir__io_named weir__io_open eventfd epoll_create1 epoll_ctl epoll_wait epoll_pwait2 ppoll
  pselect sendfile weir__file_cached)
list(TRANSFORM sim_wrapped PREPEND "-Wl,--wrap=" OUTPUT_VARIABLE sim_wraps)

# Fibers and fork are not for the thread sanitizer, and a fuzzer has a main of its own.
if(WEIR_SANITIZE MATCHES "thread" OR WEIR_FUZZ)
  return()
endif()

file(GLOB sim_sources CONFIGURE_DEPENDS sim/*.c sim/programs/*.c sim/check/*.c)
if(WEIR_TLS)
  file(GLOB sim_tls_sources CONFIGURE_DEPENDS sim/tls/*.c sim/tls/programs/*.c)
  list(APPEND sim_sources ${sim_tls_sources})
endif()
add_executable(weir_sim ${sim_sources})
set_target_properties(weir_sim PROPERTIES OUTPUT_NAME sim
  LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/sim/state.ld)
target_include_directories(weir_sim PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
  ${CMAKE_CURRENT_SOURCE_DIR}/sim)
# Checked forms (__recv_chk) would slip past the wraps.
set_property(SOURCE ${sim_sources} APPEND PROPERTY COMPILE_OPTIONS -U_FORTIFY_SOURCE)
target_link_libraries(weir_sim PRIVATE weir_objects -Wl,-z,norelro)
if(WEIR_TLS)
  target_sources(weir_sim PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/tls/certs.c)
  target_link_libraries(weir_sim PRIVATE weir_tls_objects)
endif()
# The variables lie where the linker would protect constants after relocation.
target_link_options(weir_sim PRIVATE ${sim_wraps}
  -Wl,-T,${CMAKE_CURRENT_SOURCE_DIR}/sim/state.ld)

# A slice for each program, from seeds that begin where the commit says.
if(WEIR_SANITIZE)
  set(sim_slice_seeds 60)
else()
  set(sim_slice_seeds 12000)
  # What these show does not need so many, or each of their runs takes long.
  set(sim_slice_idle 2000)
  set(sim_slice_steady 1500)
  set(sim_slice_datagrams 3000)
  set(sim_slice_secure 800)
endif()
file(GLOB sim_programs CONFIGURE_DEPENDS sim/programs/*.c)
if(WEIR_TLS)
  file(GLOB sim_tls_programs CONFIGURE_DEPENDS sim/tls/programs/*.c)
  list(APPEND sim_programs ${sim_tls_programs})
endif()
foreach(source ${sim_programs})
  file(STRINGS ${source} definitions REGEX "^SIM_PROGRAM\\(")
  foreach(definition ${definitions})
    string(REGEX REPLACE "^SIM_PROGRAM\\(([a-z0-9_]+).*$" "\\1" name "${definition}")
    set(counts ${CMAKE_CURRENT_BINARY_DIR}/sim.${name}.json)
    list(APPEND sim_counts ${counts})
    set(seeds ${sim_slice_seeds})
    if(DEFINED sim_slice_${name})
      set(seeds ${sim_slice_${name}})
    endif()
    add_test(NAME sim.${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sim/run --program ${name}
      --seeds ${seeds} --json ${counts})
    weir_test_properties(sim.${name} ${source} sim 300)
    set_property(TEST sim.${name} APPEND PROPERTY ENVIRONMENT WEIR_BUILD=${PROJECT_BINARY_DIR})
    set_property(TEST sim.${name} PROPERTY PROCESSORS 4)
    set_property(TEST sim.${name} PROPERTY FIXTURES_SETUP sim_slice)
  endforeach()
endforeach()

# Each fault has happened to each operation that it can happen to, often enough, in the whole slice.
if(NOT WEIR_SANITIZE AND NOT WEIR_COVERAGE)
  add_test(NAME sim.faults
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sim/faults.py --least 1000 ${sim_counts})
  weir_test_properties(sim.faults ${CMAKE_CURRENT_SOURCE_DIR}/sim/faults.py sim 60)
  set_property(TEST sim.faults PROPERTY FIXTURES_REQUIRED sim_slice)
endif()

# The same seeds give the same events, within a process's children and from process to process.
add_test(NAME sim.same COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sim/same.sh)
weir_test_properties(sim.same ${CMAKE_CURRENT_SOURCE_DIR}/sim/same.sh sim 300)
set_property(TEST sim.same APPEND PROPERTY ENVIRONMENT WEIR_BUILD=${PROJECT_BINARY_DIR})

# How the different kinds of tests are made. See tests/CMakeLists.txt for where they live.

# Properties that hold for each test, and those which its source asks for in a comment.
function(weir_test_properties test source label default_timeout_s)
  set(labels ${label})
  set(timeout_s ${default_timeout_s})
  set(serial FALSE)
  file(STRINGS ${source} head LIMIT_INPUT 2000 REGEX "^[/#* ].*ctest: ")
  string(REGEX REPLACE "^.*ctest:" "" words "${head}")
  string(REGEX MATCHALL "[a-z][a-z0-9=]*" words "${words}")
  foreach(word ${words})
    if(word MATCHES "^timeout=([0-9]+)$")
      set(timeout_s ${CMAKE_MATCH_1})
    elseif(word STREQUAL "serial")
      set(serial TRUE)
    else()
      list(APPEND labels ${word})
    endif()
  endforeach()
  set_tests_properties(${test} PROPERTIES TIMEOUT ${timeout_s} LABELS "${labels}"
    RUN_SERIAL ${serial} SKIP_RETURN_CODE 77)
endfunction()

# tests/unit/base/test_slab.c becomes the program and the test unit.base.test_slab. Other sources in
# its folder are what the tests there share.
function(weir_add_unit source)
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE name)
  string(REGEX REPLACE "\\.c$" "" name ${name})
  string(REPLACE "/" "." name ${name})
  cmake_path(GET source PARENT_PATH folder)
  file(GLOB helpers CONFIGURE_DEPENDS ${folder}/*.c)
  list(FILTER helpers EXCLUDE REGEX "/test_[^/]*\\.c$")
  add_executable(${name} ${source} ${helpers})
  target_link_libraries(${name} PRIVATE weir_objects weir_test_support)
  add_test(NAME ${name} COMMAND ${name})
  weir_test_properties(${name} ${source} unit 120)
endfunction()

# weir_add_conformance(NAME BACKEND...): build conformance/NAME.c once and run it on each back end
# with WEIR_BACKEND in its environment. A back end may carry switches after a colon, which arrive
# as WEIR_FEATURES: "uring:-multishot_recv,-incremental".
function(weir_add_conformance name)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/conformance/${name}.c)
  file(GLOB helpers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/conformance/*.c)
  list(FILTER helpers EXCLUDE REGEX "/test_[^/]*\\.c$")
  add_executable(conformance.${name} ${source} ${helpers})
  target_link_libraries(conformance.${name} PRIVATE weir_objects weir_test_support)
  foreach(backend ${ARGN})
    if(backend MATCHES "^uring" AND NOT WEIR_URING)
      continue()
    endif()
    string(REPLACE ":" ";" parts ${backend})
    list(POP_FRONT parts backend_name features)
    string(REGEX REPLACE "[^A-Za-z0-9_=-]+" "." suffix ${backend})
    set(test conformance.${name}.${suffix})
    add_test(NAME ${test} COMMAND conformance.${name})
    weir_test_properties(${test} ${source} conformance 120)
    set_property(TEST ${test} APPEND PROPERTY LABELS ${backend_name})
    set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT WEIR_BACKEND=${backend_name})
    if(features)
      set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT WEIR_FEATURES=${features})
      set_property(TEST ${test} APPEND PROPERTY LABELS variant)
    endif()
  endforeach()
endfunction()

# With libFuzzer the target is a fuzzer; otherwise it is a test that feeds it every file of
# fuzz/corpus/THING, so that an input that once broke something stays tested everywhere.
function(weir_add_fuzz source)
  cmake_path(GET source STEM name)
  set(folder ${CMAKE_CURRENT_SOURCE_DIR}/fuzz)
  string(REGEX REPLACE "^fuzz_" "" thing ${name})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE weir_objects)
  if(WEIR_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    return()
  endif()
  target_sources(${name} PRIVATE ${folder}/replay.c)
  add_test(NAME fuzz.${thing} COMMAND ${name} ${folder}/corpus/${thing})
  weir_test_properties(fuzz.${thing} ${source} unit 120)
endfunction()

# Scripts find the build's commands in $WEIR_BIN, the examples in $WEIR_BIN/examples, and the
# sources in $WEIR_SOURCE. lib*.sh are for other scripts to read.
function(weir_add_script kind script)
  cmake_path(GET script STEM name)
  if(name MATCHES "^lib")
    return()
  endif()
  add_test(NAME ${kind}.${name} COMMAND bash ${script})
  weir_test_properties(${kind}.${name} ${script} ${kind} 300)
  set_property(TEST ${kind}.${name} APPEND PROPERTY ENVIRONMENT
    WEIR_BIN=${PROJECT_BINARY_DIR}/bin WEIR_BUILD=${PROJECT_BINARY_DIR}
    WEIR_SOURCE=${PROJECT_SOURCE_DIR} WEIR_SANITIZE=${WEIR_SANITIZE} CC=${CMAKE_C_COMPILER})
endfunction()

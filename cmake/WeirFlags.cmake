# weir_flags: the compiler and linker flags of every target in this tree. None of them is passed on
# to a program that uses the library.

include(CheckCCompilerFlag)

add_library(weir_flags INTERFACE)
target_compile_definitions(weir_flags INTERFACE _GNU_SOURCE)
target_compile_options(weir_flags INTERFACE -fvisibility=hidden -fno-common
  -fno-omit-frame-pointer -fno-strict-aliasing)

set(warnings -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wnested-externs -Wredundant-decls -Wvla -Wundef -Wcast-qual
  -Wwrite-strings -Wformat=2 -Wdouble-promotion -Wimplicit-fallthrough -Walloca -Wno-unused-parameter)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND warnings -Wlogical-op -Wduplicated-cond -Wtrampolines)
else()
  list(APPEND warnings -Wcomma -Wloop-analysis -Wmissing-variable-declarations
    -Wno-gnu-zero-variadic-macro-arguments)
endif()
if(WEIR_WERROR)
  list(APPEND warnings -Werror)
endif()
list(TRANSFORM warnings REPLACE "(.+)" "$<$<COMPILE_LANGUAGE:C>:\\1>")
target_compile_options(weir_flags INTERFACE ${warnings})

# A server in front of the internet keeps its guards on; they cost nothing that can be measured.
# The sanitizers bring their own checks, and fortify needs optimisation.
if(WEIR_SANITIZE OR WEIR_COVERAGE)
  set(guarded FALSE)
else()
  set(guarded TRUE)
  target_compile_options(weir_flags INTERFACE -fstack-protector-strong)
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_options(weir_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
  target_link_options(weir_flags INTERFACE -Wl,-z,relro,-z,now)
endif()

if(WEIR_SANITIZE)
  set(sanitize -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all)
  target_compile_options(weir_flags INTERFACE ${sanitize})
  target_link_options(weir_flags INTERFACE ${sanitize})
endif()
if(WEIR_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "WEIR_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang")
  endif()
  target_compile_options(weir_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(weir_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(WEIR_COVERAGE)
  target_compile_options(weir_flags INTERFACE --coverage)
  target_link_options(weir_flags INTERFACE --coverage)
endif()

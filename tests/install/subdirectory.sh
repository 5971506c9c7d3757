#!/usr/bin/env bash
# ctest: timeout=900
# weir as a folder of another project, and without liburing, whose header is made unusable here.
. "$(dirname "$0")/lib.sh"

mkdir "$scratch/parent" "$scratch/no-uring"
cp "$(dirname "$0")/subdirectory/CMakeLists.txt" "$scratch/parent"
write_program "$scratch/parent/echo.c"
echo '#error "liburing is used although WEIR_URING is off"' >"$scratch/no-uring/liburing.h"

build=$scratch/build
PKG_CONFIG_LIBDIR=/nonexistent CFLAGS="-I$scratch/no-uring" cmake -S "$scratch/parent" -B "$build" \
    -G Ninja -DCMAKE_BUILD_TYPE=Debug -DWEIR_SOURCE="$WEIR_SOURCE" -DWEIR_URING=OFF \
    >"$scratch/log" || { cat "$scratch/log"; fail "configure"; }
cmake --build "$build" >"$scratch/log" || { tail -50 "$scratch/log"; fail "build"; }

# A guest adds no tests, examples, install rules or warnings of its own.
[ ! -e "$build/weir/tests" ] || fail "tests were added to the parent project"
[ ! -e "$build/weir/bin/examples" ] || fail "examples were added to the parent project"
if grep -qi weir "$build/cmake_install.cmake" && cmake --install "$build" \
    --prefix "$scratch/prefix" >/dev/null && [ -e "$scratch/prefix/include/weir" ]; then
    fail "weir installs itself together with the parent project"
fi
if ldd "$build/echo" | grep liburing >/dev/null; then
    fail "linked with liburing"
fi
expect_echo "$build/echo"

command=$build/weir/bin/weir
if [ -x "$command" ]; then
    "$command" backends >"$scratch/plan" || fail "weir backends"
    grep -qw epoll "$scratch/plan" || fail "weir backends does not name epoll"
fi

#!/usr/bin/env bash
# The README's program built with an installed weir through find_package(weir), shared and static.
. "$(dirname "$0")/lib.sh"

install_weir
for static in OFF ON; do
    mkdir "$scratch/$static"
    cp "$(dirname "$0")/findpackage/CMakeLists.txt" "$scratch/$static"
    write_program "$scratch/$static/echo.c"
    cmake -S "$scratch/$static" -B "$scratch/$static/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
        -DWEIR_STATIC=$static >"$scratch/log" || { cat "$scratch/log"; fail "configure"; }
    cmake --build "$scratch/$static/build" >"$scratch/log" || { cat "$scratch/log"; fail "build"; }
    expect_echo "$scratch/$static/build/echo"
done

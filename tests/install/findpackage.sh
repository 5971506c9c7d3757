#!/usr/bin/env bash
# The README's program built with an installed weir through find_package(weir), shared and static.
. "$(dirname "$0")/lib.sh"

install_weir
for static in OFF ON; do
    mkdir "$scratch/$static"
    cp "$(dirname "$0")/findpackage/CMakeLists.txt" "$scratch/$static"
    write_program "$scratch/$static/echo.c"
    cp "$WEIR_SOURCE"/examples/{lookup,tls-echo}.c "$scratch/$static"
    cmake -S "$scratch/$static" -B "$scratch/$static/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
        -DWEIR_STATIC=$static >"$scratch/log" || { cat "$scratch/log"; fail "configure"; }
    cmake --build "$scratch/$static/build" >"$scratch/log" || { cat "$scratch/log"; fail "build"; }
    expect_echo "$scratch/$static/build/echo"
    if [ -e "$LD_LIBRARY_PATH/libweir-tls.so" ]; then
        ldd "$scratch/$static/build/tls-echo" >"$scratch/needs"
        grep libssl "$scratch/needs" >/dev/null || fail "tls-echo is not linked with OpenSSL"
        [ $static = ON ] || grep libweir-tls "$scratch/needs" >/dev/null || fail "no libweir-tls.so"
    fi
    [ -e "$LD_LIBRARY_PATH/libweir-dns.so" ] || continue
    "$scratch/$static/build/lookup" localhost | grep -x 'tcp://127.0.0.1:0' >/dev/null || fail "lookup"
done

#!/usr/bin/env bash
# The README's program built with an installed weir through pkg-config: shared, static, and as C++.
. "$(dirname "$0")/lib.sh"

install_weir
write_program "$scratch/echo.c"
[ "$(pkg-config --modversion weir)" = "$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' \
    "$WEIR_BUILD/CMakeCache.txt")" ] || fail "weir.pc has another version"

# The flags are several words.
# shellcheck disable=SC2046
"${CC:-cc}" -std=c17 -Wall -Wextra -Wno-unused-parameter -Werror "$scratch/echo.c" \
    -o "$scratch/echo" $(pkg-config --cflags --libs weir)
readelf -d "$scratch/echo" | grep 'NEEDED.*libweir\.so\.[0-9]' >/dev/null || fail "no versioned soname"
expect_echo "$scratch/echo"

# The archive before the libraries that it needs.
# shellcheck disable=SC2046
"${CC:-cc}" "$scratch/echo.c" -o "$scratch/echo-static" $(pkg-config --cflags weir) \
    "$LD_LIBRARY_PATH/libweir.a" $(pkg-config --libs-only-l --static weir | sed 's/-lweir//')
if readelf -d "$scratch/echo-static" | grep 'NEEDED.*libweir' >/dev/null; then
    fail "the static program needs the shared library"
fi
expect_echo env -u LD_LIBRARY_PATH "$scratch/echo-static"

# shellcheck disable=SC2046
c++ -x c++ -std=c++20 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
    -Werror "$scratch/echo.c" -x none \
    -o "$scratch/echo-c++" $(pkg-config --cflags --libs weir)
expect_echo "$scratch/echo-c++"

if pkg-config --exists weir-tls; then
    # shellcheck disable=SC2046
    "${CC:-cc}" -std=c17 "$WEIR_SOURCE/examples/tls-echo.c" -o "$scratch/tls-echo" \
        $(pkg-config --cflags --libs weir-tls)
    # Not to be named by those who use it: it is the library's own.
    if pkg-config --libs weir-tls | grep -e -lssl >/dev/null; then
        fail "weir-tls.pc makes its users link OpenSSL"
    fi
fi

# The tree still works when it has been moved.
mv "$prefix" "$scratch/moved"
PKG_CONFIG_PATH=${PKG_CONFIG_PATH/$prefix/$scratch/moved}
# shellcheck disable=SC2046
"${CC:-cc}" "$scratch/echo.c" -o "$scratch/echo-moved" $(pkg-config --cflags --libs weir)

#!/usr/bin/env bash
# The libraries define no name for others but weir_*, and every one of them stands in a header.
. "$(dirname "$0")/lib.sh"

install_weir

names_of() {
    nm --defined-only --format=posix "$@" | awk 'NF > 1 { print $1 }' | sort -u
}

# check LIBRARY HEADER...: what it exports is what the headers promise.
check() {
    local library=$1 kind name
    shift
    local shared=$LD_LIBRARY_PATH/$library.so static=$LD_LIBRARY_PATH/$library.a soname
    soname=$(readelf -d "$shared" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
    [[ $soname =~ ^$library\.so\.[0-9]+$ ]] || fail "soname is \"$soname\""
    names_of -D "$shared" >"$scratch/shared"
    names_of -g "$static" >"$scratch/static"
    [ -s "$scratch/shared" ] || fail "no symbols"
    for kind in shared static; do
        if grep -v '^weir_' "$scratch/$kind"; then
            fail "the $kind $library exports these"
        fi
    done
    cat "$@" >"$scratch/headers"
    while read -r name; do
        grep -qw "$name" "$scratch/headers" || fail "$name is exported and in no header"
    done <"$scratch/shared"
    diff "$scratch/shared" "$scratch/static" || fail "the libraries do not define the same names"

    # Every function that a header promises is there.
    tr '\n' ' ' <"$scratch/headers" | sed 's/WEIR_API/\n&/g' |
        sed -n 's/^WEIR_API[^;(]*\b\(weir_[a-z0-9_]*\)(.*/\1/p' | sort -u >"$scratch/promised"
    [ -s "$scratch/promised" ] || fail "no functions found in the headers"
    comm -23 "$scratch/promised" "$scratch/shared" >"$scratch/missing"
    if [ -s "$scratch/missing" ]; then
        cat "$scratch/missing"
        fail "declared with WEIR_API and not exported by $library"
    fi
    echo "$library: $(wc -l <"$scratch/shared") names"
}

headers=$prefix/include/weir
mapfile -t core < <(find "$headers" -name '*.h' ! -name tls.h ! -name cert.h ! -name resolve.h)
check libweir "${core[@]}"
# These may have been left out of this build.
if [ -e "$LD_LIBRARY_PATH/libweir-dns.so" ]; then
    check libweir-dns "$headers/resolve.h"
fi
if [ -e "$LD_LIBRARY_PATH/libweir-tls.so" ]; then
    check libweir-tls "$headers"/{tls,cert}.h
fi
if readelf -d "$LD_LIBRARY_PATH/libweir.so" | grep -E 'NEEDED.*(cares|ssl|crypto)' >/dev/null; then
    fail "the core needs c-ares or OpenSSL"
fi

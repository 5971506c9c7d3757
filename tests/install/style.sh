#!/usr/bin/env bash
# tools/style.py finds each kind of offence, and nothing in a clean tree.
. "$(dirname "$0")/lib.sh"

tree=$scratch/tree
mkdir -p "$tree"/{tools,docs,include/weir,src/{base,io,net,cmd}}
git -C "$scratch" init -q tree
: >"$tree/tools/style-exceptions.txt"

# expect RULE PATH LINE...: a file of these lines is refused by that rule, and only by it.
expect() {
    local rule=$1 path=$2 said
    shift 2
    printf '%s\n' "$@" >"$tree/$path"
    if said=$(python3 "$WEIR_SOURCE/tools/style.py" "$tree"); then
        fail "$rule: not noticed in $path"
    fi
    [ "$(grep -c "^$path:.*\[$rule\]$" <<<"$said")" -eq 1 ] || fail "$rule: $said"
    [ "$(wc -l <<<"$said")" -eq 2 ] || fail "$rule: more than that: $said"
    rm "$tree/$path"
}

printf '%s\n' '#include "base/clock.h"' 'int f(void)' '{' \
    '    return x->free(1) + "malloc(1)"[0]; /* malloc(2) is called elsewhere */' '}' \
    >"$tree/src/net/clean.c"
python3 "$WEIR_SOURCE/tools/style.py" "$tree" || fail "a clean tree is refused"

expect malloc src/net/a.c 'void *p = malloc(1);'
expect clock_gettime src/io/a.c 'int x = clock_gettime(0, 0);'
expect pthread_create src/cmd/a.c 'int x = pthread_create(0, 0, 0, 0);'
expect include src/base/a.c '#include "io/io.h"'
expect include src/cmd/a.c '#include "net/conn.h"'
expect include src/net/a.c '#include "conn.h"'
expect include include/weir/a.h '#include "base/clock.h"'
expect columns src/net/a.c "$(printf '%101s' ';')"
expect space src/net/a.c 'int x; '
expect unfinished docs/a.md "TO""DO: write this"
expect link docs/a.md '[gone](gone.md)'
mapfile -t body < <(for i in $(seq 61); do echo "    x = $i;"; done)
expect long-function src/net/a.c 'void f(void)' '{' "${body[@]}" '}'
mapfile -t lines < <(for i in $(seq 601); do echo "int x$i;"; done)
expect long-file src/net/a.c "${lines[@]}"

echo 'src/net/a.c malloc given to a library that frees it' >"$tree/tools/style-exceptions.txt"
echo 'void *p = malloc(1);' >"$tree/src/net/a.c"
python3 "$WEIR_SOURCE/tools/style.py" "$tree" || fail "an exception is not granted"
rm "$tree/src/net/a.c"
if python3 "$WEIR_SOURCE/tools/style.py" "$tree"; then
    fail "an exception that is no longer needed goes unnoticed"
fi

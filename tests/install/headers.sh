#!/usr/bin/env bash
# Every public header compiles alone, as C11 and C17 and as C++, without a warning.
. "$(dirname "$0")/lib.sh"

install_weir
flags=(-Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only -I"$prefix/include")
cd "$prefix/include"
count=0
for header in weir/*.h; do
    echo "#include <$header>" >"$scratch/one.c"
    # Twice: a header may be included again. A header of macros alone is an empty unit otherwise.
    printf "#include <%s>\ntypedef int nothing;\n" "$header" >>"$scratch/one.c"
    "${CC:-cc}" -std=c11 "${flags[@]}" -Wstrict-prototypes "$scratch/one.c"
    "${CC:-cc}" -std=gnu17 "${flags[@]}" -Wstrict-prototypes "$scratch/one.c"
    cp "$scratch/one.c" "$scratch/one.cc"
    c++ -std=c++17 "${flags[@]}" "$scratch/one.cc"
    c++ -std=c++20 "${flags[@]}" "$scratch/one.cc"
    count=$((count + 1))
done
[ "$count" -gt 5 ] || fail "only $count headers were installed"
echo "$count headers"

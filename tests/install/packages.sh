#!/usr/bin/env bash
# ctest: timeout=1200 serial
# The Debian packages: made, installed with dpkg, used, removed without a trace. Needs root,
# and a machine on which weir is not installed.
. "$(dirname "$0")/lib.sh"

[ -z "${WEIR_SANITIZE:-}" ] || skip "packages are made of the release build"
command -v dpkg-deb >/dev/null || skip "no dpkg-deb: not Debian"
[ "$(id -u)" -eq 0 ] || skip "installing packages needs root"
# There is one set of installed packages, whoever tests: one at a time.
exec 9>"${TMPDIR:-/tmp}/weir-install-packages.lock"
flock 9
names=(weir libweir-tls-dev libweir-tls0 libweir-dev libweir-dns0 libweir0)
for name in "${names[@]}"; do
    if dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -x installed >/dev/null; then
        skip "$name is installed on this machine, and would be replaced"
    fi
done

build=$WEIR_BUILD/package
[ -f "$WEIR_SOURCE/CMakePresets.json" ]
(cd "$WEIR_SOURCE" && cmake --preset package -B "$build") >"$scratch/log" ||
    { cat "$scratch/log"; fail "configure"; }
cmake --build "$build" >"$scratch/log" || { tail -50 "$scratch/log"; fail "build"; }
rm -rf "$build/packages"
(cd "$build" && cpack) >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "cpack"; }

debs=("$build"/packages/*.deb)
[ ${#debs[@]} -eq 6 ] || fail "${#debs[@]} packages instead of 6: ${debs[*]}"
field() {
    dpkg-deb -f "$build"/packages/"$1"_*.deb "$2"
}
field libweir-dev Depends | grep 'libweir0 (= ' >/dev/null || fail "libweir-dev must need its libweir0"
field libweir0 Depends | grep 'libc6' >/dev/null || fail "libweir0 must need libc6"
if field libweir0 Depends | grep 'libc-ares' >/dev/null; then fail "libweir0 must not need c-ares"; fi
field libweir-dns0 Depends | grep 'libc-ares2' >/dev/null || fail "libweir-dns0 must need c-ares"
field libweir-dns0 Depends | grep 'libweir0 (= ' >/dev/null || fail "libweir-dns0 must need its libweir0"
field libweir-tls0 Depends | grep 'libssl3' >/dev/null || fail "libweir-tls0 must need OpenSSL"
if field libweir0 Depends | grep -i ssl >/dev/null; then
    fail "libweir0 must not need OpenSSL"
fi

# Whatever the packages bring is gone again afterwards, also when the test fails.
remove() {
    dpkg --purge "${names[@]}" >>"$scratch/dpkg.log" 2>&1 || true
    clean_up
}
trap remove EXIT
dpkg -i "${debs[@]}" >"$scratch/dpkg.log" 2>&1 || { cat "$scratch/dpkg.log"; fail "dpkg -i"; }
dpkg -L "${names[@]}" | sort -u | while read -r path; do
    [ -d "$path" ] || echo "$path"
done >"$scratch/files"
grep -q '/libweir\.so\.0$' "$scratch/files" || fail "no library"
grep -q '/libweir-tls\.so\.0$' "$scratch/files" || fail "no library of TLS"
grep -q '/man1/weir\.1' "$scratch/files" || fail "no manual"

/usr/bin/weir version | grep "$(field weir Version | cut -d- -f1)" >/dev/null || fail "weir version"
write_program "$scratch/echo.c"
# shellcheck disable=SC2046
"${CC:-cc}" "$scratch/echo.c" -o "$scratch/echo" $(pkg-config --cflags --libs weir)
ldd "$scratch/echo" | grep '/libweir\.so\.0 ' >/dev/null || fail "the program does not find the library"
expect_echo "$scratch/echo"

dpkg --purge "${names[@]}" >>"$scratch/dpkg.log" 2>&1 ||
    { cat "$scratch/dpkg.log"; fail "dpkg --purge"; }
while read -r path; do
    [ ! -e "$path" ] || fail "$path is still there"
done <"$scratch/files"

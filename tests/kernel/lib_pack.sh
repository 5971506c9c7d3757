#!/usr/bin/env bash
# usage: lib_pack.sh KERNEL-FOLDER OUT.cpio LIST PROGRAM...
# Makes the initramfs of a virtual machine that runs tests: busybox, the programs with the libraries
# that they are linked with, the kernel modules that the tests use, tests/kernel/init as its first
# process, and LIST, the tests that it is to run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 out=$2 list=$3
shift 3
modules=(veth dummy sch_netem sch_fq sch_tbf tls
    nf_tables nf_conntrack nft_chain_nat nft_ct nft_limit nft_masq nft_numgen nft_reject_inet)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,run,etc,root,modules,tests}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/init" "$root/init"
cp "$list" "$root/tests/list"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

# Programs go to /tests, by whose full names busybox does not take its own instead; libraries keep
# their places.
for program in "$@"; do
    cp -L "$program" "$root/tests/"
    strip --strip-debug "$root/tests/${program##*/}" 2>/dev/null || true
    ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root${library%/*}"
        [ -e "$root$library" ] || cp -L "$library" "$root$library"
    done
done

# A module comes behind those that it needs: /modules/order is the order of loading.
add_module() {
    local name=$1 file needed
    [ ! -e "$root/modules/$name.ko" ] || return 0
    file=$(find "$kernel/modules" -name "$name.ko" -o -name "$name.ko.xz" | head -1)
    [ -n "$file" ] || return 0 # part of the kernel, or not there: the test that needs it says so
    case $file in
    *.xz) xz -dc "$file" >"$root/modules/$name.ko" ;;
    *) cp "$file" "$root/modules/$name.ko" ;;
    esac
    needed=$(tr '\0' '\n' <"$root/modules/$name.ko" | sed -n 's/^depends=//p' | tr ',' ' ')
    for needed in $needed; do
        add_module "$needed"
    done
    echo "$name" >>"$root/modules/order"
}
: >"$root/modules/order"
# libcrc32c finds its algorithm by name, which no list of dependencies tells.
add_module crc32c_generic
for name in "${modules[@]}"; do
    add_module "$name"
done
(cd "$root" && find . | cpio -o -H newc --quiet) >"$out"

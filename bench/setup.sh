# shellcheck shell=bash disable=SC2154
# Sourced by ./dev: installs what ./dev bench compares weir with. The rivals are wanted, not needed: what
# cannot be installed is left out of the tables, and said. They expect $root, and tools/packages.sh.

# Servers are to be there, not to run: Debian's maintainer scripts ask this program before they start
# one. One that is there already stays as it is.
bench_without_services() {
    local policy=${1:-}/usr/sbin/policy-rc.d made='' code=0
    shift
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy"
        made=1
    fi
    "$@" || code=$?
    [ -z "$made" ] || as_root rm -f "$policy"
    return "$code"
}

bench_install() {
    local name missing=()
    while read -r name; do
        (need_packages "$name") || missing+=("$name")
    done < <(sed 's/#.*//; /^ *$/d' "$root/bench/packages")
    [ ${#missing[@]} -eq 0 ] ||
        echo "dev: SKIPPED, could not be installed: ${missing[*]}" >&2
}

# Debian 13's rivals in a folder of their own, build/newer: their programs are run by the loader there,
# nothing of this machine is changed. The archive is the one that this machine's packages come from.
bench_newer() {
    local folder="$root/build/newer" archive name
    need_packages debootstrap
    if ! (as_root true) 2>/dev/null; then
        echo "dev: SKIPPED Debian 13's rivals: debootstrap needs root" >&2
        return
    fi
    # shellcheck disable=SC2016
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        grep -v security | sort -u | head -1)
    if [ -z "$archive" ]; then
        echo "dev: SKIPPED Debian 13's rivals: no archive is configured (apt-get update)" >&2
        return
    fi
    if [ ! -e "$folder/done" ]; then
        as_root rm -rf "$folder"
        mkdir -p "$root/build"
        if ! as_root debootstrap --variant=minbase trixie "$folder" "$archive" >&2; then
            echo "dev: SKIPPED Debian 13's rivals: debootstrap failed (see above)" >&2
            return
        fi
        as_root cp /etc/resolv.conf "$folder/etc/resolv.conf"
        as_root touch "$folder/done"
    fi
    bench_without_services "$folder" bench_newer_packages "$folder"
}

bench_newer_packages() {
    local folder=$1 name missing=()
    as_root chroot "$folder" apt-get update >&2 || true
    for name in nginx-light haproxy lighttpd caddy h2o libuv1t64 redis-server valkey-server; do
        as_root chroot "$folder" apt-get install -y --no-install-recommends "$name" >&2 ||
            missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] ||
        echo "dev: SKIPPED, Debian 13 has none or it could not be installed: ${missing[*]}" >&2
}

# bench_setup [--newer]
bench_setup() {
    bench_without_services "" bench_install
    [ "${1:-}" != --newer ] || bench_newer
}

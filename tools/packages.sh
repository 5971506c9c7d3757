# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by ./dev and the other scripts here: which Debian packages each job needs, and how the
# missing ones are installed.

build_packages=(gcc libc6-dev cmake ninja-build pkgconf liburing-dev libc-ares-dev libssl-dev libmnl-dev)
clang_packages=(clang libclang-rt-dev)
lint_packages=(git clang-format clang-tidy python3 shellcheck)
# What the tests run: C and C++ compilers, real clients, and the tools that build and look at
# packages.
test_packages=(g++ libcmocka-dev curl openssl wrk iperf3 netcat-openbsd python3 strace procps iproute2 nftables git
    dpkg-dev file binutils groff-base dnsmasq-base redis-server tcpdump gdb valgrind microsocks tinyproxy-bin)
# The virtual machines with older kernels; where these cannot be had their tests are skipped.
machine_packages=(qemu-system-x86 busybox-static cpio xz-utils)
# A compiler and an emulator for aarch64; likewise.
cross_packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)

# The packages among the arguments that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        # A package may exist for several architectures; one that is installed is enough.
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -x installed >/dev/null ||
            printf '%s\n' "$name"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# need_packages NAME...: returns when all of them are installed, and ends the program otherwise.
need_packages() {
    local missing apt=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300)
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        # Not Debian: go on if the tools are there, whatever their packages are called.
        command -v cmake >/dev/null && command -v ninja >/dev/null && command -v cc >/dev/null &&
            return
        echo "dev: this is not Debian; please install what these Debian packages contain:" >&2
        printf '  %s\n' "$*" >&2
        exit 69
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] && return
    echo "dev: installing ${missing[*]}" >&2
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "dev: neither root nor sudo; please run as root: apt-get install ${missing[*]}" >&2
        exit 77
    fi
    # The lists of a fresh machine are empty or old; they are fetched only if it turns out so.
    as_root "${apt[@]}" "${missing[@]}" >&2 && return
    as_root apt-get update >&2
    as_root "${apt[@]}" "${missing[@]}" >&2 && return
    echo "dev: could not install ${missing[*]} (see above)" >&2
    exit 69
}

#!/usr/bin/env bash
# usage: lib_fetch.sh 6.1|6.12 FOLDER
# Puts Debian's cloud kernel of that series and its modules into FOLDER: FOLDER/vmlinuz and
# FOLDER/modules. The package is downloaded with apt and unpacked there; nothing is installed, and
# the machine's own package lists stay as they are. Exits with 77 and a line "skip: REASON" when
# the kernel cannot be had.
set -u

skip() {
    echo "skip: $*"
    exit 77
}

series=${1:?} folder=$(mkdir -p "${2:?}" && cd "$2" && pwd)
case $series in
6.1) suite=bookworm ;;
6.12) suite=bookworm-backports ;;
*) skip "no Debian 12 kernel $series: there are 6.1 and 6.12" ;;
esac
[ -s "$folder/vmlinuz" ] && [ -d "$folder/modules" ] && exit 0
[ "$(uname -m)" = x86_64 ] || skip "the old kernels are booted on x86-64 only"
command -v apt-get >/dev/null || skip "no apt-get, which downloads the kernel's package"

# The same mirror as the machine's, with the suite that has the kernel.
# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$')
[ -n "$mirror" ] || skip "apt has no Debian mirror configured"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
apt="$folder/apt"
rm -rf "$apt"
mkdir -p "$apt/lists/partial" "$apt/parts" "$apt/archives/partial"
echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/parts"
    -o "Dir::State::Lists=$apt/lists" -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache=
    -o APT::Sandbox::User=root -o Acquire::Retries=2)
apt-get "${options[@]}" update >"$apt/log" 2>&1 ||
    { cat "$apt/log" >&2; skip "the package lists of $suite cannot be fetched"; }
package=$(apt-cache "${options[@]}" depends linux-image-cloud-amd64 |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | tail -1)
case $package in
linux-image-"$series".*) ;;
*) skip "$suite has no kernel $series (it has ${package:-none})" ;;
esac
(cd "$apt" && apt-get "${options[@]}" download "$package") >>"$apt/log" 2>&1 ||
    { cat "$apt/log" >&2; skip "$package cannot be downloaded"; }
dpkg-deb -x "$apt/$package"_*.deb "$apt/root" || exit 1
mv "$apt"/root/boot/vmlinuz-* "$folder/vmlinuz" || exit 1
mv "$apt"/root/lib/modules/* "$folder/modules" || exit 1
rm -rf "$apt"
echo "fetched $package"

#!/usr/bin/env bash
# Every manual page is well formed, and every page that one points to exists. Whatever these headers
# declare has a page that names it.
. "$(dirname "$0")/lib.sh"

pages=("$WEIR_SOURCE"/docs/man/*.[1-8])
[ -e "${pages[0]}" ] || fail "no manual pages"
for page in "${pages[@]}"; do
    if command -v groff >/dev/null; then
        warnings=$(groff -mandoc -Tutf8 -ww -z "$page" 2>&1)
        [ -z "$warnings" ] || fail "$warnings"
    fi
    while read -r name section; do
        case $name in
        weir*) [ -e "$WEIR_SOURCE/docs/man/$name.$section" ] ||
            fail "$(basename "$page") points to $name($section), which does not exist" ;;
        esac
    done < <(sed -n 's/^\.Xr \([^ ]*\) \([1-8]\).*/\1 \2/p' "$page")
done
for header in address capture cert chan datagram dns_message error filter frame http packet proxy resolve scope sync tls tun via view; do
    # Without comments: they name functions too.
    functions=$(sed -e 's,/\*.*\*/,,' -e '\,/\*,,\,\*/,d' "$WEIR_SOURCE/include/weir/$header.h" |
        grep -v '^typedef' | grep -oE '\bweir_[a-z][a-z0-9_]*\(' | tr -d '(' | sort -u)
    [ -n "$functions" ] || fail "weir/$header.h declares nothing"
    for function in $functions; do
        case $function in
        weir__*) continue ;;
        esac
        grep -qE "^\.Nm $function( ,)?\$" "${pages[@]}" || fail "no page for $function of weir/$header.h"
    done
done
echo "${#pages[@]} pages"

#!/usr/bin/env bash
# ctest: timeout=120
# The examples of docs/guide/coroutines.md, as their own comments say.
. "$(dirname "$0")/lib_examples.sh"

talk() { timeout 10 nc -N -U "$temporary/$1"; }

head -c 3000000 /dev/urandom >"$temporary/random"
sum=$(sha256sum <"$temporary/random")
u="unix:$temporary"

for WEIR_BACKEND in uring epoll poll select; do
    export WEIR_BACKEND
    start echo_co "$u/echo_co"
    check 'echo small' hello "$(printf hello | talk echo_co)"
    check 'echo large' "$sum" "$(talk echo_co <"$temporary/random" | sha256sum)"
    echo_pid=$pid
    start proxy_co "$u/proxy_co" "$u/echo_co"
    check 'proxy small' hello "$(printf hello | talk proxy_co)"
    check 'proxy large' "$sum" "$(talk proxy_co <"$temporary/random" | sha256sum)"
    stop proxy_co
    start upstream "$u/upstream" "$u/echo_co"
    upstream_pid=$pid
    curl=(curl -s -m 20 --unix-socket "$temporary/upstream")
    check 'ask' 'the other says hello' "$("${curl[@]}" http://x/ask/hello)"
    pid=$echo_pid
    stop echo_co
    pid=$upstream_pid
    check 'ask nobody' 502 "$("${curl[@]}" -o /dev/null -w '%{http_code}' http://x/ask/hello)"
    stop upstream
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

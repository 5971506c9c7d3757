#!/usr/bin/env bash
# ctest: timeout=240
# Every example, run as its own comment says, on every back end.
. "$(dirname "$0")/lib_examples.sh"

talk() { timeout 10 nc -N -U "$temporary/$1"; }

head -c 3000000 /dev/urandom >"$temporary/random"
sum=$(sha256sum <"$temporary/random")

all() {
    local u="unix:$temporary" c
    start echo "$u/echo"
    check 'echo small' hello "$(printf hello | talk echo)"
    check 'echo large' "$sum" "$(talk echo <"$temporary/random" | sha256sum)"
    check 'connect' "$sum" "$("$bin/connect" "$u/echo" <"$temporary/random" | sha256sum)"
    check 'connect refused' 1 "$("$bin/connect" "$u/nobody" </dev/null 2>/dev/null; echo $?)"
    local echo_pid=$pid
    start proxy "$u/proxy" "$u/echo"
    check 'proxy small' hello "$(printf hello | talk proxy)"
    check 'proxy large' "$sum" "$(talk proxy <"$temporary/random" | sha256sum)"
    stop proxy
    pid=$echo_pid
    stop echo
    start lines "$u/lines"
    check 'lines' $'HELLO\nWORLD' "$(printf 'hello\r\nworld\n' | talk lines)"
    stop lines
    start chat "$u/chat"
    { sleep 0.3; printf 'hi\n'; sleep 0.3; } | talk chat >"$temporary/a" &
    local speaker=$!
    { sleep 0.8; } | talk chat >"$temporary/b"
    wait "$speaker"
    check 'chat' hi "$(sed 's/^[0-9]*: //' "$temporary/b")"
    stop chat
    start hello "$u/hello"
    check 'hello' 'Hello, you!' "$(curl -s --unix-socket "$temporary/hello" http://x/hello/you)"
    stop hello
    start wait "$u/wait"
    c=(curl -s --unix-socket "$temporary/wait")
    check 'wait' 'waited 100 ms' "$("${c[@]}" http://x/sleep/100)"
    check 'upload' '3000000 bytes' "$("${c[@]}" -H Expect: --data-binary "@$temporary/random" http://x/count)"
    check 'upload, continued' '3000000 bytes' \
        "$("${c[@]}" -H 'Expect: 100-continue' --data-binary "@$temporary/random" http://x/count)"
    check 'upload, chunked' '3000000 bytes' \
        "$("${c[@]}" -H 'Transfer-Encoding: chunked' --data-binary "@$temporary/random" http://x/count)"
    check 'pieces' $'tick\ntick\ntick' "$("${c[@]}" http://x/ticks/3)"
    stop wait
}

for WEIR_BACKEND in uring epoll poll select; do
    export WEIR_BACKEND
    all
done

# Embedding: the host ends when its standard input does.
for WEIR_BACKEND in uring epoll; do
    export WEIR_BACKEND
    mkfifo "$temporary/fifo.$WEIR_BACKEND"
    "$bin/embed" "unix:$temporary/embed" <"$temporary/fifo.$WEIR_BACKEND" 2>"$temporary/errors" &
    pid=$!
    exec 9>"$temporary/fifo.$WEIR_BACKEND"
    listening "$temporary/embed"
    check 'embedded echo' "$sum" "$(talk embed <"$temporary/random" | sha256sum)"
    exec 9>&-
    wait "$pid"
    check 'embed ends' "0 $(true)" "$? $(cat "$temporary/errors")"
    pid=
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

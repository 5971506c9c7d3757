#!/usr/bin/env bash
# ctest: timeout=120
# The examples of docs/guide/coroutines.md, as their own comments say.
. "$(dirname "$0")/lib_examples.sh"

talk() { timeout 10 nc -N -U "$temporary/$1"; }

head -c 3000000 /dev/urandom >"$temporary/random"
sum=$(sha256sum <"$temporary/random")
u="unix:$temporary"

# A site for the crawler: ten pages that link to each other, to one that is not there, one of another
# server, and one too long.
mkdir "$temporary/site"
for page in index 1 2 3 4 5 6 7 8 9; do
    {
        for link in 1 2 3 4 5 6 7 8 9 lost; do echo "<a href=\"/$link.html#top\">$link</a>"; done
        printf '<a href="//elsewhere/">e</a> <a href="/%0400d">long</a> <a href="/cut' 0
    } >"$temporary/site/$page.html"
done

hears() { # hears LINE...: what ann is told next
    local line
    for expected; do
        read -r -t 5 line <&"${ann[0]}"
        check "chat $expected" "$expected" "$line"
    done
}

chat_rooms() { # three people, two rooms, names that are refused
    local ann_pid
    start chat_rooms "$u/chat_rooms"
    coproc ann { talk chat_rooms; }
    ann_pid=$!
    echo ann >&"${ann[1]}"
    hears 'ann is here'
    check 'chat name taken' '' "$(echo ann | talk chat_rooms)"
    check 'chat name too long' '' "$(echo 12345678901234567 | talk chat_rooms)"
    check 'chat bob' $'bob is here\nbob: hi? there\nbob is gone' \
        "$(printf 'bob\nhi\033 there\n' | talk chat_rooms)"
    hears 'bob is here' 'bob: hi? there' 'bob is gone'
    echo /join den >&"${ann[1]}"
    hears 'ann goes to den' 'ann is now in den'
    printf 'dan\nis anybody here?\n/join den\nhello\n' | talk chat_rooms >/dev/null
    hears 'dan is now in den' 'dan: hello' 'dan is gone'
    eval "exec ${ann[1]}>&-"
    wait "$ann_pid"
    stop chat_rooms
}

rated() { # a rate is kept, and so is the order of what is slower than it
    local out
    out=$("$bin/rated" 60 200 1ms)
    check 'rated' '60 items, sum 1830,' "${out% * ms*}"
    out=${out##*, } out=${out%% *}
    check "rated in $out ms" 1 $((out >= 240 && out < 2000))
    out=$("$bin/rated" 30 10000 10ms)
    check 'rated slow consumers' '30 items, sum 465,' "${out% * ms*}"
    out=${out##*, } out=${out%% *}
    check "rated slow consumers in $out ms" 1 $((out >= 90 && out < 2000))
    check 'rated bad' 2 "$("$bin/rated" 0; echo $?)"
}

crawler() { # each page once, whoever links to it
    local out
    "${WEIR_BIN:?}/weir" serve "$temporary/site" --listen "$u/site.sock" >/dev/null 2>&1 &
    pid=$!
    listening "$temporary/site.sock"
    out=$("$bin/crawler" "$u/site.sock")
    check 'crawler count' '11 pages, 1 failed, done' "${out##*$'\n'}"
    check 'crawler pages' "$(printf '/%s.html 200 -\n' {1..9})" "$(grep 'html 200' <<<"$out" | sort)"
    check 'crawler lost' '/lost.html 404 -' "$(grep 404 <<<"$out")"
    kill -TERM "$pid"
    wait "$pid"
    pid=
    check 'crawler refused' '1 pages, 1 failed, done' "$("$bin/crawler" "$u/nobody" | tail -n 1)"
}

redis() { # its own client's answers, and servers that lie
    local r="$u/redis" big
    big=$(printf '%0100000d' 7)
    redis-server --port 0 --unixsocket "$temporary/redis" --save '' --dir "$temporary" >/dev/null &
    pid=$!
    listening "$temporary/redis"
    check 'redis ping' PONG "$("$bin/redis" "$r" PING)"
    check 'redis pipelined' $'OK\nhello\nOK\n\n(nil)\n2\nx\ny\n1' "$("$bin/redis" "$r" SET a hello -- GET a \
        -- SET b '' -- GET b -- GET none -- RPUSH "l$WEIR_BACKEND" x y -- LRANGE "l$WEIR_BACKEND" 0 -1 \
        -- INCR "n$WEIR_BACKEND")"
    check 'redis large' "$(sha256sum <<<"$big")" \
        "$("$bin/redis" "$r" SET big "$big" -- GET big | tail -n +2 | sha256sum)"
    check 'redis error' '(error) ERR' "$("$bin/redis" "$r" NONSENSE | cut -c 1-11)"
    kill -TERM "$pid"
    wait "$pid"
    pid=
}

lie() { # lie NAME BYTES EXPECTED: a server that answers with these
    rm -f "$temporary/liar"
    printf '%b' "$2" | timeout 10 nc -N -lU "$temporary/liar" >/dev/null &
    pid=$!
    listening "$temporary/liar"
    check "redis $1" "unix:$temporary/liar: $3" "$("$bin/redis" "$u/liar" GET a 2>&1)"
    wait "$pid"
    pid=
}

# shellcheck disable=SC2016 # those are RESP's
lies() {
    local broken='the peer broke the protocol' large='larger than the limit'
    lie 'huge string' '$99999999999\r\n' "$broken"
    lie 'huge array' '*10001\r\n' "$large"
    lie 'deep array' "$(printf '*1\\r\\n%.0s' {1..100})" "$broken"
    lie 'cut string' '$5\r\nhel' "$broken"
    lie 'string without an end' '$3\r\nhello\r\n' "$broken"
    lie 'nothing' '\r\n' "$broken"
    lie 'endless line' "+$(printf '%05000d' 0)" "$large"
}

command -v redis-server >/dev/null || echo "skip: no redis-server, so not against it"
[ -x "${WEIR_BIN:?}/weir" ] || echo "skip: the command was not built, so no crawler"

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
    start both "$u/both" "$u/echo_co" "$u/echo_co"
    both_pid=$pid
    curl=(curl -s -m 20 --unix-socket "$temporary/upstream")
    check 'ask' 'the other says hello' "$("${curl[@]}" http://x/ask/hello)"
    curl_both=(curl -s -m 20 --unix-socket "$temporary/both")
    for word in hello again; do
        check "ask both $word" "$word and $word" "$("${curl_both[@]}" "http://x/ask/$word")"
    done
    pid=$echo_pid
    stop echo_co
    check 'ask both of nobody' 502 "$("${curl_both[@]}" -o /dev/null -w '%{http_code}' http://x/ask/hello)"
    pid=$both_pid
    stop both
    pid=$upstream_pid
    check 'ask nobody' 502 "$("${curl[@]}" -o /dev/null -w '%{http_code}' http://x/ask/hello)"
    stop upstream
    chat_rooms
    rated
    if [ -x "$WEIR_BIN/weir" ]; then crawler; fi
    lies
    if command -v redis-server >/dev/null; then redis; fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

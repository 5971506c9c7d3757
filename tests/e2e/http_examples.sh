#!/usr/bin/env bash
# ctest: timeout=120
# The examples of docs/guide/http.md, as their own comments say.
. "$(dirname "$0")/lib_examples.sh"

head -c 3000000 /dev/zero >"$temporary/zeros"

for WEIR_BACKEND in uring epoll poll select; do
    export WEIR_BACKEND
    start plain "unix:$temporary/plain"
    curl=(curl -s -m 20 --unix-socket "$temporary/plain")
    check 'later' 'after 20 ms' "$("${curl[@]}" http://x/later/20)"
    check 'sum' '3 bytes, sum 00017862' "$("${curl[@]}" --data-binary abc http://x/sum)"
    check 'large' '3000000 bytes, sum 00000000' \
        "$("${curl[@]}" -H Expect: --data-binary "@$temporary/zeros" http://x/sum)"
    check 'continued' '3000000 bytes, sum 00000000' \
        "$("${curl[@]}" -H 'Expect: 100-continue' --data-binary "@$temporary/zeros" http://x/sum)"
    check 'nothing' '0 bytes, sum 00000000' "$("${curl[@]}" -X POST http://x/sum)"
    stop plain
    start events "unix:$temporary/events"
    curl=(curl -s -m 20 --unix-socket "$temporary/events")
    check 'events' $'id: 1\ndata: tick\n\nid: 2\ndata: tick' \
        "$("${curl[@]}" -N 'http://x/events?ms=20&count=2')"
    check 'a listener that leaves' $'id: 1\ndata: tick' \
        "$("${curl[@]}" -N http://x/events?ms=20 | head -2)"
    stop events
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

#!/usr/bin/env bash
# ctest: timeout=600 serial slow
# weir serve before a real browser; on every back end.
. "$(dirname "$0")/lib_cmd.sh"
for browser in ${WEIR_BROWSER:-chromium chromium-browser google-chrome}; do
    WEIR_BROWSER=$(command -v "$browser") && break
done
[ -n "${WEIR_BROWSER:-}" ] || skip "no chromium, the browser that would load a page"
export WEIR_BROWSER
on_backends uring epoll poll select

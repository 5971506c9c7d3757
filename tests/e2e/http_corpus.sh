#!/usr/bin/env bash
# ctest: timeout=240
# Every request of tests/corpus/http1 over real sockets, on every back end.
exec python3 "${WEIR_SOURCE:?}/tests/e2e/http_corpus.py"

#!/usr/bin/env bash
# ctest: timeout=240
# Every server model of examples/models, with the same checks.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/models.py" "${WEIR_BIN:?}/examples/models" \
    "${WEIR_SOURCE:?}/examples/models"

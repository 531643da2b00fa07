#!/bin/bash
# Runs one example, as its test.
set -euo pipefail
exec timeout 60 "$@" </dev/null

#!/bin/bash
# The headers include each other as LAYERS in BUILD says, and only the
# platform header names ConcurrencyKit or __atomic.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

status=0
shopt -s nullglob
for header in shmcomm*.h; do
    stem=${header%.h}
    # Only lines that start with #include: not the example in the banner.
    has=$(sed -n 's/^# *include "\(shmcomm[a-z_]*\)\.h".*/\1/p' "$header" | sort -u)
    if ! line=$(grep -E "^    \"$stem\": \[" BUILD); then
        echo "layers_test: BUILD does not list $header; it includes: ${has//$'\n'/ }" >&2
        status=1
        continue
    fi
    says=$(grep -Eo '"shmcomm[a-z_]*"' <<<"${line#*: }" | tr -d '"' | sort -u) || true
    if [[ $has != "$says" ]]; then
        echo "layers_test: $header includes: ${has//$'\n'/ }" >&2
        echo "layers_test: BUILD says it includes: ${says//$'\n'/ }" >&2
        status=1
    fi
    if [[ $stem != shmcomm_platform ]] &&
        grep -nE '\b(ck_pr_|ck_backoff|__atomic_)|^# *include <ck_' "$header" >&2; then
        echo "layers_test: $header: only shmcomm_platform.h may name these" >&2
        status=1
    fi
done
exit "$status"

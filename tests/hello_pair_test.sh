#!/bin/bash
# The two programs of the README, in both orders: subscriber first, and a
# publisher that is there before the subscriber but sends after it came.
set -euo pipefail
bin=docs/examples/hello
dir=$(mktemp -d /dev/shm/hello.XXXXXX)
trap 'rm -rf -- "$dir"' EXIT
export SHMCOMM_DIR=$dir
failed=0

for round in 1 2 3 4 5; do
    timeout 30 "$bin/sub" >"$dir/said" &
    sub=$!
    sleep 0.1
    timeout 30 "$bin/pub"
    wait "$sub" || failed=1
    if [[ $(<"$dir/said") != hello ]]; then
        echo "round $round: the subscriber said '$(<"$dir/said")'" >&2
        failed=1
    fi
    rm -f "$dir/said"
    left=$(find "$dir" -type f | wc -l)
    if [[ $left -ne 0 ]]; then
        echo "round $round: $left files are left" >&2
        failed=1
    fi
done
echo "$((1 - failed)) passed, $failed failed"
exit "$failed"

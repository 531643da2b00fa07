#!/bin/bash
# The pairs of the manual.  First publisher and subscriber: the subscriber
# comes first, and each publisher is gone as soon as it has sent.  Then a
# worker and a pusher, a server and a client, of whom either may be first.
set -euo pipefail
bin=docs/examples/hello
dir=$(mktemp -d /dev/shm/hello.XXXXXX)
said=$(mktemp)
trap 'rm -rf -- "$dir" "$said"' EXIT
export SHMCOMM_DIR=$dir
failed=0

for round in 1 2 3 4 5; do
    timeout 60 "$bin/sub" >"$said" &
    sub=$!
    # The first publisher may be faster than the subscriber's start.
    while kill -0 "$sub" 2>/dev/null; do
        timeout 60 "$bin/pub"
        sleep 0.05
    done
    wait "$sub" || failed=1
    if [[ $(<"$said") != hello ]]; then
        echo "round $round: the subscriber said '$(<"$said")'" >&2
        failed=1
    fi
    left=$(find "$dir" -type f | wc -l)
    if [[ $left -ne 0 ]]; then
        echo "round $round: $left files are left" >&2
        failed=1
    fi
done

pair() { # pair FIRST SECOND: what the worker said, once both have gone
    timeout 60 "$bin/$1" >>"$said" &
    sleep 0.05
    timeout 60 "$bin/$2" >>"$said"
    wait "$!" || failed=1
}

for both in 'push pull weld' 'pull push weld' 'req rep world' 'rep req world'; do
    read -r first second word <<<"$both"
    : >"$said"
    pair "$first" "$second"
    left=$(find "$dir" -type f | wc -l)
    if [[ $(<"$said") != "$word" || $left -ne 0 ]]; then
        echo "$first first: '$(<"$said")' was said, $left files" >&2
        failed=1
    fi
done
echo "$((1 - failed)) passed, $failed failed"
exit "$failed"

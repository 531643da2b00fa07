#!/bin/bash
# A short soak breaks no promise, and each pattern and each kind of chaos took
# place in it; and the checker finds what is broken on purpose.
# Environment: SHMC_TEST_SOAK_S how long the soak runs, in seconds [30].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
passed=0
failed=0
check() { # check WHAT COMMAND...: count whether the command succeeds
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "soak_run_test: not so: $what" >&2
    fi
}

has() { # has PATTERN: a line of the output matches
    grep -Eq -- "$1" "$work/out"
}

soak() { # soak ARGUMENT...: run it; its status is in $status
    status=0
    tests/soak "$@" --program "$work/soak" >"$work/out" 2>&1 || status=$?
}

is() { # is STATUS: of the last run
    [[ $status -eq $1 ]]
}

some='[1-9][0-9]*'
soak "${SHMC_TEST_SOAK_S:-30}s"
check "no promise is broken" is 0
[[ $status -eq 0 ]] || cat "$work/out" >&2
check "the last line says so" has "^$some promises checked, 0 broken, $some messages, "
for pattern in lossy calm big reliable broadcast spsc records mpmc push drop latest \
    reqrep maker peers poller; do
    check "$pattern took place" has "^$pattern +$some messages "
done
check "some were killed, stopped, started again" \
    has ", $some kills, $some stops, $some restarts, "
check "the wall clock was stepped" has ", $some clock steps, "
check "the step was felt" has "^the step of the wall clock was felt $some times"
if ! has '^left out: a full folder'; then
    check "the folder was full" has ", $some fills, "
fi

# Each must be found.  On a busy machine it may take a longer run.
for kind in drop tear duplicate:push count reply leak; do
    for seconds in 2 10 40; do
        soak "$seconds" --sabotage "$kind"
        [[ $status -eq 0 ]] || break
    done
    check "$kind is found" is 1
    check "$kind is told" has '^BROKEN '
done

soak --help
check "--help" is 0
for bad in "" 0 5x -5 "5 6" "5 --seed x" "5 --nonsense"; do
    # shellcheck disable=SC2086  # words
    soak $bad
    check "'$bad' is refused" is 2
done

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]

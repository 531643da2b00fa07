#!/bin/bash
# The demo runs to its end, every row is there, the filter was started twice,
# and nothing stays in the folder; also when it is interrupted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

demo=tools/demo/demo
# A folder of our own: whatever is left in it, the demo left.
folder=$(mktemp -d /dev/shm/demo_run_test.XXXXXX)
work=$(mktemp -d)
trap 'rm -rf -- "$folder" "$work"' EXIT
export SHMCOMM_DIR=$folder

passed=0
failed=0
check() { # check WHAT COMMAND...: count whether the command succeeds
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "demo_run_test: not so: $what" >&2
    fi
}

has() { # has PATTERN: a line of the output matches
    grep -Eq -- "$1" "$work/out"
}

folder_is_empty() {
    [[ -z $(ls -A "$folder") ]]
}

status_is() { # status_is WANT COMMAND...
    local want=$1 status=0
    shift
    timeout 100 "$@" >"$work/out" 2>"$work/err" || status=$?
    if [[ $status -ne $want ]]; then
        echo "demo_run_test: $* ended with $status" >&2
        cat "$work/out" "$work/err" >&2
    fi
    [[ $status -eq $want ]]
}

check "a run of 3 s ends well" status_is 0 "$demo" --seconds 3 --json
for name in recorder viewer-a viewer-b controller sensor camera metronome; do
    check "$name was started once" \
        has "^\{\"row\":\"process\",\"name\":\"$name\",\"starts\":1,"
done
check "the filter was started twice" \
    has '^\{"row":"process","name":"filter","starts":2,'
for flow in sensor:filter sensor:recorder state:controller state:recorder \
    command:recorder camera:viewer-a camera:viewer-b; do
    row="^\{\"row\":\"flow\",\"topic\":\"${flow%:*}\",\"to\":\"${flow#*:}\","
    check "$flow has its row" has "$row\"received\":[1-9]"
    check "$flow had no errors" has "$row.*\"wrong\":0,\"torn\":0,"
done
check "the whole loop was timed" has '^\{"row":"loop",.*"p50":[0-9.]+,'
check "the kill was seen" has '^\{"row":"kill","name":"filter","dead_ms":[0-9.]+,'
for name in sensor controller metronome; do
    for when in before around run; do
        check "ticks of $name are counted: $when" \
            has "^\{\"row\":\"window\",\"when\":\"$when\",\"name\":\"$name\","
    done
done
check "the verdict is good" \
    has '^\{"row":"verdict","problems":0,"left":0,"interrupted":false\}$'
check "nothing is left" folder_is_empty

check "Ctrl-C ends it well" status_is 0 \
    timeout --foreground --preserve-status -s INT 1.5 \
    "$demo" --seconds 60 --camera-mb 1 --no-realtime
check "it says that it was interrupted" has '^interrupted; 0 problems$'
check "nothing is left after Ctrl-C" folder_is_empty

check "--help" status_is 0 "$demo" --help
check "--seconds 1 is refused" status_is 2 "$demo" --seconds 1
check "an unknown option is refused" status_is 2 "$demo" --nonsense

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]

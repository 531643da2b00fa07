# shellcheck shell=bash disable=SC2034
# What the tests of the program `shmcomm` share.  A test sources it with the
# program as its first argument; it ends with `finish`.
set -uo pipefail
tool=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../tools/shmcomm}")
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

work=$(mktemp -d)
SHMCOMM_DIR=$(mktemp -d /dev/shm/shmcomm_tool_test.XXXXXX)
export SHMCOMM_DIR
unset SHMCOMM_PREFIX
children=()
clean_up() {
    local pid
    for pid in "${children[@]}"; do kill -9 "$pid" 2>/dev/null; done
    rm -rf -- "$work" "$SHMCOMM_DIR"
}
trap clean_up EXIT
# A copy that other users may run, too.
chmod 755 "$work"
cp "$tool" "$work/shmcomm" || exit 1
tool=$work/shmcomm

passed=0
failed=0
check() { # check WHAT COMMAND...: the command succeeds
    local what=$1
    shift
    if "$@" >"$work/check" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what: $*" >&2
        sed 's/^/    /' "$work/check" "$work/out" "$work/err" >&2
    fi
}

# run STATUS ARGUMENT...: its output goes to $work/out and $work/err.  Nothing
# here takes long; the limit is for what hangs.
run() {
    local want=$1 status=0
    shift
    timeout 60 "$tool" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [[ $status == "$want" ]] || echo "status $status, not $want"
    [[ $status == "$want" ]]
}
out_has() { grep -Eq -- "$1" "$work/out"; }
out_lacks() { ! grep -Eq -- "$1" "$work/out"; }
err_has() { grep -Eq -- "$1" "$work/err"; }
err_lacks() { ! grep -Eq -- "$1" "$work/err"; }
out_is() { [[ $(cat "$work/out") == "$1" ]]; }

out_is_json() { # at least one line, each a value of its own
    [[ -s $work/out ]] || return 1
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys
for line in sys.stdin.buffer: json.loads(line)' <"$work/out"
    elif command -v jq >/dev/null; then
        [[ $(jq -R fromjson "$work/out" | jq -s length) == $(wc -l <"$work/out") ]]
    else
        ! grep -Evq '^(\[.*\]|\{.*\})$' "$work/out"
    fi
}

wait_for() { # wait_for COMMAND...: until it succeeds
    local i
    for ((i = 0; i < 600; i++)); do
        if "$@"; then return 0; fi
        sleep 0.05
    done
    echo "never came true: $*"
    return 1
}
listed() { "$tool" ls 2>/dev/null | grep -Eq -- "^$1 .* $2\$"; }
listed_not() { ! listed "$@"; }
ends() { # ends STATUS PID
    local status=0
    wait "$2" || status=$?
    [[ $status == "$1" ]] || echo "status $status, not $1"
    [[ $status == "$1" ]]
}
bad() { # bad TEXT ARGUMENT...: status 2, a sentence with TEXT, nothing else
    local text=$1
    shift
    run 2 "$@" && err_has "^shmcomm: .*$text.*--help'\$" && [[ ! -s $work/out ]]
}

finish() {
    echo "$passed passed, $failed failed"
    [[ $failed == 0 ]]
    exit
}

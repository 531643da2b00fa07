#!/bin/bash
# The comparison with other libraries runs with what needs no package; what
# cannot run says why; whatever happens, no process and no file is left.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
failed=0
fail() {
    echo "peers_bench_test: $*" >&2
    failed=1
}
nothing_left() { # nothing_left PID WHAT
    local left
    left=$(find /dev/shm /tmp -maxdepth 1 -name "shmcomm-peers[.-]$1*" || true)
    [[ -z $left ]] || fail "$2 leaves $left"
    if kill -0 "$1" 2>/dev/null; then fail "$2 goes on"; fi
    if grep -lsz "shmcomm-peers.$1/" /proc/[0-9]*/cmdline; then
        fail "$2 leaves a process"
    fi
}

# A round takes a millisecond, or on a machine that is busy some seconds: one
# that does not end in this time is no figure, and no fault of the program.
patient=60000

# Why a subject has no figure.
reason() { # reason WORK SUBJECT
    grep "\"absent\",\"of\":\"$1\",\"subject\":\"$2\"" "$work/out" || echo "not tried"
}

# Run it to its end; its status is in $status.
run() { # run ARGUMENT...
    bench/peers_bench "$@" >"$work/out" 2>"$work/err" &
    local pid=$!
    status=0
    wait "$pid" || status=$?
    nothing_left "$pid" "$*"
}

text='"[^"\\]+"'
count='[1-9][0-9]*'
number='[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?'
machine='^\{"work":"machine","program":'$text
figure='^\{"work":'$text',"subject":'$text',"bytes":[0-9]+,"producers":1'
figure+=',"consumers":'$count',"ours":(true|false),"metric":'$text
figure+='(,"to":'$text'|,"way":'$text'),"rounds":'$count
figure+=',"median":'$number',"low":'$number',"high":'$number'\}$'
absent='^\{"work":"absent","of":'$text',"subject":'$text',"bytes":[0-9]+'
absent+=',"producers":1,"consumers":'$count',"why":'$text'\}$'

# Everything that the operating system has, and ours; a message of one cell,
# one that is copied in pieces.
some='^(trip|stream)/.*/64/|^(asleep|one_core)/(bare_futex|pubsub|pipe)/64/'
some+='|^fanout/pubsub/64/1x4|^stream/(pubsub_place|unix_seqpacket|pipe)/1048576/'
run --json --no-packages --rounds 1 --ms 1 --limit-ms "$patient" --filter "$some"
[[ $status -eq 0 ]] || fail "fails: $(<"$work/err")"
head -n 1 "$work/out" | grep -qE "$machine" || fail "no machine"
if tail -n +2 "$work/out" | grep -vE "$figure|$absent" >"$work/bad"; then
    fail "neither a figure nor the reason for none: $(head -n 1 "$work/bad")"
fi
for subject in bare_pair pubsub pubsub_place spsc spsc_place mpmc pipe unix_stream \
    unix_seqpacket tcp; do
    for work_name in trip stream; do
        grep -q "\"$work_name\",\"subject\":\"$subject\",\"bytes\":64,.*\"way\"" \
            "$work/out" ||
            fail "$subject has no figure of $work_name: $(reason "$work_name" "$subject")"
    done
done
for subject in bare_futex pubsub pipe; do
    grep -q "\"work\":\"asleep\",\"subject\":\"$subject\"" "$work/out" ||
        fail "$subject has no figure of asleep: $(reason asleep "$subject")"
done
grep -q '"work":"[a-z]*","subject":"posix_mq"\|"subject":"posix_mq".*"why"' \
    "$work/out" || fail "posix_mq is left out"
grep -q '"work":"fanout","subject":"pubsub","bytes":64,"producers":1,"consumers":4' \
    "$work/out" || fail "pubsub has no fanout: $(reason fanout pubsub)"
grep -q '"subject":"pubsub",.*"to":"bare_pair"' "$work/out" || fail "no ratio"

# A subject that does not exist, one that fails, one that hangs.
printf '#!/bin/sh\nexit 3\n' >"$work/fails"
printf '#!/bin/sh\nexec sleep 1000\n' >"$work/hangs"
chmod +x "$work/fails" "$work/hangs"
said() { # said PROGRAM TEXT LIMIT_MS SUBJECTS
    run --json --no-packages --rounds 1 --ms 1 --limit-ms "$3" \
        --filter "^trip/($4)/(16|64)/" --iceoryx2 "$1"
    [[ $status -eq 0 ]] || fail "$1 ends the run: $(<"$work/err")"
    [[ $(grep -c '"absent"' "$work/out") -eq 2 ]] || fail "$1: $(<"$work/out")"
    grep '"absent"' "$work/out" | grep -qF -- "$2" || fail "$1: $(<"$work/out")"
    if grep -q '"subject":"iceoryx2",.*"metric"' "$work/out"; then
        fail "$1 has figures"
    fi
    [[ $4 != *pipe* ]] || grep -q '"subject":"pipe".*"way"' "$work/out" ||
        fail "$1 holds up the others"
}
said "$work/none" "No such file" "$patient" 'iceoryx2|pipe'
said "$work/fails" "status 3" "$patient" 'iceoryx2|pipe'
said "$work/hangs" "no end in" 300 iceoryx2
if pgrep -f "$work/hangs" >/dev/null; then fail "the hanging subject goes on"; fi

# Told to end in the midst of it, as by Ctrl-C.
for signal in INT TERM; do
    bash -c 'trap - INT; exec bench/peers_bench --no-packages --ms 50 \
        --filter "pubsub|pipe"' >"$work/out" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        [[ ! -d /dev/shm/shmcomm-peers.$pid ]] || break
        sleep 0.05
    done
    [[ -d /dev/shm/shmcomm-peers.$pid ]] || fail "it does not start: $(<"$work/out")"
    sleep 0.3
    kill -s "$signal" "$pid"
    status=0
    wait "$pid" || status=$?
    [[ $status -eq $((128 + $(kill -l "$signal"))) ]] ||
        fail "SIG$signal: status $status"
    nothing_left "$pid" "SIG$signal"
done

if bench/peers_bench --no-such-option >/dev/null 2>&1; then fail "takes anything"; fi
bench/peers_bench --help >"$work/out"
grep -q -- --iceoryx2 "$work/out" || fail "--help"
bench/peers_bench --list >"$work/out"
grep -q '^trip/zeromq/64/1x1$' "$work/out" || fail "--list"
bench/peers_page --help >"$work/out"
grep -q -- --measure "$work/out" || fail "bench/peers_page --help"
if bench/peers_page --no-such-option 2>/dev/null; then
    fail "bench/peers_page takes anything"
fi
exit "$failed"

#!/bin/bash
# The program `shmcomm`: push and pull; each message goes to one worker, and
# none is lost with a worker that is killed.
# Run by hand:  tests/tool_queue_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"

seq 200 >"$work/numbers"

# ---- a queue stays until it is empty ------------------------------------

check "push" run 0 push jobs --file "$work/numbers"
check "says what waits" err_has '^pushed 200 messages, 492 B; 200 wait in the queue$'
check "lag of it" run 0 lag jobs
check "shows what waits" out_has '^work: mpmc, 200 messages so far, 200 waiting,'
check "pull --count" run 0 pull jobs --count 3
check "prints lines" out_is $'1\n2\n3'
check "says how many" err_has '^received 3$'
check "pull --json" run 0 pull jobs --count 1 --json
check "it is JSON" out_is_json
check "with the text" out_has '"topic":"jobs","message":1,.*"bytes":1,"text":"4"'
check "pull --format hex" run 0 pull jobs --count 1 --format hex
check "prints hex" out_has '^00000000  35 +\|5\|$'
check "pull --until-end" run 0 pull jobs --until-end
check "takes the rest" cmp "$work/out" <(sed '1,5d' "$work/numbers")
check "an empty queue is gone" test -z "$(ls -A "$SHMCOMM_DIR")"

# ---- two workers share, and one is killed -------------------------------

"$tool" pull jobs --until-end >"$work/a" 2>"$work/a_err" &
a=$!
children+=("$a")
"$tool" pull jobs --until-end >"$work/b" 2>"$work/b_err" &
b=$!
children+=("$b")
check "pull waits for its queue" wait_for grep -qx "waiting for queue 'jobs'" "$work/a_err"
mkfifo "$work/fifo"
"$tool" push jobs --drain --json <"$work/fifo" >"$work/pushed" 2>/dev/null &
push=$!
children+=("$push")
exec 7>"$work/fifo"
check "push makes the queue" wait_for listed jobs live
roles() { run 0 lag jobs && [[ $(grep -c ' worker .* alive ' "$work/out") == 2 ]] &&
    out_has "^  pusher +[0-9]+ +$push +alive"; }
check "lag shows who pushes and who pulls" wait_for roles
kill -STOP "$b"         # so that it has taken its last one, or none
cat "$work/numbers" >&7
all_but_one() { [[ $(cat "$work/a" "$work/b" | sort -un | wc -l) -ge 199 ]]; }
check "the other one goes on" wait_for all_but_one
kill -9 "$b"
check "a worker is killed" ends 137 "$b"
exec 7>&-
check "push --drain ends" ends 0 "$push"
check "nothing waits" grep -q '"sent":200,"bytes":492,"waiting_at_end":0' "$work/pushed"
check "the other worker ends" ends 0 "$a"
check "between them they have all" \
    cmp <(cat "$work/a" "$work/b" | sort -un) "$work/numbers"
check "nothing is left" test -z "$(ls -A "$SHMCOMM_DIR")"

# ---- by turns -------------------------------------------------------------

printf 'a\nb\nc\n' >"$work/abc"
check "a queue that deals by turns" run 0 push turns --round-robin 3 --depth 4 --file "$work/abc"
check "ls knows it" listed turns dead
check "info adds its shares" run 0 info turns
check "... up" out_has "shares 3, used 3, slot count 12, pushed 3, popped 0"
check "lag does, too" run 0 lag turns
check "... of all" out_has "^work: shares, 3 messages so far, 3 waiting"
check "too many workers" bad "round-robin" push other --round-robin 65 --file "$work/abc"
check "one worker has all, when it is alone" run 0 pull turns --count 3
check "... in order" cmp "$work/abc" "$work/out"
check "and nothing is left" test -z "$(ls -A "$SHMCOMM_DIR")"

# ---- frames, limits, mistakes -------------------------------------------

printf '\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x05\x00\x00\x00hello' >"$work/frames"
check "push --length-delimited" run 0 push q --file "$work/frames" --length-delimited
check "pull --length-delimited" run 0 pull q --count 3 --length-delimited
check "frames come back" cmp "$work/frames" "$work/out"
head -c 300 /dev/zero | tr '\0' z >"$work/long"
check "a message too long" run 1 push q --max-bytes 60 --file "$work/long"
check "... is told" err_has '^shmcomm: message 1 has 300 bytes, more than .* --max-bytes$'
check "odd depth" bad "no power of two" push q --depth 3
check "pull of an empty queue" run 1 pull q --timeout 0.1
check "... waits" err_has "^waiting for queue 'q'\$"
check "... and gives up" err_has "no message in queue 'q' for 0.1 s"
check "two formats" bad "exclude each other" pull q --format hex --json
check "push of nothing" bad "QUEUE is missing" push
"$tool" pub t <"$work/fifo" 2>/dev/null &
pub=$!
children+=("$pub")
exec 7>"$work/fifo"
check "a topic" wait_for listed t live
check "is no queue" run 1 push t --file "$work/numbers"
check "... it says" err_has "^shmcomm: .*'t'.*SHMC_ETYPE"
check "nor to pull" run 1 pull t --timeout 0.1
check "... it says" err_has "^shmcomm: .*'t'.*SHMC_ETYPE"
exec 7>&-
check "pub ends with its input" ends 0 "$pub"

finish

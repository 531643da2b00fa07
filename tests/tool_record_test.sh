#!/bin/bash
# The program `shmcomm`: what record writes, replay publishes again; a file that
# was cut short or damaged is read as far as it is whole.
# Run by hand:  tests/tool_record_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"
rec=$work/a.rec

record() { # record ARGUMENT...: in the background, as $recorder
    "$tool" record "$@" >"$work/rec_out" 2>"$work/rec_err" &
    recorder=$!
    children+=("$recorder")
}
send() { # send TOPIC FILE OPTION...
    timeout 60 "$tool" pub "$1" --file "$2" --wait-subscriber "${@:3}" 2>/dev/null
}

# ---- there and back, byte for byte --------------------------------------

frame() { # frame BYTES: 4 bytes of length, lowest first, and random bytes
    local i
    for i in 0 8 16 24; do
        # shellcheck disable=SC2059
        printf "\\x$(printf %02x $(($1 >> i & 255)))"
    done
    head -c "$1" /dev/urandom
}
for bytes in 0 1 7 8 9 95 96 97 255 256 4096 65535 65536 100000 0 3; do
    frame "$bytes"
done >"$work/frames"
seq 1000 >"$work/numbers"
record frames/all numbers --output "$rec" --count 1016
check "record waits for its topics" wait_for grep -q "waiting for topic 'numbers'" \
    "$work/rec_err"
send frames/all "$work/frames" --length-delimited --max-bytes 100000 &
frames=$!
check "numbers are sent" send numbers "$work/numbers" --depth 2048
check "frames are sent" ends 0 "$frames"
check "record ends" ends 0 "$recorder"
check "and says what it has" grep -Eq \
    '^recorded 1016 messages of 2 topics, [0-9.]+ KiB, lost 0$' "$work/rec_err"
check "replay --list" run 0 replay "$rec" --list
check "shows the topics" out_has '^numbers +lossy +1000 +2\.8 KiB +0 +[0-9.]+ +[0-9.]+$'
check "... both" out_has '^frames/all +lossy +16 +'
check "replay --list --json" run 0 replay "$rec" --list --json
check "it is JSON" out_is_json
check "with the shape" out_has '"topic":"numbers","type":"","metadata":false,"mode":"lossy","depth":2048,"max_bytes":65536,"messages":1000,'
check "and that it is whole" out_has '"whole":true'

back() { # back TOPIC COUNT FILE REPLAY_OPTION...: what a subscriber gets
    local echo_pid status=0
    timeout 60 "$tool" echo "$1" --count "$2" --length-delimited \
        >"$work/back" 2>/dev/null &
    echo_pid=$!
    timeout 60 "$tool" replay "$3" --topic "$1" --wait-subscriber "${@:4}" \
        >"$work/out" 2>"$work/err" || status=1
    wait "$echo_pid" || status=1
    return "$status"
}
check "frames come back" back frames/all 16 "$rec" --speed 0
check "as they were" cmp "$work/frames" "$work/back"
check "and no more" err_has '^sent 16 messages, '
check "numbers come back" back numbers 1000 "$rec" --speed 0 --json
check "it is JSON" out_is_json
check "says how many" out_has '"sent":1000,"bytes":2893'
tr -d '\0\1\2\3\4' <"$work/back" >"$work/digits"
check "as they were" cmp <(tr -d '\n' <"$work/numbers") "$work/digits"
check "twice" back numbers 2000 "$rec" --speed 0 --loop 2
check "a topic that it lacks" run 1 replay "$rec" --topic numbrs
check "is asked for" err_has "has no topic 'numbrs'; did you mean 'numbers'\?\$"
check "a file that is there" run 1 record numbers --output "$rec"
check "is not overwritten" err_has "exists; give another name, or --force"
check "nothing is left of the topics" test -z "$(ls -A "$SHMCOMM_DIR")"

# ---- time ---------------------------------------------------------------

# Ten messages, 50 ms apart; replay takes as long, or as --speed says.
seq 10 >"$work/ten"
record slow --output "$work/slow.rec" --count 10
check "record waits" wait_for grep -q waiting "$work/rec_err"
check "ten are sent" send slow "$work/ten" --rate 20
check "record ends" ends 0 "$recorder"
took_at_least() { # took_at_least MS COMMAND...
    local begin now least=$1
    shift
    begin=$(date +%s%N)
    "$@" || return 1
    now=$(date +%s%N)
    [[ $(((now - begin) / 1000000)) -ge $least ]] ||
        { echo "$(((now - begin) / 1000000)) ms"; return 1; }
}
# What was recorded may itself have come together, if the machine was busy.
"$tool" replay "$work/slow.rec" --list --json >"$work/out"
from=$(sed 's/.*"first_s":\([0-9.]*\).*/\1/' "$work/out")
to=$(sed 's/.*"last_s":\([0-9.]*\).*/\1/' "$work/out")
span=$(awk "BEGIN { print int(($to - $from) * 1000) }")
check "the recording has a span" test "$span" -ge 100
check "replay takes as long" took_at_least "$((span - 5))" run 0 replay "$work/slow.rec"
check "half the speed, twice as long" took_at_least "$((2 * span - 5))" \
    run 0 replay "$work/slow.rec" --speed 0.5
middle=$(awk "BEGIN { print ($from + $to) / 2 }")
some() { # some OPTION...: replay sends more than nothing and less than all
    run 0 replay "$work/slow.rec" --speed 0 --json "$@" || return 1
    sent=$(sed 's/.*"sent":\([0-9]*\).*/\1/' "$work/out")
    [[ $sent -ge 1 && $sent -le 9 ]]
}
check "from the middle on" some --start "$middle"
late=$sent
check "up to the middle" some --end "$middle"
check "make all" test "$((late + sent))" = 10
check "an end before the start" bad "--end is before --start" \
    replay "$work/slow.rec" --start 2 --end 1

# ---- loss, limits, all topics -------------------------------------------

seq 200 >"$work/many"
"$tool" pub lossy --depth 16 --file "$work/many" --repeat 0 --rate 2000 2>/dev/null &
pub=$!
children+=("$pub")
check "a busy topic" wait_for listed lossy live
record --all --output "$work/all.rec" --max-size 300000
check "record --all" wait_for test -s "$work/all.rec"
grew() { [[ $(stat -c %s "$work/all.rec") -gt $1 ]]; }
check "grows" wait_for grew 1000
kill -STOP "$recorder"
sleep 0.1
kill -CONT "$recorder"
"$tool" pub comes/later --file "$work/ten" --wait-subscriber --repeat 1 2>/dev/null &
later=$!
children+=("$later")
check "a topic that comes later" ends 0 "$later"
lost() { "$tool" replay "$work/all.rec" --list 2>/dev/null |
    awk '$1 == "lossy" { exit !($6 > 0) }'; }
check "record stops at its size" ends 0 "$recorder"
check "which is kept" test "$(stat -c %s "$work/all.rec")" -le 400000
check "the loss is in the file" lost
check "and told" grep -Eq 'lost [1-9][0-9]*$' "$work/rec_err"
check "replay --list" run 0 replay "$work/all.rec" --list
check "has the later topic whole" out_has '^comes/later +lossy +10 '
kill "$pub"
wait "$pub"
record gone --output "$work/none.rec" --duration 0.2 --json
check "record --duration" ends 0 "$recorder"
cp "$work/rec_out" "$work/out"
check "it is JSON" out_is_json
check "of nothing" out_has '"messages":0,"lost":0'
check "replay of nothing" run 0 replay "$work/none.rec"

# ---- a recorder that is killed, files that are cut ----------------------

"$tool" pub busy --file "$work/many" --repeat 0 --rate 1000 2>/dev/null &
pub=$!
children+=("$pub")
check "a busy topic" wait_for listed busy live
record busy --output "$work/killed.rec"
grew() { [[ $(stat -c %s "$work/killed.rec" 2>/dev/null || echo 0) -gt 5000 ]]; }
check "record writes" wait_for grew
kill -9 "$recorder"
check "it is killed" ends 137 "$recorder"
kill "$pub"
wait "$pub"
check "what is there is read" run 0 replay "$work/killed.rec" --list
check "and that it was cut is told" err_has 'was cut short: it has no index'
check "with all messages" out_has '^busy +lossy +[1-9][0-9]+ '

size=$(stat -c %s "$rec")
counts() { # messages in a file, as --list says
    "$tool" replay "$1" --list 2>/dev/null | awk 'NR > 1 && $3 ~ /^[0-9]+$/ { n += $3 }
        END { print n + 0 }'
}
before=0
for cut in 64 65 200 1000 1001 5000 20000 "$((size / 2))" "$((size - 200))" \
    "$((size - 49))" "$((size - 1))"; do
    head -c "$cut" "$rec" >"$work/cut.rec"
    check "cut at $cut" run 0 replay "$work/cut.rec" --list
    now=$(counts "$work/cut.rec")
    check "... has no fewer than one cut before" test "$now" -ge "$before"
    before=$now
    check "... is mended" run 0 record --repair "$work/cut.rec"
    check "... and says so" err_has '^repaired '
    check "... to a whole file" run 0 replay "$work/cut.rec" --list --json
    check "... with an index" out_has '"whole":true'
    check "... and the same messages" test "$(counts "$work/cut.rec")" = "$now"
done
check "cut behind the last message, nothing is missing" test "$before" = 1016
check "a whole file is not touched" run 0 record --repair "$rec"
check "... it says" err_has 'is whole$'
head -c 63 "$rec" >"$work/cut.rec"
check "less than a header" run 1 replay "$work/cut.rec"
check "is told" err_has 'it is no recording'

# ---- hostile files ------------------------------------------------------

# poke OFFSET HEX...: a copy of the recording with other bytes there
poke() {
    cp "$rec" "$work/bad.rec"
    # shellcheck disable=SC2059
    printf "$(printf '\\x%s' "${@:2}")" |
        dd of="$work/bad.rec" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
check "text is no recording" run 1 replay "$work/numbers"
check "... it says" err_has 'it does not begin with SHMCREC'
poke 8 02
check "another version" run 1 replay "$work/bad.rec"
check "... is told" err_has 'another version of the format'
poke 12 01 02 03 04
check "another byte order" run 1 replay "$work/bad.rec"
check "... is told" err_has 'bytes are in another order'
poke 24 ff
check "a damaged header" run 1 replay "$work/bad.rec"
check "... is told" err_has 'first 64 bytes are damaged'
poke 68 ff ff ff ff
check "a length of 4 GiB" run 0 replay "$work/bad.rec" --list
poke "$((size - 16))" ff ff ff ff ff ff ff 7f
check "an index far away" run 0 replay "$work/bad.rec" --list
check "is not needed" test "$(counts "$work/bad.rec")" = 1016
middle=$((size / 2 / 8 * 8))
poke "$middle" 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
    00 00 00 00 00 00 00 00 00 00
check "a hole" run 0 replay "$work/bad.rec" --list
for ((i = 0; i < 40; i++)); do  # anything, anywhere: no crash, no hang
    poke "$((RANDOM * 7 % (size - 8) / 8 * 8))" ff ff ff 7f ff 00 01 80
    status=0
    timeout 20 "$tool" replay "$work/bad.rec" --speed 0 >"$work/out" 2>"$work/err" ||
        status=$?
    check "damage $i ends well" test "$status" -le 1
done
check "a folder" run 1 replay "$work"
check "a file that is not there" run 1 replay "$work/none"
check "... is told" err_has "^shmcomm: cannot open '.*/none'"
check "record of nothing" bad "TOPIC is missing; name some, or give --all" record
check "record of all and one" bad "--all and 'x' exclude each other" record --all x
check "record where it cannot" run 1 record x --output /nonsense/x.rec
check "... is told" err_has "cannot create '/nonsense/x.rec'"
if [[ -w /dev/full ]]; then
    check "a full disk" run 1 record x --output /dev/full --force --duration 0.2
    check "... is told" err_has "cannot write '/dev/full': No space left"
fi
check "nothing is left of the topics" test -z "$(ls -A "$SHMCOMM_DIR")"

finish

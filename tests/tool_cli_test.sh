#!/bin/bash
# The program `shmcomm`: each verb, its JSON, its mistakes and its manners.
# Run by hand:  tests/tool_cli_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"

# ---- arguments ----------------------------------------------------------

check "--version" run 0 --version
check "--version tells it" out_has '^shmcomm [0-9]+\.[0-9]+\.[0-9]+$'
check "--help" run 0 --help
verbs="ls info top lag stat echo pub hz push pull record replay gc doctor bench completion"
for verb in $verbs; do
    check "--help names $verb" out_has "^  $verb "
done
for verb in $verbs; do
    check "$verb --help" run 0 "$verb" --help
    check "$verb --help tells the usage" out_has "^usage: shmcomm $verb"
    check "help $verb" run 0 help "$verb"
    check "help $verb tells the usage" out_has "^usage: shmcomm $verb"
done
check "no verb" run 2
check "no verb: usage" err_has '^usage: shmcomm VERB'
check "unknown verb" bad "'nonsense' is no verb" nonsense
check "unknown option" bad "bad option '--nonsense'" ls --nonsense
check "unknown option before the verb" bad "bad option '-x'" -x ls
check "ls of something" bad "'x' is too many" ls x
check "info of nothing" bad "NAME is missing" info
check "info of two" bad "'b' is too many" info a b
check "echo of nothing" bad "TOPIC is missing" echo
check "pub of nothing" bad "TOPIC is missing" pub
check "hz of nothing" bad "TOPIC is missing" hz
check "missing value" bad "needs a value" echo t --count
check "count that is no number" bad "'1x' is not a whole number" echo t --count 1x
check "negative count" bad "'-1' is not a whole number" echo t --count -1
check "count of 0" bad "'0' is not a whole number" hz t --count 0
check "window of 0" bad "'0' is not a number" hz t --window 0
check "rate that is no number" bad "'nan' is not a number" pub t --rate nan
check "odd depth" bad "no power of two" pub t --depth 3
check "unknown format" bad "'xml' is not hex, text or json" echo t --format xml
check "two formats" bad "exclude each other" echo t --format hex --json
check "two ways to cut" bad "exclude each other" pub t --lines --length-delimited
check "bad name" run 1 info 'a b'
check "bad name: sentence" err_has "^shmcomm: name 'a b' has byte 0x20"
check "bad prefix" run 1 ls --prefix a.b
check "bad folder" run 1 ls --dir /nonsense/folder
check "bad folder: sentence" err_has '^shmcomm: .*/nonsense/folder'
check "file that is not there" run 1 pub t --file "$work/nonsense"
check "file that is not there: sentence" err_has "cannot open '.*/nonsense'"

# ---- nothing, and what is no segment ------------------------------------

check "ls of nothing" run 0 ls
check "ls of nothing says so" err_has '^no segments$'
check "ls --json of nothing" run 0 ls --json
check "it is an empty array" out_is '[]'
check "gc of nothing" run 0 gc
check "gc of nothing says so" out_has '^removed 0 of 0, 0 B$'
check "info of a missing segment" run 1 info no/such
check "... says so" err_has "^shmcomm: .*'no/such'.*SHMC_ENOENT"
check "echo of a missing topic" run 1 echo no/such --timeout 0.1
check "... waits" err_has "^waiting for topic 'no/such'\$"
check "... and gives up" err_has "no message on topic 'no/such' for 0.1 s"
check "... and makes none" test -z "$(ls -A "$SHMCOMM_DIR")"

head -c 5000 /dev/urandom >"$SHMCOMM_DIR/shmc.garbage"
cp "$SHMCOMM_DIR/shmc.garbage" "$work/garbage"
: >"$SHMCOMM_DIR/shmc.empty"
echo "not ours" >"$SHMCOMM_DIR/other.file"
check "ls of garbage" run 0 ls
check "it is no segment" out_has '^garbage +- +4\.9 KiB .* not a segment$'
check "an empty file is no segment" out_has '^empty +- +0 B .* not a segment$'
check "another prefix is not listed" out_lacks other
check "ls --json of garbage" run 0 ls --json
check "it is JSON" out_is_json
check "JSON says that it is no segment" \
    out_has '"name":"garbage","kind":"none","bytes":5000,"state":"not a segment"'
check "info of garbage" run 1 info garbage
check "echo of garbage" run 1 echo garbage --timeout 5
check "pub to garbage" run 1 pub garbage
check "gc keeps garbage" run 0 gc
check "gc says that it is no segment" out_has '^kept +garbage .* not a segment$'
check "garbage is as it was" cmp "$work/garbage" "$SHMCOMM_DIR/shmc.garbage"
rm "$SHMCOMM_DIR/shmc.garbage" "$SHMCOMM_DIR/shmc.empty" "$SHMCOMM_DIR/other.file"

# ---- a live topic -------------------------------------------------------

mkfifo "$work/fifo"
"$tool" pub robot/pose <"$work/fifo" 2>"$work/pub" &
pub=$!
children+=("$pub")
exec 7>"$work/fifo"
check "pub makes a topic" wait_for listed robot/pose live
printf 'hello\n\nworld\n' >&7
sent_3() { "$tool" info robot/pose 2>/dev/null | grep -q ' sent 3,'; }
check "pub sends what a fifo says" wait_for sent_3
topic=$SHMCOMM_DIR/shmc.robot+pose
cp "$topic" "$work/topic"

check "ls" run 0 ls
check "ls has titles" out_has '^NAME +KIND +BYTES +OBJECTS +PARTICIPANTS +AGE +STATE$'
check "ls shows the topic" \
    out_has '^robot/pose +topic +[0-9.]+ MiB +1 +1/[0-9]+ +[0-9]+ s  live$'
check "ls --json" run 0 ls --json
check "it is JSON" out_is_json
check "with the topic" out_has '"kind":"topic",.*"state":"live",.*"participants":1,'
check "info" run 0 info robot/pose
check "info says what it is" out_has '^robot/pose: topic, live'
check "info shows the participant" out_has "^ +0 +$pub +shmcomm +alive "
check "info shows the ring" out_has '^ +topic +broadcast .*mode lossy, .* publishers 1$'
check "info --json" run 0 info robot/pose --json
check "it is JSON" out_is_json
check "with the participant" out_has "\"pid\":$pub,\"label\":\"shmcomm\",\"alive\":true"
check "with the statistics" out_has '"stats":\{"mode":"lossy","depth":1024,'

check "echo of the past" run 0 echo robot/pose --history all --count 3
check "echo prints lines" out_is $'hello\n\nworld'
check "echo sums up" err_has '^received 3, lost 0$'
check "echo --history 1" run 0 echo robot/pose --history 1 --timeout 0.1
check "prints the last" out_is world
check "echo without a past" run 1 echo robot/pose --timeout 0.1
check "echo that gets less than asked" run 1 echo robot/pose --history all \
    --count 4 --timeout 0.1
check "echo --format hex" run 0 echo robot/pose --history 1 --count 1 --format hex
check "prints offsets" out_has '^00000000  77 6f 72 6c 64 +\|world\|$'
check "echo --json" run 0 echo robot/pose --history all --count 3 --json
check "it is JSON" out_is_json
check "with the text" out_has '"message":3,.*"lost_before":0,"bytes":5,"text":"world"'
check "looking on changes no byte" cmp "$work/topic" "$topic"

check "gc --dry-run" run 0 gc --dry-run
check "gc --dry-run keeps a live topic" \
    out_has "^kept +robot/pose .* in use by pid $pub\$"
check "gc" run 0 gc
check "gc keeps a live topic" out_has "^kept +robot/pose .* in use by pid $pub\$"
check "gc --json" run 0 gc --json
check "it is JSON" out_is_json
check "with the process" out_has "\"action\":\"kept\",.*\"pids\":\[$pub\]"
check "the file is there" test -e "$topic"
check "another shape is refused" run 1 pub robot/pose --depth 64
check "... with a sentence" err_has '^shmcomm: .*SHMC_EMISMATCH'

# ---- a publisher that was killed ----------------------------------------

kill -9 "$pub"
check "pub is killed" ends 137 "$pub"
exec 7>&-
check "ls shows the topic as dead" listed robot/pose dead
check "info" run 0 info robot/pose
check "info shows who died" out_has "^ +0 +$pub +shmcomm +died "
check "gc --dry-run" run 0 gc --dry-run
check "it would remove it" out_has '^would remove +robot/pose .* no live process has'
check "... and does not" test -e "$topic"
check "echo --peek" run 0 echo robot/pose --peek
check "prints what is left" out_is $'hello\n\nworld'
check "echo --peek --history 1" run 0 echo robot/pose --peek --history 1
check "prints the last" out_is world
check "... and leaves it there" test -e "$topic"
check "gc of a dead topic" run 0 gc
check "gc removes it" out_has '^removed +robot/pose +[0-9.]+ MiB  no live process has'
check "gc sums up" out_has '^removed 1 of 1, [0-9.]+ MiB$'
check "the file is gone" test ! -e "$topic"

# ---- there and back, byte for byte --------------------------------------

trip() { # trip FILE "ECHO OPTIONS" "PUB OPTIONS" COUNT: into $work/back
    local echo_pid status=0
    : >"$work/err"
    # shellcheck disable=SC2086
    timeout 60 "$tool" echo trip --count "$4" $2 >"$work/back" 2>>"$work/err" &
    echo_pid=$!
    # shellcheck disable=SC2086
    timeout 60 "$tool" pub trip $3 --wait-subscriber <"$1" >"$work/out" \
        2>>"$work/err" || status=1
    wait "$echo_pid" || status=1
    return "$status"
}
{
    head -c 60000 /dev/urandom | base64 -w 50
    printf '\n\n \t x\n\xff\xfe invalid\n'
    head -c 60000 /dev/zero | tr '\0' z
    echo
} >"$work/lines"
lines=$(wc -l <"$work/lines")
check "lines go there and back" \
    trip "$work/lines" "--format text" "--lines --depth 4096" "$lines"
check "lines are the same" cmp "$work/lines" "$work/back"
check "pub says how many" err_has "^sent $lines messages, "
check "echo says how many" err_has "^received $lines, lost 0\$"

frame() { # frame BYTES: 4 bytes of length, lowest first, and random bytes
    local i
    for i in 0 8 16 24; do
        # shellcheck disable=SC2059
        printf "\\x$(printf %02x $(($1 >> i & 255)))"
    done
    head -c "$1" /dev/urandom
}
for bytes in 0 1 7 95 96 97 255 256 4096 65535 65536 100000 0 3; do
    frame "$bytes"
done >"$work/frames"
check "frames go there and back" trip "$work/frames" --length-delimited \
    "--length-delimited --max-bytes 100000 --json" 14
check "frames are the same" cmp "$work/frames" "$work/back"
check "pub --json" out_is_json
check "says how many" out_has '"topic":"trip","sent":14,"bytes":[0-9]+,'

printf '\x02\x00\x00\x00\x00\x01\x08\x00\x00\x00zero end\x06\x00\x00\x00hello\x00' \
    >"$work/frames"
check "binary messages" trip "$work/frames" "" --length-delimited 3
check "are shown in hex" grep -q '^00000000  00 01 .*|\.\.|$' "$work/back"
check "and texts as such" grep -qx 'zero end' "$work/back"
check "and strings without their zero" grep -qx hello "$work/back"
check "binary messages, as JSON" trip "$work/frames" --json --length-delimited 3
cp "$work/back" "$work/out"
check "it is JSON" out_is_json
check "in hex" out_has '"bytes":2,"hex":"0001"'

from() { run_in=$1; shift; timeout 60 "$tool" "$@" <"$run_in" >"$work/out" \
    2>"$work/err"; }
from_fails() { from "$@"; [[ $? == 1 ]]; }
printf '\x05\x00\x00\x00abc' >"$work/frames"
check "a frame cut short" from_fails "$work/frames" pub t --length-delimited
check "... is told" err_has '^shmcomm: the input ends inside message 1$'
printf 'text, no frames' >"$work/frames"
check "text for frames" from_fails "$work/frames" pub t --length-delimited
check "... is told" err_has 'more than 2\^30'
check "a message too long" from_fails "$work/lines" pub t --max-bytes 60
check "... is told" err_has '^shmcomm: message [0-9]+ has .* larger --max-bytes$'
check "pub with nobody there" from "$work/lines" pub t
check "... is told" err_has '; nobody else had the topic open at the end$'
check "nothing is left of these topics" test -z "$(ls -A "$SHMCOMM_DIR")"

# ---- pub again and again, hz, echo that is interrupted ------------------

printf 'a\nb\n' >"$work/two"
check "pub --repeat" run 0 pub t --file "$work/two" --repeat 3 --rate 1000 --json
check "sends all" out_has '"sent":6,"bytes":6,'
repeat_pipe() { cat "$work/two" | "$tool" pub t --repeat 2 2>"$work/err"; }
repeat_pipe_fails() { repeat_pipe; [[ $? == 1 ]]; }
check "pub --repeat of a pipe" repeat_pipe_fails
check "... is told" err_has '^shmcomm: cannot repeat the input'

"$tool" pub busy --reliable --file "$work/two" --repeat 0 --rate 500 \
    2>"$work/pub" &
pub=$!
children+=("$pub")
check "pub --repeat 0" wait_for listed busy live
check "info of a reliable topic" run 0 info busy
check "shows its seats" out_has 'mode reliable, .* subscribers 0, lag 0, dropped 0'
check "hz" run 0 hz busy --window 0.3 --count 2
check "shows the rate" \
    out_has '^ +[0-9.]+ Hz +[0-9.]+ B/s  interval ms: mean [0-9.]+  min .* lost 0$'
check "echo --peek of a live topic" run 0 echo busy --peek --history 5
check "ends" err_has '^received [1-9]'
check "hz --json" run 0 hz busy --window 0.3 --count 2 --json
check "it is JSON" out_is_json
check "with the rate" out_has '"messages":[1-9][0-9]*,.*"rate_hz":[0-9.]+,'
pipe_closes() { "$tool" echo busy | head -n 1 | grep -qx '[ab]'; }
check "echo into a pipe that closes" pipe_closes
"$tool" echo busy >"$work/heard" 2>"$work/echo_err" &
echo=$!
children+=("$echo")
check "echo gets messages" wait_for test -s "$work/heard"
check "gc names the publisher" run 0 gc --dry-run
check "... and only it" out_has "^kept +busy .* in use by pid $pub\$"
kill -INT "$pub"
check "pub ends at SIGINT" ends 0 "$pub"
check "pub says how many" grep -Eq '^sent [1-9][0-9]* messages, ' "$work/pub"
check "gc while echo is there" run 0 gc
check "gc keeps what is only read" \
    out_has '^kept +busy .* in use by a process that only reads$'
printf 'second\n' >"$work/second"
check "a second publisher" run 0 pub busy --file "$work/second"
heard_both() { grep -qx second "$work/heard"; }
check "is heard by the same echo" wait_for heard_both
kill -INT "$echo"
check "echo ends at SIGINT" ends 0 "$echo"
check "echo sums up" grep -Eq '^received [1-9][0-9]*, lost 0$' "$work/echo_err"
check "the last one out removed the topic" test -z "$(ls -A "$SHMCOMM_DIR")"
"$tool" hz no/such 2>"$work/hz_err" &
hz=$!
children+=("$hz")
check "hz waits for a topic" wait_for grep -qx "waiting for topic 'no/such'" \
    "$work/hz_err"
kill -INT "$hz"
check "hz ends at SIGINT" ends 0 "$hz"

# ---- other kinds of objects ---------------------------------------------

cat >"$work/zoo.c" <<'END'
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"
#include <stdio.h>
int main(void)
{
    static shmc_segment s;
    static shmc_counter counter;
    static shmc_spsc spsc;
    static shmc_recq recq;
    static shmc_mpmc mpmc;
    static shmc_latest latest;
    static shmc_bcast bcast;
    static shmc_segment one[8];
    static const char *const names[] = { "one/raw", "one/counter", "one/spsc",
        "one/recq", "one/mpmc", "one/broadcast", "one/latest", "one/none" };
    const shmc_bcast_desc small = { .slot_count = 8, .max_bytes = 64 };
    shmc_object raw;
    const shmc_object_desc raw_desc = { .bytes = 100, .type_name = "map" };
    const char value[64] = "value";
    if (shmc_segment_open(&s, "zoo", NULL) != SHMC_OK ||
        shmc_object_open(&s, "raw", &raw_desc, &raw) != SHMC_OK ||
        shmc_counter_open(&counter, &s, "ticks", true) != SHMC_OK ||
        shmc_counter_add(&counter, 18446744073709551615u) != SHMC_OK ||
        shmc_spsc_open(&spsc, &s, "spsc", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_spsc_push(&spsc, value, 64) != SHMC_OK ||
        shmc_recq_open(&recq, &s, "recq", NULL, SHMC_CONSUMER) != SHMC_OK ||
        shmc_mpmc_open(&mpmc, &s, "mpmc", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_latest_open(&latest, &s, "latest", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_latest_write(&latest, value, 64) != SHMC_OK)
        return 1;
    for (int i = 0; i < 8; i++)
        if (shmc_segment_open(&one[i], names[i], NULL) != SHMC_OK) return 1;
    if (shmc_object_open(&one[0], "x", &raw_desc, &raw) != SHMC_OK ||
        shmc_counter_open(&counter, &one[1], "x", true) != SHMC_OK ||
        shmc_counter_open(&counter, &one[1], "y", true) != SHMC_OK ||
        shmc_spsc_open(&spsc, &one[2], "x", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_recq_open(&recq, &one[3], "x", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_mpmc_open(&mpmc, &one[4], "x", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_bcast_open(&bcast, &one[5], "x", &small, SHMC_PRODUCER) != SHMC_OK ||
        shmc_latest_open(&latest, &one[6], "x", NULL, SHMC_PRODUCER) != SHMC_OK)
        return 1;
    puts("open");
    fflush(stdout);
    getchar();
    return shmc_segment_close(&s) != SHMC_OK;
}
END
check "the zoo compiles" gcc -std=c11 -I. "$work/zoo.c" -o "$work/zoo" -pthread
"$work/zoo" <"$work/fifo" >"$work/zoo_out" &
zoo=$!
children+=("$zoo")
exec 7>"$work/fifo"
check "the zoo is open" wait_for grep -q open "$work/zoo_out"
check "ls of the zoo" run 0 ls
for kind in raw counter spsc recq mpmc broadcast latest; do
    check "a segment of $kind alone is told" out_has "^one/$kind +$kind "
done
check "an empty one is a segment" out_has '^one/none +segment '
check "and so is a mixed one" out_has '^zoo +segment '
check "info knows the word, too" run 0 info one/spsc
check "... and says it" out_has '^one/spsc: spsc, live$'
check "info of the zoo" run 0 info zoo
check "it is a segment" out_has '^zoo: segment, live$'
check "info shows raw memory" out_has '^ +raw +raw +map +100 B +-$'
check "info shows a counter" out_has '^ +ticks +counter .* value 18446744073709551615$'
check "info shows an SPSC queue" out_has "^ +spsc +spsc .* used 1, .* pushed 1, \
popped 0, producer pid $zoo, producer alive yes, "
check "info shows a record queue" out_has \
    "^ +recq +recq .* producer pid 0, consumer pid $zoo, consumer alive yes"
check "info shows an MPMC queue" out_has '^ +mpmc +mpmc .* used 0, .* handles 1, '
check "info shows the latest value" out_has \
    "^ +latest +latest .* version 1, value bytes 64, .* writer pid $zoo, "
check "info --json of the zoo" run 0 info zoo --json
check "it is JSON" out_is_json
check "numbers are exact" out_has '"value":18446744073709551615[,}]'
check "echo of a segment that is no topic" run 1 echo zoo --timeout 0.1
check "... is told" err_has "^shmcomm: topic 'zoo': .*SHMC_ETYPE"
check "hz of it" run 1 hz zoo
check "echo --peek of it" run 1 echo zoo --peek
check "pub to it" run 1 pub zoo
exec 7>&-
check "the zoo closes" ends 0 "$zoo"
check "gc --topics" run 0 gc --topics
check "keeps what is no topic" out_has '^kept +zoo .* not a topic$'

if [[ $(id -u) == 0 ]] && setpriv --reuid 65534 --regid 65534 --clear-groups true \
    2>/dev/null; then
    chmod 755 "$SHMCOMM_DIR"
    as_nobody() {
        setpriv --reuid 65534 --regid 65534 --clear-groups "$tool" "$@" \
            >"$work/out" 2>"$work/err"
    }
    check "ls by another user" as_nobody ls
    check "shows what it may not see" out_has '^zoo +- +.* permission denied$'
    check "gc by another user" as_nobody gc
    check "keeps what it may not see" out_has '^kept +zoo .* permission denied$'
    check "the file is there" test -e "$SHMCOMM_DIR/shmc.zoo"
fi
check "gc" run 0 gc
check "removes the zoo" out_has '^removed +zoo '

# ---- another folder, another prefix -------------------------------------

mkdir "$SHMCOMM_DIR/sub"
"$tool" --dir "$SHMCOMM_DIR/sub" pub --prefix mine t <"$work/fifo" 2>/dev/null &
pub=$!
children+=("$pub")
exec 7>"$work/fifo"
check "--dir and --prefix" wait_for test -e "$SHMCOMM_DIR/sub/mine.t"
check "ls there" run 0 ls --dir "$SHMCOMM_DIR/sub" --prefix mine
check "finds it" out_has '^t +topic '
check "ls by the environment" env SHMCOMM_DIR="$SHMCOMM_DIR/sub" \
    SHMCOMM_PREFIX=mine "$tool" info t
check "ls elsewhere" run 0 ls --prefix mine
check "finds nothing" err_has '^no segments$'
exec 7>&-
check "pub ends with its input" ends 0 "$pub"

finish

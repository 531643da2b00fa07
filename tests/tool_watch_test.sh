#!/bin/bash
# The program `shmcomm`: top, lag and stat look on, change nothing, and say
# what is true.
# Run by hand:  tests/tool_watch_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"

# A reliable topic with a reader that stops after one message, a lossy one, and
# one of each kind of object.
cat >"$work/zoo.c" <<'END'
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_patterns.h"
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
    static shmc_pub pub, lossy;
    static shmc_sub sub, quick, slow;
    const shmc_topic_desc desc = { .mode = SHMC_RELIABLE, .depth = 64 };
    const shmc_topic_desc log = { .depth = 4 };
    char value[64] = "value";
    const shmc_segment_desc zoo = { .label = "z\"o\\o\n\xff" };
    if (shmc_segment_open(&s, "zoo", &zoo) != SHMC_OK ||
        shmc_counter_open(&counter, &s, "ticks", true) != SHMC_OK ||
        shmc_counter_add(&counter, 41) != SHMC_OK ||
        shmc_spsc_open(&spsc, &s, "spsc", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_spsc_push(&spsc, value, 64) != SHMC_OK ||
        shmc_recq_open(&recq, &s, "recq", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_recq_push(&recq, value, 24) != SHMC_OK ||
        shmc_mpmc_open(&mpmc, &s, "mpmc", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_mpmc_push(&mpmc, value, 8) != SHMC_OK ||
        shmc_latest_open(&latest, &s, "latest", NULL, SHMC_PRODUCER) != SHMC_OK ||
        shmc_latest_write(&latest, value, 64) != SHMC_OK ||
        shmc_pub_open(&pub, "robot/arm", &desc) != SHMC_OK ||
        shmc_pub_open(&lossy, "robot/log", &log) != SHMC_OK ||
        shmc_sub_open(&quick, "robot/log", NULL) != SHMC_OK ||
        shmc_sub_open(&slow, "robot/log", NULL) != SHMC_OK ||
        shmc_sub_open(&sub, "robot/arm", NULL) != SHMC_OK)
        return 1;
    for (int i = 0; i < 8; i++)
        if (shmc_pub_send(&pub, value, 10, 0) != SHMC_OK ||
            shmc_pub_send(&lossy, value, 30, 0) != SHMC_OK ||
            shmc_sub_recv(&quick, value, sizeof value, 0) != 30) return 1;
    if (shmc_sub_recv(&sub, value, sizeof value, 0) != 10 ||
        shmc_sub_recv(&slow, value, sizeof value, 0) != 30) return 1;
    puts("ready");
    fflush(stdout);
    for (int c; (c = getchar()) != EOF; )   /* each byte sends ten more    */
        for (int i = 0; c == 's' && i < 10; i++)
            if (shmc_pub_send(&lossy, value, 30, 0) != SHMC_OK) return 1;
    return 0;
}
END
check "the zoo compiles" gcc -std=c11 -I. "$work/zoo.c" -o "$work/zoo" -pthread
mkfifo "$work/fifo"
"$work/zoo" <"$work/fifo" >"$work/zoo_out" &
zoo=$!
children+=("$zoo")
exec 7>"$work/fifo"
check "the zoo is open" wait_for grep -q ready "$work/zoo_out"
bytes() { sha256sum "$SHMCOMM_DIR"/shmc.*; }
bytes >"$work/before"

# ---- lag ----------------------------------------------------------------

check "lag of a reliable topic" run 0 lag robot/arm
check "tells the ring" out_has '^topic: broadcast, 8 messages so far, 7 waiting, 0 lost, 0 died$'
check "tells the publisher" out_has "^  publisher +0 +$zoo  alive     -  -\$"
check "tells the subscriber" \
    out_has "^  subscriber +0 +$zoo  alive     0  7 \(10\.9 % of 64\)\$"
check "lag of a lossy topic" run 0 lag robot/log
check "tells who is up to date" \
    out_has "^  subscriber +0 +$zoo  alive     0  0 \(0\.0 % of 4\)\$"
check "tells who is behind, and what it lost" \
    out_has "^  subscriber +1 +$zoo  alive     5  2 \(50\.0 % of 4\)\$"
check "lag of a segment" run 0 lag zoo
check "tells the queue" out_has '^spsc: spsc, 1 messages so far, 1 waiting,'
check "tells the record queue" out_has '^recq: recq, 32 bytes so far, 32 waiting,'
check "leaves counters out" out_lacks ticks
check "lag of one object" run 0 lag zoo --object mpmc
check "tells that" out_has '^mpmc: mpmc, 1 messages so far, 1 waiting,'
check "and no other" out_lacks spsc
check "lag of an object that is none" run 1 lag zoo --object mpcm
check "asks" err_has "^shmcomm: segment 'zoo' has no .* 'mpcm'; did you mean 'mpmc'\?\$"
check "lag --json" run 0 lag robot/arm --json
check "it is JSON" out_is_json
check "with the reader" out_has "\"role\":\"subscriber\",\"seat\":0,\"pid\":$zoo,\"alive\":true,\"lag\":7"
check "lag of nothing" run 1 lag no/such

# ---- top ----------------------------------------------------------------

check "top --once" run 0 top --once --interval 0.1
check "has titles" out_has '^NAME +OBJECT +KIND +PER S +BYTES/S +WAITING +LAGS +LOST +W/R +DEAD$'
check "shows the lag" out_has '^robot/arm +topic +broadcast +0\.0 +0 B +7 +7 +0 +1/1 +0$'
check "shows the queues" out_has '^zoo +recq +recq +0\.0 +0 B +32 '
check "top --sort name" run 0 top --once --interval 0.05 --sort name
check "sorts" test "$(sed -n '2,4s/ .*//p' "$work/out" | tr '\n' ' ')" = \
    "robot/arm robot/log zoo "
check "top --sort lag" run 0 top --once --interval 0.05 --sort lag
check "sorts" test "$(sed -n '2s/ .*//p' "$work/out")" = zoo
check "top --sort x" bad "'x' is not rate, lag or name" top --sort x
check "looking on changes no byte" eval 'bytes | cmp - "$work/before"'

"$tool" top --count 40 --interval 0.05 --json >"$work/top" 2>"$work/top_err" &
top=$!
children+=("$top")
check "top sees what is there" wait_for grep -q robot/log "$work/top"
printf s >&7
"$tool" pub comes/and/goes --wait-subscriber </dev/null 2>/dev/null &
pub=$!
children+=("$pub")
check "top sees a topic that comes" wait_for grep -q comes/and/goes "$work/top"
kill -9 "$pub"
check "its publisher is killed" ends 137 "$pub"
run 0 gc
sees_it_gone() { ! tail -n 1 "$work/top" | grep -q comes/and/goes; }
check "top sees it go" wait_for sees_it_gone
check "top ends" ends 0 "$top"
check "top complains of nothing" test ! -s "$work/top_err"
cp "$work/top" "$work/out"
check "it is JSON, line by line" out_is_json
check "it saw the messages" out_has \
    '"segment":"robot/log","object":"topic",.*"per_second":[1-9][0-9.]*,"bytes_per_second":[1-9]'
check "their size is that of the newest" awk '
    match($0, /"segment":"robot\/log"[^}]*"bytes_per_second":[0-9.e+]+/) {
        split(substr($0, RSTART, RLENGTH), part, "second\":")
        split(part[2], rate, ",")
        if (rate[1] > 0) { found = 1; size = part[3] / rate[1] }
    } END { exit !(found && size > 29.9 && size < 30.1) }' "$work/top"

# ---- stat ---------------------------------------------------------------

check "stat" run 0 stat
check "it is JSON" out_is_json
check "with all segments" out_has '"name":"robot/arm".*"name":"robot/log".*"name":"zoo"'
check "stat --format json is the same" run 0 stat --format json
check "it is JSON" out_is_json
check "stat --format openmetrics" run 0 stat --format openmetrics
cp "$work/out" "$work/metrics"
check "ends with EOF" test "$(tail -n 1 "$work/metrics")" = "# EOF"
check "counts messages" out_has \
    '^shmcomm_messages_total\{segment="robot/log",object="topic",kind="broadcast"\} 18$'
check "counts counters" out_has \
    '^shmcomm_counter_total\{segment="zoo",object="ticks",kind="counter"\} 41$'
check "tells the lag" out_has \
    "^shmcomm_reader_lag\{segment=\"robot/arm\",object=\"topic\",seat=\"0\",pid=\"$zoo\",alive=\"true\"\} 7\$"
check "tells the loss" out_has \
    "^shmcomm_reader_lost_messages_total\{segment=\"robot/log\",object=\"topic\",seat=\"1\",pid=\"$zoo\",alive=\"true\"\} 5\$"
check "tells bytes with their unit" out_has '^# UNIT shmcomm_segment_size_bytes bytes$'
check "escapes what people call themselves" \
    grep -Fqx "shmcomm_participant_alive{segment=\"zoo\",slot=\"0\",pid=\"$zoo\",label=\"z\\\"o\\\\o\\n?\"} 1" "$work/metrics"
check "stat of another format" bad "'xml' is not json or openmetrics" stat --format xml
check "two formats" bad "exclude each other" stat --json --format openmetrics

# Each sample is of the family whose TYPE stands before it, counters alone end
# in _total, a unit ends the family's name, no family and no sample comes twice,
# and nothing follows the EOF.
openmetrics() {
    awk '
    function bad(why) { print "line " NR ": " why ": " $0; wrong = 1 }
    over { bad("behind the EOF") }
    /^# EOF$/ { over = 1; next }
    /^# TYPE / { if ($3 in types) bad("family twice"); types[$3] = $4; family = $3; next }
    /^# UNIT / { if ($3 != family || $3 !~ ("_" $4 "$")) bad("unit"); next }
    /^# HELP / { if ($3 != family) bad("help"); next }
    !/^[a-z_]+\{[a-z]+="([^"\\]|\\[\\"n])*"(,[a-z]+="([^"\\]|\\[\\"n])*")*\} [0-9]+$/ {
        bad("no sample"); next
    }
    {
        name = $0; sub(/\{.*/, "", name)
        want = family (types[family] == "counter" ? "_total" : "")
        if (name != want) bad("not of family " family)
        if (types[family] == "gauge" && name ~ /_total$/) bad("a gauge")
        key = $0; sub(/ [0-9]+$/, "", key)
        if (key in seen) bad("twice"); seen[key] = 1
    }
    END { exit wrong || !over }' "$1"
}
check "it is OpenMetrics" openmetrics "$work/metrics"

# A name that was scribbled into the directory: what has it cannot be opened.
exec 7>&-
check "the zoo ends" ends 0 "$zoo"
check "dead users are told" run 0 lag zoo --json
check "... as dead" out_has '"role":"producer",.*"alive":false'
printf 'ti"\\\nck\xff' >"$work/name"
at=$(grep -abo ticks "$SHMCOMM_DIR/shmc.zoo" | head -n 1 | cut -d: -f1)
dd if="$work/name" of="$SHMCOMM_DIR/shmc.zoo" bs=1 seek="$at" conv=notrunc 2>/dev/null
check "stat of a scribbled name" run 0 stat --format openmetrics
check "leaves it out" out_lacks 'kind="counter"'
cp "$work/out" "$work/metrics"
check "it is OpenMetrics" openmetrics "$work/metrics"
check "stat --json of it" run 0 stat --json
check "it is JSON" out_is_json
check "top of it" run 0 top --once --interval 0.05
check "goes on" out_has '^zoo +spsc '

finish

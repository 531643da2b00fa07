#!/bin/bash
# The program `shmcomm`: req and rep; every request has one answer, or its
# client is told; and what ls, info, top, lag and stat say of a service.
# Run by hand:  tests/tool_service_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"

serve() { # serve NAME ARGUMENT...: in the background; its pid is in $server
    local name=$1
    shift
    "$tool" rep "$name" "$@" >"$work/rep_out" 2>"$work/rep_err" </dev/null &
    server=$!
    children+=("$server")
    check "rep $name opens" wait_for listed "$name" live
}

# ---- echo ---------------------------------------------------------------

serve robot/echo --count 8
check "a request" run 0 req robot/echo hello
check "comes back" out_is hello
check "... and is counted" err_has '^sent 1, received 1$'
printf 'one\ntwo\n\n' >"$work/lines"
check "requests from a file" run 0 req robot/echo --file "$work/lines"
check "come back in order" cmp "$work/lines" "$work/out"
check "an empty one" run 0 req robot/echo ''
check "comes back empty" out_is ''
check "req --json" run 0 req robot/echo ping --json
check "it is JSON" out_is_json
check "with the text" out_has '"topic":"robot/echo","message":1,.*"bytes":4,"text":"ping"'
check "req --format hex" run 0 req robot/echo ping --format hex
check "prints hex" out_has '^00000000  70 69 6e 67 +\|ping\|$'

# ---- what the others say of it ------------------------------------------

check "ls" run 0 ls
check "calls it a service" out_has '^robot/echo +service .* live$'
check "info" run 0 info robot/echo
check "... too" out_has '^robot/echo: service, live,'
check "and counts" out_has \
    '^ +calls +calls .* requests 7, done 7, waiting 0, working 0, servers 1, max servers 16, clients 0, max clients 64, max outstanding 16, max bytes 4096, max reply bytes 4096$'
check "lag" run 0 lag robot/echo --object calls
check "counts, too" out_has '^calls: calls, 7 requests so far, 0 waiting, 0 lost, 0 died$'
check "by what became of them" out_has '^  0 with servers, 7 done '
check "and shows the server" out_has "^  server +0 +$server +alive +- +-\$"
kill -STOP "$server"
"$tool" req robot/echo late >"$work/late" 2>/dev/null &
late=$!
children+=("$late")
waits() { run 0 lag robot/echo --json && out_has '"kind":"calls",.*"total":8,"waiting":1,.*"working":0,"done":7,'; }
check "a request that waits is seen" wait_for waits
check "it is JSON" out_is_json
check "with its client" out_has "\"role\":\"client\",\"seat\":[0-9]+,\"pid\":$late,\"alive\":true"
check "top" run 0 top --once --interval 0.05
check "shows it" out_has '^robot/echo +calls +calls +0\.0 +0 B +1 +- +0 +1/1 +0$'
check "top --json" run 0 top --once --interval 0.05 --json
check "... too" out_has '"kind":"calls","unit":"requests",.*"lag":1,.*"working":0,"done":7'
check "stat" run 0 stat
check "... too" out_has '"requests":8,"done":7,"waiting":1,"working":0,"servers":1,'
check "openmetrics" run 0 stat --format openmetrics
for line in requests_total:8 done_requests_total:7 waiting_requests:1 \
    working_requests:0 clients:1 servers:1; do
    check "has $line" grep -Fqx \
        "shmcomm_${line%:*}{segment=\"robot/echo\",object=\"calls\",kind=\"calls\"} ${line#*:}" \
        "$work/out"
done
kill -CONT "$server"
check "the late one is answered" ends 0 "$late"
check "as it should be" test "$(<"$work/late")" = late
check "rep --count ends" ends 0 "$server"
check "and says how many" grep -qx 'received 8, failed 0' "$work/rep_err"
check "the service is gone" test -z "$(ls -A "$SHMCOMM_DIR")"

# ---- a command for each request -----------------------------------------

serve upper --count 3 --json -- tr a-z A-Z
check "a command" run 0 req upper 'the answer'
check "answers" out_is 'THE ANSWER'
head -c 4096 /dev/zero | tr '\0' z >"$work/long"
check "a long request" run 0 req upper --file "$work/long"
check "has a long answer" out_is "$(tr z Z <"$work/long")"
head -c 4097 /dev/zero | tr '\0' z >"$work/long"
check "one too long" run 1 req upper --file "$work/long"
check "... is told" err_has "^shmcomm: request 1 to 'upper': longer than the .* --max-bytes\$"
printf '\x02\x00\x00\x00a\x01' >"$work/frames"
check "a frame" run 0 req upper --file "$work/frames" --length-delimited
check "is answered by one" cmp <(printf '\x02\x00\x00\x00A\x01') "$work/out"
check "rep ends" ends 0 "$server"
check "rep --json" grep -qx '{"service":"upper","received":3,"failed":0}' "$work/rep_out"

# shellcheck disable=SC2016
serve fails --max-reply-bytes 64 --count 5 -- sh -c 'read -r x
    case $x in dies) kill -9 $$ ;; bad) exit 3 ;; long) head -c 65 /dev/zero ;; *) echo fine ;; esac'
for word in bad dies long; do
    check "a command that fails ($word)" run 1 req fails "$word"
    check "is told to the client" err_has "^shmcomm: answer to request 1 to 'fails': peer died\$"
done
check "the next one is served" run 0 req fails good
check "as it should be" out_is fine
check "a post" run 0 req fails good --post
check "has no answer" out_is ''
check "... and says so" err_has '^sent 1, received 0$'
check "rep ends with status 1" ends 1 "$server"
check "it says how one ended" grep -q "'sh' ended with status 3" "$work/rep_err"
check "... by a signal" grep -q "'sh' was ended by signal 9" "$work/rep_err"
check "... with too much" grep -q "wrote more than the 64 bytes" "$work/rep_err"
check "... and how many" grep -qx 'received 5, failed 3' "$work/rep_err"
serve missing --count 1 -- no-such-command
check "no such command" run 1 req missing x
check "rep ends with status 1" ends 1 "$server"
check "and says it" grep -q "cannot run 'no-such-command': No such file" "$work/rep_err"

# ---- deaths and waiting -------------------------------------------------

"$tool" req comes/late word >"$work/late" 2>"$work/late_err" &
late=$!
children+=("$late")
check "req waits for a server" wait_for grep -qx "waiting for a server of 'comes/late'" "$work/late_err"
"$tool" rep comes/late --count 1 2>/dev/null &
server=$!
children+=("$server")
check "and is answered" ends 0 "$late"
check "as it should be" test "$(<"$work/late")" = word
check "rep ends" ends 0 "$server"

serve dies -- sh -c 'cat >/dev/null; touch "$0"; sleep 1000' "$work/asked"
"$tool" req dies x 2>"$work/late_err" &
late=$!
children+=("$late")
check "a server is at work" wait_for test -e "$work/asked"
working() { run 0 lag dies --json && out_has '"working":1,"done":0'; }
check "lag shows it" working
kill -9 "$server"
check "its client is told" ends 1 "$late"
check "that it died" grep -q "peer died" "$work/late_err"
check "it is dead" ends 137 "$server"

check "no server in time" run 1 req nobody x --timeout 0.1
check "is told" err_has "^shmcomm: request 1 to 'nobody': no server in 0.1 s\$"
check "--need-server" run 1 req nobody x --need-server
check "is told at once" err_has "^shmcomm: request 1 to 'nobody': no such name\$"
check "rep that is not asked" run 1 rep nobody --timeout 0.1
check "says so" err_has "^shmcomm: no request to 'nobody' for 0.1 s\$"
serve stops
kill -TERM "$server"
check "rep ends at a signal" ends 0 "$server"
check "and leaves nothing" listed_not stops live

# ---- mistakes -----------------------------------------------------------

check "req of nothing" bad "SERVICE is missing" req
check "rep of nothing" bad "SERVICE is missing" rep
check "too much" bad "'c' is too many|is too many" req a b c
check "two inputs" bad "exclude each other" req a b --file c
check "two formats" bad "exclude each other" req a b --format hex --json
"$tool" push jobs --drain </dev/null 2>/dev/null
seq 3 | "$tool" push jobs 2>/dev/null
check "ls of a queue" run 0 ls
check "calls it a queue" out_has '^jobs +queue '
check "info of a queue" run 0 info jobs
check "... too" out_has '^jobs: queue, dead$'
check "a queue" run 1 rep jobs --timeout 0.1
check "is no service" err_has "^shmcomm: .*'jobs'.*SHMC_ETYPE"

finish

#!/bin/bash
# Each benchmark runs, in a size that measures nothing, and every line of its
# --json output has the fields that plots are made of; and a benchmark whose
# process dies, or whose messages do not add up, fails and says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
failed=0
fail() {
    echo "bench_run_test: $*" >&2
    failed=1
}

text='"[^"\\]+"'
count='[1-9][0-9]*'
number='[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?'
machine='^\{"work":"machine","program":'$text',"cpu":'$text',"cpus":'$count
machine+=',"kernel":'$text',"compiler":'$text',"backend":'$text
machine+=',"date":"[0-9]{4}-[0-9]{2}-[0-9]{2}"\}$'
figure='^\{"work":'$text',"subject":'$text',"bytes":[0-9]+,"producers":'$count
figure+=',"consumers":'$count',"ours":(true|false),"metric":'$text'(,"to":'$text')?,"rounds":'$count
figure+=',"median":'$number',"low":'$number',"high":'$number'\}$'

programs=0
for source in bench/*_bench.c; do
    program=${source%.c}
    name=${program#bench/}
    [[ $name != peers_bench ]] || continue  # peers_bench_test runs it
    if ! timeout 60 "$program" --json --rounds 1 --messages 2000 >"$work/out"; then
        fail "$name fails"
        continue
    fi
    head -n 1 "$work/out" | grep -qE "$machine" || fail "$name: no machine"
    if tail -n +2 "$work/out" | grep -vE "$figure" >"$work/bad"; then
        fail "$name: not a figure: $(head -n 1 "$work/bad")"
    fi
    if ! awk -F '"median":|,"low":|,"high":|}' '
        NR > 1 && !($3 + 0 <= $2 + 0 && $2 + 0 <= $4 + 0) { exit 1 }
        END { if (NR < 2) exit 1 }' "$work/out"; then
        fail "$name: no figure, or a median outside its quartiles"
    fi
    "$program" --list >"$work/list"
    [[ -s $work/list ]] || fail "$name lists no case"
    if "$program" --rounds 0 2>/dev/null; then fail "$name ran 0 rounds"; fi
    programs=$((programs + 1))
done
[[ $programs -gt 0 ]] || fail "no benchmark ran"

cat >"$work/bad.c" <<'EOF'
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "bench.h"

static int mode;

static void
produce(bench_worker *w)
{
    bench_start(w);
    if (mode == 1 && w->index == 2) bench_die("no ring");
    if (mode == 2 && w->index == 1) raise(SIGKILL);
    while (mode == 1 || mode == 2) bench_idle(w);
}

static void
consume(bench_worker *w)
{
    uint64_t m[3];

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        bench_fill(m, sizeof m, w->first + i);
        w->sum += bench_sum(m, sizeof m);
    }
    if (mode == 3) w->sum++;
}

static void
a_round(bench_round *r)
{
    const bench_group g = { produce, consume, 3, 2, NULL, 24, r->messages, 0 };

    mode = atoi(r->c->subject);
    bench_rate(r, r->messages, bench_group_run(&g));
}

static const bench_case table[] = {
    { "w", "0", 24, a_round, .producers = 3, .consumers = 2 },
    { "w", "1", 24, a_round, .producers = 3, .consumers = 2 },
    { "w", "2", 24, a_round, .producers = 3, .consumers = 2 },
    { "w", "3", 24, a_round, .producers = 3, .consumers = 2 }
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 2, .messages = 1001 };

    bench_begin(&a, argc, argv);
    return bench_run(&a, table, 4);
}
EOF
gcc -std=c11 -O1 -I. -Ibench "$work/bad.c" -o "$work/bad" -pthread
said() { # said SUBJECT TEXT: this subject fails with this text
    if timeout 60 "$work/bad" --filter "/$1/" >"$work/out" 2>&1; then
        fail "subject $1 does not fail"
    fi
    grep -qF -- "$2" "$work/out" || fail "subject $1 says: $(<"$work/out")"
}
timeout 60 "$work/bad" --filter /0/ >"$work/out" || fail "the good subject fails"
said 1 "w/1/24/3x2: producer 2: no ring"
said 2 "w/2/24/3x2: a process died of signal 9"
said 3 "w/3/24/3x2: wrong checksum"
said 4 "no case matches"

if bench/run --no-such-option 2>/dev/null; then fail "bench/run takes anything"; fi
if bench/plot --no-such-option 2>/dev/null; then fail "bench/plot takes anything"; fi
bench/plot --help | grep -q -- --measure || fail "bench/plot --help"
bench/run --help | grep -q -- --quick || fail "bench/run --help"
echo "$programs benchmarks"
exit "$failed"

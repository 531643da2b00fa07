#!/bin/bash
# The program `shmcomm`: doctor finds each thing that can be wrong with a
# machine, on machines made up of files, and nothing wrong with a good one.
# Run by hand:  tests/tool_doctor_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"
real_dir=$SHMCOMM_DIR
unset SHMCOMM_DIR

root=$work/root
put() { # put PATH TEXT
    local file=$root/$1
    [[ -d ${file%/*} ]] || mkdir -p "${file%/*}"
    printf '%s\n' "$2" >"$file"
}
make_machine() { # with nothing to say about it
    mkdir -p "$root/dev/shm" "$root/etc/systemd"
    put facts "shm_total 17179869184
shm_free 17000000000
shm_mode 1023
shm_writable 1
futex_waitv 1
membarrier 1
uid 1000"
    put proc/self/mountinfo "24 1 0:22 / / rw - ext4 /dev/sda1 rw
25 24 0:23 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw"
    put proc/self/limits "Limit                     Soft Limit           Hard Limit           Units
Max locked memory         unlimited            unlimited            bytes
Max open files            4096                 4096                 files
Max realtime priority     95                   95"
    put proc/self/status "CapEff:	0000000000000000"
    put proc/1/cgroup "0::/init.scope"
    put proc/meminfo "MemTotal:       32768000 kB
SwapTotal:             0 kB
HugePages_Total:       0
HugePages_Free:        0"
    put proc/sys/kernel/osrelease 6.1.0-28-rt-amd64
    put proc/sys/kernel/sched_rt_runtime_us -1
    put proc/sys/fs/protected_regular 0
    put proc/sys/fs/protected_hardlinks 0
    put proc/sys/fs/protected_fifos 0
    put sys/kernel/realtime 1
    put sys/kernel/mm/transparent_hugepage/shmem_enabled "always within_size [advise] never"
    put sys/devices/system/cpu/isolated 2-3
    put sys/devices/system/cpu/nohz_full 2-3
    put sys/devices/system/cpu/cpu0/cpufreq/scaling_governor performance
    put sys/devices/system/cpu/cpu1/cpufreq/scaling_governor performance
    put sys/devices/system/clocksource/clocksource0/current_clocksource tsc
    put run/systemd/system/x ""
    put etc/systemd/logind.conf "[Login]
RemoveIPC=no"
}
# Made once, and copied for each finding.  There are many of them: what bash
# can do itself needs no process.
make_machine
good=$root
machines=0
good_machine() {
    machines=$((machines + 1))
    root=$work/root.$machines
    cp -r "$good" "$root"
}
fact() { # fact NAME NUMBER
    local all
    IFS= read -r -d '' all <"$root/facts"
    shopt -s extglob
    printf '%s' "${all/$1 +([0-9])/$1 $2}" >"$root/facts"
}

doctor() { # doctor STATUS ARGUMENT...
    local want=$1
    shift
    run "$want" doctor --root "$root" "$@"
}
# finds STATUS LEVEL ID TEXT: that finding, with what it means and what to do;
# and nothing else is wrong.
finds() {
    local all one found=()
    doctor "$1" --json && IFS= read -r all <"$work/out" || return 1
    printf '%s\n' "$all" >>"$work/json"
    while IFS= read -r -d '{' one; do
        [[ $one != *'"id":'* || $one == *'"level":"ok"'* ]] || found+=("$one")
    done <<<"$all{"
    [[ ${#found[@]} -ge 1 ]] || { echo "nothing found"; return 1; }
    [[ ${#found[@]} == 1 ]] || { echo "and more: ${found[*]}"; return 1; }
    local what="\"id\":\"$3\",\"level\":\"$2\",\"finding\":\"[^\"]*$4[^\"]*\\.\""
    [[ ${found[0]} =~ $what ]] || { echo "no such finding: ${found[0]}"; return 1; }
    what='"means":"[^"]+","advice":"[^"]+"'
    [[ ${found[0]} =~ $what ]] || { echo "it gives no advice"; return 1; }
    ids+=" $3 "
}
ids=

good_machine
check "a good machine" doctor 0
check "... is good" out_has '^0 problems, 0 warnings, 0 notes, [0-9]+ ok$'
check "... strictly" doctor 0 --strict
check "... and quietly" doctor 0 --quiet
check "... which says nothing else" test "$(wc -l <"$work/out")" = 1
check "every check gives its result" out_has ' 0 notes, (2[0-9]|3[0-9]) ok$'

# ---- /dev/shm -----------------------------------------------------------

rmdir "$root/dev/shm"
check "no /dev/shm" finds 1 problem shm-missing "/dev/shm is no folder"
good_machine; fact shm_total 67108864; fact shm_free 67000000; put .dockerenv ""
check "a container's default" finds 1 problem shm-container "/dev/shm has only 64.0 MiB"
good_machine; fact shm_total 67108864; fact shm_free 67000000
put proc/1/cgroup "0::/docker/0123456789abcdef"
check "... by its cgroup" finds 1 problem shm-container "has only 64.0 MiB"
good_machine; fact shm_total 67108864; fact shm_free 67000000
check "a small one" finds 0 warning shm-size "has 64.0 MiB"
good_machine; fact shm_free 1000000
check "a full one" finds 1 problem shm-free "976.6 KiB of 16.0 GiB .* is free"
good_machine; fact shm_writable 0; fact shm_mode 493
check "one that may not be written" finds 1 problem shm-permission "mode 0755"
good_machine; fact shm_mode 511
check "one without the sticky bit" finds 0 warning shm-permission "mode 0777"
good_machine; sed -i 's/rw,nosuid/ro,nosuid/' "$root/proc/self/mountinfo"
check "a read-only one" finds 1 problem shm-read-only "read-only"
good_machine; sed -i 's/- tmpfs tmpfs/- ext4 \/dev\/sdb1/' "$root/proc/self/mountinfo"
check "one on a disk" finds 0 warning shm-type "of type ext4"
good_machine; sed -i 2d "$root/proc/self/mountinfo"
check "one that is no mount" finds 0 note shm-type "no mount point"

# Segments: a live one is well; a dead one is stale, until gc removes it.
good_machine
"$tool" pub robot/pose --dir "$root/dev/shm" --wait-subscriber </dev/null \
    2>/dev/null &
pub=$!
children+=("$pub")
there() { "$tool" ls --dir "$root/dev/shm" 2>/dev/null | grep -q "$1\$"; }
check "a topic" wait_for there live
check "a live topic is well" doctor 0 --strict
check "... and counted" out_has 'Each of the 1 segments'
kill -9 "$pub"
check "its publisher is killed" ends 137 "$pub"
check "a dead topic" finds 0 warning shm-stale "1 segments with .* no live user, first 'robot/pose'"
check "... strictly" doctor 1 --strict
check "gc there" run 0 gc --dir "$root/dev/shm"
check "is the cure" doctor 0 --strict
head -c 3000 /dev/zero >"$root/dev/shm/shmc.garbage"
check "a file that is no segment" finds 0 warning shm-broken "1 files with our prefix"
if [[ $(id -u) == 0 ]] && setpriv --reuid 65534 --regid 65534 --clear-groups true \
    2>/dev/null; then
    good_machine
    head -c 3000 /dev/zero >"$root/dev/shm/shmc.secret"
    chmod 600 "$root/dev/shm/shmc.secret"
    chmod -R go+rX "$root/dev/shm" "$work"
    chmod 600 "$root/dev/shm/shmc.secret"
    as_nobody() {
        setpriv --reuid 65534 --regid 65534 --clear-groups "$tool" doctor \
            --root "$root" >"$work/out" 2>"$work/err"
    }
    check "another user's segment" as_nobody
    check "is told" out_has "^note +1 segments belong to somebody else, first 'secret'"
fi

# ---- pages --------------------------------------------------------------

good_machine
put sys/kernel/mm/transparent_hugepage/shmem_enabled "always advise [never]"
check "no huge pages" finds 0 note huge-pages "no huge pages"
good_machine; sed -i 's/HugePages_\(Total\|Free\): .*/HugePages_\1: 64/' "$root/proc/meminfo"
check "huge pages for nobody" finds 0 note huge-pages-reserved "64 huge pages are reserved"
good_machine; sed -i 's/SwapTotal: .*/SwapTotal: 2097152 kB/' "$root/proc/meminfo"
check "swap" finds 0 warning swap "Swap is on \(2.0 GiB\)"

# ---- kernel -------------------------------------------------------------

good_machine; put proc/sys/kernel/osrelease 5.10.0-33-amd64
check "a kernel without futex_waitv" finds 0 warning kernel "5\.10\.0-33"
good_machine; put proc/sys/kernel/osrelease 3.10.0-1160.el7
check "a kernel without locks of open files" finds 1 problem kernel "3\.10\.0"
good_machine; fact futex_waitv 0
check "futex_waitv is filtered" finds 0 warning futex-waitv "futex_waitv"
good_machine; fact membarrier 0
check "membarrier is filtered" finds 0 note membarrier "membarrier"
for name in protected_regular protected_hardlinks protected_fifos; do
    good_machine; put "proc/sys/fs/$name" 1
    check "fs.$name" finds 0 note "$name" "fs.$name is 1"
done

# ---- limits -------------------------------------------------------------

good_machine; sed -i 's/memory         unlimited/memory         8388608/' "$root/proc/self/limits"
check "little may be locked" finds 0 warning limit-memlock "may lock 8.0 MiB"
put proc/self/status "CapEff:	0000000000004000"
check "... unless capable" doctor 0 --strict
good_machine; sed -i 's/priority     95/priority     0 /' "$root/proc/self/limits"
check "no real-time priority" finds 0 warning limit-rtprio "no real-time priority"
put proc/self/status "CapEff:	0000000000800000"
check "... unless capable" doctor 0 --strict
good_machine; sed -i 's/files            4096/files            256 /' "$root/proc/self/limits"
check "few files" finds 0 warning limit-nofile "may open 256 files"

# ---- CPUs ---------------------------------------------------------------

good_machine; put sys/devices/system/cpu/isolated ""
check "no isolated CPU" finds 0 note isolcpus "No CPU is isolated"
good_machine; put sys/devices/system/cpu/nohz_full "(null)"
check "every CPU ticks" finds 0 note nohz-full "without the tick"
good_machine; put sys/devices/system/cpu/cpu1/cpufreq/scaling_governor powersave
check "a slow governor" finds 0 warning governor "1 of 2 CPUs .* 'powersave'"
good_machine; put proc/sys/kernel/sched_rt_runtime_us 950000
check "throttling" finds 0 note rt-throttling "950000 us"
good_machine; put sys/kernel/realtime 0
check "no PREEMPT_RT" finds 0 note preempt-rt "not PREEMPT_RT"
good_machine
put sys/devices/system/clocksource/clocksource0/current_clocksource hpet
check "a slow clock" finds 0 warning clocksource "The clock is hpet"

# ---- systemd ------------------------------------------------------------

good_machine; rm "$root/etc/systemd/logind.conf"
check "RemoveIPC by default" finds 0 warning remove-ipc "RemoveIPC is on"
fact uid 0
check "... is less to root" finds 0 note remove-ipc "RemoveIPC is on"
good_machine; put etc/systemd/logind.conf.d/10-ipc.conf "[Login]
RemoveIPC=yes"
check "RemoveIPC in a drop-in" finds 0 warning remove-ipc "RemoveIPC is on"
put etc/systemd/logind.conf.d/20-ipc.conf "[Login]
 RemoveIPC=no"
check "... and a later one" doctor 0 --strict
good_machine; rm -r "$root/etc" "$root/run"
check "no systemd" doctor 0 --strict

shown() { [[ $ids == *" $1 "* ]]; }
# Each id that the sources know was found wrong above (shm-others as nobody).
while read -r id; do
    check "$id was shown" shown "$id"
done < <(cat tools/shmcomm_doctor_*.c | tr '\n' ' ' |
    grep -oE 'LEVEL_(NOTE|WARNING|PROBLEM)[^"]*"[a-z-]+"' | sed 's/.*"\(.*\)"/\1/' |
    grep -vx shm-others | sort -u)
for name in protected_regular protected_hardlinks protected_fifos; do
    check "$name was shown, too" shown "$name"
done

cp "$work/json" "$work/out"
check "all of it was JSON" out_is_json
check "one line of each" test "$(wc -l <"$work/json")" = "$(wc -w <<<"$ids")"

# ---- this machine -------------------------------------------------------

export SHMCOMM_DIR=$real_dir
here() { # whatever it is like
    timeout 60 "$tool" doctor --json >"$work/out" 2>"$work/err" </dev/null
    [[ $? -le 1 && ! -s $work/err ]]
}
check "this machine" here
check "it is JSON" out_is_json
check "and has a kernel" out_has '"id":"kernel"'
check "doctor of something" bad "'x' is too many" doctor x

finish

#!/bin/bash
# The program `shmcomm`: its help, the shells' completion and the man page are
# of one table, and mistakes are answered with the nearest word.
# Run by hand:  tests/tool_table_test.sh PROGRAM
# shellcheck source=tests/tool_support.sh
. "$(dirname "${BASH_SOURCE[0]}")/tool_support.sh"

# ---- what is installed is what the program says -------------------------

same() { # same FILE FORMAT
    run 0 completion "$2" && cmp "$1" "$work/out" ||
        { echo "make it anew: shmcomm completion $2 >$1"; return 1; }
}
check "the bash completion is of this program" same tools/shmcomm.bash bash
check "the zsh completion is of this program" same tools/_shmcomm zsh
check "the man page is of this program" same tools/shmcomm.1 man
check "bash takes it" bash -n tools/shmcomm.bash
if command -v man >/dev/null && command -v groff >/dev/null; then
    man_is_clean() { ! man --warnings -l tools/shmcomm.1 2>&1 >/dev/null | grep .; }
    check "man has no warnings" man_is_clean
fi

# Every verb of --help, and every option that the table of a verb has, stands
# in the verb's help and in the man page.
"$tool" --help | sed -n 's/^  \([a-z]\{2,\}\) .*/\1/p' >"$work/verbs"
check "there are verbs" test "$(wc -l <"$work/verbs")" -ge 14
options_of() { # what bash would offer for a verb
    sed -n "/^        $1)\$/,/;;/s/.*options=\"\(.*\)\"/\1/p" tools/shmcomm.bash
}
in_text() { grep -Eq -- "(^|[^a-z-])$1([^a-z-]|\$)" "$2"; }
sed 's/\\-/-/g' tools/shmcomm.1 >"$work/page"
while read -r verb; do
    check "$verb is in the man page" grep -qx "\.SS $verb" "$work/page"
    check "$verb is in the docs" grep -Eq "^\| \`$verb[ \`]" docs/shmcomm_cli.md
    "$tool" help "$verb" >"$work/help"
    read -r -a options < <(options_of "$verb")
    check "$verb has options" test "${#options[@]}" -ge 4
    sed -n "/^\.SS $verb\$/,/^\.fi/p" "$work/page" >"$work/section"
    for option in "${options[@]}"; do
        check "$verb $option is in the man page" in_text "$option" "$work/page"
        [[ " --help --json --dir --prefix " == *" $option "* ]] && continue
        check "$verb $option is in its help" in_text "$option" "$work/help"
        check "$verb $option is in its section" in_text "$option" "$work/section"
    done
done <"$work/verbs"

# ---- completion, as bash runs it ----------------------------------------

PATH=$work:$PATH
# shellcheck source=tools/shmcomm.bash
. tools/shmcomm.bash
complete_words() { # complete_words WORD...: the last one is being typed
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _shmcomm
    echo "${COMPREPLY[*]-}"
}
completes() { # completes WANTED WORD...
    local want=$1 is
    shift
    is=$(complete_words "$@")
    [[ $is == "$want" ]] || { echo "got: $is"; return 1; }
}
check "verbs" completes "req rep record replay" shmcomm re
check "options" completes "--dry-run" shmcomm gc --dr
check "words" completes "zsh" shmcomm completion z
check "behind an option with a value" completes "--speed" \
    shmcomm --dir /x replay --sp
"$tool" pub robot/pose --wait-subscriber </dev/null 2>/dev/null &
children+=("$!")
check "pub makes a topic" wait_for listed robot/pose live
check "names" completes "robot/pose" shmcomm echo robot

# ---- the nearest word ---------------------------------------------------

check "a verb that is nearly one" bad "'ehco' is no verb, perhaps 'echo'" ehco
check "an option that is nearly one" \
    bad "bad option '--cuont', perhaps '--count'" echo t --cuont
check "... with a value" \
    bad "bad option '--sped=2', perhaps '--speed'" replay f --sped=2
check "a word that is near nothing" bad "'qqqqqq' is no verb;" qqqqqq
check "a name that is nearly one" run 1 info robot/posse
check "... is told" err_has "SHMC_ENOENT.*; did you mean 'robot/pose'\?\$"
check "lag of it" run 1 lag robot/pse
check "... is told" err_has "; did you mean 'robot/pose'\?\$"
check "echo of it waits" run 1 echo robot/pos --timeout 0.05
check "... and asks" err_has "^waiting for topic 'robot/pos'; did you mean 'robot/pose'\?\$"
check "a name that is near nothing" run 1 info elsewhere/entirely
check "... is not asked for" err_lacks 'did you mean'
check "completion of another shell" bad "'fish' is not bash, zsh or man" \
    completion fish

finish

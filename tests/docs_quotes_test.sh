#!/bin/bash
# What the documentation shows is what is compiled: the block of code behind a
# line `<!-- from FILE -->` stands word for word in FILE, every FILE named so
# exists, links between the pages lead somewhere, names of ours that they use
# exist in some source, and every example is shown; a hello world has fewer than
# ten lines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=0
failed=0
check() { # check WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "docs_quotes_test: $what" >&2
    fi
}

contains() { # contains FILE TEXT: is TEXT, whole lines, in FILE?
    local whole
    [[ -f $1 ]] || return 1
    whole=$(<"$1")
    [[ $'\n'$whole$'\n' == *$'\n'"$2"$'\n'* ]]
}

check_page() {
    local page=$1 from= inside=no block= line
    while IFS= read -r line; do
        if [[ $inside == no && $line =~ ^'<!-- from '([^ ]+)' -->'$ ]]; then
            from=${BASH_REMATCH[1]}
        elif [[ -n $from && $inside == no && $line == '```'* ]]; then
            inside=yes
            block=
        elif [[ $inside == yes && $line == '```' ]]; then
            check "$page: this is not in $from:"$'\n'"$block" \
                contains "$from" "${block%$'\n'}"
            echo "$from" >>"$shown"
            inside=no
            from=
        elif [[ $inside == yes ]]; then
            block+=$line$'\n'
        fi
    done <"$page"
}

check_links() {
    local page=$1 target
    while IFS= read -r target; do
        [[ $target == *://* || $target == '#'* ]] && continue
        check "$page: link to $target leads nowhere" \
            test -e "$(dirname "$page")/${target%%#*}"
    done < <(grep -oE '\]\([^) ]+\)' "$page" | sed 's/^](//; s/)$//')
}

check_names() {
    local page=$1 name
    while IFS= read -r name; do
        check "$page: there is no $name" grep -qxF "$name" "$names"
    done < <(grep -oE '`(shmc|SHMC)_[A-Za-z0-9_]+' "$page" | tr -d '`' |
        grep -vE '^SHMC_(CRASH|MODEL|ROUNDS|TEST)' | sort -u)
}

shown=$(mktemp)
names=$(mktemp)
trap 'rm -f -- "$shown" "$names"' EXIT
grep -ohE '\b(shmc|SHMC)_[A-Za-z0-9_]+' shmcomm*.h bench/*.[ch] | sort -u >"$names"
shopt -s nullglob
for page in README.md docs/*.md; do
    check_page "$page"
    check_links "$page"
    check_names "$page"
done
for example in docs/examples/*.c docs/examples/hello/*.c; do
    check "$example is shown on no page" grep -qxF "$example" "$shown"
done
for example in docs/examples/hello/*.c; do
    check "$example has 10 lines or more" test "$(wc -l <"$example")" -lt 10
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 0 ]]

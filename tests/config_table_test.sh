#!/bin/bash
# docs/config.md has a row for each configuration macro, with its default and
# its header, and for each environment variable; and no other rows.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

page=docs/config.md
passed=0
failed=0
check() { # check WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "config_table_test: $what" >&2
    fi
}

# Lines `macro|default|header`: an #ifndef with its #define right behind, and
# what is only asked for.
defaults() {
    local header
    for header in shmcomm*.h; do
        awk -v header="$header" '
            asked != "" && $1 == "#define" && $2 == asked {
                value = $3
                sub(/\/\*.*/, "", value)
                print asked "|" (value == "" ? "(empty)" : value) "|" header
            }
            { asked = $1 == "#ifndef" && $2 ~ /^SHMC_/ ? $2 : "" }
        ' "$header"
    done
}

optional() {
    local name
    while IFS= read -r name; do
        grep -qE "^# *define $name\b" shmcomm*.h ||
            echo "$name|(not defined)|$(grep -lE "\b$name\b" shmcomm*.h | head -n 1)"
    done < <(grep -hoE 'defined\(SHMC_[A-Z_]+\)|^# *ifn?def SHMC_[A-Z_]+' shmcomm*.h |
        grep -oE 'SHMC_[A-Z_]+' | sort -u)
}

rows() { # rows FIRST: the cells of the table whose first header is FIRST
    awk -F'|' -v first="$1" '
        /^\|/ {
            for (i = 2; i <= 4; i++) gsub(/^[ `]+|[ `]+$/, "", $i)
            if ($2 == first) { inside = 1; next }
            if (inside && $2 !~ /^---/) print $2 "|" $3 "|" $4
            next
        }
        { inside = 0 }
    ' "$page"
}

listed() { # listed LINE TEXT: is LINE a whole line of TEXT?
    grep -qxF -- "$1" <<<"$2"
}

code=$(defaults; optional)
table=$(rows macro)
while IFS= read -r line; do
    check "$page has no row that says: ${line//|/ | }" listed "$line" "$table"
done <<<"$code"
while IFS= read -r line; do
    check "no header has what $page says: ${line//|/ | }" listed "$line" "$code"
done <<<"$table"
check "a macro has two rows" test -z "$(cut -d'|' -f1 <<<"$table" | sort | uniq -d)"

used=$(grep -hoE 'shmi_env\("[A-Z_]+"\)' shmcomm*.h | cut -d'"' -f2 | sort -u)
variables=$(rows variable)
for name in $used; do
    check "$page has no row for \$$name" listed "$name" "$(cut -d'|' -f1 <<<"$variables")"
done
while IFS='|' read -r name default _; do
    check "no header reads \$$name" listed "$name" "$used"
    check "no header has \"$default\", the default of \$$name" \
        grep -qF "\"$default\"" shmcomm*.h
done <<<"$variables"

echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 20 ]]

#!/bin/bash
# Each header compiles alone, twice, as C11 and C++17, by gcc and clang, with
# every warning; as C11 with the implementation, on ck_pr, on __atomic, and
# where ConcurrencyKit and msgpack-c are absent: then shmcomm_msgpack.h says
# what is missing, and all others need neither; and all of them together,
# optimised.  Then one program is linked from a file with the implementation and
# files without, C and C++.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
top=$PWD

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

warn=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror)
c=(-x c -std=c11 "${warn[@]}" -Wstrict-prototypes -Wmissing-prototypes)
cxx=(-x c++ -std=c++17 "${warn[@]}")
shopt -s nullglob
headers=(shmcomm*.h)
if [[ ${#headers[@]} -eq 0 ]]; then
    echo "no header to check"
    exit 0
fi
adapter=shmcomm_msgpack             # of a library that may be absent
if ! echo '#include <msgpack.h>' | gcc -E -x c - >/dev/null 2>&1; then
    echo "msgpack-c is not installed: of $adapter.h only what it says of that is checked"
    for i in "${!headers[@]}"; do
        [[ ${headers[i]} != "$adapter.h" ]] || unset "headers[i]"
    done
fi
compilers=(gcc)
if command -v clang-14 >/dev/null; then compilers+=(clang-14); fi

# /usr/include without ConcurrencyKit and msgpack-c.
bare=$work/bare
multiarch=$(gcc -print-multiarch)
mkdir -p "$bare/$multiarch"
for path in /usr/include/* "/usr/include/$multiarch"/*; do
    name=${path#/usr/include/}
    [[ ${name##*/} =~ ^(ck_|msgpack) || $name == "$multiarch" ]] || ln -s "$path" "$bare/$name"
done

jobs_file=$work/jobs
plan() { # plan WORD...: one compiler run, done later
    printf '%q ' "$@" >>"$jobs_file"
    printf '\n' >>"$jobs_file"
}

bare_include=("-I$top" -nostdinc -isystem "$(gcc -print-file-name=include)"
    -isystem "$bare" -isystem "$bare/$multiarch")
for header in "${headers[@]}"; do
    stem=${header%.h}
    printf '#include "%s"\n' "$header" "$header" >"$work/$stem.decl"
    {
        echo '#define SHMCOMM_IMPLEMENTATION'
        cat "$work/$stem.decl"
    } >"$work/$stem.impl"
    for cc in "${compilers[@]}"; do
        run=("$cc" -fsyntax-only "-I$top")
        for builtin in 0 1; do
            back=()
            if [[ $builtin == 1 ]]; then back=(-DSHMC_USE_BUILTIN_ATOMICS=1); fi
            plan "${run[@]}" "${back[@]}" "${c[@]}" "$work/$stem.decl"
            plan "${run[@]}" "${back[@]}" "${c[@]}" "$work/$stem.impl"
            plan "${run[@]}" "${back[@]}" "${cxx[@]}" "$work/$stem.decl"
        done
    done
    if [[ $stem != "$adapter" ]]; then
        plan gcc -fsyntax-only "${bare_include[@]}" "${c[@]}" "$work/$stem.impl"
    fi
done
# With optimisation the compiler sees, and warns of, more: all of them at once.
{
    echo '#define SHMCOMM_IMPLEMENTATION'
    printf '#include "%s"\n' "${headers[@]}"
} >"$work/all.impl"
for cc in "${compilers[@]}"; do
    for asserts in -UNDEBUG -DNDEBUG; do
        plan "$cc" -c -O2 $asserts -o "$work/all$asserts.$cc.o" "-I$top" "${c[@]}" \
            "$work/all.impl"
    done
done

count=$(wc -l <"$jobs_file")
# One line is one command; xargs keeps as many running as there are CPUs.
# shellcheck disable=SC2016
if ! tr '\n' '\0' <"$jobs_file" |
    xargs -0 -n 1 -P "$(nproc)" bash -c \
        'eval "$1" || { echo "failed: $1" >&2; exit 1; }' bash; then
    echo "headers_test: a header does not compile; see above" >&2
    exit 1
fi

# Without its library an adapter does not compile, and says why.
echo "#include \"$adapter.h\"" >"$work/adapter.decl"
if gcc -fsyntax-only "${bare_include[@]}" "${c[@]}" "$work/adapter.decl" 2>"$work/says" ||
    ! grep -q 'install libmsgpack-dev' "$work/says"; then
    echo "headers_test: $adapter.h does not say that its library is missing" >&2
    exit 1
fi

# One program of four files.
{
    printf '#include "%s"\n' "${headers[@]}"
} >"$work/all.h"
printf '#define SHMCOMM_IMPLEMENTATION\n#include "all.h"\n' >"$work/impl.c"
printf '#include "all.h"\nint other(void); int other(void) { return 0; }\n' >"$work/other.c"
printf '#include "all.h"\nint more() { return 0; }\n' >"$work/more.cc"
printf '#include "all.h"\nint other(void);\nint main(void) { return other(); }\n' >"$work/main.c"
for cc in "${compilers[@]}"; do
    for file in impl.c other.c main.c more.cc; do
        flags=("${c[@]}")
        if [[ $file == *.cc ]]; then flags=("${cxx[@]}"); fi
        "$cc" -c "-I$top" "${flags[@]}" "$work/$file" -o "$work/$file.$cc.o"
    done
    "$cc" "$work"/{impl,other,main}.c."$cc".o "$work/more.cc.$cc.o" -pthread \
        -o "$work/program.$cc"
    "$work/program.$cc"
done

# Whatever the implementation defines is ours by name.
if nm -g --defined-only "$work/impl.c.gcc.o" | awk 'NF == 3 { print $3 }' |
    grep -Ev '^shm[ci]_'; then
    echo "headers_test: a global symbol is neither shmc_ nor shmi_; see above" >&2
    exit 1
fi
echo "${#headers[@]} headers, $count compiler runs, ${#compilers[@]} programs linked"

#!/bin/bash
# tools/install puts the headers where pkg-config and CMake find them, and
# --uninstall leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
prefix="$work/a prefix"

fail() {
    echo "install_test: $*" >&2
    exit 1
}

mkdir "$work/src"
{
    echo '#define SHMCOMM_IMPLEMENTATION'
    for header in shmcomm*.h; do
        # An adapter is installed, too, and used where its library is.
        [[ $header != shmcomm_msgpack.h ]] || echo '#if __has_include(<msgpack.h>)'
        echo "#include <$header>"
        [[ $header != shmcomm_msgpack.h ]] || echo '#endif'
    done
    echo '#include <stdio.h>'
    echo 'int main(void) { return puts(SHMC_VERSION_STRING) < 0; }'
} >"$work/src/app.c"
cat >"$work/src/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.16)
project(app C)
find_package(shmcomm ${WANT} REQUIRED)
add_executable(app app.c)
target_link_libraries(app shmcomm::shmcomm)
EOF

# Twice: a second install replaces the first.
tools/install --prefix "$work/p"
tools/install --prefix "$work/p"

export PKG_CONFIG_PATH=$work/p/share/pkgconfig
version=$(pkg-config --modversion shmcomm)
read -r -a flags < <(pkg-config --cflags --libs shmcomm)
gcc -Wall -Wextra -Werror "$work/src/app.c" "${flags[@]}" -o "$work/app"
[[ $("$work/app") == "$version" ]] || fail "pkg-config says $version, the header not"

tools/install --prefix "$prefix"
cmake_build() { # cmake_build WANT: configure against the package, asking for WANT
    rm -rf "$work/build"
    cmake -S "$work/src" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
        -DWANT="$1" >"$work/log" 2>&1
}
cmake_build "${version%.*}" || fail "$(cat "$work/log")"
cmake --build "$work/build" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
[[ $("$work/build/app") == "$version" ]] || fail "CMake built another version"
if cmake_build 99.0; then fail "CMake took version $version for 99.0"; fi
cmake_build "" || fail "$(cat "$work/log")"

tools/install --prefix /opt/x --destdir "$work/stage"
grep -qx 'prefix=/opt/x' "$work/stage/opt/x/share/pkgconfig/shmcomm.pc" ||
    fail "--destdir shows in shmcomm.pc"
cmp shmcomm.h "$work/stage/opt/x/include/shmcomm.h"

tools/install --prefix /opt/x --destdir "$work/stage" --uninstall
for file in man/man1/shmcomm.1 bash-completion/completions/shmcomm \
    zsh/site-functions/_shmcomm; do
    [[ -s $work/p/share/$file ]] || fail "share/$file is not installed"
done
left=$(find "$work/stage" -type f)
[[ -z $left ]] || fail "--uninstall left $left"
if tools/install --prefix /opt/x --destdir "$work/stage" --uninstall 2>/dev/null; then
    fail "--uninstall of nothing succeeded"
fi
if tools/install --prefix relative 2>/dev/null; then
    fail "a relative --prefix was taken"
fi
echo "shmcomm $version installs, is found and is removed"

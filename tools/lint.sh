#!/usr/bin/env bash
# Layout and static analysis: clang-format, shellcheck, cppcheck, clang-tidy. Non-zero if any has something to say.
#
#   lint.sh [FILE.c ...]     only these C files (default: all of them; clang-tidy takes minutes)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
tools/deps.sh --lint || exit 1
[ -f "$BUILD/build.ninja" ] || meson setup "$BUILD" >/dev/null || exit 1

if [ $# -gt 0 ]; then
    files=("$@")
else
    mapfile -t files < <(git ls-files '*.c' '*.h')
fi
sources=()
for f in "${files[@]}"; do
    # Other architectures' kernels are not in this build's compile commands.
    case $f in *.c) grep -qF "$f\"" "$BUILD/compile_commands.json" 2>/dev/null && sources+=("$f") ;; esac
done

rc=0
part() {
    echo "== $1"
    shift
    "$@" || rc=1
}

part clang-format clang-format --dry-run -Werror "${files[@]}"
part shellcheck shellcheck tools/*.sh .ci/run
part cppcheck cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
    --suppressions-list=tools/cppcheck.txt --error-exitcode=1 -Iinclude -Isrc -D_GNU_SOURCE -DMO_VERSION='""' \
    --library=posix --library=tools/jansson.cfg "${sources[@]}"
# One file a run: clang-tidy 14 loses va_start() in the second.
# shellcheck disable=SC2317  # called through part
tidy() {
    printf '%s\n' "${sources[@]}" | grep -v '^src/core/status.c$' |
        xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$BUILD" --extra-arg=-include --extra-arg="$PWD/tools/analyzer.h" 2>/dev/null
}
part clang-tidy tidy
exit $rc

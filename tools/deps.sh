#!/usr/bin/env bash
# Install what is missing, and say what it is for.
#
#   deps.sh           what building and running need
#   deps.sh --check   also what the tests need
#   deps.sh --demo    also what fetching the demo's trained model needs
#
# Package names are those of Debian 12. A thing counts as there when a program, a header module or a library can be
# found, however it was installed; so on other systems this script says what to look for.
set -euo pipefail

# probe | Debian package | what it is for
BUILD_NEEDS='
cmd gcc                     | gcc                   | the compiler
header stdio.h              | libc6-dev             | the C library headers
cmd meson                   | meson                 | the build system
cmd ninja                   | ninja-build           | runs the build
cmd pkg-config              | pkg-config            | finds the libraries below
module jansson              | libjansson-dev        | JSON: configurations, tokenizer files
module libutf8proc          | libutf8proc-dev       | Unicode normalisation in the tokenizer
module libjpeg              | libjpeg62-turbo-dev   | JPEG pictures
module spng                 | libspng-dev           | PNG pictures
module libwebp              | libwebp-dev           | WebP pictures
module sndfile              | libsndfile1-dev       | audio files
module libedit              | libedit-dev           | line editing in a conversation
'
CHECK_NEEDS='
numpy                       | python3-numpy         | comparing with golden outputs
header simde/x86/avx512.h   | libsimde-dev          | AVX-512 kernels on machines without
cmd clang                   | clang                 | second compiler; sanitizers and fuzzers
clang-rt                    | libclang-rt-14-dev    | run-time libraries of both
cmd aarch64-linux-gnu-gcc   | gcc-aarch64-linux-gnu | kernels for AArch64
file /usr/aarch64-linux-gnu/include/stdio.h | libc6-dev-arm64-cross | their C library
cmd qemu-aarch64            | qemu-user             | runs them here
'
DEMO_NEEDS='
pip                         | python3-pip           | fetches the trained model of the demo
'
LINT_NEEDS='
cmd clang-format            | clang-format          | layout
cmd clang-tidy              | clang-tidy            | static analysis
cmd cppcheck                | cppcheck              | static analysis
cmd shellcheck              | shellcheck            | the scripts
'

probe() {
    case $1 in
    cmd) command -v "$2" >/dev/null ;;
    module) pkg-config --exists "$2" 2>/dev/null ;;
    header) echo "#include <$2>" | gcc -E - >/dev/null 2>&1 ;;
    file) [ -e "$2" ] ;;
    pip) python3 -m pip --version >/dev/null 2>&1 || /usr/bin/python3 -m pip --version >/dev/null 2>&1 ;;
    numpy) [ -n "$("$(dirname "$0")/numpy-python.sh")" ] ;;
    clang-rt) echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null ;;
    esac
}

needs=$BUILD_NEEDS
case "${1:-}" in
'') ;;
--check) needs+=$CHECK_NEEDS ;;
--demo) needs+=$DEMO_NEEDS ;;
--lint) needs+=$LINT_NEEDS ;;
*)
    echo "usage: deps.sh [--check | --demo | --lint]" >&2
    exit 2
    ;;
esac

missing=()
while IFS='|' read -r what package why; do
    [ -n "$package" ] || continue
    # shellcheck disable=SC2086  # the probe is words
    if ! probe $what; then
        missing+=("${package// /}")
        printf 'missing: %-22s %s\n' "${package// /}" "$why" >&2
    fi
done <<<"$needs"
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" != 0 ]; then root=(sudo); fi
if ! command -v apt-get >/dev/null; then
    echo "deps: no apt-get here: please install what the lines above name with this system's package manager" >&2
    exit 1
fi
if [ ${#root[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
    echo "deps: as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
"${root[@]}" apt-get update -q >&2
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2

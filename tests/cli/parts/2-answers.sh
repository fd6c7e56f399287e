# shellcheck shell=bash disable=SC2154,SC2034
# One-shot answers: streams, determinism, JSON, media.

answer() { run run "$model" --max-tokens 16 "$@"; }

answer -p 'Hello' --seed 7
first=$out
check "an answer" ended 0
check "an answer has text" test -n "$first"
check "figures on stderr" grep -q '^\[prompt [0-9]* positions.*answer 16 tokens' "$tmp/err"
check "why it ended on stderr" said "cut off: --max-tokens 16"
check "no progress in a pipe" bash -c "! grep -q \$'\\033\\|\\r' '$tmp/err'"
answer -p 'Hello' --seed 7
check "same seed, same answer" test "$out" = "$first"
for threads in 1 2 3; do
    answer -p 'Hello' --seed 7 --threads $threads
    check "$threads threads, same answer" test "$out" = "$first"
done
answer -p 'Hello' --seed 7 --ubatch 5
check "passes of 5 positions, same answer" test "$out" = "$first"
run run "$model" -p 'one two one two one two' --seed 7 --max-tokens 60 --speculate off --json
plain=$(sed -n '/"text"/p' "$tmp/out")
check_json "no guesses" "j['n_drafted'] == 0 == j['n_accepted']"
for mode in on auto; do
    run run "$model" -p 'one two one two one two' --seed 7 --max-tokens 60 --speculate $mode --json
    check "--speculate $mode, same answer" test "$(sed -n '/"text"/p' "$tmp/out")" = "$plain"
    check_json "--speculate $mode: figures" "0 <= j['n_accepted'] <= j['n_drafted']"
done
answer -p 'Hello' --seed 7 --exact
check "--exact without quantised weights, same answer" test "$out" = "$first"
answer -p 'Hello' --seed 8
check "another seed, another answer" test "$out" != "$first"
answer -p 'Hello' --seed 7 --quiet
check "quiet: the same answer" test "$out" = "$first"
check "quiet: nothing on stderr" test -z "$err"
answer -p 'Hello' --seed 7 --verbose
check "verbose: the device on stderr" grep -q 'CPU: ' "$tmp/err"

answer -p 'Hello' --greedy
greedy=$out
answer -p 'Hello' --greedy --seed 99
check "greedy does not look at the seed" test "$out" = "$greedy"
answer -p 'Hello' --temp 0
check "--temp 0 is greedy" test "$out" = "$greedy"
answer -p 'Hello' --greedy --isa generic --verbose
check "plain C kernels answer" ended 0
check "plain C kernels are said" said "generic"
answer -p 'Hello' --greedy --kv f32
check "a float32 cache answers" ended 0
answer -p 'Hello' --greedy --kv q8_0
check "a Q8_0 cache answers" ended 0
answer -p 'Hello' --greedy --fast
check "--fast answers" ended 0
answer -p 'Hello' --greedy --int8 --verbose
check "--int8 answers" ended 0
check "--int8 is said" said "in int8"
int8=$out
answer -p 'Hello' --greedy --int8 --threads 1 --ubatch 3
check "--int8, one thread, passes of 3 positions: same answer" test "$out" = "$int8"

answer --prompt='Hello' --greedy
check "--prompt=TEXT is -p TEXT" test "$out" = "$greedy"
answer -pHello --greedy
check "-pTEXT is -p TEXT" test "$out" = "$greedy"
printf 'Hello\n' | "$program" run "$model" --max-tokens 16 --greedy >"$tmp/out" 2>"$tmp/err"
rc=$? && read_streams
check "the question from a pipe" test "$out" = "$greedy"
printf 'Hello' | "$program" run "$model" --max-tokens 16 --greedy -p - >"$tmp/out" 2>"$tmp/err"
rc=$? && read_streams
check "-p - reads stdin" test "$out" = "$greedy"
refused "no question at all" 1 "there is no question" run "$model"
refused "a question that is no UTF-8" 1 "UTF-8" run "$model" -p $'\xff\xfe'
refused "a prompt longer than the context" 1 "the context" run "$model" --ctx 64 -p "$(printf '%300s' x)"
answer -p Hello --ctx 64 --max-tokens 1000
check "a full context ends the answer" ended 0
check "a full context is said" said "the context is full"

answer -p 'Hello' --seed 7 --json
check "JSON: exit code" ended 0
check_json "JSON: text, reason, figures" "j['text'] == '''$first''' and j['reason'] == 'max_tokens' and j['n_generated'] == 16 and j['n_prompt'] > 5 and j['decode_ms'] > 0 and j['model'] == 'MiniCPM-o 4.5' and 'CPU' in j['device']"
answer -p 'Hello' --seed 7 --json --system 'Be brief.'
check_json "a system message is part of the prompt" "j['n_prompt'] > 15"
letter=${first:3:1}
answer -p 'Hello' --seed 7 --json --stop "$letter"
check_json "--stop ends the answer before its text" "j['reason'] == 'stop_text' and j['text'] == '''${first%%"$letter"*}'''"
refused "a stop text without text" 1 "stop text" run "$model" -p x --stop ''
answer -p 'Hello' --think
check "--think" ended 0
printf '[{"type": "function", "function": {"name": "f", "parameters": {}}}]' >"$tmp/tools.json"
answer -p 'Hello' --json --tools "$tmp/tools.json"
check_json "--tools are part of the prompt" "j['n_prompt'] > 100"
printf 'nonsense' >"$tmp/tools.json"
run run "$model" -p x --tools "$tmp/tools.json"
check "tools that are no JSON" ended 1
refused "tools that are not there" 1 "cannot open" run "$model" -p x --tools "$tmp/none.json"

answer --image "$data/demo.png" --audio "$data/demo.wav" -p 'What?' --greedy --json
cp "$tmp/out" "$tmp/both.json"
check "a picture and a sound" ended 0
check_json "they are in the prompt" "j['n_prompt'] > 150 and j['encode_ms'] > 0"
answer --audio "$data/demo.wav" --image "$data/demo.png" -p 'What?' --greedy --json
check_json "their order is the command line's" "j['n_prompt'] > 150"
answer --image "$data/demo.png" --image "$data/demo.png" -p 'What?' --json --max-slices 1
check_json "two pictures, whole" "128 < j['n_prompt'] < 220"
answer --image "$data/demo.png" -p 'What?' --json --max-slices 1 --no-image-id --omni
check_json "--no-image-id --omni" "64 < j['n_prompt'] < 120"
answer --audio "$data/demo.wav" --json
check_json "a sound without a text" "j['n_generated'] == 16"
refused "without its eyes" 1 "cannot see" run "$model" -p x --image "$data/demo.png" --no-vision
refused "without its ears" 1 "cannot hear" run "$model" -p x --audio "$data/demo.wav" --no-audio

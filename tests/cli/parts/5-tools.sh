# shellcheck shell=bash disable=SC2154,SC2034
# tokenize, info, bench.

run tokenize "$model" 'Hi "x"<|im_end|>' --ids
check "tokenize --ids" test "$rc" = 0 -a "${out##* }" = 151645
ids=$out
run tokenize "$model" 'Hi "x"<|im_end|>'
check "tokenize: a line for each id" test "$(cut -f1 "$tmp/out" | paste -sd' ')" = "$ids"
check "tokenize: a piece in quotes" grep -qF $'151645\t"<|im_end|>"' "$tmp/out"
# shellcheck disable=SC2086  # ids are words
run tokenize "$model" --decode $ids
check "tokenize --decode gives the text back" test "$out" = 'Hi "x"<|im_end|>'
printf '%s' "[${ids// /, }]" | "$program" tokenize "$model" --decode >"$tmp/out" 2>"$tmp/err"
rc=$? && read_streams
check "tokenize --decode from a pipe" test "$out" = 'Hi "x"<|im_end|>'
printf 'Hé' | "$program" tokenize "$model" --json >"$tmp/out" 2>"$tmp/err"
rc=$? && read_streams
check_json "tokenize --json from a pipe" "j['n'] == 3 and j['tokens'][0]['piece'] == 'H' and j['tokens'][1]['bytes'] == 'c3'"
run tokenize "$model" '<|im_end|>' --ids --literal
check "tokenize --literal" test "$rc" = 0 -a "$(wc -w <<<"$out")" = 10
run tokenize "$model" '' --ids
check "tokenize an empty text" test "$rc" = 0 -a -z "$out"
mkdir "$tmp/tokenizer" && cp "$model"/*vocab* "$model"/*merges* "$model"/*token* "$tmp/tokenizer" 2>/dev/null
run tokenize "$tmp/tokenizer" 'Hi "x"<|im_end|>' --ids
check "tokenize needs no weights" test "$out" = "$ids"
refused "tokenize two texts" 2 "put the text in quotes" tokenize "$model" a b
refused "decode what is no id" 1 "is no token id" tokenize "$model" --decode 12x
refused "decode an id that is none" 1 "there is no token 200000" tokenize "$model" --decode 200000

run info "$model"
check "info" ended 0
check "info: the member" grep -q '^MiniCPM-o 4.5' "$tmp/out"
check "info: what is not there" grep -q 'speech language model.*not in this checkpoint' "$tmp/out"
check "info: the plan" grep -q '^fits: ' "$tmp/out"
run info "$model" --json --tensors --ctx 1024 --kv f32
check_json "info --json" "j['memory']['n_ctx'] == 1024 and j['memory']['fits'] is True and j['memory']['total'] == sum(j['memory'][k] for k in ('weights_mapped', 'weights_copied', 'weights_repacked', 'scratch', 'kv_cache', 'tokenizer', 'session'))"
check_json "info --json: modules and tensors" "j['modules']['vision']['present'] and not j['modules']['tts']['present'] and len(j['tensors']) == sum(m['tensors'] for m in j['modules'].values())"
check_json "info --json: a float32 cache of 1024 positions" "j['memory']['kv_cache'] == 1024 * 4 * 2 * 2 * 32 * 4"
run info "$model" --json --ctx 1024 --kv q8_0
check_json "info --json: a Q8_0 cache, 34 bytes for 32 elements" "j['memory']['kv_cache'] == 1024 * 4 * 2 * 2 * 34"
run info "$model" --kv q8_0
check "info: the type of the cache" grep -q 'KV cache.*positions, q8_0' "$tmp/out"
run info "$model" --no-vision --no-audio --json
check_json "info without the encoders" "j['memory']['vision'] == 0 and j['memory']['audio'] == 0"

seq -f 'line %g of a text that nobody wrote' 60 >"$tmp/text"
ppl() { run perplexity "$model" "$tmp/text" --ctx 128 "$@"; }
ppl --json
check "perplexity" ended 0
check_json "perplexity --json" "j['windows'] == j['n_text'] // 128 and j['window'] == 128 and j['first'] == 65 and j['n_scored'] == 63 * j['windows'] and abs(math.exp(j['nll']) / j['perplexity'] - 1) < 1e-6 and j['nll_error'] > 0 and 'base' not in j"
first=$out
ppl --json --threads 1 --ubatch 7
check "perplexity: the same with other threads and passes" test "$(grep nll <<<"$out")" = "$(grep nll <<<"$first")"
ppl
check "perplexity: one line" grep -qE '^perplexity [0-9.]+ \+/- [0-9.]+: nll ' "$tmp/out"
ppl --stride 32 --chunks 3 --json
check_json "perplexity --stride --chunks" "j['windows'] == 3 and j['first'] == 96 and j['n_scored'] == 96"
ppl --chunks 4 --save-logits "$tmp/logits" --quiet
check "perplexity --save-logits" test "$rc" = 0 -a -s "$tmp/logits" -a -z "$err"
check "perplexity: no unfinished file is left" bash -c "! ls '$tmp'/logits.part* 2>/dev/null"
ppl --chunks 4 --kl-base "$tmp/logits" --json
check_json "perplexity --kl-base: a model beside itself" "abs(j['base']['divergence']) < 1e-6 and j['base']['same_top'] == 1 and j['base']['ratio'] == 1"
ppl --chunks 4 --kl-base "$tmp/logits" --json --fast
check_json "perplexity --kl-base: beside itself in reduced precision" "abs(j['base']['divergence']) < 1e-3 and j['base']['same_top'] > 0.9"
ppl --chunks 4 --kl-base "$tmp/logits"
check "perplexity --kl-base: three lines" test "$(wc -l <"$tmp/out")" = 3
refused "perplexity: other windows than the base's" 1 "give it the same options" perplexity "$model" "$tmp/text" --ctx 128 --chunks 3 --kl-base "$tmp/logits"
sed 's/line/LINE/' "$tmp/text" >"$tmp/text2"
refused "perplexity: another text than the base's" 1 "another text" perplexity "$model" "$tmp/text2" --ctx 128 --chunks 4 --kl-base "$tmp/logits"
head -c 3000 "$tmp/logits" >"$tmp/cut"
refused "perplexity: a base that is cut" 1 "ends too early" perplexity "$model" "$tmp/text" --ctx 128 --chunks 4 --kl-base "$tmp/cut"
refused "perplexity: a base that is none" 1 "has no logits" perplexity "$model" "$tmp/text" --ctx 128 --kl-base "$tmp/text"
refused "perplexity: nowhere to save" 1 "cannot write" perplexity "$model" "$tmp/text" --ctx 128 --save-logits /nowhere/x
: >"$tmp/empty"
refused "perplexity of an empty file" 1 "is empty" perplexity "$model" "$tmp/empty"
refused "perplexity of no file" 1 "cannot open" perplexity "$model" "$tmp/nothing"
refused "perplexity of a folder" 1 "cannot read" perplexity "$model" "$tmp"
printf 'a\0b' >"$tmp/binary"
refused "perplexity of zeros" 1 "is no text" perplexity "$model" "$tmp/binary"
printf 'a\377b' >"$tmp/binary"
refused "perplexity of what is no UTF-8" 1 "not UTF-8" perplexity "$model" "$tmp/binary"
refused "perplexity of a short text" 1 "give a longer text or a smaller --ctx" perplexity "$model" "$tmp/text" --ctx 8192
refused "perplexity with no context left" 1 "does not leave context" perplexity "$model" "$tmp/text" --ctx 64 --stride 64
refused "perplexity without a text" 2 "needs a MODEL and a TEXT" perplexity "$model"

run bench "$model" --repeat 2 --prompt 64 --gen 4 --answer 0 --image 448 --audio 1 --json
check "bench" ended 0
check_json "bench --json" "{'open', 'prefill 64', 'decode at 64', 'picture, side 448', 'sound of 1 s', 'memory read'} == {r['name'] for r in j['results']} and all(0 < r['min'] <= r['median'] <= r['max'] and r['runs'] == 2 for r in j['results']) and j['decode_share'] > 0 and 0 <= j['huge_share'] <= 1"
run bench "$model" --repeat 1 --prompt 16 --gen 2 --answer 60 --speculate on --no-vision --no-audio --json
check_json "bench: answers with guesses and without" "{'repeating, guesses', 'repeating, no guesses', 'other, guesses', 'other, no guesses'} < {r['name'] for r in j['results'] if r['median'] > 0} and all(0 <= g['accepted'] <= g['drafted'] for g in j['guesses'].values()) and j['guesses']['repeating']['drafted'] > 0"
run bench "$model" --repeat 1 --prompt 16 --gen 2 --speculate off --no-vision --no-audio
check "bench of the language model alone" test "$rc" = 0
refused "bench beyond the context" 1 "this model takes 40960" bench "$model" --prompt 40000 --gen 1000

# A peer that prints what a llama-bench would; $FAKE picks how it goes wrong.
cat >"$tmp/peer" <<'END'
#!/usr/bin/env bash
while [ $# -gt 0 ]; do
    case $1 in -m) file=$2 ;; -p) p=$2 ;; -n) n=$2 ;; -t) t=$2 ;; esac
    shift 2
done
entry() {
    printf '{"build_commit":"abc1234","model_filename":"%s","n_threads":%s,"n_prompt":%s,"n_gen":%s,"avg_ts":%s}' "$file" "$t" "$@"
}
case ${FAKE:-} in
crash) echo 'the weights are upside down' >&2 && exit 3 ;;
signal) kill -9 $$ ;;
garbage) echo 'hello [1, 2' && exit ;;
flood) yes | head -c 3000000 && exit ;;
other) file=/elsewhere/other.gguf ;;
half) printf '[%s]' "$(entry "$p" 0 100)" && exit ;;
esac
echo "a fake peer" && printf '[%s,\n%s]\n' "$(entry "$p" 0 0.5)" "$(entry 0 "$n" 0.25)"
END
chmod +x "$tmp/peer"
against() { refused "$1" 1 "$2" bench "$model" --no-vision --no-audio --prompt 8 --gen 2 --repeat 1 --quiet --against "$tmp/peer"; }

run bench "$model" --no-vision --no-audio --prompt 8 --gen 2 --repeat 2 --threads 1 --json --against "$tmp/peer" --against="$tmp/peer"
check_json "bench --against --json" "j['threads'] == 1 and j['rounds'] == 2 and [a['version'] for a in j['against']] == ['abc1234'] * 2 and all(a['prefill']['peer']['median'] == 0.5 and a['decode']['peer']['max'] == 0.25 and abs(a['decode']['ratio']['max'] / a['decode']['ours']['max'] - 4) < 1e-3 for a in j['against'])"
run bench "$model" --no-vision --no-audio --prompt 8 --gen 2 --repeat 1 --against "$tmp/peer"
check "bench --against" test "$rc" = 0 -a "$(grep -c 'ours / theirs' "$tmp/out")" = 2
FAKE=crash against "a peer that fails" "peer ended with exit code 3, and said: the weights are upside down"
FAKE=signal against "a peer that crashes" "was ended by signal 9"
FAKE=garbage against "a peer that prints something else" "did not print llama-bench's JSON"
FAKE=flood against "a peer that does not stop printing" "prints more than"
FAKE=other against "a peer that timed another model" "timed another model: /elsewhere/other.gguf"
FAKE=half against "a peer that did half" "has no speed of generating 2 tokens"
mv "$tmp/peer" "$tmp/peer.sh"
against "a peer that is not there" "cannot run $tmp/peer: No such file"
# shellcheck disable=SC2046  # words are options
refused "too many peers" 2 "at most 8 programs" bench "$model" $(printf ' --against %s' 1 2 3 4 5 6 7 8 9)

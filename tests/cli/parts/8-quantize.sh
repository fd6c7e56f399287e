# shellcheck shell=bash disable=SC2154,SC2034
# quantize and imatrix: files under their published names, the same answers, an interrupted run, what is refused.

run quantize "$model" "$tmp/q" --type BF16
check "quantize a folder: nothing on stdout" test "$rc" = 0 -a -z "$out"
check "quantize: the published names" test -f "$tmp/q/MiniCPM-o-4_5-BF16.gguf" -a -f "$tmp/q/vision/MiniCPM-o-4_5-vision-BF16.gguf" \
    -a -f "$tmp/q/audio/MiniCPM-o-4_5-audio-BF16.gguf"
check "quantize: sizes and bits in one line a file" test "$(grep -c 'bits per weight' "$tmp/err")" = 3
check "quantize: nothing unfinished is left" test -z "$(find "$tmp/q" -name '*.part*')"
run run "$model" -p "What is this?" --greedy --max-tokens 12
answer=$out
run run "$tmp/q" -p "What is this?" --greedy --max-tokens 12
check "quantize: the answer of the folder" test "$rc" = 0 -a "$out" = "$answer"

run quantize "$model" "$tmp/q8" -t q8_0 --quiet
check "quantize quietly" test "$rc" = 0 -a -z "$out$err"
check "quantize: encoders stay F16" test -f "$tmp/q8/vision/MiniCPM-o-4_5-vision-F16.gguf"
run quantize "$model" "$tmp/llm.gguf" -t Q8_0 --part llm
check "quantize one part into a file" cmp -s "$tmp/llm.gguf" "$tmp/q8/MiniCPM-o-4_5-Q8_0.gguf"
run quantize "$tmp/q/MiniCPM-o-4_5-BF16.gguf" "$tmp/q8" -t Q4_K_M --threads 1
check "quantize a GGUF file into a folder" test -f "$tmp/q8/MiniCPM-o-4_5-Q4_K_M.gguf"
run quantize "$tmp/q8/MiniCPM-o-4_5-Q8_0.gguf" "$tmp/again.gguf" -t Q4_0
check "quantize what is quantised: a warning" test "$rc" = 0 -a "$(grep -c 'quantised already' "$tmp/err")" = 1
run quantize "$model" "$tmp/x.gguf" -t Q4_K_M --part llm --tensor-type 'attn_k=F16' --dry-run
check "quantize --dry-run prints the plan" grep -qE 'blk\.0\.attn_k\.weight +BF16 +F16 ' "$tmp/out"
check "quantize --dry-run writes nothing" test ! -e "$tmp/x.gguf" -a ! -e "$tmp/x.gguf.part"

refused "quantize over a file" 2 "is there already" quantize "$model" "$tmp/llm.gguf" -t Q8_0 --part llm
run quantize "$model" "$tmp/llm.gguf" -t Q8_0 --part llm --force
check "quantize --force" ended 0
refused "quantize without a type" 2 "needs --type" quantize "$model" "$tmp/n"
refused "quantize to no type" 2 "no file type 'Q9_K'" quantize "$model" "$tmp/n" -t Q9_K
refused "quantize to a type that is not written" 1 "does not write them" quantize "$model" "$tmp/n" -t IQ2_XS
refused "quantize three parts to one file" 2 "choose one with --part" quantize "$model" "$tmp/n.gguf" -t Q8_0
refused "quantize what is no model" 1 "" quantize "$data/demo.json" "$tmp/n.gguf" -t Q8_0
refused "quantize with a bad pattern" 2 "no regular expression" quantize "$model" "$tmp/n" -t Q8_0 --tensor-type 'a(=F16'
refused "quantize with a pattern of no type" 2 "PATTERN=TYPE" quantize "$model" "$tmp/n" -t Q8_0 --tensor-type attn

(ulimit -f 100 && "$program" quantize "$model" "$tmp/full.gguf" -t F32 --part llm >"$tmp/out" 2>"$tmp/err")
rc=$? && read_streams
check "quantize with no room: one sentence" test "$rc" = 1 -a "$(grep -c . <<<"$err")" = 1
check "quantize with no room: no file" test ! -e "$tmp/full.gguf"
run quantize "$model" "$tmp/full.gguf" -t F32 --part llm --quiet
check "quantize goes on where there is room" test "$rc" = 0 -a ! -e "$tmp/full.gguf.part"

for _ in {1..60}; do cat "$data/demo.json"; done >"$tmp/text"
run imatrix "$model" "$tmp/text" -o "$tmp/im.gguf" --ctx 64 --chunks 3
check "imatrix" test "$rc" = 0 -a -z "$out" -a -f "$tmp/im.gguf" -a ! -e "$tmp/im.gguf.part"
run quantize "$model" "$tmp/im-q4.gguf" -t Q4_0 --part llm --imatrix "$tmp/im.gguf" --quiet
check "quantize --imatrix" test "$rc" = 0 -a -z "$err"
run quantize "$model" "$tmp/plain-q4.gguf" -t Q4_0 --part llm --quiet
check "quantize --imatrix gives other blocks" test "$(cmp "$tmp/im-q4.gguf" "$tmp/plain-q4.gguf" >/dev/null; echo $?)" = 1
refused "imatrix of a short text" 2 "less than one piece" imatrix "$model" "$data/demo.json" -o "$tmp/none" --ctx 4096
refused "imatrix without a file to write" 2 "needs -o" imatrix "$model" "$tmp/text"
refused "imatrix over a file" 2 "is there already" imatrix "$model" "$tmp/text" -o "$tmp/im.gguf"
refused "quantize with no importance matrix" 1 "no importance matrix" quantize "$model" "$tmp/n" -t Q8_0 --imatrix "$data/demo.json"

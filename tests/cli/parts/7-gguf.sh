# shellcheck shell=bash disable=SC2154,SC2034
# Made-up GGUF files: the published layout, every file type, what goes wrong.

gguf=$tmp/gguf
run synth --config "$data/demo.json" --seed 1 --gguf --type BF16 -o "$gguf"
check "synth --gguf" ended 0
check "a file for each part" test -f "$gguf/MiniCPM-o-4_5-BF16.gguf" -a -f "$gguf/vision/MiniCPM-o-4_5-vision-BF16.gguf" -a -f "$gguf/audio/MiniCPM-o-4_5-audio-BF16.gguf"
check "the mel filters that other readers want" grep -aq 'filters' "$gguf/audio/MiniCPM-o-4_5-audio-BF16.gguf"
check "and nothing else" test "$(find "$gguf" -type f | wc -l)" = 3
media=(--image "$data/demo.png" --audio "$data/demo.wav" -p 'Hi' --seed 3 --max-tokens 12)
run run "$model" "${media[@]}"
check "the folder's answer" ended 0
folder=$out
run run "$gguf" "${media[@]}"
check "the values are those of the folder: the same answer, picture and sound included" test -n "$out" -a "$out" = "$folder"

mkdir "$tmp/apart" && mv "$gguf"/vision/*.gguf "$tmp/apart/v.gguf" && mv "$gguf"/audio/*.gguf "$tmp/apart/a.gguf" # names that tell nothing
run run -m "$gguf/MiniCPM-o-4_5-BF16.gguf" --vision "$tmp/apart/v.gguf" --audio "$tmp/apart/a.gguf" "${media[@]}"
check "each part by its option, beside a recording of the same option" test -n "$out" -a "$out" = "$folder"
refused "the model's encoder without a model" 2 "needs a MODEL" run --audio "$tmp/apart/a.gguf"
refused "two models" 2 "one argument too many" run -m "$model" "$model" -p x
mv "$tmp/apart/v.gguf" "$gguf/vision/MiniCPM-o-4_5-vision-BF16.gguf" && mv "$tmp/apart/a.gguf" "$gguf/audio/MiniCPM-o-4_5-audio-BF16.gguf"

run synth --config "$data/demo.json" --seed 1 --gguf --type q4_k_m -o "$tmp/gguf-q4"
check "a quantised type, in small letters" test -f "$tmp/gguf-q4/MiniCPM-o-4_5-Q4_K_M.gguf" -a -f "$tmp/gguf-q4/audio/MiniCPM-o-4_5-audio-F16.gguf"
run run "$tmp/gguf-q4" "${media[@]}"
check "it answers" test "$rc" = 0 -a -n "$out"
run synth --config "$data/demo.json" --seed 1 --gguf --type Q4_K_M --threads 3 -o "$tmp/gguf-q4-3"
check "the same bytes from any number of threads" cmp -s "$tmp/gguf-q4/MiniCPM-o-4_5-Q4_K_M.gguf" "$tmp/gguf-q4-3/MiniCPM-o-4_5-Q4_K_M.gguf"
rm -rf "$tmp/gguf-q4-3"

# Every file type, on rows that super-blocks fit.
sed -e 's/"vocab_size": [0-9]*/"vocab_size": 512/' -e 's/"hidden_size": 128/"hidden_size": 256/' -e 's/"intermediate_size": 384/"intermediate_size": 512/' \
    -e 's/"init_\(vision\|audio\)": true/"init_\1": false/' "$data/demo.json" >"$tmp/small.json"
for type in F32 BF16 F16 Q8_0 Q6_K Q5_1 Q5_K_M Q5_K_S Q5_0 Q4_1 Q4_K_M Q4_K_S IQ4_NL Q4_0 IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K; do
    run synth --config "$tmp/small.json" --gguf --type $type -o "$tmp/gguf-$type"
    run info "$tmp/gguf-$type/MiniCPM-o-4_5-$type.gguf"
    check "synth --gguf --type $type opens" grep -q 'width 256' "$tmp/out"
done
run info "$tmp/gguf-Q4_K_M"
check "the types of a mix" grep -q 'Q4_K,Q6_K' "$tmp/out"

refused "no such file type" 2 "GGUF file types are F32, BF16, F16, Q8_0" synth --config "$data/demo.json" --gguf --type Q9 -o "$tmp/none"
refused "a file type without --gguf" 2 "with --gguf any GGUF file type" synth --config "$data/demo.json" --type Q4_K_M -o "$tmp/none"
refused "shards of GGUF files" 2 "not for --gguf" synth --config "$data/demo.json" --gguf --shards 2 -o "$tmp/none"
refused "a tokenizer that is none" 1 "cannot" synth --config "$data/demo.json" --gguf --tokenizer "$tmp/gguf" -o "$tmp/none"
(
    ulimit -f 2000 # blocks of 1024 bytes: a disk that is full in the middle of the first file
    "$program" synth --config "$data/demo.json" --gguf --type Q4_0 -o "$tmp/none" >"$tmp/out" 2>"$tmp/err" </dev/null
)
rc=$? && read_streams
check "a full disk is one sentence" test "$rc" = 1 -a "$(grep -c 'cannot write' "$tmp/err")" = 1
check "and leaves nothing" test -z "$(find "$tmp" -maxdepth 1 -name 'none*')"

# info names every file of a set.
echo 'GGUF, it says' >"$gguf/junk.gguf"
run info "$gguf"
check "info of a folder" ended 0
check "info lists its files" grep -q 'vision/MiniCPM-o-4_5-vision-BF16.gguf .* vision encoder; used' "$tmp/out"
check "info says what it does not know" grep -q 'junk.gguf .* unknown: not a GGUF file' "$tmp/out"
run info "$gguf" --json
check_json "info --json lists its files" "[f['kind'] for f in j['files']] == ['language model', 'unknown', 'vision encoder', 'audio encoder'] and [f['used'] for f in j['files']] == [True, False, True, True]"
rm "$gguf/junk.gguf"
run info "$gguf/audio/MiniCPM-o-4_5-audio-BF16.gguf"
check "info of a part alone" grep -q 'audio encoder; recognised: goes with a language model' "$tmp/out"
check "info of a part alone is no failure" ended 0
refused "a part cannot run" 1 "is no language model but a model's part (audio encoder)" run "$gguf/audio/MiniCPM-o-4_5-audio-BF16.gguf" -p x

# shellcheck shell=bash disable=SC2154,SC2034
# Files that are not what they should be: one sentence, exit code 1, and no other harm.

refused "a model that is not there" 1 "cannot open" run "$tmp/none" -p x
refused "a file as a model" 1 "" run "$data/demo.png" -p x
refused "an empty folder as a model" 1 "config.json" run "$here" -p x
refused "tokenizer of an empty folder" 1 "" tokenize "$here" x

# broken NAME: a copy of the model to spoil (links, the files themselves are whole)
broken() {
    broken=$tmp/broken-$1
    mkdir "$broken"
    ln "$model"/* "$broken"/
}
# replace FILE: by what comes on stdin
replace() { rm -f "$broken/$1" && cat >"$broken/$1"; }

broken truncated
head -c 1000000 "$model/model.safetensors" | replace model.safetensors
refused "truncated weights" 1 "" run "$broken" -p x
broken header
head -c 5 "$model/model.safetensors" | replace model.safetensors
refused "five bytes of weights" 1 "" run "$broken" -p x
broken length
{ printf '\377\377\377\377\377\377\377\177' && head -c 4096 "$model/model.safetensors"; } | replace model.safetensors
refused "a header of 2^63 bytes" 1 "" run "$broken" -p x
broken config
printf '{"model_type": "minicpmo", "hidden_size": ' | replace config.json
refused "half a config.json" 1 "config.json" run "$broken" -p x
broken sizes
sed 's/"hidden_size": 128/"hidden_size": 2147483647/' "$model/config.json" | replace config.json
refused "an absurd width" 1 "" run "$broken" -p x
broken other
printf '{"model_type": "bert"}' | replace config.json
refused "another kind of model" 1 "" run "$broken" -p x
broken tokenizer
printf '{' | replace vocab.json
refused "half a vocabulary" 1 "" run "$broken" -p x
broken shape
sed 's/"intermediate_size": 384/"intermediate_size": 385/' "$model/config.json" | replace config.json
refused "weights of another shape" 1 "" run "$broken" -p x
run info "$broken"
check "info of weights of another shape: says what is there, then that it cannot run" test "$rc" = 1 -a -n "$out" -a -n "$err"

refused "a picture that is not there" 1 "cannot open" run "$model" -p x --image "$tmp/none.png"
refused "a folder as a picture" 1 "" run "$model" -p x --image "$tmp"
refused "a text as a picture" 1 "not a picture" run "$model" -p x --image "$here/run.sh"
refused "an endless device as a picture" 1 "" run "$model" -p x --image /dev/zero
: >"$tmp/empty"
refused "an empty picture" 1 "" run "$model" -p x --image "$tmp/empty"
printf '\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01' >"$tmp/large.jpg"
refused "a JPEG header of 65535 x 65535" 1 "" run "$model" -p x --image "$tmp/large.jpg"
head -c 500 "$data/demo.png" >"$tmp/half.png"
run run "$model" -p x --max-tokens 2 --image "$tmp/half.png"
check "half a PNG ends in 0 or one sentence" test "$rc" = 0 -o "$rc" = 1

refused "a sound that is not there" 1 "" run "$model" -p x --audio "$tmp/none.wav"
refused "a text as a sound" 1 "" run "$model" -p x --audio "$here/run.sh"
refused "an empty sound" 1 "" run "$model" -p x --audio "$tmp/empty"
# a WAV whose data chunk is empty
printf 'RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x00\x7d\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00' >"$tmp/silent.wav"
refused "a WAV without samples" 1 "" run "$model" -p x --audio "$tmp/silent.wav"
# and one of a single sample
printf 'RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x00\x7d\x00\x00\x02\x00\x10\x00data\x02\x00\x00\x00\x01\x00' >"$tmp/one.wav"
run run "$model" -p x --max-tokens 2 --audio "$tmp/one.wav"
check "a WAV of one sample ends in 0 or one sentence" test "$rc" = 0 -o "$rc" = 1
refused "a vision encoder that is not there" 1 "" run "$model" -p x --vision "$tmp/none.gguf"

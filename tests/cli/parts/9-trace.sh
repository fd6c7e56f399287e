# shellcheck shell=bash disable=SC2154
# trace: a checkpoint's stages on its folder and on GGUF files of the same values give the same arrays.

cat >"$tmp/cases.json" <<'END'
[{"case": "see", "stage": "vision", "input": {"tiles": [{"tgt_size": [2, 3], "pixels": {"synth": ["a", [3, 28, 42]], "amp": 1.0}}]}},
 {"case": "hear", "stage": "audio", "input": {"mels": [{"synth": ["b", [60, 80]], "amp": 1.0}], "chunk_length": 1.0}},
 {"case": "talk", "stage": "chat", "input": {"msgs": [{"role": "user", "content": "Hi"}], "max_new_tokens": 4}},
 {"case": "draw", "stage": "sample", "input": {"sampler": "chat", "logits": {"synth": ["c", [1000]], "amp": 5.0}, "u": [0.3, 0.9], "do_sample": true}}]
END
run quantize "$model" "$tmp/traced" --type F32 --encoder-type F32 --quiet
check "a checkpoint as GGUF files" ended 0
run trace "$model" "$tmp/cases.json" -o "$tmp/trace-folder"
check "trace a folder" ended 0
run trace "$tmp/traced" "$tmp/cases.json" -o "$tmp/trace-gguf"
check "trace GGUF files" ended 0
check "trace: encoders, a chat and a sampler left arrays and values" test "$(find "$tmp/trace-gguf" -name '*.npy' -size +0 | wc -l)" -ge 6
check "trace: GGUF files as the folder" diff -r "$tmp/trace-folder" "$tmp/trace-gguf"

#!/usr/bin/env bash
# The program end to end in a minute, without a download: a small model of made-up weights sees data/demo.png, hears
# data/demo.wav and answers. It has learnt nothing, so its words are noise; everything else is what the real one does.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
model=$BUILD/demo-model

tools/deps.sh
[ -f "$BUILD/build.ninja" ] || meson setup "$BUILD" >/dev/null
ninja -C "$BUILD" --quiet
if [ ! -f "$model/config.json" ]; then
    rm -rf "$model"
    "$BUILD/minicpmo" synth --config data/demo.json --seed 1 -o "$model"
fi

question='What do you see and hear?'
echo "data/demo.png, data/demo.wav, and: $question" >&2
"$BUILD/minicpmo" run "$model" --image data/demo.png --audio data/demo.wav -p "$question" \
    --seed 1 --temp 3 --top-k 12 --max-tokens 48 </dev/null
cat >&2 <<END

That was noise, and should be: this model's weights are made by a formula, not trained. The picture was cut and
encoded, the sound turned into a spectrogram and encoded, both put into the prompt, and tokens decoded one by one,
as with the published weights:

    $BUILD/minicpmo run DIR --image data/demo.png --audio data/demo.wav -p "$question"

where DIR holds the files of openbmb/MiniCPM-o-4_5 from Hugging Face.
END

#!/usr/bin/env bash
# The program end to end in a minute, in two parts.
#
#   1. real words        SmolLM2-135M, a small trained model, answers questions (fetched once: 93 MB; skipped without a network)
#   2. picture and sound a model of MiniCPM-o's shape with made-up weights sees data/demo.png and hears data/demo.wav: its
#                        words are noise, everything else is what the real one does
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
program=$BUILD/minicpmo
model=$BUILD/demo-model

tools/deps.sh
[ -f "$BUILD/build.ninja" ] || meson setup "$BUILD" >/dev/null
ninja -C "$BUILD" --quiet

# Greedy and with nothing held back: the answers are the model's likeliest words, the same on every run. It has 135 million
# parameters, and gets its sums wrong. (They are the words of --exact, and so of the official code:
# rounding activations, to int8 too, changes none of them.)
talk() {
    echo "==== 1. Real words: SmolLM2-135M-Instruct, trained by Hugging Face, 4 bits a weight, text only" >&2
    local question
    for question in 'What is the capital of France?' 'Write a short poem about the sea.' 'List three uses of a paper clip.' \
        'Explain gravity to a child.' 'Translate to French: good morning.' 'What is 12 plus 30?'; do
        printf '\n> %s\n' "$question" >&2
        "$program" run "$1" -p "$question" --greedy --repeat-penalty 1 --max-tokens 48 --quiet </dev/null
    done
    printf '\nTo go on:  %s run %s\n\n' "$program" "$1" >&2
}

tools/deps.sh --demo || true # pip; the next line says what its lack means
if trained=$(tools/demo-model.sh "$BUILD/demo"); then
    talk "$trained"
else
    echo 'demo: part 1, real words from a trained model, is skipped.' >&2
fi

echo '==== 2. A picture and a sound: the shape of MiniCPM-o 4.5 made small, weights made up' >&2
if [ ! -f "$model/config.json" ]; then
    rm -rf "$model"
    "$program" synth --config data/demo.json --seed 1 -o "$model"
fi
question='What do you see and hear?'
printf '\n> data/demo.png data/demo.wav %s\n' "$question" >&2
"$program" run "$model" --image data/demo.png --audio data/demo.wav -p "$question" \
    --seed 1 --temp 3 --top-k 12 --max-tokens 48 </dev/null
cat >&2 <<END

That was noise, and should be: this model's weights are made by a formula, not trained. The picture was cut and
encoded, the sound turned into a spectrogram and encoded, both put into the prompt, and tokens decoded one by one,
as with the published weights:

    $program run DIR --image data/demo.png --audio data/demo.wav -p "$question"

where DIR holds the files of openbmb/MiniCPM-o-4_5 (or of its GGUF set) from Hugging Face.
END

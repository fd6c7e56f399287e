# shellcheck shell=bash disable=SC2154,SC2034
# Help, options, exit codes.

fits_a_screen() { [ "$(wc -l <<<"$out")" -le 40 ] && ! grep -qE '.{111}' <<<"$out" && [ -z "$err" ]; }

run --help
check "--help" ended 0
check "--help fits a screen" fits_a_screen
for command in run info tokenize bench perplexity quantize imatrix synth; do
    run --help
    check "--help lists $command" grep -q "^  $command " "$tmp/out"
    run "$command" --help
    check "$command --help" ended 0
    check "$command --help begins with the usage" test "${out:0:23}" = "usage: minicpmo $(printf '%.7s' "$command        ")" -o "${out:0:6}" = usage:
    check "$command --help fits a screen" fits_a_screen
done
run run -h
check "-h" ended 0
run --version
check "--version" grep -qE '^minicpmo [0-9]+\.[0-9]+\.[0-9]+$' "$tmp/out"
run
check "no command" ended 2

refused "unknown command" 2 "did you mean run?" rnu
refused "unknown command, far away" 2 "--help lists them" quantize-everything
refused "unknown option" 2 "did you mean --image?" run "$model" --imgae x
refused "unknown option with a value" 2 "did you mean --max-tokens?" run "$model" --max-token=3
refused "unknown option, far away" 2 "run --help lists them" run "$model" --frobnicate
refused "unknown letter" 2 "has no option '-z'" run "$model" -z
refused "no model" 2 "needs a MODEL" run
refused "no model for info" 2 "needs a MODEL" info
refused "one argument too many" 2 "one argument too many" run "$model" hello
refused "value missing at the end" 2 "needs a value" run "$model" --image
refused "value missing before an option" 2 "needs a value" run "$model" --image --audio x.wav
refused "a flag with a value" 2 "takes no value" run "$model" --greedy=yes
refused "quiet and verbose" 2 "exclude each other" run "$model" -p x --quiet --verbose
refused "fast and exact" 2 "exclude each other" run "$model" -p x --fast --exact
refused "int8 and exact" 2 "exclude each other" run "$model" -p x --int8 --exact
refused "int16 and exact" 2 "--int16 and --exact exclude each other" run "$model" -p x --int16 --exact
refused "int16 and int8" 2 "--int16 and --int8 exclude each other" run "$model" -p x --int8 --int16
refused "int16 without its kernels" 1 "16-bit activations need AVX-512 VNNI" run "$model" -p x --int16 --isa generic
refused "unknown way to speculate" 2 "must be one of off|on|auto" run "$model" -p x --speculate maybe
refused "unknown instruction set" 2 "--isa cannot be" run "$model" -p x --isa sse9
refused "unknown cache type" 2 "must be one of f16|f32|q8_0" run "$model" -p x --kv q4

while read -r option value; do
    refused "bad number: $option $value" 2 "$option cannot be '$value': it must be a" run "$model" -p x "$option" "$value"
done <<'END'
--temp abc
--temp -1
--temp nan
--temp 1e999
--top-k 1.5
--top-k -1
--top-p 0
--top-p 1.01
--min-p 1
--repeat-penalty 0
--seed -1
--seed 18446744073709551616
--max-tokens 0
--max-tokens 99999999999999999999
--max-slices 101
--ctx 0
--ctx 9x
--threads 1025
--ubatch 0
END
refused "empty number" 2 "cannot be ''" run "$model" -p x --ctx ''
refused "context beyond the model's" 1 "this model takes 1 to 40960" run "$model" -p x --ctx 50000
refused "bench: no runs" 2 "--repeat cannot be '0'" bench "$model" --repeat 0

# Whatever --help lists is in the contract, the manual and the completion for bash.
for command in run info tokenize bench perplexity quantize imatrix synth; do
    run "$command" --help
    missing=''
    for option in $(grep -oE -- '--[a-z0-9-]+' "$tmp/out" | sort -u); do
        grep -qF -- "\`$option" "$here/../../docs/CLI.md" || grep -qF -- "[$option" "$here/../../docs/CLI.md" || grep -qF -- " $option" "$here/../../docs/CLI.md" || missing+=" CLI.md:$option"
        grep -qF -- "Fl ${option#-}" "$here/../../docs/minicpmo.1" || missing+=" minicpmo.1:$option"
        grep -qF -- "$option" "$here/../../tools/completion/minicpmo.bash" || missing+=" minicpmo.bash:$option"
    done
    out=$missing
    check "options of $command are documented" test -z "$missing"
done

# fish completion for minicpmo

set -l commands run info tokenize bench synth trace
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -f
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -a run -d 'answer a question about pictures and sounds'
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -a info -d 'shapes, types, memory and kernels of a model'
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -a tokenize -d 'token ids of a text'
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -a bench -d 'time the parts of a model'
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -a synth -d 'write a model with rule-made weights'
complete -c minicpmo -n "not __fish_seen_subcommand_from $commands" -a trace -d 'run test cases against a model'

set -l load "__fish_seen_subcommand_from run info bench"
complete -c minicpmo -n $load -l threads -x -d 'how many threads work'
complete -c minicpmo -n $load -l isa -x -a 'generic avx2 avx512 avx512_vnni avx512_bf16 neon dotprod' -d 'use only these instruction sets'
complete -c minicpmo -n $load -l fast -d 'multiply in reduced precision where that is faster'
complete -c minicpmo -n $load -l ctx -x -d 'positions of a conversation'
complete -c minicpmo -n $load -l kv -x -a 'f16 f32' -d 'type of the cache'
complete -c minicpmo -n $load -l ubatch -x -d 'positions of one compute pass'
complete -c minicpmo -n $load -l vision-file -r -d 'the vision encoder of a GGUF model'
complete -c minicpmo -n $load -l audio-file -r -d 'the audio encoder of a GGUF model'
complete -c minicpmo -n $load -l no-vision -d 'leave the vision part out'
complete -c minicpmo -n $load -l no-audio -d 'leave the audio part out'
complete -c minicpmo -n $load -l json -d 'one JSON object'
complete -c minicpmo -n $load -l quiet -d 'only the result'
complete -c minicpmo -n $load -l verbose -d 'more of the story'

set -l run "__fish_seen_subcommand_from run"
complete -c minicpmo -n $run -s p -l prompt -x -d 'the question'
complete -c minicpmo -n $run -l image -r -d 'a picture'
complete -c minicpmo -n $run -l audio -r -d 'a sound'
complete -c minicpmo -n $run -l system -x -d 'the system message'
complete -c minicpmo -n $run -l tools -r -d 'functions the model may call'
complete -c minicpmo -n $run -l think -d 'let the model think aloud first'
complete -c minicpmo -n $run -l omni -d 'media second by second, without line breaks'
complete -c minicpmo -n $run -l temp -x -d temperature
complete -c minicpmo -n $run -l top-k -x -d 'sample from so many tokens'
complete -c minicpmo -n $run -l top-p -x -d 'sample from this much probability'
complete -c minicpmo -n $run -l min-p -x -d 'sample from tokens this likely'
complete -c minicpmo -n $run -l repeat-penalty -x -d 'hold back repeated tokens'
complete -c minicpmo -n $run -l greedy -d 'take the likeliest token always'
complete -c minicpmo -n $run -l seed -x -d 'seed of the sampler'
complete -c minicpmo -n $run -l max-tokens -x -d 'the longest answer'
complete -c minicpmo -n $run -l stop -x -d 'end before this text'
complete -c minicpmo -n $run -l max-slices -x -d 'parts of a large picture'
complete -c minicpmo -n $run -l no-image-id -d 'do not number the pictures'

complete -c minicpmo -n "__fish_seen_subcommand_from info" -l tensors -d 'list every tensor'
complete -c minicpmo -n "__fish_seen_subcommand_from tokenize" -l ids -d 'the ids alone'
complete -c minicpmo -n "__fish_seen_subcommand_from tokenize" -l decode -d 'ids to text'
complete -c minicpmo -n "__fish_seen_subcommand_from tokenize" -l literal -d 'markers are ordinary text'
complete -c minicpmo -n "__fish_seen_subcommand_from tokenize" -l json -d 'one JSON object'
complete -c minicpmo -n "__fish_seen_subcommand_from bench" -l image -x -d 'side of the picture'
complete -c minicpmo -n "__fish_seen_subcommand_from bench" -l audio -x -d 'seconds of sound'
complete -c minicpmo -n "__fish_seen_subcommand_from synth" -l type -x -a 'BF16 F16 F32' -d 'type of the weights'
complete -c minicpmo -n "__fish_seen_subcommand_from synth" -l shards -x -d 'so many files'
complete -c minicpmo -n "__fish_seen_subcommand_from synth" -l max-shard-size -x -d 'largest file'
complete -c minicpmo -n "__fish_seen_subcommand_from bench" -l prompt -x -d 'tokens to feed'
complete -c minicpmo -n "__fish_seen_subcommand_from bench" -l gen -x -d 'tokens to generate'
complete -c minicpmo -n "__fish_seen_subcommand_from bench" -l repeat -x -d measurements
complete -c minicpmo -n "__fish_seen_subcommand_from synth" -l config -r -d configuration
complete -c minicpmo -n "__fish_seen_subcommand_from synth" -l seed -x -d 'which weights'
complete -c minicpmo -n "__fish_seen_subcommand_from synth" -l tokenizer -r -d 'tokenizer files'
complete -c minicpmo -n "__fish_seen_subcommand_from trace" -l case -x -d 'only this case'
complete -c minicpmo -n "__fish_seen_subcommand_from synth trace" -s o -r -d 'directory to make'

# bash completion for minicpmo
_minicpmo()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local load='--model --ctx --kv --ubatch --threads --isa --fast --int8 --int16 --preload --exact --speculate --vision --audio-file --no-vision --no-audio --quiet --verbose --json --help'
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'run info tokenize bench perplexity quantize imatrix synth trace --help --version' -- "$cur")
        return
    fi
    case $prev in
    -m | --model | --image | --audio | --vision | --audio-file | --tools | --config | --tokenizer | --save-logits | --kl-base | -o | --output)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return ;;
    --speculate)
        mapfile -t COMPREPLY < <(compgen -W 'off on auto' -- "$cur")
        return ;;
    --imatrix)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return ;;
    --part)
        mapfile -t COMPREPLY < <(compgen -W 'all llm vision audio' -- "$cur")
        return ;;
    --type | -t | --encoder-type)
        mapfile -t COMPREPLY < <(compgen -W 'F32 BF16 F16 Q8_0 Q6_K Q5_1 Q5_K_M Q5_K_S Q5_0 Q4_1 Q4_K_M Q4_K_S IQ4_NL Q4_0 IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K Q2_K_S' -- "$cur")
        return ;;
    --kv)
        mapfile -t COMPREPLY < <(compgen -W 'f16 f32 q8_0' -- "$cur")
        return ;;
    --isa)
        mapfile -t COMPREPLY < <(compgen -W 'generic avx2 avx512 avx512_vnni avx512_bf16 avx_vnni neon dotprod i8mm' -- "$cur")
        return ;;
    -p | --system | --temp | --top-k | --top-p | --min-p | --repeat-penalty | --seed | --max-tokens | --stop | \
        --max-slices | --ctx | --ubatch | --threads | --prompt | --gen | --answer | --repeat | --stride | --chunks | --case | --token-embedding-type | --output-tensor-type | --tensor-type | --save-every | --shards | --max-shard-size)
        return ;;
    esac
    if [[ $cur != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
    fi
    case ${COMP_WORDS[1]} in
    run) load+=' --prompt --image --audio --system --tools --think --omni --temp --top-k --top-p --min-p --repeat-penalty --greedy
        --seed --max-tokens --stop --max-slices --no-image-id' ;;
    info) load+=' --tensors' ;;
    tokenize) load='--ids --decode --literal --json --help' ;;
    bench) load+=' --prompt --gen --answer --image --audio --repeat --against' ;;
    perplexity) load+=' --stride --chunks --save-logits --kl-base' ;;
    quantize) load='-t --type --part --encoder-type --imatrix --pure --token-embedding-type --output-tensor-type --tensor-type --threads
        -f --force -n --dry-run -q --quiet --help' ;;
    imatrix) load='-o --output --chunks --ctx --save-every --threads -f --force -q --quiet --help' ;;
    synth) load='--config --seed --tokenizer --type --gguf --shards --max-shard-size --threads -o --output --help' ;;
    trace) load='--case -o --help' ;;
    *) load=--help ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$load" -- "$cur")
}
complete -o filenames -F _minicpmo minicpmo

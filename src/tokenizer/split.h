/* Pre-tokenisers: cut text into the words that are merged by themselves. */
#ifndef MO_TOKENIZER_SPLIT_H
#define MO_TOKENIZER_SPLIT_H

#include <stddef.h>

typedef enum split_kind {
    SPLIT_QWEN2,  /* each digit alone */
    SPLIT_LLAMA3, /* digits in groups of up to three */
    SPLIT_QWEN35, /* as QWEN2, marks count as letters */
    SPLIT_GPT2,   /* the older expression: words take a space before them and nothing else */
    SPLIT_SMOLLM  /* each digit alone, GPT2 in what lies between */
} split_kind;

/* End of the word that starts at s[i], i < n. s is valid UTF-8. */
size_t split_next(split_kind kind, const char *s, size_t n, size_t i);

#endif

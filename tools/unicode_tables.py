#!/usr/bin/env python3
"""Write src/tokenizer/unicode_table.c: the character classes that the pre-tokeniser's regular expression names.

The official engine has the letter, number and white-space classes of Unicode 16.0 and the normalisation data of Unicode 9.0, so this needs both:
the classes come from the package unicodedata2 16.0.0, and "not yet in Unicode 9.0" from perl's Present_In property.

    pip install unicodedata2==16.0.0
    tools/unicode_tables.py > src/tokenizer/unicode_table.c
"""
import subprocess
import unicodedata2 as ud

assert ud.unidata_version == "16.0.0", ud.unidata_version
N = 0x110000
BLOCK = 128


def klass(cp):
    return {"L": 1, "N": 2, "M": 3}.get(ud.category(chr(cp))[0], 0)


def young():
    """Ranges of characters with a combining class or a canonical decomposition that Unicode 9.0 did not have."""
    age = subprocess.run(["perl", "-e", r'no warnings; for (0x80..0x10ffff) { print "$_\n" unless chr($_) =~ /\p{Present_In: 9.0}/ }'],
                         capture_output=True, text=True, check=True).stdout.split()
    young = set(map(int, age))
    out = set()
    for cp in young:
        parts = ud.decomposition(chr(cp))
        canonical = parts and not parts.startswith("<")
        if canonical:  # and its parts, which would otherwise compose
            out.update(int(x, 16) for x in parts.split() if int(x, 16) in young)
        if canonical or ud.combining(chr(cp)):
            out.add(cp)
    return ranges(sorted(out))


def ranges(cps):
    out = []
    for cp in cps:
        if out and out[-1][1] == cp - 1:
            out[-1][1] = cp
        else:
            out.append([cp, cp])
    return out


def numbers(values, per_line, fmt):
    for i in range(0, len(values), per_line):
        print("    " + " ".join(fmt % v + "," for v in values[i:i + per_line]))


def main():
    blocks, index = {}, []
    for start in range(0, N, BLOCK):
        words = []
        for w in range(0, BLOCK, 16):
            v = 0
            for i in range(16):
                v |= klass(start + w + i) << (2 * i)
            words.append(v)
        index.append(blocks.setdefault(tuple(words), len(blocks)))
    assert len(blocks) <= 256
    y = young()

    print("/* Character classes of Unicode 16.0 in two stages (unicode.h). Written by tools/unicode_tables.py; do not edit. */")
    print('/* clang-format off */\n#include "tokenizer/unicode.h"\n')
    print("/* Which block of 128 characters stands at cp >> 7. */")
    print(f"const uint8_t unicode_stage1[{len(index)}] = {{")
    numbers(index, 32, "%d")
    print("};\n")
    print("/* Two bits a character, 16 characters a word: 0 other, 1 letter, 2 number, 3 mark. */")
    print(f"const uint32_t unicode_stage2[][{BLOCK // 16}] = {{")
    for b in blocks:
        print("    { " + ", ".join("0x%x" % v for v in b) + " },")
    print("};\n")
    print("/* Marks and compositions younger than Unicode 9.0: normalisation treats them as unknown characters. */")
    print("const uint32_t unicode_young[][2] = {")
    for a, b in y:
        print("    { 0x%X, 0x%X }," % (a, b))
    print("};")
    print("const int unicode_n_young = (int)(sizeof unicode_young / sizeof unicode_young[0]);")


if __name__ == "__main__":
    main()

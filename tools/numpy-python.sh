#!/usr/bin/env bash
# Print the path of a Python 3 that has numpy; print nothing if there is none.
# The first python3 of PATH need not be the one a system package put numpy into.
#
#   numpy-python.sh          look
#   numpy-python.sh --make   if there is none, make one in build/ (needs the network)
set -u
venv=$(dirname "$0")/../build/venv
for python in python3 /usr/bin/python3 "$venv/bin/python"; do
    if "$python" -c 'import numpy' 2>/dev/null; then
        command -v "$python"
        exit 0
    fi
done
[ "${1:-}" = --make ] || exit 0
python3 -m venv "$venv" >&2 && "$venv/bin/pip" install -q numpy >&2 && echo "$venv/bin/python"
exit 0

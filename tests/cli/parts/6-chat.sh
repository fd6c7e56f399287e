# shellcheck shell=bash disable=SC2154,SC2034
# A conversation on a terminal (chat.py drives one), and without a terminal's help.

if [ -z "$python" ]; then
    skip "conversation: no python3"
else
    "$python" "$here/chat.py" "$program" "$model" "$data" "$tmp" >"$tmp/chat" 2>&1
    rc=$?
    grep -v '^counts ' "$tmp/chat"
    read -r passed failed <<<"$(sed -n 's/^counts //p' "$tmp/chat")"
    if [ -z "${passed:-}" ]; then
        out=$(tail -c 300 "$tmp/chat") err='' && fail "chat.py ended early"
    else
        n_passed=$((n_passed + passed)) n_failed=$((n_failed + failed))
    fi
fi

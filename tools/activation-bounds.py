#!/usr/bin/env python3
"""How far rounded activations take a trained model from float32: the golden part `real`, run as a conversation runs, and with `--int8`.

    activation-bounds.py PROGRAM MODEL.gguf GOLDEN_REAL_FOLDER WORK_FOLDER

Logits and hidden states must stay within 2e-2 (relative, L2), the mean nll of all texts within 1e-2: the bounds of that part's README.
"""
import json, subprocess, sys
from pathlib import Path

import numpy as np

program, model, part, work = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
work.mkdir(parents=True, exist_ok=True)
passed = failed = 0
cases = [c for c in json.load(open(part / "cases.json")) if c["stage"] == "llm"]
for option, c in ((o, c) for o in ("--as-run", "--int8") for c in cases):
    name, line, ok = c["case"], [], True
    subprocess.run([program, "trace", model, str(part / "cases.json"), "--case", name, option, "-o", str(work)], check=True)
    for output, want in c["expect"].items():
        if output not in ("logits", "hidden", "nll"):
            continue
        ref = np.load(part / want["file"]).astype(np.float64)
        got = np.load(work / f"{name}.{output}.npy").astype(np.float64)
        if "rows" in want:
            got = got[np.asarray(want["rows"])]
        if output == "nll":
            e, bound = abs(got.mean() - ref.mean()), 1e-2
        else:
            e, bound = np.linalg.norm(got - ref) / np.linalg.norm(ref), 2e-2
        line.append(f"{output} {e:.1e}")
        ok &= bool(e <= bound)
    print("ok  " if ok else "FAIL", option, name, ", ".join(line))
    passed, failed = passed + ok, failed + (not ok)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)

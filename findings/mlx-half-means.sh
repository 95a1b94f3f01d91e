#!/usr/bin/env bash
# MLX: the mean of FP16 numbers is infinite where their sum is beyond 65504, so mean pooling of encoders overflows.
#
# Versions: mlx 0.32.4, mlx-cpu 0.32.4, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 (MLX's CPU backend).
# Expected: the mean of numbers up to 400 is at most 400 in FP16, as numpy and torch have it, which add in float32.
# Seen: the sum is cut to FP16 before it is divided. Of 512 tokens an outlier channel of 200, as
# trained encoders have it, is infinite after mean pooling, and the normalized embedding is NaN there and 0 elsewhere.
# BF16 has the range and is right to its own precision.
#
#   mlx 0.32.4, numpy 2.4.6
#   guess: both columns are equal
#   512 tokens with channels of 0.5, 50 and 200
#   mean                 mlx 0.5 50 inf    numpy 0.5 50 200
#   mean of BF16         mlx 0.5 50 200    numpy 0.5 50 200
#   mean of 70,000 ones  mlx inf           numpy 1
#   normalized embedding by mlx: 0 0 nan
#
# Matters to: whoever runs encoders in FP16 with MLX and pools by mean.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check mlx==0.32.4 mlx-cpu==0.32.4 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import mlx.core as mx
import numpy as np

print(f"mlx {version('mlx')}, numpy {np.__version__}")
print("guess: both columns are equal")
tokens = np.ones((512, 3), np.float16) * np.array([0.5, 50, 200], np.float16)
ours = mx.array(tokens)
print("512 tokens with channels of 0.5, 50 and 200")
rows = {
    "mean": (ours.mean(0), tokens.mean(0)),
    "mean of BF16": (ours.astype(mx.bfloat16).mean(0), tokens.mean(0)),
    "mean of 70,000 ones": (mx.ones(70000, mx.float16).mean(), np.ones(70000, np.float16).mean()),
}
seen = {}
for name, (by_mlx, by_numpy) in rows.items():
    seen[name] = [np.atleast_1d(np.array(by_mlx.astype(mx.float32))), np.atleast_1d(by_numpy).astype(np.float32)]
    ours_told, other_told = (" ".join(f"{each:g}" for each in numbers) for numbers in seen[name])
    print(f"{name:20} mlx {ours_told:13} numpy {other_told}")
pooled = ours.mean(0)
normal = np.array((pooled / mx.linalg.norm(pooled)).astype(mx.float32))
print("normalized embedding by mlx:", " ".join(f"{each:g}" for each in normal))
same = np.isinf(seen["mean"][0][2]) and seen["mean"][0][1] == 50 and seen["mean"][1][2] == 200
same = same and np.isinf(seen["mean of 70,000 ones"][0][0]) and seen["mean of 70,000 ones"][1][0] == 1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# HQQ: eight bits are no better than four where the weights are small, because the scale is capped.
#
# Versions: hqq 0.2.8.post1, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a group of 64 weights uses the 256 levels of eight bits and the 16 of four from its smallest to its largest,
# whatever the unit: that is what a scale per group is for.
# Seen: the inverse of the step is cut at 20000, in float32 too, so a step is never below 0.00005. A group whose range
# is below 0.0128 (a spread of 0.002) does not use all levels of eight bits, and at a spread of 0.0001 eight bits and
# four are the same 16 levels. A comment in the code says that it avoids trouble in FP16; no issue of it was found.
#
#   hqq 0.2.8.post1, torch 2.13.0
#   guess: eight bits have sixteen times as many levels as four, whatever the weights' size
#   weights with a spread of 1.0    8 bits: error 0.0051, 256 levels   4 bits: error 0.0859,  16 levels
#   weights with a spread of 0.03   8 bits: error 0.0051, 256 levels   4 bits: error 0.0859,  16 levels
#   weights with a spread of 0.003  8 bits: error 0.0051, 256 levels   4 bits: error 0.0859,  16 levels
#   weights with a spread of 0.001  8 bits: error 0.0137, 151 levels   4 bits: error 0.0859,  16 levels
#   weights with a spread of 0.0003 8 bits: error 0.0457,  46 levels   4 bits: error 0.0859,  16 levels
#   weights with a spread of 0.0001 8 bits: error 0.1370,  16 levels   4 bits: error 0.1370,  16 levels
#
# Matters to: whoever quantizes matrices that hold a scale within them: a norm's small weights folded in, factors of low
# rank, projections that start near zero. Usual weights of encoders have spreads of 0.02 and more and are not touched.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check hqq==0.2.8.post1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import logging
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import torch
from hqq.core.quantize import Quantizer

versions = [f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in ("hqq", "torch")]
print(", ".join(versions))
print("guess: eight bits have sixteen times as many levels as four, whatever the weights' size")
torch.manual_seed(0)
weights = torch.randn(256, 768)


def error(bits, scale):
    """Return the error of the weights at this scale (groups of 64), as a share of their spread, and the codes used."""
    given = weights * scale
    codes, meta = Quantizer.quantize(
        given.clone(), nbits=bits, group_size=64, axis=1, device="cpu", compute_dtype=torch.float32, bitpack=False
    )
    found = Quantizer.dequantize(codes, meta)
    used = int(codes.max() - codes.min()) + 1
    return float((found - given).std() / given.std()), used


seen = {}
for scale in (1.0, 0.03, 0.003, 0.001, 0.0003, 0.0001):
    seen[scale] = {bits: error(bits, scale) for bits in (8, 4)}
    line = "   ".join(f"{bits} bits: error {each[0]:.4f}, {each[1]:3} levels" for bits, each in seen[scale].items())
    print(f"weights with a spread of {scale:<7}{line}")
same = abs(seen[1.0][8][0] - seen[0.003][8][0]) < 0.001 and seen[0.0001][8][0] > 5 * seen[1.0][8][0]
same = same and seen[1.0][8][1] > 250
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

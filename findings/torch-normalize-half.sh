#!/usr/bin/env bash
# torch: F.normalize makes NaN of zeros in FP16, and zeros of a long vector; cosine_similarity does the same.
#
# Versions: torch 2.13.0.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: zeros stay zeros, as the eps of normalize is there for, and everything else gets length 1, in every type; a
# cosine is a number, as in BF16 and float32.
# Seen: the eps of 1e-12 (1e-8 for a cosine) is zero in FP16, so that zeros are divided by zero; a length beyond 65504
# is infinity, and the vector becomes zeros. Under autocast to float16 it is the same. BF16 and float32 are right, save
# that BF16 rounds. One such row in an index is the best answer to every query by topk.
#
#   torch 2.13.0
#   guess: zeros stay zeros and everything else gets length 1, in every type; a cosine is a number in [-1, 1]
#   float16   zeros                 length   nan   cosine with itself   nan
#   float16   384 ordinary numbers  length 1.000   cosine with itself 1.000
#   float16   384 times 5000        length 0.000   cosine with itself 0.000
#   bfloat16  zeros                 length 0.000   cosine with itself 0.000
#   bfloat16  384 ordinary numbers  length 1.003   cosine with itself 1.008
#   bfloat16  384 times 5000        length 1.000   cosine with itself 1.000
#   float32   zeros                 length 0.000   cosine with itself 0.000
#   float32   384 ordinary numbers  length 1.000   cosine with itself 1.000
#   float32   384 times 5000        length 1.000   cosine with itself 1.000
#   autocast to float16, a linear layer of zeros: length   nan
#   cosines of a vector with zeros and with itself, by a product: [nan, 1.0]
#   the best of the two by topk: number 0
#
# Matters to: FP16 embeddings: texts without a known word in static embeddings, tokens that a mask has set to zero,
# models with large channels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/python - <<'PYTHON'
import torch
from torch.nn.functional import cosine_similarity, normalize

print(f"torch {torch.__version__}")
print("guess: zeros stay zeros and everything else gets length 1, in every type; a cosine is a number in [-1, 1]")
VECTORS = {
    "zeros": torch.zeros(1, 384),
    "384 ordinary numbers": torch.linspace(-1, 1, 384)[None],
    "384 times 5000": torch.full((1, 384), 5000.0),
}
lengths, cosines = {}, {}
for kind in (torch.float16, torch.bfloat16, torch.float32):
    name = str(kind).removeprefix("torch.")
    for what, vector in VECTORS.items():
        row = vector.to(kind)
        lengths[name, what] = normalize(row).double().norm().item()
        cosines[name, what] = cosine_similarity(row, row).item()
        print(f"{name:9} {what:21} length {lengths[name, what]:5.3f}   cosine with itself {cosines[name, what]:5.3f}")
layer = torch.nn.Linear(384, 384, bias=False)
with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
    mixed = normalize(layer(VECTORS["zeros"])).norm().item()
print(f"autocast to float16, a linear layer of zeros: length {mixed:5.3f}")
pair = normalize(torch.stack([torch.zeros(384), torch.ones(384)]).half())
scores = pair[1:] @ pair.T
print(
    f"cosines of a vector with zeros and with itself, by a product: {[round(score, 3) for score in scores[0].tolist()]}"
)
print(f"the best of the two by topk: number {scores.topk(1).indices.item()}")
half = {what: lengths["float16", what] for what in VECTORS}
same = half["zeros"] != half["zeros"] and half["384 times 5000"] == 0 and abs(half["384 ordinary numbers"] - 1) < 0.01
same = same and cosines["float16", "zeros"] != cosines["float16", "zeros"] and lengths["bfloat16", "zeros"] == 0
same = same and lengths["float32", "zeros"] == 0 and scores.topk(1).indices.item() == 0
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

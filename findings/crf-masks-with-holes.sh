#!/usr/bin/env bash
# pytorch-crf and TorchCRF: a mask that picks the first pieces of words is taken, and gives another sequence's tags.
#
# Versions: pytorch-crf 0.7.2, TorchCRF 1.1.0, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a mask with holes leaves out what it hides, or is refused.
# Seen: both count the places that are on, and read the best path's pointers of the first so many places. The tags and
# the likelihood are those of neither sequence, without a word. pytorch-crf refuses a mask whose first place is off
# ([CLS]), TorchCRF starts there all the same.
#
#   pytorch-crf 0.7.2, TorchCRF 1.1.0, torch 2.13.0
#   guess: both lines of a library have the same tags and likelihood
#   pytorch-crf, mask 10101   [0, 0, 1] -10.870
#   pytorch-crf, taken out    [0, 1, 1] -10.972
#   TorchCRF, mask 10101      [0, 0, 1] -11.391
#   TorchCRF, taken out       [0, 1, 1] -10.933
#   pytorch-crf, mask 01111   ValueError: mask of the first timestep must all be on
#   TorchCRF, mask 01111      [0, 0, 1, 2]
#
# Matters to: whoever puts a CRF on a model of word pieces, where the first pieces of words are what has a tag.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 pytorch-crf==0.7.2 TorchCRF==1.1.0
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import torch
import torchcrf
import TorchCRF

torch.manual_seed(0)
print(f"pytorch-crf {version('pytorch-crf')}, TorchCRF {version('TorchCRF')}, torch {torch.__version__.split('+')[0]}")
print("guess: both lines of a library have the same tags and likelihood")
emissions, tags = 3 * torch.randn(1, 5, 3), torch.tensor([[0, 1, 2, 1, 0]])
libraries = {
    "pytorch-crf": (torchcrf.CRF(3, batch_first=True), "decode"),
    "TorchCRF": (TorchCRF.CRF(3, use_gpu=False), "viterbi_decode"),
}
places, holes = [0, 2, 4], torch.tensor([[True, False, True, False, True]])
whole, late = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[False, True, True, True, True]])
wrong = []
for name, (crf, decode) in libraries.items():
    found = []
    for what, (scores, truth, mask) in {
        "mask 10101": (emissions, tags, holes),
        "taken out": (emissions[:, places], tags[:, places], whole),
    }.items():
        with torch.no_grad():
            found.append((getattr(crf, decode)(scores, mask)[0], float(crf(scores, truth, mask).sum())))
        print(f"{f'{name}, {what}':25} {found[-1][0]} {found[-1][1]:.3f}")
    wrong.append(found[0] != found[1])
for name, (crf, decode) in libraries.items():
    try:
        print(f"{f'{name}, mask 01111':25} {getattr(crf, decode)(emissions, late)[0]}")
    except ValueError as error:
        print(f"{f'{name}, mask 01111':25} ValueError: {error}")
raise SystemExit(0 if all(wrong) else "the behaviour is no longer so")
PYTHON

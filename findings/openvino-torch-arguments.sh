#!/usr/bin/env bash
# OpenVINO: its converter from PyTorch makes -1 // 4 zero, counts a boolean mask as 1 1 1, and drops arguments.
#
# Versions: openvino 2026.4.1, torch 2.13.0, numpy 2.4.6, packaging 26.4.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: convert_model computes what torch computes, or refuses an operator, as it does many, by its name.
# Seen: // of negative integers rounds towards zero when it is computed, and downwards where the compiler can fold it,
# so that the same model gives two answers with open and with fixed shapes; cumsum of booleans stays boolean;
# embedding_bag averages the padding; traced, softplus has neither beta nor threshold, and round no decimals.
#
#   openvino 2026.4.1, torch 2.13.0, numpy 2.4.6
#   guess: all are torch's numbers
#                                       torch                  OpenVINO, traced       OpenVINO, exported
#   distance // 4                       -1 -1 -1 -1 0 0 0 0 1  -1 0 0 0 0 0 0 0 1     -1 0 0 0 0 0 0 0 1
#   the same, fixed shape               -1 -1 -1 -1 0 0 0 0 1  -1 -1 -1 -1 0 0 0 0 1  -1 -1 -1 -1 0 0 0 0 1
#   floor of distance / 4               -1 -1 -1 -1 0 0 0 0 1  -1 -1 -1 -1 0 0 0 0 1  -1 -1 -1 -1 0 0 0 0 1
#   mask.cumsum(1)                      1 2 3 4 0              1 1 1 1 0              1 1 1 1 0
#   mask.cumsum(1, dtype=torch.int64)   1 2 3 4 0              1 2 3 4 0              1 2 3 4 0
#   softplus(x, beta=4)                 0 0.032 0.328 1.75     0.127 0.474 0.826 1.91 0 0.032 0.328 1.75
#   embedding_bag(ids, padding_idx=0)   2                      41.2                   41.2
#   round(x, decimals=1)                -2 -0.5 0.2 1.8        -2 -0 0 2              refused
#
# Matters to: whoever converts a model of his own: relative positions in buckets, positions counted from a boolean mask,
# bags of words, heads with softplus. Cures: divide as floats and floor, name the dtype of cumsum.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 torch==2.13.0 \
  numpy==2.4.6 packaging==26.4
venv/bin/python - <<'PYTHON'
import warnings

import numpy as np
import openvino as ov
import torch
from torch.nn import functional as F

warnings.simplefilter("ignore")
print(f"openvino {ov.__version__.split('-')[0]}, torch {torch.__version__.split('+')[0]}, numpy {np.__version__}")
print("guess: all are torch's numbers")
TABLE = torch.tensor([[100.0], [1.0], [2.0], [3.0]])
MASK = torch.tensor([[1, 1, 1, 1, 0]], dtype=torch.bool)
IDS = torch.tensor([[1, 2, 3, 0, 0]])
VALUES = torch.tensor([[-2.0, -0.5, 0.25, 1.75]])


def buckets(x, divide):
    """Return the buckets of each token's distance to the one in the middle, of as many tokens as x has."""
    places = torch.arange(x.shape[1])
    return divide(places - x.shape[1] // 2)


CASES = {
    "distance // 4": (lambda x: buckets(x, lambda d: d // 4), torch.zeros(1, 9)),
    "floor of distance / 4": (lambda x: buckets(x, lambda d: torch.floor(d / 4.0).long()), torch.zeros(1, 9)),
    "mask.cumsum(1)": (lambda mask: mask.cumsum(1) * mask, MASK),
    "mask.cumsum(1, dtype=torch.int64)": (lambda mask: mask.cumsum(1, dtype=torch.int64) * mask, MASK),
    "softplus(x, beta=4)": (lambda x: F.softplus(x, beta=4.0), VALUES),
    "embedding_bag(ids, padding_idx=0)": (lambda ids: F.embedding_bag(ids, TABLE, mode="mean", padding_idx=0), IDS),
    "round(x, decimals=1)": (lambda x: torch.round(x, decimals=1), VALUES),
}


class Model(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def answer(model, x, *, exported=False, fixed=False):
    """Return the answer of OpenVINO on the CPU in float32, or why it has none."""
    try:
        if exported:
            dynamic = [{1: torch.export.Dim.AUTO}]
            converted = ov.convert_model(torch.export.export(model, (x,), dynamic_shapes=dynamic))
        else:
            converted = ov.convert_model(model, example_input=x)
        converted.reshape(list(x.shape) if fixed else [1, -1])
        engine = ov.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return engine([x.numpy()])[0]
    except ov.frontend.OpConversionFailure:
        return None


def text(array):
    """Return numbers in a few characters, booleans as the numbers that they are taken for."""
    if array is None:
        return "refused"
    return " ".join(f"{round(float(value), 3):g}" for value in array.ravel())


print(f"{'':35} {'torch':22} {'OpenVINO, traced':22} OpenVINO, exported")
wrong = {}
for name, (function, x) in CASES.items():
    model = Model(function).eval()
    expected = model(x).numpy()
    for title, fixed in ((name, False), ("the same, fixed shape", True)):
        if fixed and name != "distance // 4":
            continue
        found = [answer(model, x, exported=exported, fixed=fixed) for exported in (False, True)]
        print(f"{title:35} {text(expected):22} {text(found[0]):22} {text(found[1])}")
        wrong[title] = found[0] is not None and not np.allclose(found[0], expected, atol=1e-4)
right = {"the same, fixed shape", "floor of distance / 4", "mask.cumsum(1, dtype=torch.int64)"}
same = {name for name, is_wrong in wrong.items() if not is_wrong} == right
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

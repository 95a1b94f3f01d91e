#!/usr/bin/env bash
# optimum-quanto: a model with INT8 activations is less exact once it was saved and read.
#
# Versions: optimum-quanto 0.2.7, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: state_dict, quantization_map and requantize, which the library documents for saving, give back the model
# that was calibrated and evaluated.
# Seen: calibration by default (streamline) switches off the quantization of those outputs that the next operation would
# dequantize at once. That is a state of the modules in memory which is in neither the state nor the map: the model read
# back quantizes them all, as if it had been calibrated with streamline=False, and has more than twice the error.
# Nothing is said. What streamline does is documented, that it is not saved is not; no issue of it was found.
#
#   optimum-quanto 0.2.7, torch 2.13.0
#   guess: a model that is saved and read again gives the same numbers
#   weights alone                     error as calibrated 0.002, as read from its file 0.002
#   and activations                   error as calibrated 0.008, as read from its file 0.019
#   and activations, streamline=False error as calibrated 0.019, as read from its file 0.019
#
# Matters to: whoever validates a quantized encoder and ships its file. Calibrate with streamline=False, or validate
# what was read back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check optimum-quanto==0.2.7 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import copy
import importlib.metadata
import io

import torch
from optimum.quanto import Calibration, freeze, qint8, quantization_map, quantize, requantize

versions = [f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in ("optimum-quanto", "torch")]
print(", ".join(versions))
print("guess: a model that is saved and read again gives the same numbers")


class Block(torch.nn.Module):
    """The feed-forward part of an encoder's layer, with its residual and its norm."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(64, 256), torch.nn.Linear(256, 64)
        self.norm = torch.nn.LayerNorm(64)

    def forward(self, x):
        return self.norm(x + self.down(torch.nn.functional.gelu(self.up(x))))


torch.set_grad_enabled(False)
torch.manual_seed(0)
model = torch.nn.Sequential(*(Block() for _ in range(4))).eval()
x = torch.randn(256, 64)
right = model(x)


def error(found):
    """Return the largest error of the answers, as a share of the largest answer."""
    found = found.dequantize() if type(found) is not torch.Tensor else found
    return float((found - right).abs().max() / right.abs().max())


def through_a_file(quantized):
    """Return the model as it comes back from its state and its quantization map, as the library documents it."""
    file = io.BytesIO()
    torch.save(quantized.state_dict(), file)
    file.seek(0)
    fresh = torch.nn.Sequential(*(Block() for _ in range(4))).eval()
    requantize(fresh, torch.load(file, weights_only=False), quantization_map(quantized), device=torch.device("cpu"))
    return fresh.eval()


seen = {}
for name, options in {
    "weights alone": None,
    "and activations": {},
    "and activations, streamline=False": {"streamline": False},
}.items():
    quantized = copy.deepcopy(model)
    quantize(quantized, weights=qint8, activations=None if options is None else qint8)
    if options is not None:
        with Calibration(momentum=0.0, **options):
            quantized(x)
    freeze(quantized)
    seen[name] = error(quantized(x)), error(through_a_file(quantized)(x))
    before, after = seen[name]
    print(f"{name:34}error as calibrated {before:.3f}, as read from its file {after:.3f}")
streamlined = seen["and activations"]
same = all(abs(before - after) < 1e-6 for name, (before, after) in seen.items() if name != "and activations")
same = same and streamlined[1] > 1.5 * streamlined[0]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

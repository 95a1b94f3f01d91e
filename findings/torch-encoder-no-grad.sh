#!/usr/bin/env bash
# torch: an nn.TransformerEncoder in eval gives other numbers within no_grad: padding is zeros there, and nowhere else.
#
# Versions: torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: after eval() the outputs are the same with and without torch.no_grad(), and those of torch.export and
# torch.compile are the same too.
# Seen: with src_key_padding_mask, in eval and without gradients, the encoder goes over the tokens alone (nested
# tensors) and fills the places of padding with 0. With gradients, exported or compiled it computes some vector there.
# What is real is the same; what pools over all places is not: a maximum is never below 0, a mean is shorter. There is
# a UserWarning that nested tensors are a prototype.
#
#   torch 2.13.0
#   guess: 0.000 in all lines
#   largest difference from eval within no_grad    of tokens  of a mean over all places  of their maximum
#   eval with gradients                                0.000                      0.873             1.679
#   torch.export                                       0.000                      0.873             1.679
#   torch.compile, backend eager                       0.000                      0.873             1.679
#   enable_nested_tensor=False                         0.000                      0.873             1.679
#
# Matters to: whoever pools a small encoder of his own over all places, or reads a sequence labeller's padding: what was
# validated in torch is not what was exported. enable_nested_tensor=False makes all the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

warnings.simplefilter("ignore")

import torch
from torch import nn

print(f"torch {torch.__version__.partition('+')[0]}")
print("guess: 0.000 in all lines")
torch.manual_seed(0)
WIDTH, LENGTHS, LONGEST = 32, torch.tensor([3, 4]), 6
layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True)
encoder = nn.TransformerEncoder(layer, 2).eval()
dense = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
dense.load_state_dict(encoder.state_dict())
x = torch.randn(2, LONGEST, WIDTH)
padding = torch.arange(LONGEST) >= LENGTHS[:, None]


class Encoder(nn.Module):
    """The encoder with its mask as a second input."""

    def __init__(self):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, padding):
        return self.encoder(x, src_key_padding_mask=padding)


model = Encoder().eval()
with torch.no_grad():
    outputs = {"eval within no_grad": model(x, padding)}
outputs["eval with gradients"] = model(x, padding).detach()
with torch.no_grad():
    outputs["torch.export"] = torch.export.export(model, (x, padding)).module()(x, padding)
    outputs["torch.compile, backend eager"] = torch.compile(model, backend="eager")(x, padding)
    outputs["enable_nested_tensor=False"] = dense(x, src_key_padding_mask=padding)
first = outputs.pop("eval within no_grad")
print("largest difference from eval within no_grad    of tokens  of a mean over all places  of their maximum")
same = bool((first[padding] == 0).all())
for name, output in outputs.items():
    tokens = float((output - first)[~padding].abs().max())
    mean = float((output.mean(1) - first.mean(1)).abs().max())
    largest = float((output.amax(1) - first.amax(1)).abs().max())
    print(f"{name:46} {tokens:9.3f}  {mean:25.3f}  {largest:16.3f}")
    same = same and tokens < 1e-5 and mean > 0.1 and largest > 0.1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# torchao: INT8 of a model in FP16 gives infinity where the answer is 50, because the weights' scale comes last.
#
# Versions: torchao 0.18.0, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: an INT8 layer overflows where the FP16 layer does, at 65504; accumulators are INT32 or float32, and the
# code names this overflow in a comment.
# Seen: inputs times weight codes are cut to FP16 first, weight-only and with dynamic activations, and scaled by the
# weights after that. So the limit is 65504 scales of the output's row, which is 514 times its largest weight: a row of
# 0.1 cannot give more than 51.
#
#   torchao 0.18.0, torch 2.13.0, numpy 2.4.6
#   guess: INT8 is within a few per cent of the float layer, in every type
#   768 weights of 0.1, inputs of 0.5: torch.float32   float 38.4  weight only 38.2  dynamic 38.1
#   768 weights of 0.1, inputs of 1.0: torch.float32   float 76.8  weight only 76.5  dynamic 76.2
#   768 weights of 0.1, inputs of 0.5: torch.bfloat16  float 38.5  weight only 38.2  dynamic 38.2
#   768 weights of 0.1, inputs of 1.0: torch.bfloat16  float 77.0  weight only 76.5  dynamic 76.5
#   768 weights of 0.1, inputs of 0.5: torch.float16   float 38.4  weight only 38.2  dynamic 38.1
#   768 weights of 0.1, inputs of 1.0: torch.float16   float 76.8  weight only inf  dynamic inf
#   a feed-forward block whose outlier channel has up to 48:
#     torch.bfloat16  float         0 of 64 tokens are NaN
#     torch.bfloat16  weight only   0 of 64 tokens are NaN
#     torch.bfloat16  dynamic       0 of 64 tokens are NaN
#     torch.float16   float         0 of 64 tokens are NaN
#     torch.float16   weight only  64 of 64 tokens are NaN
#     torch.float16   dynamic      64 of 64 tokens are NaN
#
# Matters to: whoever quantizes encoders in FP16 with outlier channels, whose residual has a few numbers in the
# hundreds: one infinity is NaN behind the next LayerNorm, for that token and then for its text. BF16 and float32 have
# the room.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torchao==0.18.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import copy
import importlib.metadata

import torch
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

versions = [f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in ("torchao", "torch", "numpy")]
print(", ".join(versions))
print("guess: INT8 is within a few per cent of the float layer, in every type")
SCHEMES = {"weight only": Int8WeightOnlyConfig(), "dynamic": Int8DynamicActivationInt8WeightConfig()}


def answers(layer, x):
    """Return the layer's answer and those of its INT8 forms."""
    found = {"float": layer(x)}
    for name, scheme in SCHEMES.items():
        quantized = copy.deepcopy(layer)
        quantize_(quantized, scheme)
        found[name] = quantized(x)
    return found


torch.set_grad_enabled(False)
torch.manual_seed(0)
largest = {}
for kind in (torch.float32, torch.bfloat16, torch.float16):
    layer = torch.nn.Sequential(torch.nn.Linear(768, 8, bias=False))
    layer[0].weight.copy_(torch.full((8, 768), 0.1))
    for size in (0.5, 1.0):
        found = answers(copy.deepcopy(layer).to(kind), torch.full((1, 768), size, dtype=kind))
        largest[kind, size] = {name: float(value.max()) for name, value in found.items()}
        line = "  ".join(f"{name} {value:.1f}" for name, value in largest[kind, size].items())
        print(f"768 weights of 0.1, inputs of {size}: {str(kind):15} {line}")


class Block(torch.nn.Module):
    """The feed-forward part of a layer, with one channel of outliers, and the norm behind it."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(256, 2048), torch.nn.Linear(2048, 256)
        self.norm = torch.nn.LayerNorm(256)
        self.down.weight[7] = 0.05

    def forward(self, x):
        hidden = torch.nn.functional.gelu(self.up(x))
        return self.norm(x + self.down(hidden))


block, x = Block().eval(), torch.randn(64, 256) + 2
hidden = torch.nn.functional.gelu(block.up(x))
print(f"a feed-forward block whose outlier channel has up to {float(block.down(hidden).abs().max()):.0f}:")
lost = {}
for kind in (torch.bfloat16, torch.float16):
    for name, value in answers(copy.deepcopy(block).to(kind), x.to(kind)).items():
        lost[kind, name] = int((~value.isfinite()).any(-1).sum())
        print(f"  {str(kind):15} {name:12} {lost[kind, name]:2} of 64 tokens are NaN")
half = largest[torch.float16, 1.0]
same = half["float"] < 80 and half["weight only"] == half["dynamic"] == float("inf")
same = same and all(value < 80 for value in (largest[torch.bfloat16, 1.0] | largest[torch.float16, 0.5]).values())
same = same and lost[torch.float16, "float"] == 0 < lost[torch.float16, "weight only"]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

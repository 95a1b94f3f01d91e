#!/usr/bin/env bash
# PyTorch: quantize_dynamic quantizes activations to seven bits on x86, not to eight.
#
# Versions: torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the dynamic quantization of a Linear layer gives its input 256 levels, as its observer (quint8, 0 to 255)
# says.
# Seen: 128 levels with the engines x86, fbgemm and onednn, whatever the CPU; only qnnpack has 256. The module asks
# its kernel for a reduced range, which old instruction sets need and VNNI does not.
#
#   torch 2.13.0, numpy 2.4.6
#   guess: 256 levels (or 255) with every engine
#   qnnpack  256 levels of the input reach the output
#   onednn   128 levels of the input reach the output
#   x86      128 levels of the input reach the output
#   fbgemm   128 levels of the input reach the output
#
# Matters to: whoever takes torch.ao.quantization.quantize_dynamic as the baseline of dynamic INT8: its activation
# error is twice that of eight bits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

import numpy as np
import torch

warnings.simplefilter("ignore")
print(f"torch {torch.__version__.split('+')[0]}, numpy {np.__version__}")
print("guess: 256 levels (or 255) with every engine")
found = {}
for engine in torch.backends.quantized.supported_engines:
    if engine == "none":
        continue
    torch.backends.quantized.engine = engine
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    quantized = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.Linear}, dtype=torch.qint8)
    ramp = torch.linspace(0, 1, 4096)[:, None]
    found[engine] = len(np.unique(quantized(ramp).detach().numpy().round(6)))
    print(f"{engine:8} {found[engine]} levels of the input reach the output")
raise SystemExit(0 if found.get("x86", found.get("fbgemm")) == 128 else "the behaviour is no longer so")
PYTHON

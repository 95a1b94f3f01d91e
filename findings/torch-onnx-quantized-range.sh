#!/usr/bin/env bash
# torch.onnx: the range of codes that a quantizer chose is left out, so a model of seven bits clips elsewhere.
#
# Versions: torch 2.13.0, torchao 0.18.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a model quantized by PT2E gives after export what it gives in torch, as quantize_per_tensor has quant_min
# and quant_max and ONNX has Clip; or the export is refused, as that of fake_quantize with such a range is.
# Seen: QuantizeLinear alone is written, which saturates at the type's ends: 0 to 255 for the 0 to 127 of seven bits
# (reduce_range), -128 for the -127 of symmetric codes. What torch clips at the calibrated maximum goes on to twice
# as much. Ranges that fill the type are equal in both. Nothing is told.
#
#   torch 2.13.0, torchao 0.18.0, onnxruntime 1.32.0
#   guess: both runtimes give the same numbers in each line
#   given 0.5 1 1.5 3 -0.5 -1 -1.5 -3, calibrated up to 1
#   uint8, 0 to 255                  torch  0.502  1.000  1.000  1.000  0.000  0.000  0.000  0.000
#                                    ONNX   0.502  1.000  1.000  1.000  0.000  0.000  0.000  0.000
#   uint8, 0 to 127 (reduce_range)   torch  0.504  1.000  1.000  1.000  0.000  0.000  0.000  0.000
#                                    ONNX   0.504  1.000  1.503  2.007  0.000  0.000  0.000  0.000
#   int8, -128 to 127                torch  0.502  0.996  0.996  0.996 -0.502 -0.996 -1.004 -1.004
#                                    ONNX   0.502  0.996  0.996  0.996 -0.502 -0.996 -1.004 -1.004
#   int8, -64 to 63 (reduce_range)   torch  0.504  0.992  0.992  0.992 -0.504 -1.008 -1.008 -1.008
#                                    ONNX   0.504  1.008  1.496  2.000 -0.504 -1.008 -1.496 -2.016
#
# Matters to: whoever quantizes by PT2E with reduce_range, for CPUs without VNNI, or with trained or percentile ranges
# of fewer bits, and serves the export.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 torchao==0.18.0 onnx==1.23.2 \
  onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - 2> errors <<'PYTHON' || { cat errors >&2; exit 1; }
import contextlib
import io
import logging
import warnings

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

from importlib.metadata import version

import numpy as np
import onnxruntime as ort
import torch
from torch import nn
from torchao.quantization.pt2e import HistogramObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
)

print(f"torch {version('torch').split('+')[0]}, torchao {version('torchao')}, onnxruntime {ort.__version__}")
print("guess: both runtimes give the same numbers in each line")


class InputQuantizer(Quantizer):
    """Quantizes what goes into each linear layer to the codes from low to high."""

    def __init__(self, low, high, dtype):
        super().__init__()
        kept = {"eps": 2**-12}
        self.spec = QuantizationSpec(
            dtype=dtype,
            observer_or_fake_quant_ctr=HistogramObserver.with_args(**kept),
            quant_min=low,
            quant_max=high,
            qscheme=torch.per_tensor_symmetric if dtype == torch.int8 else torch.per_tensor_affine,
        )

    def annotate(self, model):
        for node in model.graph.nodes:
            if node.op == "call_function" and "linear" in str(node.target):
                inputs = {node.args[0]: self.spec}
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map=inputs, _annotated=True
                )
        return model

    def validate(self, model):
        pass


class Layer(nn.Module):
    """The identity as a linear layer, so that the output shows the quantized input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)
        self.linear.weight.data = torch.eye(4)

    def forward(self, x):
        return self.linear(x)


def quantized(low, high, dtype):
    """Return the layer, calibrated on numbers from 0 or -1 to 1."""
    seen = torch.linspace(-1 if dtype == torch.int8 else 0, 1, 80).reshape(10, 2, 4)
    model = torch.export.export(Layer().eval(), (seen[0],)).module()
    model = prepare_pt2e(model, InputQuantizer(low, high, dtype))
    for batch in seen:
        model(batch)
    return convert_pt2e(model)


GIVEN = torch.tensor([[0.5, 1.0, 1.5, 3.0], [-0.5, -1.0, -1.5, -3.0]])
KINDS = {
    "uint8, 0 to 255": (0, 255, torch.uint8),
    "uint8, 0 to 127 (reduce_range)": (0, 127, torch.uint8),
    "int8, -128 to 127": (-128, 127, torch.int8),
    "int8, -64 to 63 (reduce_range)": (-64, 63, torch.int8),
}
differences = {}
print(f"given {' '.join(f'{number:g}' for number in GIVEN.ravel().tolist())}, calibrated up to 1")
for name, kind in KINDS.items():
    model = quantized(*kind)
    truth = model(GIVEN).detach().numpy()
    program = torch.export.export(model, (GIVEN,))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(program, dynamo=True, verbose=False).save("model.onnx")
    session = ort.InferenceSession("model.onnx")
    answer = session.run(None, {session.get_inputs()[0].name: GIVEN.numpy()})[0]
    differences[name] = float(np.abs(truth - answer).max())
    for who, numbers in (("torch", truth), ("ONNX", answer)):
        print(f"{name if who == 'torch' else '':32} {who:5}", " ".join(f"{number:6.3f}" for number in numbers.ravel()))
same = all((difference > 0.5) == ("reduce" in name) for name, difference in differences.items())
raise SystemExit(0 if same else f"the behaviour is no longer so: {differences}")
PYTHON

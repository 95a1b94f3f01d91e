#!/usr/bin/env bash
# onnxconverter-common: convert_float_to_float16 makes 10000 of every larger weight, also of 20000, which FP16 holds.
#
# Versions: onnxconverter-common 1.16.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: constants are rounded to the nearest number of FP16; what is beyond 65504 becomes that or infinite, what is
# too small 0.
# Seen: whatever is larger than 10000 becomes 10000, and whatever is smaller than 1e-7 becomes 1e-7, with its sign; only
# infinity stays. A warning names one of the numbers, the largest or smallest, not how many or which tensor. ONNX
# Runtime's copy of the same function (onnxruntime.transformers.float16) has other bounds, 65504 and 6e-8.
#
#   onnxconverter-common 1.16.0, onnxruntime 1.32.0
#   guess: 20000 stays 20000 in both
#   FP32                         20000     40000  -3.4e+38     3e-08      -inf
#   onnxconverter-common         10000     10000    -10000   1.2e-07      -inf
#   onnxruntime.transformers     20000     40000    -65504     6e-08      -inf
#
# Matters to: whoever converts a model with large weights or constants: scales, sums of lengths, thresholds, an
# RMSNorm's weight in front of an outlier channel, a mask in FP16's own smallest number. max_finite_val=65504 is the
# cure.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxconverter-common==1.16.0 onnx==1.23.2 \
  onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
warnings.simplefilter("ignore")

from importlib.metadata import version

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxconverter_common import float16 as common
from onnxruntime.transformers import float16 as of_runtime

print(", ".join(f"{name} {version(name)}" for name in ("onnxconverter-common", "onnxruntime")))
print("guess: 20000 stays 20000 in both")
NUMBERS = np.array([20000, 40000, -3.4e38, 3e-8, -np.inf], np.float32)
FLOAT = onnx.TensorProto.FLOAT


def constants(module):
    """Return what a converter makes of the numbers, as an initializer."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "numbers"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [NUMBERS.size])],
        [helper.make_tensor_value_info("y", FLOAT, [NUMBERS.size])],
        [numpy_helper.from_array(NUMBERS, "numbers")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return numpy_helper.to_array(module.convert_float_to_float16(model).graph.initializer[0])


found = {"onnxconverter-common": constants(common), "onnxruntime.transformers": constants(of_runtime)}
for name, numbers in {"FP32": NUMBERS, **found}.items():
    digits = [2 if abs(number) < 1 or abs(number) > 65504 else 5 for number in numbers]
    print(f"{name:24}" + "".join(f"{number:10.{count}g}" for number, count in zip(numbers, digits, strict=True)))
same = found["onnxconverter-common"][:3].astype(float).tolist() == [10000, 10000, -10000]
same = same and found["onnxruntime.transformers"][:3].astype(float).tolist() == [20000, 40000, -65504]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

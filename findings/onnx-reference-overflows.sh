#!/usr/bin/env bash
# ONNX's reference evaluator: large numbers are quantized to the smallest code, a LayerNormalization of halves is zeros.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the reference is what runtimes are compared with: QuantizeLinear saturates, and LayerNormalization and
# RMSNormalization compute in float32 as their stash_type says, which is 1 where it is not given.
# Seen: QuantizeLinear makes 32-bit integers of x / scale before it saturates, so that from 2^31 on, infinity included,
# the code is the smallest. The normalizations square and add in the input's type: FP16 overflows, 1 / sqrt(inf) is 0,
# and so is the answer. No warning or error. ONNX Runtime and OpenVINO do as the standard says.
#
#   onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.1
#   guess: all three give the same
#   QuantizeLinear to UINT8, zero point 128, scale 5e-05
#     x                        0.001        5   100000   120000      inf     -inf
#     reference                  148      255      255        0        0        0
#     onnxruntime                148      255      255      255      255        0
#     openvino                   148      255      255      255      255        0
#   FP16, of 8 numbers from -50 to 50 and from -300 to 300: the largest number of the answer
#     LayerNormalization     reference 1.527 0.000   onnxruntime 1.527 1.527   openvino 1.527 1.527
#     RMSNormalization       reference 1.527 0.000   onnxruntime 1.527 1.527   openvino 1.527 1.527
#
# Matters to: whoever validates an export or a kernel with the reference: residual streams hold single values in the
# hundreds, T5's over 100,000, and calibrated scales can be small beside them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 \
  openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

warnings.simplefilter("ignore")

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

print(f"onnx {onnx.__version__}, onnxruntime {ort.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: all three give the same")
core = ov.Core()
NAMES = ("reference", "onnxruntime", "openvino")


def answers(node, x, constants, kind):
    """Return the result of one operator from each of the three."""
    given = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    asked = helper.make_tensor_value_info("y", kind, x.shape)
    graph = helper.make_graph([node], "g", [given], [asked], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "m.onnx")
    yield ReferenceEvaluator(made).run(None, {"x": x})[0]
    yield ort.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    yield core.compile_model("m.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


x = np.array([0.001, 5, 1e5, 1.2e5, np.inf, -np.inf], np.float32)
constants = [helper.make_tensor("s", T.FLOAT, [], [5e-5]), helper.make_tensor("z", T.UINT8, [], [128])]
node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
codes = dict(zip(NAMES, answers(node, x, constants, T.UINT8), strict=True))
print("QuantizeLinear to UINT8, zero point 128, scale 5e-05")
print(f"  {'x':22}" + " ".join(f"{value:8g}" for value in x))
for name in NAMES:
    print(f"  {name:22}" + " ".join(f"{int(code):8}" for code in codes[name]))
print("FP16, of 8 numbers from -50 to 50 and from -300 to 300: the largest number of the answer")
largest = {}
for operator in ("LayerNormalization", "RMSNormalization"):
    node = helper.make_node(operator, ["x", "g"], ["y"], axis=-1, epsilon=1e-5)
    ones = numpy_helper.from_array(np.ones(8, np.float16), "g")
    rows = np.stack([np.linspace(-end, end, 8) for end in (50, 300)]).astype(np.float16)
    for name, y in zip(NAMES, answers(node, rows, [ones], T.FLOAT16), strict=True):
        largest[operator, name] = np.abs(y).max(axis=1).astype(float)
    told = (f"{name} " + " ".join(f"{value:.3f}" for value in largest[operator, name]) for name in NAMES)
    print(f"  {operator:22}", "   ".join(told))
same = codes["reference"].tolist() == [148, 255, 255, 0, 0, 0]
same = same and all(codes[name].tolist() == [148, 255, 255, 255, 255, 0] for name in NAMES[1:])
same = same and all((value[1] == 0) == (name == "reference") and value[0] > 1.4 for (_, name), value in largest.items())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

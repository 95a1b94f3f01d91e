#!/usr/bin/env bash
# ONNX Runtime: since 1.25 a file with INT8 weights alone has its activations rounded to INT8 as well.
#
# Versions: onnxruntime 1.32.0 and 1.24.4, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: INT8 weights behind a DequantizeLinear are stored in INT8 and computed in float, as the file says: nothing
# in it quantizes activations.
# Seen: with the optimizations that are on by default the pair becomes a MatMulNBits of eight bits in blocks of 32 with
# accuracy level 4, which rounds each 32 activations to INT8: in a block with an outlier channel the other 31 lose their
# digits. Errors below are in standard deviations of the usual answer. Scales per tensor and per channel, and Gemm, came
# under it with 1.25 (microsoft/onnxruntime, pull request 27769; 1.25.1 and 1.26.0 give the numbers of 1.32.0). A matrix
# that two products read is spared. That the session option session.qdq_matmulnbits_accuracy_level is 4 is documented (1
# is exact), and issue 29849 reports wrong answers of language models made for level 4; that a file of another quantizer
# comes under it by an upgrade is not said.
#
#   onnxruntime 1.24.4 and 1.32.0, a matrix of 768 x 256 in INT8, one scale per output channel; the input is float
#   guess: errors of 1e-5 and less, in both versions
#   1.24.4                               largest error 0.00000, with one channel of 300 0.00002
#   1.32.0                               largest error 0.01819, with one channel of 300 0.52882
#   1.32.0, accuracy level 1             largest error 0.00000, with one channel of 300 0.00002
#   1.32.0, two products of the matrix   largest error 0.00000, with one channel of 300 0.00002
#
# Matters to: whoever chose weights alone for accuracy, as for encoders with outlier channels, and upgraded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target old onnxruntime==1.24.4
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS, OUTPUTS = 768, 256
rng = np.random.default_rng(0)
weights = rng.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
scales = np.abs(weights).max(0) / 127
codes = np.rint(weights / scales).astype(np.int8)
exact = codes * scales
x = rng.normal(size=(1, 16, INPUTS)).astype(np.float32)
np.save("usual.npy", x)
x[..., 5] = 300
np.save("outlier.npy", x)


def model(products):
    """Return a graph of so many products of one INT8 matrix, which is dequantized; x is float."""
    nodes = [helper.make_node("DequantizeLinear", ["w", "scales"], ["weights"], axis=1)]
    nodes += [helper.make_node("MatMul", ["x", "weights"], [f"y{each}"]) for each in range(products)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "tokens", INPUTS])]
    shape = ["rows", "tokens", OUTPUTS]
    outputs = [helper.make_tensor_value_info(f"y{each}", TensorProto.FLOAT, shape) for each in range(products)]
    constants = [numpy_helper.from_array(codes, "w"), numpy_helper.from_array(scales, "scales")]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


for products in (1, 2):
    onnx.save(model(products), f"products{products}.onnx")
RUN = """
import sys
import numpy as np
import onnxruntime as ort
assert ort.__version__ == sys.argv[4]
file, features, level = sys.argv[1:4]
options = ort.SessionOptions()
options.log_severity_level = 4
if level != "default":
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", level)
session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
np.save("y.npy", session.run(["y0"], {"x": np.load(features)})[0])
"""


def error(version, products, features, level="default"):
    """Return the largest error against the product with the dequantized weights, as a share of its spread."""
    environment = os.environ | ({} if version == "1.32.0" else {"PYTHONPATH": "old"})
    given = [f"products{products}.onnx", features, level, version]
    subprocess.run([sys.executable, "-c", RUN, *given], check=True, env=environment)
    right = np.load(features).astype(np.float64) @ exact
    return float(np.abs(np.load("y.npy") - right).max() / (np.load("usual.npy") @ exact).std())


print("onnxruntime 1.24.4 and 1.32.0, a matrix of 768 x 256 in INT8, one scale per output channel; the input is float")
print("guess: errors of 1e-5 and less, in both versions")
cases = {
    "1.24.4": ("1.24.4", 1, "default"),
    "1.32.0": ("1.32.0", 1, "default"),
    "1.32.0, accuracy level 1": ("1.32.0", 1, "1"),
    "1.32.0, two products of the matrix": ("1.32.0", 2, "default"),
}
seen = {}
for name, (version, products, level) in cases.items():
    seen[name] = [error(version, products, features, level) for features in ("usual.npy", "outlier.npy")]
    print(f"{name:36} largest error {seen[name][0]:.5f}, with one channel of 300 {seen[name][1]:.5f}")
same = all(max(errors) < 1e-3 for name, errors in seen.items() if name != "1.32.0")
same = same and seen["1.32.0"][0] > 0.01 and seen["1.32.0"][1] > 0.1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

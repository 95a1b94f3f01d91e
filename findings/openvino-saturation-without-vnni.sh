#!/usr/bin/env bash
# OpenVINO: on a CPU without VNNI the sums of INT8 products saturate, silently, down to half of the right value.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the same INT8 model gives the same answer on every CPU whose OPTIMIZATION_CAPABILITIES list INT8; older
# instruction sets are only slower.
# Seen: with the instruction set limited to AVX2 or plain AVX-512, two neighbouring products are added in 16 bits,
# which saturate at 32,767. Codes 255 and weights 127 give 32.4 instead of 64. No warning, no error, and INT8 is
# listed as a capability all the same. ONNX Runtime computed on the full instruction set and is shown for the right
# value.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: 64 for every instruction set
#   onnxruntime        64.00
#   openvino ALL           64.00   INT8 among its capabilities: True
#   openvino AVX2_VNNI     64.00   INT8 among its capabilities: True
#   openvino AVX512_CORE   32.38   INT8 among its capabilities: True
#   openvino AVX2          32.38   INT8 among its capabilities: True
#
# Matters to: whoever validates on a new server and deploys on an older or virtual one: the accuracy measured is not
# the accuracy served. Validate on the instruction set of the deployment, or keep weights within 7 bits there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 \
  openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: 64 for every instruction set")
K, N = 64, 16
values = {
    "xs": np.float32(1 / 255),
    "xz": np.uint8(0),
    "w": np.full((K, N), 127, np.int8),
    "ws": np.float32(1 / 127),
    "wz": np.int8(0),
}
graph = helper.make_graph(
    [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ],
    "g",
    [helper.make_tensor_value_info("x", T.FLOAT, ["n", K])],
    [helper.make_tensor_value_info("y", T.FLOAT, ["n", N])],
    [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(made)
onnx.save(made, "m.onnx")
x = np.ones((4, K), np.float32)
options = ort.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # else it saturates as well where there is no VNNI
exact = ort.InferenceSession("m.onnx", options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0][0, 0]
print(f"{'onnxruntime':18} {exact:.2f}")
PROGRAM = """
import numpy, openvino
core = openvino.Core()
engine = core.compile_model("m.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
print("INT8" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
print(engine(numpy.ones((4, 64), numpy.float32))[0][0, 0])
"""
found = {}
for limit in ("ALL", "AVX2_VNNI", "AVX512_CORE", "AVX2"):
    # The library reads the limit once, so each has a process of its own.
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": limit}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    listed, answer = run.stdout.split()
    found[limit] = float(answer)
    print(f"{f'openvino {limit}':22} {found[limit]:.2f}   INT8 among its capabilities: {listed}")
same = abs(exact - 64) < 1e-3 and abs(found["AVX2"] - 32.38) < 0.01
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

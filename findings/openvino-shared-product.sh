#!/usr/bin/env bash
# OpenVINO: a scale behind a float product that is quantized next reaches the product's other readers too.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI and AMX.
# Expected: y = Q(v (x W)) U + x W is the same number whether the runtime folds v into W or not.
# Seen: v is multiplied into W for both readers, so that the addition reads v (x W): an error as large as the answer's
# own spread, in FP32, without a warning. It takes all three: the scale, the quantization behind it, and a second
# reader of the product. Without any one of them the answer is right, and so it is when the product is written twice.
#
#   openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6
#   guess: all are right to rounding
#   all three      relative error 3.0e-01
#   not scaled     relative error 6.3e-08
#   not quantized  relative error 1.6e-07
#   read once      relative error 3.5e-08
#   written twice  relative error 5.9e-08
#
# Matters to: whoever smooths (SmoothQuant, AWQ) the output of a projection that a residual reads as well: embeddings
# narrower than the layers (ALBERT, ELECTRA small), adapters. Write the product twice, its weights scaled in one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io

import numpy as np
import onnx
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

print(f"openvino {ov.__version__.split('-')[0]}, onnx {onnx.__version__}, numpy {np.__version__}")
print("guess: all are right to rounding")
K, N = 32, 64
rng = np.random.default_rng(0)
x = rng.normal(size=(4, 12, K)).astype(np.float32)
W = rng.normal(0, 0.3, (K, N)).astype(np.float32)
v = rng.uniform(0.5, 2, N).astype(np.float32)
codes = rng.integers(-127, 128, (N, N)).astype(np.int8)
STEP, SCALE = np.float32(0.1), np.full(N, 0.003, np.float32)
CONSTANTS = {"W": W, "v": v, "Wv": W * v, "codes": codes, "scale": SCALE, "step": STEP, "zero": np.int8(0)}


def answers(*, scaled: bool, quantized: bool, read_again: bool, twice: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return OpenVINO's numbers and numpy's."""
    nodes = [helper.make_node("MatMul", ["x", "W"], ["product"])]
    operand, right = "product", x.astype(np.float64) @ W
    expected = right
    if scaled:
        nodes.append(helper.make_node(*(("MatMul", ["x", "Wv"]) if twice else ("Mul", ["product", "v"])), ["scaled"]))
        operand, expected = "scaled", right * v
    if quantized:
        nodes.append(helper.make_node("QuantizeLinear", [operand, "step", "zero"], ["q"]))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"]))
        operand, expected = "dq", np.clip(np.round(expected / STEP), -128, 127) * STEP
    nodes.append(helper.make_node("DequantizeLinear", ["codes", "scale"], ["U"], axis=1))
    nodes.append(helper.make_node("MatMul", [operand, "U"], ["out"]))
    expected = expected @ (codes * SCALE.astype(np.float64))
    if read_again:
        nodes.append(helper.make_node("Add", ["out", "product"], ["sum"]))
        expected = expected + right
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "shared",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", K])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["batch", "length", N])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    engine = core.compile_model(core.read_model(io.BytesIO(model.SerializeToString())), "CPU", settings)
    return engine([x])[0], expected


errors = {}
for name, kind in {
    "all three": {},
    "not scaled": {"scaled": False},
    "not quantized": {"quantized": False},
    "read once": {"read_again": False},
    "written twice": {"twice": True},
}.items():
    found, expected = answers(**{"scaled": True, "quantized": True, "read_again": True, "twice": False} | kind)
    errors[name] = float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))
    print(f"{name:14} relative error {errors[name]:.1e}")
wrong = errors.pop("all three")
raise SystemExit(0 if wrong > 0.1 and max(errors.values()) < 0.02 else "the behaviour is no longer so")
PYTHON

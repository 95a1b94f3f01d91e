#!/usr/bin/env bash
# OpenVINO: an RMSNorm that squares by Mul stays in its parts behind a residual with an INT8 product.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI and AMX.
# Expected: an RMSNorm written in ONNX operators becomes OpenVINO's one RMS node in the INT8 model as in the float one.
# Seen: in float every spelling does. In INT8 (Q/DQ) the scale of the product before the residual's sum is moved
# behind the sum, and a norm that squares its input as Mul(h, h) is then no longer known: it runs as several nodes.
# The same norm with Pow(h, 2), or as opset 23's RMSNormalization, is one. The numbers are the same.
#
#   openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6
#   guess: one RMS node in each line
#   float RMSNormalization RMS: 1, error 1e-06, nodes: Transpose FullyConnected Eltwise RMS
#   float Pow              RMS: 1, error 1e-06, nodes: Transpose FullyConnected Eltwise RMS
#   float Mul              RMS: 1, error 1e-06, nodes: Transpose FullyConnected Eltwise RMS
#   INT8  RMSNormalization RMS: 1, error 1e-06, nodes: FakeQuantize Transpose FullyConnected Eltwise RMS
#   INT8  Pow              RMS: 1, error 1e-06, nodes: FakeQuantize Transpose FullyConnected Eltwise RMS
#   INT8  Mul              RMS: 0, error 9e-07, nodes: FakeQuantize Transpose FullyConnected Eltwise Eltwise ...
#
# Matters to: whoever quantizes T5, EuroBERT or another model with RMSNorm for OpenVINO and writes or rewrites the norm
# himself: write Pow. What the parts cost was not measured.
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
print("guess: one RMS node in each line")
N, EPSILON = 64, 1e-6
STEP, SCALE = np.float32(0.05), np.full(N, 0.003, np.float32)
rng = np.random.default_rng(0)
x, branch = rng.normal(size=(2, 4, 12, N)).astype(np.float32)
codes = rng.integers(-127, 128, (N, N)).astype(np.int8)
gamma = rng.uniform(0.5, 2, N).astype(np.float32)
CONSTANTS = {"codes": codes, "scale": SCALE, "step": STEP, "zero": np.int8(0), "W": codes * SCALE}
CONSTANTS |= {"gamma": gamma, "epsilon": np.float32(EPSILON), "two": np.float32(2), "axes": np.array([-1])}


def norm(spelling):
    """Return the norm of h as nodes."""
    node = helper.make_node
    if spelling == "RMSNormalization":
        return [node(spelling, ["h", "gamma"], ["out"], axis=-1, epsilon=EPSILON)]
    return [
        node("Mul", ["h", "h"], ["square"]) if spelling == "Mul" else node("Pow", ["h", "two"], ["square"]),
        node("ReduceMean", ["square", "axes"], ["mean"], keepdims=1),
        node("Add", ["mean", "epsilon"], ["above_zero"]),
        node("Sqrt", ["above_zero"], ["root"]),
        node("Div", ["h", "root"], ["normed"]),
        node("Mul", ["normed", "gamma"], ["out"]),
    ]


def nodes_of(spelling, quantized):
    """Return the types of OpenVINO's nodes, and the largest difference from numpy's numbers."""
    nodes = [helper.make_node("MatMul", ["branch", "W"], ["product"])]
    operand = branch.astype(np.float64)
    if quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["branch", "step", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"]),
            helper.make_node("DequantizeLinear", ["codes", "scale"], ["weights"], axis=1),
            helper.make_node("MatMul", ["dq", "weights"], ["product"]),
        ]
        operand = np.clip(np.round(branch / STEP), -128, 127) * np.float64(STEP)
    nodes += [helper.make_node("Add", ["x", "product"], ["h"]), *norm(spelling)]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", N]) for name in ("x", "branch")],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", "length", N])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    core = ov.Core()
    read = core.read_model(io.BytesIO(model.SerializeToString()))
    engine = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    h = x + operand @ (codes * SCALE.astype(np.float64))
    right = h / np.sqrt((h * h).mean(-1, keepdims=True) + EPSILON) * gamma
    error = np.abs(engine({"x": x, "branch": branch})[0] - right).max()
    types = [str(node.get_rt_info()["layerType"].astype(str)) for node in engine.get_runtime_model().get_ordered_ops()]
    return [name for name in types if name not in ("Input", "Output", "Const")], float(error)


found, errors = {}, []
for quantized in (False, True):
    for spelling in ("RMSNormalization", "Pow", "Mul"):
        types, error = nodes_of(spelling, quantized)
        found[quantized, spelling] = types.count("RMS")
        errors.append(error)
        kind = "INT8" if quantized else "float"
        print(f"{kind:5} {spelling:16} RMS: {types.count('RMS')}, error {error:.0e}, nodes: {' '.join(types)}")
wanted = {case: 0 if case == (True, "Mul") else 1 for case in found}
raise SystemExit(0 if found == wanted and max(errors) < 1e-3 else "the behaviour is no longer so")
PYTHON

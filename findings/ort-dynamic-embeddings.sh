#!/usr/bin/env bash
# ONNX Runtime: quantize_dynamic quantizes embedding tables too, with one scale each, whatever per_channel says.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, sympy 1.14.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: dynamic quantization converts products; embedding tables stay float, or get a scale per row when
# per_channel=True.
# Seen: the table behind Gather becomes unsigned INT8 with a single scale, although per_channel=True gave the
# product's weight one per column. The largest row sets the step, and rows a hundred times smaller become equal to
# zero. Nothing is printed.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: the product is INT8 per column; the table is float, or INT8 per row
#   default      numbers of scales {'table_scale': 1, 'w_scale': 8}; error: small rows 100.0%, others 0.9%
#   MatMul only  numbers of scales {'w_scale': 8}; error: small rows 0.6%, others 0.9%
#
# Matters to: whoever takes quantize_dynamic as the safe choice for an encoder: rows of rare tokens differ in size
# from the others. op_types_to_quantize=["MatMul"] leaves the tables alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.CRITICAL)
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
print("guess: the product is INT8 per column; the table is float, or INT8 per row")
TOKENS, WIDTH, OUT = 50, 16, 8
rng = np.random.default_rng(0)
table = rng.normal(size=(TOKENS, WIDTH)).astype(np.float32)
table[:10] *= 0.005  # ten small rows
graph = helper.make_graph(
    [helper.make_node("Gather", ["table", "ids"], ["e"]), helper.make_node("MatMul", ["e", "w"], ["y"])],
    "g",
    [helper.make_tensor_value_info("ids", T.INT64, ["n"])],
    [helper.make_tensor_value_info("y", T.FLOAT, ["n", OUT])],
    [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(rng.normal(size=(WIDTH, OUT)).astype(np.float32), "w"),
    ],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(made)
onnx.save(made, "float.onnx")
runs = {}
for name, chosen in (("default", {}), ("MatMul only", {"op_types_to_quantize": ["MatMul"]})):
    quantize_dynamic("float.onnx", "int8.onnx", per_channel=True, **chosen)
    stored = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load("int8.onnx").graph.initializer}
    scales = {entry: value.size for entry, value in stored.items() if entry.endswith("_scale")}
    paths = ("float.onnx", "int8.onnx")
    sessions = [ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in paths]
    errors = []
    for ids in (np.arange(10), np.arange(10, TOKENS)):
        exact, quantized = (session.run(None, {"ids": ids})[0] for session in sessions)
        errors.append(float(np.abs(exact - quantized).mean() / np.abs(exact).mean()))
    runs[name] = "table_scale" in scales, errors
    print(f"{name:12} numbers of scales {scales}; error: small rows {errors[0]:.1%}, others {errors[1]:.1%}")
same = runs["default"][0] and not runs["MatMul only"][0]
same = same and runs["default"][1][0] > 0.5 and max(runs["MatMul only"][1]) < 0.1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# ONNX Runtime: dynamic INT8 makes a number of NaN and NaN of the other rows of infinity; ArgMax and ReduceMax skip NaN.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a quantized product of a row with NaN is NaN, as the float one; a row with infinity spoils itself alone;
# ReduceMax of a row with NaN is NaN, and ArgMax is its place, as in numpy and torch, wherever it stands.
# Seen: DynamicQuantizeLinear leaves NaN out of the range and gives it a code, so the product of that row is finite and
# looks like any other. One infinite number makes the scale infinite, and every row of the batch NaN. ReduceMax and
# ArgMax give NaN or its place only where it stands first in the row, and the largest number elsewhere.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: rows that are not finite: the first; ReduceMax is nan and ArgMax the place of nan
#   NaN in the first of three rows: not finite in float 1 0 0, in quantize_dynamic's model 0 0 0
#   inf in the first of three rows: not finite in float 1 0 0, in quantize_dynamic's model 1 1 1
#   nan at 0 of 8: ReduceMax nan, ArgMax 0; numpy nan and 0
#   nan at 2 of 8: ReduceMax 7.0, ArgMax 7; numpy nan and 2
#   nan at 7 of 8: ReduceMax 6.0, ArgMax 6; numpy nan and 7
#
# Matters to: whoever waits for NaN to notice a broken model: behind a quantized product, or where the label is an
# ArgMax in the graph, there is none. And whoever batches requests: one caller's overflow is every caller's NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
logging.disable(logging.CRITICAL)

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
print("guess: rows that are not finite: the first; ReduceMax is nan and ArgMax the place of nan")
FLOAT, INTEGER = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
rng = np.random.default_rng(0)


def saved(nodes, size, outputs, constants, path):
    """Write a graph that reads x, [rows, size]."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, ["rows", size])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def answers(path, x):
    """Return what the graph in a file makes of x."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})


weight = {"w": rng.normal(size=(32, 8)).astype(np.float32)}
saved([helper.make_node("MatMul", ["x", "w"], ["y"])], 32, {"y": FLOAT}, weight, "float.onnx")
quantize_dynamic("float.onnx", "dynamic.onnx")
same = True
for bad, wanted in ((np.nan, [0, 0, 0]), (np.inf, [1, 1, 1])):
    x = rng.normal(size=(3, 32)).astype(np.float32)
    x[0, 3] = bad
    finite = {name: np.isfinite(answers(f"{name}.onnx", x)[0]).all(axis=1) for name in ("float", "dynamic")}
    broken = {name: (~rows).astype(int) for name, rows in finite.items()}
    words = {name: " ".join(map(str, rows)) for name, rows in broken.items()}
    name = "NaN" if np.isnan(bad) else "inf"
    print(f"{name} in the first of three rows: not finite in float {words['float']}, ", end="")
    print(f"in quantize_dynamic's model {words['dynamic']}")
    same = same and broken["float"].tolist() == [1, 0, 0] and broken["dynamic"].tolist() == wanted
nodes = [
    helper.make_node("ReduceMax", ["x"], ["largest"], axes=[-1], keepdims=0),
    helper.make_node("ArgMax", ["x"], ["place"], axis=-1, keepdims=0),
]
saved(nodes, 8, {"largest": FLOAT, "place": INTEGER}, {}, "largest.onnx")
for place in (0, 2, 7):
    x = np.arange(8, dtype=np.float32)[None]
    x[0, place] = np.nan
    largest, found = (array[0] for array in answers("largest.onnx", x))
    print(f"nan at {place} of 8: ReduceMax {largest}, ArgMax {found}; numpy {np.max(x)} and {np.argmax(x)}")
    same = same and np.isnan(largest) == (place == 0) and (found == place) == (place == 0)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

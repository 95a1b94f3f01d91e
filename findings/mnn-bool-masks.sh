#!/usr/bin/env bash
# MNN: a Cast to bool keeps the number, so a mask made of token ids weighs each token with its id.
#
# Versions: MNN 3.6.1, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: of the ids 5, 7, 90, 0, 0 a Cast to bool is 1, 1, 1, 0, 0 where it becomes a number again, as in ONNX
# Runtime and in torch's ids.bool().float().
# Seen: it is 5, 7, 90, 0, 0. Not is one minus that, so -4, -6 and -89; the count of the tokens is the sum of their ids,
# and mean pooling is a mean weighted by them. Where takes any number but 0 for true and is right, and so is a mask by
# comparison. Nothing is said by converter or runtime. No issue of it was found.
#
#   MNN 3.6.1, onnxruntime 1.32.0
#   guess: both runtimes give the same numbers
#   ids.bool() as numbers     ONNX Runtime 1 1 1 0 0                       MNN 5 7 90 0 0
#   ids != 0 as numbers       ONNX Runtime 1 1 1 0 0                       MNN 1 1 1 0 0
#   not ids.bool()            ONNX Runtime 0 0 0 1 1                       MNN -4 -6 -89 1 1
#   how many tokens           ONNX Runtime 3                               MNN 102
#   mean pooling, ids.bool()  ONNX Runtime -0.6538 1.195 -0.2427 -0.07896  MNN -1.251 1.845 0.7336 -0.3317
#   mean pooling, ids != 0    ONNX Runtime -0.6538 1.195 -0.2427 -0.07896  MNN -0.6538 1.195 -0.2427 -0.07896
#   where(ids.bool(), 1, 0)   ONNX Runtime 1 1 1 0 0                       MNN 1 1 1 0 0
#
# Matters to: whoever serves an encoder with MNN that makes its own mask of the ids, or takes a mask that numbers the
# texts packed into a row. A mask of 0 and 1 is not touched.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check MNN==3.6.1 onnx==1.23.2 \
  onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys

import MNN
import MNN.expr as expr
import MNN.nn as nn
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

print(f"MNN {MNN.version()}, onnxruntime {ort.__version__}")
print("guess: both runtimes give the same numbers")
IDS = np.array([[5, 7, 90, 0, 0], [3, 4, 5, 6, 2]], np.int64)
TABLE = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
BOOL, FLOAT = TensorProto.BOOL, TensorProto.FLOAT
node = helper.make_node
AS_BOOL = [node("Cast", ["ids"], ["mask"], to=BOOL)]
COMPARED = [node("Equal", ["ids", "zero"], ["is_zero"]), node("Not", ["is_zero"], ["mask"])]
TO_FLOAT = [node("Cast", ["mask"], ["y"], to=FLOAT)]
POOLED = [
    node("Gather", ["table", "ids"], ["tokens"]),
    node("Cast", ["mask"], ["weights"], to=FLOAT),
    node("Unsqueeze", ["weights", "last"], ["column"]),
    node("Mul", ["tokens", "column"], ["weighed"]),
    node("ReduceSum", ["weighed", "one"], ["sum"], keepdims=0),
    node("ReduceSum", ["column", "one"], ["count"], keepdims=0),
    node("Div", ["sum", "count"], ["y"]),
]
NOT = [node("Not", ["mask"], ["padding"]), node("Cast", ["padding"], ["y"], to=FLOAT)]
COUNT = [
    node("Cast", ["mask"], ["weights"], to=FLOAT),
    node("ReduceSum", ["weights", "one"], ["y"], keepdims=1),
]
WHERE = [node("Where", ["mask", "unit", "nothing"], ["y"])]
CONSTANTS = {"table": TABLE, "zero": np.int64(0), "last": np.array([2]), "one": np.array([1])}
CONSTANTS |= {"unit": np.float32(1), "nothing": np.float32(0)}


def answers(nodes):
    """Return what ONNX Runtime and MNN compute of the ids."""
    values = [helper.make_tensor_value_info("ids", TensorProto.INT64, IDS.shape)]
    values.append(helper.make_tensor_value_info("y", FLOAT, [2, None]))
    used = {name for each in nodes for name in each.input}
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items() if name in used]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    right = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"ids": IDS})[0]
    convert = [os.path.join(os.path.dirname(sys.executable), "mnnconvert"), "-f", "ONNX", "--bizCode", "m"]
    subprocess.run([*convert, "--modelFile", "model.onnx", "--MNNModel", "model.mnn"], check=True, capture_output=True)
    net = nn.load_module_from_file("model.mnn", ["ids"], ["y"])
    given = expr.const(IDS.ravel().tolist(), list(IDS.shape), expr.NCHW, expr.int)
    found = net.forward([given])[0]
    return right, np.array(found.read()).reshape(found.shape)


shown = {
    "ids.bool() as numbers": AS_BOOL + TO_FLOAT,
    "ids != 0 as numbers": COMPARED + TO_FLOAT,
    "not ids.bool()": AS_BOOL + NOT,
    "how many tokens": AS_BOOL + COUNT,
    "mean pooling, ids.bool()": AS_BOOL + POOLED,
    "mean pooling, ids != 0": COMPARED + POOLED,
    "where(ids.bool(), 1, 0)": AS_BOOL + WHERE,
}
same = {}
for name, nodes in shown.items():
    right, found = answers(nodes)
    same[name] = bool(np.allclose(right, found, atol=1e-5))
    first = [" ".join(f"{number:.4g}" for number in each[0].ravel()[:5]) for each in (right, found)]
    print(f"{name:24}  ONNX Runtime {first[0]:31} MNN {first[1]}")
wrong = [name for name in shown if not same[name]]
expected = ["ids.bool() as numbers", "not ids.bool()", "how many tokens", "mean pooling, ids.bool()"]
raise SystemExit(0 if wrong == expected else "the behaviour is no longer so")
PYTHON

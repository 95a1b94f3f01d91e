#!/usr/bin/env bash
# onnxoptimizer: of two Reshapes in a row the first is dropped, and a 0 of the second copies another size.
#
# Versions: onnxoptimizer 0.4.2, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: optimize(), with the passes that it runs by default, keeps what a graph computes. A 0 in a Reshape's shape
# is the size of its own input there.
# Seen: eliminate_consecutive_idempotent_ops gives the second Reshape the input of the first, so its 0 is the number of
# texts instead of the number of tokens in all. Beside a -1 any such size fits: the answer has another shape and other
# rows, without an error. onnxsim 0.8.1 and onnxslim 0.1.98 get the same graphs right. It is known that the pass changes
# outputs (onnx/optimizer, issues 171 and 259, both open), that the 0 is why is not said there.
#
#   onnxoptimizer 0.4.2, onnx 1.23.2, onnxruntime 1.32.0
#   guess: the optimized graph gives the same numbers in the same shape
#   tokens in a row, then heads by 0   [-1, 8] [0, 2, -1]: (6, 2, 4) becomes (2, 2, 12); largest 3 7 11 and 11 23 35
#   heads in front, flat again by 0    [-1, 2, 4] [0, -1]: (6, 8) becomes (2, 24); largest 7 15 23 and 23 47
#   tokens in a row, then heads by -1  [-1, 8] [-1, 2, 4]: (6, 2, 4) becomes (6, 2, 4); largest 3 7 11 and 3 7 11
#
# Matters to: whoever optimizes an exported encoder before quantizing it; exporters write 0 for sizes that stay.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxoptimizer==0.4.2 onnx==1.23.2 \
  onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata

import numpy as np
import onnx
import onnxoptimizer
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

versions = [f"{name} {importlib.metadata.version(name)}" for name in ("onnxoptimizer", "onnx", "onnxruntime")]
print(", ".join(versions))
print("guess: the optimized graph gives the same numbers in the same shape")


def graph(first, second):
    """Return two Reshapes, one behind the other, of the vectors of each token: (texts, tokens, 8)."""
    shapes = {"a": first, "b": second}
    constants = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    nodes = [helper.make_node("Reshape", ["x", "a"], ["flat"]), helper.make_node("Reshape", ["flat", "b"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["texts", "tokens", 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(second))]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(model):
    """Return what ONNX Runtime computes, with its own optimizations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


x = np.arange(2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8)
cases = {
    "tokens in a row, then heads by 0": ([-1, 8], [0, 2, -1]),
    "heads in front, flat again by 0": ([-1, 2, 4], [0, -1]),
    "tokens in a row, then heads by -1": ([-1, 8], [-1, 2, 4]),
}
seen = {}
for name, shapes in cases.items():
    model = graph(*shapes)
    right, found = answer(model), answer(onnxoptimizer.optimize(model))
    seen[name] = right.shape, found.shape
    first = [" ".join(f"{number:.0f}" for number in each.max(-1).ravel()[:3]) for each in (right, found)]
    print(f"{name:34} {shapes[0]} {shapes[1]}: {right.shape} becomes {found.shape}; largest {first[0]} and {first[1]}")
wrong = [name for name, (right, found) in seen.items() if right != found]
raise SystemExit(0 if wrong == list(cases)[:2] else "the behaviour is no longer so")
PYTHON

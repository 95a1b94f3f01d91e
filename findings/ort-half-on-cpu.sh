#!/usr/bin/env bash
# ONNX Runtime: a graph in FP16 that overflows gives finite numbers on a CPU, with all optimizations off too.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a graph whose tensors are all FLOAT16 computes in FP16: what goes beyond 65504 is infinite, 2048 + 1 is
# 2048, and the CPU shows before a deployment whether a model survives FP16.
# Seen: the CPU has no kernels of FP16 for these operators, runs them in FP32, and takes away the rounding to FP16
# between them, whatever the level of optimization: 640000 x 0.001 is 640, the root of a mean of squares of 300 is 300,
# and 2048 + 1 - 2048 is 1. Only what is an output of the graph is rounded: a tensor that is made an output to look at
# it is infinite, while the same run's answer behind it is finite.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: what numpy computes in FP16
#   scores x 0.001       numpy float16    inf   ORT_DISABLE_ALL 640.5   ORT_ENABLE_ALL 640.5
#   root mean square     numpy float16    inf   ORT_DISABLE_ALL 300.0   ORT_ENABLE_ALL 300.0
#   2048 + 1 - 2048      numpy float16    0.0   ORT_DISABLE_ALL   1.0   ORT_ENABLE_ALL   1.0
#   with the scores as an output too: the scores inf, scores x 0.001 640.5
#
# Matters to: whoever converts an encoder to FP16, compares it with FP32 on a CPU, and serves it on a GPU: an outlier
# channel that is infinite there is finite here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.helper import make_node

print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
print("guess: what numpy computes in FP16")
HALF = onnx.TensorProto.FLOAT16
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")


def half(*shape, value):
    """Return an array in FP16 of one value."""
    return np.full(shape, value, np.float16)


def answers(nodes, x, constants, outputs, level):
    """Return a graph's outputs, whose tensors are all in FP16."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", HALF, x.shape)],
        [helper.make_tensor_value_info(name, HALF, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [float(array.ravel()[0]) for array in session.run(None, {"x": x})]


SCORES = [make_node("MatMul", ["x", "w"], ["scores"]), make_node("Mul", ["scores", "scale"], ["y"])]
OF_SCORES = (SCORES, half(1, 64, value=100), {"w": half(64, 4, value=100), "scale": half(1, value=0.001)})
SQUARES = [
    make_node("Mul", ["x", "x"], ["square"]),
    make_node("ReduceMean", ["square"], ["mean"], axes=[-1]),
    make_node("Sqrt", ["mean"], ["y"]),
]
SUMS = [make_node("Add", ["x", "one"], ["more"]), make_node("Sub", ["more", "x"], ["y"])]
GRAPHS = {
    "scores x 0.001": OF_SCORES,
    "root mean square": (SQUARES, half(1, 64, value=300), {}),
    "2048 + 1 - 2048": (SUMS, half(1, 64, value=2048), {"one": half(1, value=1)}),
}
with np.errstate(over="ignore"):
    truth = {
        "scores x 0.001": (half(1, 64, value=100) @ half(64, 4, value=100))[0, 0] * np.float16(0.001),
        "root mean square": np.sqrt(np.mean(half(64, value=300) * half(64, value=300))),
        "2048 + 1 - 2048": np.float16(2048) + np.float16(1) - np.float16(2048),
    }
same = True
for name, graph in GRAPHS.items():
    found = {level: answers(*graph, ["y"], level)[0] for level in LEVELS}
    print(f"{name:20} numpy float16 {truth[name]:6.1f}   " + "   ".join(f"{key} {found[key]:5.1f}" for key in LEVELS))
    same = same and all(np.isfinite(value) and value != truth[name] for value in found.values())
scores, y = answers(*OF_SCORES, ["scores", "y"], "ORT_ENABLE_ALL")
print(f"with the scores as an output too: the scores {scores}, scores x 0.001 {y}")
same = same and np.isinf(scores) and np.isfinite(y)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

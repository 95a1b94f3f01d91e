#!/usr/bin/env bash
# OpenVINO: NaN becomes a number in Relu, Max, Clip and ReduceMax, and an id beyond the table becomes a row of zeros.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: NaN stays NaN through every operator, so a network whose activations overflow answers NaN; an id without a
# row in the embedding table is an error.
# Seen: OpenVINO's CPU plugin drops NaN where it takes a maximum or a minimum: Relu gives 0, Clip its lower bound,
# ReduceMax the largest of the other values. Gather gives zeros for an id that is too large, without a word. ONNX
# Runtime and the reference evaluator pass NaN on and raise an error for the id.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: nan in each line, and an error for the id
#   Relu            onnxruntime nan 1 2          reference nan 1 2     openvino 0 1 2
#   Max             onnxruntime nan 1 2          reference nan 1 2     openvino 0 1 2
#   Clip            onnxruntime nan 1 1          reference nan 1 1     openvino -1 1 1
#   ReduceMax       onnxruntime nan              reference nan         openvino 2
#   id 7 of 6 rows  onnxruntime InvalidArgument  reference IndexError  openvino 0 0
#
# Matters to: whoever relies on a check for NaN in the outputs, or on an error, to notice a broken engine or the wrong
# tokenizer: check ids and ranges before the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 \
  openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
ort.set_default_logger_severity(4)
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: nan in each line, and an error for the id")
core = ov.Core()


def answers(nodes, kind, x, shape, values):
    """Return what ONNX Runtime, the reference evaluator and OpenVINO say to one small checked model."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", T.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, "m.onnx")
    runs = (
        lambda: ort.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0],
        lambda: ReferenceEvaluator(made).run(None, {"x": x})[0],
        lambda: core.compile_model("m.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0],
    )
    for run in runs:
        try:
            yield " ".join(f"{value:g}" for value in run().ravel())
        except Exception as error:
            yield type(error).__name__


x = np.array([[np.inf, 1, 2]], np.float32)  # minus infinity plus infinity is what makes the NaN
bounds = {"z": np.array([[-np.inf, 0, 0]], np.float32), "lo": np.float32(-1), "hi": np.float32(1)}
bounds |= {"zero": np.float32(0), "axes": np.array([1])}
add = helper.make_node("Add", ["x", "z"], ["sum"])
found = {}
for name, inputs, width in (
    ("Relu", ["sum"], 3),
    ("Max", ["sum", "zero"], 3),
    ("Clip", ["sum", "lo", "hi"], 3),
    ("ReduceMax", ["sum", "axes"], 1),
):
    values = {key: value for key, value in bounds.items() if key in ("z", *inputs)}
    found[name] = list(answers([add, helper.make_node(name, inputs, ["y"])], T.FLOAT, x, [1, width], values))
table = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
gather = helper.make_node("Gather", ["table", "x"], ["y"])
found["id 7 of 6 rows"] = list(answers([gather], T.INT64, np.array([7]), [1, 2], {"table": table}))
for name, (runtime, reference, openvino) in found.items():
    print(f"{name:15} onnxruntime {runtime:16} reference {reference:11} openvino {openvino}")
lost = all("nan" in row[0] and "nan" in row[1] and "nan" not in row[2] for row in list(found.values())[:4])
raise SystemExit(0 if lost and found["id 7 of 6 rows"][2] == "0 0" else "the behaviour is no longer so")
PYTHON

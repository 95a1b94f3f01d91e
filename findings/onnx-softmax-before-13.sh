#!/usr/bin/env bash
# ONNX: a Softmax of opset 12 over several axes has three answers: ONNX Runtime's, OpenVINO's and the reference's.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: up to opset 12 Softmax, LogSoftmax and Hardmax take all axes from the given one on (1 where none is given)
# as one, and all runtimes read the file's opset; onnx's version converter keeps the numbers.
# Seen: ONNX Runtime does so. The reference evaluator computes all three as from opset 13 on, over one axis, the last
# where none is given. OpenVINO's Softmax goes over axis 1 alone; its LogSoftmax and Hardmax are right. The converter to
# opset 13 is right for Softmax and LogSoftmax, and wrong for Hardmax. With the last axis, as attention has it, all
# agree, so that most models show nothing.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: every number is equal to that of ONNX Runtime
#   the first text's first number (2 texts, 3 tokens, 4 labels); a star where any number is wrong
#   Softmax    axis none ONNX Runtime  0.0724   reference  0.2260*  OpenVINO  0.5122*  converted to 13  0.0724
#   Softmax    axis 2    ONNX Runtime  0.2260   reference  0.2260   OpenVINO  0.2260   converted to 13  0.2260
#   LogSoftmax axis none ONNX Runtime -2.6252   reference -1.4873*  OpenVINO -2.6252   converted to 13 -2.6252
#   LogSoftmax axis 2    ONNX Runtime -1.4873   reference -1.4873   OpenVINO -1.4873   converted to 13 -1.4873
#   Hardmax    axis none ONNX Runtime  0.0000   reference  0.0000*  OpenVINO  0.0000   converted to 13  0.0000*
#   Hardmax    axis 2    ONNX Runtime  0.0000   reference  0.0000   OpenVINO  0.0000   converted to 13  0.0000
#
# Matters to: whoever runs or checks older exports whose head or pointer network has a Softmax over two axes, or one
# without an axis behind a rank of 3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 \
  openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import helper, version_converter
from onnx.reference import ReferenceEvaluator

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: every number is equal to that of ONNX Runtime")
GIVEN = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)


def made(operator, **attributes):
    """Return a model of opset 12 with one operator of rank 3."""
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, GIVEN.shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **attributes)], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


def by_runtime(model):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": GIVEN})[0]


def by_openvino(model):
    onnx.save(model, "model.onnx")
    return ov.Core().compile_model("model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(GIVEN)[0]


WAYS = {
    "ONNX Runtime": by_runtime,
    "reference": lambda model: ReferenceEvaluator(model).run(None, {"x": GIVEN})[0],
    "OpenVINO": by_openvino,
    "converted to 13": lambda model: by_runtime(version_converter.convert_version(model, 13)),
}
seen = {}
print("the first text's first number (2 texts, 3 tokens, 4 labels); a star where any number is wrong")
for operator in ("Softmax", "LogSoftmax", "Hardmax"):
    for attributes in ({}, {"axis": 2}):
        model = made(operator, **attributes)
        answers = {name: way(model) for name, way in WAYS.items()}
        right = {name: np.allclose(each, answers["ONNX Runtime"], atol=1e-4) for name, each in answers.items()}
        axis = attributes.get("axis", "none")
        seen[operator, axis] = [name for name in WAYS if not right[name]]
        told = (f"{name} {each.ravel()[0]:7.4f}{' ' if right[name] else '*'}" for name, each in answers.items())
        print(f"{operator:10} axis {axis!s:4}", "  ".join(told).rstrip())
same = seen["Softmax", "none"] == ["reference", "OpenVINO"] and seen["LogSoftmax", "none"] == ["reference"]
same = same and seen["Hardmax", "none"] == ["reference", "converted to 13"]
same = same and not any(seen[operator, 2] for operator in ("Softmax", "LogSoftmax", "Hardmax"))
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

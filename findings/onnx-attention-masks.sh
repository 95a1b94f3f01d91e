#!/usr/bin/env bash
# ONNX's Attention operator: ONNX Runtime refuses the usual mask of padding, and masks smallest floats like infinity.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a mask (batch, 1, 1, keys) broadcasts over heads and queries, as the operator's text says; a row masked
# with the smallest float, the transformers library's way, gives the mean of the values.
# Seen: the reference evaluator and OpenVINO broadcast. ONNX Runtime creates the session and then refuses at run time;
# the mask must be expanded to (batch, 1, queries, keys). A row of smallest floats is the mean of the values in the
# reference and in OpenVINO, and zeros in ONNX Runtime; a Boolean mask and minus infinity give zeros in all three.
# Microsoft's own MultiHeadAttention answers such a row as if nothing were masked.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: three runtimes agree; a mask of (1, 1, 1, 4) broadcasts; a row of smallest floats is the mean of V
#   padding (1, 1, 4, 4)   onnxruntime attention, reference attention, openvino attention
#   padding (1, 1, 1, 4)   onnxruntime refused, reference attention, openvino attention
#   row of False           onnxruntime zeros, reference zeros, openvino zeros
#   row of -infinity       onnxruntime zeros, reference zeros, openvino zeros
#   row of smallest float  onnxruntime zeros, reference mean of V, openvino mean of V
#   MultiHeadAttention, all keys masked: 0.0003 off the answer without a mask
#
# Matters to: whoever moves encoders to opset 23 or later, or compares runtimes on batches that hold a row of padding
# only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 \
  openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto as T
from onnx import helper
from onnx.reference import ReferenceEvaluator

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: three runtimes agree; a mask of (1, 1, 1, 4) broadcasts; a row of smallest floats is the mean of V")
logging.disable(logging.CRITICAL)
ort.set_default_logger_severity(4)
HEADS, LENGTH, WIDTH = 2, 4, 8
rng = np.random.default_rng(0)
q, k, v = (rng.normal(size=(1, HEADS, LENGTH, WIDTH)).astype(np.float32) for _ in range(3))


def save(operator, inputs, domain="", **attributes):
    """Write a checked model of one operator and return its bytes."""
    kinds = {"float32": T.FLOAT, "bool": T.BOOL, "int32": T.INT32}
    names = [*"qkv", "", "mask"][: 5 if "mask" in inputs else 3] if domain else list(inputs)
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain=domain, **attributes)],
        "g",
        [helper.make_tensor_value_info(name, kinds[str(value.dtype)], value.shape) for name, value in inputs.items()],
        [helper.make_tensor_value_info("y", T.FLOAT, inputs["q"].shape)],
    )
    versions = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=versions, ir_version=11)
    onnx.checker.check_model(made)
    onnx.save(made, "m.onnx")
    return made.SerializeToString()


def answers(inputs):
    """Return the first head's row of query 1 from each runtime, or what it says instead."""
    data, seen = save("Attention", inputs), {}
    core = ov.Core()
    runs = {
        "onnxruntime": lambda: ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, inputs)[0],
        "reference": lambda: ReferenceEvaluator(onnx.load("m.onnx")).run(None, inputs)[0],
        "openvino": lambda: core.compile_model("m.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)[0],
    }
    for name, run in runs.items():
        try:
            seen[name] = run()[0, 0, 1]
        except Exception as error:
            seen[name] = "refused: " + str(error).split("inconsistent")[-1].strip()[:40]
    return seen


def said(row, mean):
    """Name an answer."""
    if isinstance(row, str):
        return row.split(":")[0]
    return "zeros" if not row.any() else "mean of V" if np.allclose(row, mean, atol=1e-5) else "attention"


mean, found = v[0, 0].mean(0), {}
padding = np.array([True, True, True, False])
row = np.ones((1, 1, LENGTH, LENGTH), bool)
row[0, 0, 1] = False
masks = {
    "padding (1, 1, 4, 4)": np.broadcast_to(padding, (1, 1, LENGTH, LENGTH)).copy(),
    "padding (1, 1, 1, 4)": padding.reshape(1, 1, 1, LENGTH),
    "row of False": row,
    "row of -infinity": np.where(row, 0, -np.inf).astype(np.float32),
    "row of smallest float": np.where(row, 0, np.finfo(np.float32).min).astype(np.float32),
}
for name, mask in masks.items():
    seen = answers({"q": q, "k": k, "v": v, "mask": mask})
    found[name] = {runtime: said(answer, mean) for runtime, answer in seen.items()}
    print(f"{name:22}", ", ".join(f"{runtime} {answer}" for runtime, answer in found[name].items()))

flat = {n: value.transpose(0, 2, 1, 3).reshape(1, LENGTH, -1) for n, value in (("q", q), ("k", k), ("v", v))}
plain, masked = (
    ort.InferenceSession(save("MultiHeadAttention", flat | extra, "com.microsoft", num_heads=HEADS)).run(
        None, flat | extra
    )[0]
    for extra in ({}, {"mask": np.zeros((1, LENGTH), np.int32)})
)
ignored = float(np.abs(plain - masked).max())
print(f"MultiHeadAttention, all keys masked: {ignored:.4f} off the answer without a mask")
same = list(found["padding (1, 1, 1, 4)"].values()) == ["refused", "attention", "attention"]
same = same and list(found["row of smallest float"].values()) == ["zeros", "mean of V", "mean of V"]
same = same and {*found["row of False"].values(), *found["row of -infinity"].values()} == {"zeros"}
raise SystemExit(0 if same and ignored < 1e-2 else "the behaviour is no longer so")
PYTHON

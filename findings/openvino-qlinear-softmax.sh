#!/usr/bin/env bash
# OpenVINO: two of Microsoft's quantized operators load from an ONNX file and answer wrongly.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: an operator of another vendor's domain is either refused by name when the file is read, or computes what
# its owner computes, give or take one code.
# Seen: both wrap around where they should saturate. The largest probability of QLinearSoftmax, code 255, comes out as
# 0; QLinearSigmoid with signed codes gives -128 for every input from 0 on. Other operators of the same domain are right
# or refused.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: refused, or within one code of ONNX Runtime
#   QLinearSoftmax: onnxruntime [0, 0, 0, 255, 0, 0, 0, 0]
#   QLinearSoftmax: openvino    [0, 0, 0, 0, 0, 0, 0, 0]   255 codes off
#   QLinearSigmoid: onnxruntime [-128, -126, -118, -85, 0, 85, 118, 126]
#   QLinearSigmoid: openvino    [-128, -126, -118, -85, -128, -128, -128, -128]   254 codes off
#
# Matters to: whoever opens in OpenVINO a file that ONNX Runtime has optimized and saved: that is where these
# operators come from (DequantizeLinear, Softmax, QuantizeLinear fuse into one).
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
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: refused, or within one code of ONNX Runtime")


def answers(operator, kind, x, in_scale, in_zero, out_scale, out_zero, **attributes):
    """Return the codes that both runtimes give for one operator."""
    values = {"xs": in_scale, "xz": in_zero, "ys": out_scale, "yz": out_zero}
    node = helper.make_node(operator, ["x", "xs", "xz", "ys", "yz"], ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, x.shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    versions = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=versions, ir_version=10)
    onnx.save(made, "m.onnx")
    expected = ort.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return expected.astype(int), ov.Core().compile_model("m.onnx", "CPU")(x)[0].astype(int)


x = np.zeros((1, 8), np.uint8)
x[0, 3] = 255
step = np.float32(1 / 256)
softmax = answers("QLinearSoftmax", T.UINT8, x, np.float32(0.1), np.uint8(0), step, np.uint8(0), axis=-1, opset=13)
x = np.arange(-128, 128, 32, dtype=np.int8)[None]
sigmoid = answers("QLinearSigmoid", T.INT8, x, np.float32(0.05), np.int8(0), step, np.int8(-128))
worst = {}
for name, (expected, seen) in (("QLinearSoftmax", softmax), ("QLinearSigmoid", sigmoid)):
    worst[name] = int(np.abs(expected - seen).max())
    print(f"{name}: onnxruntime {expected[0].tolist()}")
    print(f"{name}: openvino    {seen[0].tolist()}   {worst[name]} codes off")
raise SystemExit(0 if min(worst.values()) > 1 else "the behaviour is no longer so")
PYTHON

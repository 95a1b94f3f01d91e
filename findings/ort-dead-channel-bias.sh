#!/usr/bin/env bash
# ONNX Runtime: an output channel whose weights are all zero loses its bias in static quantization.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, sympy 1.14.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: quantization per channel leaves a pruned neuron (weights 0, bias kept) with its bias: it is a constant,
# and constants are what INT32 biases represent best.
# Seen: the scale of a channel of zeros is set to 1, so its bias gets the activation's scale as its step, here 0.78
# instead of 0.00001. A bias of 0.3 becomes 0, the worst error is half an activation step. Channels with any weight
# left are right to five digits.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: all four biases of 0.3 survive; channel 2 has no weights and is exactly its bias
#   scale of the weights  [1.8310000086785294e-05, 1.1920000360987615e-05, 1.0, 1.5440000424860045e-05]
#   step of the biases    [1.4350000128615648e-05, 9.340000360680278e-06, 0.7837736010551453, 1.2100000276404899e-05]
#   codes of the biases   [20908, 32109, 0, 24798]
#   biases as stored      [0.3, 0.3, 0.0, 0.3]
#   channel 2: float 0.300, INT8 0.000; a step of the output is 0.004
#
# Matters to: whoever quantizes pruned networks: structured pruning that zeroes neurons leaves exactly such channels.
# Remove the neurons, or leave one tiny weight.
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
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

logging.disable(logging.CRITICAL)
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
print("guess: all four biases of 0.3 survive; channel 2 has no weights and is exactly its bias")
WIDTH, CHANNELS, BIAS = 16, 4, 0.3
rng = np.random.default_rng(0)
weight = rng.normal(size=(WIDTH, CHANNELS), scale=0.001).astype(np.float32)
weight[:, 2] = 0
rows = [rng.uniform(-100, 100, (8, WIDTH)).astype(np.float32) for _ in range(8)]


class Rows(CalibrationDataReader):
    """The rows, one batch at a time."""

    def __init__(self):
        self.rows = iter([{"x": row} for row in rows])

    def get_next(self):
        return next(self.rows, None)


graph = helper.make_graph(
    [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", T.FLOAT, ["n", WIDTH])],
    [helper.make_tensor_value_info("y", T.FLOAT, ["n", CHANNELS])],
    [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.full(CHANNELS, BIAS, np.float32), "b"),
    ],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(made)
onnx.save(made, "float.onnx")
quantize_static(
    "float.onnx", "int8.onnx", Rows(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
)
values = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load("int8.onnx").graph.initializer}
stored = values["b_quantized"].astype(np.float64) * values["b_quantized_scale"]
print(f"scale of the weights  {values['w_scale'].round(8).tolist()}")
print(f"step of the biases    {values['b_quantized_scale'].round(8).tolist()}")
print(f"codes of the biases   {values['b_quantized'].tolist()}")
print(f"biases as stored      {stored.round(5).tolist()}")
outputs = [
    ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": rows[0]})[0][:, 2]
    for path in ("float.onnx", "int8.onnx")
]
step = values["y_scale"]
print(f"channel 2: float {outputs[0][0]:.3f}, INT8 {outputs[1][0]:.3f}; a step of the output is {step:.3f}")
living = np.abs(stored - BIAS)[[0, 1, 3]].max() < 1e-3
raise SystemExit(0 if living and stored[2] == 0 and abs(outputs[1][0]) < 0.02 else "the behaviour is no longer so")
PYTHON

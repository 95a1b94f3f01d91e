#!/usr/bin/env bash
# ONNX Runtime: quantize_static's default, signed activations, leaves products float where they share an input.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, sympy 1.14.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: S8S8 Q/DQ, the default, runs in INT8; signed and unsigned activations differ by a few percent.
# Seen: of three products with one input (query, key, value) none is fused: all three run as float MatMul over weights
# that are dequantized in each run. With unsigned activations, all three are QLinearMatMul. And where signed codes do
# reach the integer kernel, it is many times slower (about 20 here) than with unsigned ones, for the same sums.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: query, key and value run in INT8 for either sign of the activations, about equally fast
#   activation_type default  runs as {'MatMul': 3}
#   activation_type QUInt8   runs as {'QLinearMatMul': 3}
#   MatMulInteger 128x384x1536, one thread: U8 x S8 0.44 ms, S8 x S8 6.89 ms
#   the sums are equal: True
#
# Matters to: everybody who quantizes a transformer for x86 with onnxruntime.quantization: pass
# activation_type=QuantType.QUInt8.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import collections
import logging
import statistics
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

logging.disable(logging.CRITICAL)
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
print("guess: query, key and value run in INT8 for either sign of the activations, about equally fast")
rng = np.random.default_rng(0)
WIDTH = 64


def save(path, nodes, inputs, outputs, values):
    """Write a checked model of opset 21."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, path)


class Rows(CalibrationDataReader):
    """Four batches of two texts of eight tokens."""

    def __init__(self):
        self.rows = iter([{"x": rng.normal(size=(2, 8, WIDTH)).astype(np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.rows, None)


weights = {name: rng.normal(size=(WIDTH, WIDTH), scale=0.1).astype(np.float32) for name in ("query", "key", "value")}
save(
    "float.onnx",
    [
        helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["hidden"], axis=-1),
        *(helper.make_node("MatMul", ["hidden", name], [f"{name}_out"]) for name in weights),
    ],
    [("x", T.FLOAT, ["b", "s", WIDTH])],
    [(f"{name}_out", T.FLOAT, ["b", "s", WIDTH]) for name in weights],
    weights | {"gamma": np.ones(WIDTH, np.float32), "beta": np.zeros(WIDTH, np.float32)},
)
products = {}
for name, chosen in (("default", {}), ("QUInt8", {"activation_type": QuantType.QUInt8})):
    quantize_static("float.onnx", "int8.onnx", Rows(), per_channel=True, **chosen)
    options = ort.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, "optimized.onnx"
    ort.InferenceSession("int8.onnx", options, providers=["CPUExecutionProvider"])
    kinds = collections.Counter(node.op_type for node in onnx.load("optimized.onnx").graph.node)
    products[name] = {kind: count for kind, count in kinds.items() if "MatMul" in kind}
    print(f"activation_type {name:8} runs as {products[name]}")

sessions, codes = {}, rng.integers(0, 127, (128, 384))
for name, dtype, kind in (("U8 x S8", np.uint8, T.UINT8), ("S8 x S8", np.int8, T.INT8)):
    save(
        "integer.onnx",
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        [("a", kind, [128, 384])],
        [("y", T.INT32, [128, 1536])],
        {"w": np.random.default_rng(1).integers(-127, 127, (384, 1536)).astype(np.int8)},
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions[name] = ort.InferenceSession("integer.onnx", options), {"a": codes.astype(dtype)}
times = {name: [] for name in sessions}
for _ in range(20):
    for name, (session, feed) in sessions.items():
        start = time.process_time()
        session.run(None, feed)
        times[name].append(time.process_time() - start)
median = {name: 1e3 * statistics.median(values) for name, values in times.items()}
results = [session.run(None, feed)[0] for session, feed in sessions.values()]
print("MatMulInteger 128x384x1536, one thread:", ", ".join(f"{name} {value:.2f} ms" for name, value in median.items()))
print(f"the sums are equal: {np.array_equal(*results)}")
same = products == {"default": {"MatMul": 3}, "QUInt8": {"QLinearMatMul": 3}}
same = same and median["S8 x S8"] > 3 * median["U8 x S8"]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

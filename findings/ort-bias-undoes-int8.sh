#!/usr/bin/env bash
# ONNX Runtime: a bias behind a Q/DQ product of rank 2 turns it back into a float product.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a MatMul between QuantizeLinear/DequantizeLinear pairs runs in INT8, whether a bias is added or not.
# Seen: without bias it becomes MatMulIntegerToFloat. With one, MatMulAddFusion comes first and makes a Gemm, which no
# INT8 rule matches when the output is float; its weights are dequantized in every run, so that it is slower than the
# float model. Where all sizes of a rank 3 input are fixed and its codes are signed, the session is not even created.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: QuantizeLinear/DequantizeLinear around MatMul runs in INT8, whether a bias is added or not
#   float, bias                        runs as Gemm                   1.00 times the speed of float
#   Q/DQ, no bias                      runs as MatMulIntegerToFloat   4.38 times the speed of float
#   Q/DQ, bias                         runs as Gemm                   0.69 times the speed of float
#   the same without MatMulAddFusion   runs as MatMulIntegerToFloat   3.27 times the speed of float
#   rank 3, all sizes fixed, bias, uint8 activations: loads
#   rank 3, all sizes fixed, bias, int8 activations: Node (gemm_input_reshape_arg_q) Op (QuantizeLinear) [TypeInferenceE
#
# Matters to: whoever quantizes poolers and classifiers (rank 2), and exports with fixed shapes.
# disabled_optimizers=["MatMulAddFusion"] is a cure, an output that is quantized as well another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import statistics
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
print("guess: QuantizeLinear/DequantizeLinear around MatMul runs in INT8, whether a bias is added or not")
ROWS, K, N = 128, 384, 1536
rng = np.random.default_rng(0)
WEIGHT = rng.normal(size=(K, N), scale=0.05).astype(np.float32)
CODES = np.clip(np.rint(WEIGHT / 0.002), -127, 127).astype(np.int8)


def model(shape, kind, *, quantized, bias):
    """Return bytes of y = x @ W (+ b), with Q/DQ of x (codes of type `kind`) and DQ of W if quantized."""
    values = {"W": CODES if quantized else WEIGHT, "b": np.ones(N, np.float32)}
    nodes, x, w = [], "x", "W"
    if quantized:
        values |= {"xs": np.float32(0.03), "xz": kind(128 if kind == np.uint8 else 0), "ws": np.float32(0.002)}
        values |= {"wz": np.int8(0)}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            helper.make_node("DequantizeLinear", ["W", "ws", "wz"], ["wd"]),
        ]
        x, w = "xd", "wd"
    nodes.append(helper.make_node("MatMul", [x, w], ["y0" if bias else "y"]))
    if bias:
        nodes.append(helper.make_node("Add", ["y0", "b"], ["y"]))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", T.FLOAT, [*shape, K])],
        [helper.make_tensor_value_info("y", T.FLOAT, [*shape, N])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items() if name in used],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def session(data, without=()):
    """Return a session of one thread and the names of the products that run, after all optimizations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.optimized_model_filepath = "optimized.onnx"
    made = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"], disabled_optimizers=[*without])
    names = [node.op_type for node in onnx.load("optimized.onnx").graph.node]
    return made, [name for name in names if name in ("Gemm", "MatMul", "FusedMatMul", "MatMulIntegerToFloat")]


forms = {
    "float, bias": session(model(["n"], np.uint8, quantized=False, bias=True)),
    "Q/DQ, no bias": session(model(["n"], np.uint8, quantized=True, bias=False)),
    "Q/DQ, bias": session(model(["n"], np.uint8, quantized=True, bias=True)),
    "the same without MatMulAddFusion": session(model(["n"], np.uint8, quantized=True, bias=True), ["MatMulAddFusion"]),
}
feed = {"x": rng.normal(size=(ROWS, K)).astype(np.float32)}
times = {name: [] for name in forms}
for _ in range(40):
    for name, (engine, _) in forms.items():
        start = time.process_time()
        for _ in range(3):
            engine.run(None, feed)
        times[name].append(time.process_time() - start)
for name, (_, products) in forms.items():
    ratio = statistics.median(a / b for a, b in zip(times["float, bias"], times[name], strict=True))
    print(f"{name:34} runs as {', '.join(products):22} {ratio:.2f} times the speed of float")
refusals = {}
for kind in (np.uint8, np.int8):
    try:
        session(model([2, 64], kind, quantized=True, bias=True))
        refusals[kind] = "loads"
    except Exception as error:
        refusals[kind] = str(error).split(":")[-1].strip()[:110]
    print(f"rank 3, all sizes fixed, bias, {kind.__name__} activations: {refusals[kind]}")
found = [products for _, products in forms.values()]
same = found[1:] == [["MatMulIntegerToFloat"], ["Gemm"], ["MatMulIntegerToFloat"]]
same = same and refusals[np.uint8] == "loads" and refusals[np.int8] != "loads"
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# ONNX Runtime: Q/DQ products that are fused into integer operators which compute something else, or refuse.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI and AMX.
# Expected: an optimized graph answers what the file says, or the pattern is left alone.
# Seen: weights with a scale per input channel (axis 0 of [in, out]) are taken for weights with one per output channel
# where the matrix is square, and refused at run time where it is not; a scale per block and activations with a scale
# per channel are refused at run time. An INT32 bias whose scale is not that of the activations times that of the
# weights is added as if it were. With optimizations off all of them run and agree with the definition.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: with and without optimizations a Q/DQ model answers the same
#   MatMul, scale per output channel, square    as MatMulIntegerToFloat: off by 0.00 of the largest answer
#   MatMul, scale per input channel, square     as MatMulIntegerToFloat: off by 0.58 of the largest answer
#   MatMul, scale per input channel             as MatMulIntegerToFloat: refused at run time
#   MatMul, scale per block                     as MatMulIntegerToFloat: refused at run time
#   MatMul, activations with scale per channel  as MatMulIntegerToFloat: refused at run time
#   Gemm, INT32 bias of the two scales          as QGemm: off by 0.00 of the largest answer
#   Gemm, INT32 bias of another scale           as QGemm: off by 0.57 of the largest answer
#
# Matters to: whoever writes Q/DQ himself, or with a tool that allows other axes. quantize_static writes none of these.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
print("guess: with and without optimizations a Q/DQ model answers the same")
K = 16
rng = np.random.default_rng(0)
DQ, FUSED = "DequantizeLinear", ("MatMulIntegerToFloat", "QGemm")


def model(n=8, *, x_scale=np.float32(0.05), w_scale=np.float32(0.01), bias_scale=None, **weight_attributes):
    """Return bytes of y = x @ W (+ b) with Q/DQ of x and DQ of W and b."""
    values = {"xs": x_scale, "xz": np.full(np.shape(x_scale), 128, np.uint8), "ws": w_scale}
    values |= {"W": rng.integers(-100, 100, (K, n)).astype(np.int8), "wz": np.zeros(np.shape(w_scale), np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], axis=1),
        helper.make_node(DQ, ["xq", "xs", "xz"], ["xd"], axis=1),
        helper.make_node(DQ, ["W", "ws", "wz"], ["wd"], **weight_attributes),
    ]
    if bias_scale is None:
        nodes.append(helper.make_node("MatMul", ["xd", "wd"], ["y"]))
    else:
        values |= {"b": np.full(n, 1000, np.int32), "bs": np.float32(bias_scale)}
        nodes += [helper.make_node(DQ, ["b", "bs"], ["bd"]), helper.make_node("Gemm", ["xd", "wd", "bd"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", T.FLOAT, ["n", K])],
        [helper.make_tensor_value_info("y", T.FLOAT, ["n", n])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def answer(data, *, optimized):
    """Return the output, or None where the run is refused."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if optimized:
        options.optimized_model_filepath = "optimized.onnx"
    else:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    try:
        return session.run(None, {"x": x})[0]
    except Exception:
        return None


x = rng.normal(size=(4, K)).astype(np.float32)
many = np.linspace(0.001, 0.02, K).astype(np.float32)
forms = {
    "MatMul, scale per output channel, square": (model(K, w_scale=many, axis=1), "right"),
    "MatMul, scale per input channel, square": (model(K, w_scale=many, axis=0), "wrong"),
    "MatMul, scale per input channel": (model(w_scale=many, axis=0), "refused"),
    "MatMul, scale per block": (model(w_scale=np.full((2, 8), 0.01, np.float32), axis=0, block_size=8), "refused"),
    "MatMul, activations with scale per channel": (model(x_scale=many * 5), "refused"),
    "Gemm, INT32 bias of the two scales": (model(bias_scale=0.0005), "right"),
    "Gemm, INT32 bias of another scale": (model(bias_scale=0.007), "wrong"),
}
same = True
for name, (data, expected) in forms.items():
    plain, fused = answer(data, optimized=False), answer(data, optimized=True)
    (kind,) = [node.op_type for node in onnx.load("optimized.onnx").graph.node if node.op_type in FUSED]
    off = None if fused is None else float(np.abs(fused - plain).max() / np.abs(plain).max())
    print(f"{name:43} as {kind}:", "refused at run time" if off is None else f"off by {off:.2f} of the largest answer")
    same = same and expected == ("refused" if off is None else "wrong" if off > 0.1 else "right")
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# FP8 beyond its range: what becomes of 500 in E4M3, and of infinity, hangs on the library and on the operator.
#
# Versions: torch 2.13.0, ml_dtypes 0.6.0, onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: torch's cast does not saturate, as ml_dtypes' does not: E4M3 gives NaN above 464, E5M2 infinity
# above 61440. ONNX's Cast and QuantizeLinear saturate, as the standard's default says, and with saturate=0 they are
# ml_dtypes. NaN stays NaN everywhere.
# Seen: torch saturates E4M3, infinity included, and not E5M2. OpenVINO's Cast never saturates, whatever the attribute
# says, and its QuantizeLinear makes NaN the smallest number. With saturate=0, ONNX Runtime makes NaN of 464 to 480
# and 448 of 480 to 496, and NaN of what is infinity in E5M2. OpenVINO also rounds as if by way of half precision:
# of random numbers some go to the other neighbour.
#
#   torch 2.13.0, ml_dtypes 0.6.0, onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: torch is ml_dtypes; saturated Cast and QuantizeLinear end at the largest number; NaN stays NaN
#   E4M3                               448    470    485    500    inf    nan
#     ml_dtypes                        448    nan    nan    nan    nan    nan
#     torch                            448    448    448    448    448    nan
#     onnxruntime, QuantizeLinear      448    448    448    448    448    nan
#     reference, QuantizeLinear        448    448    448    448    448    nan
#     openvino, QuantizeLinear         448    448    448    448    448   -448
#     onnxruntime, Cast                448    448    448    448    448    nan
#     reference, Cast                  448    448    448    448    448    nan
#     openvino, Cast                   448    nan    nan    nan    nan    nan
#     onnxruntime, Cast, saturate=0    448    nan    448    nan    nan    nan
#     reference, Cast, saturate=0      448    nan    nan    nan    nan    nan
#     openvino, Cast, saturate=0       448    nan    nan    nan    nan    nan
#     of 60000 numbers within the range, other than ml_dtypes: torch 0, onnxruntime, Cast 0, openvino, Cast 168
#   E5M2                             57344  61439  63000  70000    inf    nan
#     ml_dtypes                      57344  57344    inf    inf    inf    nan
#     torch                          57344  57344    inf    inf    inf    nan
#     onnxruntime, QuantizeLinear    57344  57344  57344  57344  57344    nan
#     reference, QuantizeLinear      57344  57344  57344  57344  57344    nan
#     openvino, QuantizeLinear       57344  57344  57344  57344  57344 -57344
#     onnxruntime, Cast              57344  57344  57344  57344  57344    nan
#     reference, Cast                57344  57344  57344  57344  57344    nan
#     openvino, Cast                 57344    inf    inf    inf    inf    nan
#     onnxruntime, Cast, saturate=0  57344  57344    nan    inf    inf    nan
#     reference, Cast, saturate=0    57344  57344    inf    inf    inf    nan
#     openvino, Cast, saturate=0     57344    inf    inf    inf    inf    nan
#     of 60000 numbers within the range, other than ml_dtypes: torch 0, onnxruntime, Cast 0, openvino, Cast 112
#
# Matters to: whoever compares an FP8 engine with a simulation in torch or ml_dtypes: an overflow that training or a
# calibration would show as NaN is a plain 448 in torch. Clamp before the cast, with numbers of your own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 ml_dtypes==0.6.0 \
  onnxruntime==1.32.0 onnx==1.23.2 openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import torch
from onnx import TensorProto as T
from onnx import helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore")
print(f"torch {torch.__version__.split('+')[0]}, ml_dtypes {ml_dtypes.__version__}", end=", ")
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: torch is ml_dtypes; saturated Cast and QuantizeLinear end at the largest number; NaN stays NaN")
core = ov.Core()
KINDS = {
    "E4M3": (T.FLOAT8E4M3FN, torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
    "E5M2": (T.FLOAT8E5M2, torch.float8_e5m2, ml_dtypes.float8_e5m2),
}
RUNTIMES = {
    "onnxruntime": lambda m, x: ort.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0],
    "reference": lambda m, x: ReferenceEvaluator(onnx.load(m)).run(None, {"x": x})[0],
    "openvino": lambda m, x: core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0],
}
OPERATORS = {"QuantizeLinear": None, "Cast": {}, "Cast, saturate=0": {"saturate": 0}}


def write(kind, attributes, size):
    """Write a checked model that brings x to FP8 and back, by QuantizeLinear if there are no attributes."""
    if attributes is None:
        first = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["c"])
        constants = [helper.make_tensor("s", T.FLOAT, [], [1.0]), helper.make_tensor("z", kind, [], [0.0])]
    else:
        first, constants = helper.make_node("Cast", ["x"], ["c"], to=kind, **attributes), []
    graph = helper.make_graph(
        [first, helper.make_node("Cast", ["c"], ["y"], to=T.FLOAT)],
        "g",
        [helper.make_tensor_value_info("x", T.FLOAT, [size])],
        [helper.make_tensor_value_info("y", T.FLOAT, [size])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, "m.onnx")


def answers(name, x):
    """Yield each library's way and its numbers."""
    kind, of_torch, of_numpy = KINDS[name]
    yield "ml_dtypes", x.astype(of_numpy).astype(np.float32)
    yield "torch", torch.from_numpy(x).to(of_torch).float().numpy()
    for operator, attributes in OPERATORS.items():
        write(kind, attributes, len(x))
        for runtime, run in RUNTIMES.items():
            yield f"{runtime}, {operator}", np.asarray(run("m.onnx", x))


VALUES = {"E4M3": [448, 470, 485, 500, np.inf, np.nan], "E5M2": [57344, 61439, 63000, 70000, np.inf, np.nan]}
seen, wrong = {}, {}
random = np.random.default_rng(0).normal(size=60000) * np.repeat([1e-3, 1, 50], 20000)
for name, values in VALUES.items():
    print(f"{name:31}", *(f"{value:6g}" for value in values))
    for way, y in answers(name, np.array(values, np.float32)):
        seen[name, way] = y.tolist()
        print(f"  {way:29}", *(f"{value:6g}" for value in y))
    numbers = dict(answers(name, random.astype(np.float32)))
    wrong[name] = {way: int((y != numbers["ml_dtypes"]).sum()) for way, y in numbers.items()}
    others = ", ".join(f"{way} {wrong[name][way]}" for way in ("torch", "onnxruntime, Cast", "openvino, Cast"))
    print(f"  of {random.size} numbers within the range, other than ml_dtypes: {others}")
top, nan, inf = 448.0, float("nan"), float("inf")
known = {
    ("E4M3", "torch"): [top, top, top, top, top, nan],
    ("E4M3", "openvino, Cast"): [top, nan, nan, nan, nan, nan],
    ("E4M3", "openvino, QuantizeLinear"): [top, top, top, top, top, -top],
    ("E4M3", "onnxruntime, Cast, saturate=0"): [top, nan, top, nan, nan, nan],
    ("E5M2", "torch"): [57344.0, 57344.0, inf, inf, inf, nan],
    ("E5M2", "onnxruntime, Cast, saturate=0"): [57344.0, 57344.0, nan, inf, inf, nan],
}
same = all(str(seen[which]) == str(values) for which, values in known.items())
same = same and all(count["openvino, Cast"] > 50 and count["torch"] == 0 for count in wrong.values())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

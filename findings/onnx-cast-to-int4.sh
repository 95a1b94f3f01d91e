#!/usr/bin/env bash
# ONNX's Cast to INT4: ONNX Runtime rounds, the reference cuts off, OpenVINO does neither of what INT4 asks for.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: Cast to INT4 cuts off the fraction, as Cast to INT8 does in the same runtime; three runtimes agree
# between -8 and 7, and differ beyond at most.
# Seen: ONNX Runtime rounds to the nearest, halves away from zero, for INT4 and UINT4 alone; its INT8 is cut off. The
# reference cuts off. OpenVINO rounds as well, and keeps numbers that INT4 cannot hold. QuantizeLinear is the same in
# all three: halves to even, saturated.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1
#   guess: Cast cuts off the fraction in every column and for every type
#   x                                  -7.5  -1.7  -0.5   0.5   1.5   2.5   6.9    20
#   Cast           to INT8  onnxruntime     -7    -1     0     0     1     2     6    20
#   Cast           to INT8  reference       -7    -1     0     0     1     2     6    20
#   Cast           to INT8  openvino        -7    -1     0     0     1     2     6    20
#   Cast           to INT4  onnxruntime     -8    -2    -1     1     2     3     7     4
#   Cast           to INT4  reference       -7    -1     0     0     1     2     6     4
#   Cast           to INT4  openvino        -8    -2    -1     1     2     3     7    20
#   QuantizeLinear to INT4  onnxruntime     -8    -2     0     0     2     2     7     7
#   QuantizeLinear to INT4  reference       -8    -2     0     0     2     2     7     7
#   QuantizeLinear to INT4  openvino        -8    -2     0     0     2     2     7     7
#
# Matters to: whoever packs INT4 weights with Cast, or counts on truncation of codes that were shifted by a half.
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
from onnx import helper
from onnx.reference import ReferenceEvaluator

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: Cast cuts off the fraction in every column and for every type")
core = ov.Core()
x = np.array([-7.5, -1.7, -0.5, 0.5, 1.5, 2.5, 6.9, 20], np.float32)
NAMES = ("onnxruntime", "reference", "openvino")


def runs(first, kind):
    """Return x through one operator and back to float, from each runtime."""
    scale = helper.make_tensor("s", T.FLOAT, [], [1.0])
    zero = helper.make_tensor("z", kind, [], [0])
    cast = first == "Cast"
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=kind) if cast else helper.make_node(first, ["x", "s", "z"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=T.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", T.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", T.FLOAT, x.shape)],
        [] if cast else [scale, zero],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, "m.onnx")
    yield ort.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    yield ReferenceEvaluator(made).run(None, {"x": x})[0]
    yield core.compile_model("m.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


print(f"{'x':33}", *(f"{value:5g}" for value in x))
seen = {}
for first, kind, name in (("Cast", T.INT8, "INT8"), ("Cast", T.INT4, "INT4"), ("QuantizeLinear", T.INT4, "INT4")):
    for runtime, y in zip(NAMES, runs(first, kind), strict=True):
        seen[first, name, runtime] = np.asarray(y)
        print(f"{first:14} to {name}  {runtime:11} ", *(f"{value + 0.0:5g}" for value in y))
inside = abs(x) < 8
cut = np.trunc(x[inside])
bytes_cut = all((seen["Cast", "INT8", name][inside] == cut).all() for name in NAMES)
differ = {name: bool((seen["Cast", "INT4", name][inside] != cut).any()) for name in NAMES}
quantized = all((seen["QuantizeLinear", "INT4", name] == np.clip(np.rint(x), -8, 7)).all() for name in NAMES)
same = bytes_cut and differ == {"onnxruntime": True, "reference": False, "openvino": True} and quantized
same = same and seen["Cast", "INT4", "openvino"].max() == 20
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# onnx: version_converter changes what Resize, Upsample, Hardmax and Softmax compute, and says nothing.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a converted model gives the same answers, or the conversion is refused; for most operators whose meaning
# changed there is an adapter or the error "No Adapter".
# Seen: Softmax and LogSoftmax from opset 13 down to 12 keep an axis that is not the last, where opset 12 goes over all
# axes behind it too; Hardmax from 12 up to 13 is left as it is, with the change the other way round (Softmax in this
# direction has an adapter, and is right); Resize of opset 10 and Upsample of opset 9, whose coordinates are
# asymmetric, become Resize of opset 11 with half_pixel, its default. All results pass the checker.
#
#   onnx 1.23.2, onnxruntime 1.32.0
#   guess: 0.00 in all lines, or an error
#   Softmax,    axis 1 of 3     13 to 12: largest difference 0.55
#   Softmax,    axis 1 of 3     12 to 13: largest difference 0.00
#   Hardmax,    axis 1 of 3     12 to 13: largest difference 1.00
#   Resize,     linear, twice   10 to 11: largest difference 1.00
#   Upsample,   linear, twice    9 to 11: largest difference 0.84
#
# Matters to: whoever lifts an old model to a newer opset, which quantizers ask for (13 for scales per channel), or
# takes one down for an old runtime.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, version_converter

print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
print("guess: 0.00 in all lines, or an error")
onnxruntime.set_default_logger_severity(3)
rng = np.random.default_rng(0)
TWICE = {"scales": np.array([1, 1, 2, 2], np.float32)}
CASES = [
    ("Softmax", "axis 1 of 3", {"axis": 1}, (2, 3, 4), {}, 13, 12),
    ("Softmax", "axis 1 of 3", {"axis": 1}, (2, 3, 4), {}, 12, 13),
    ("Hardmax", "axis 1 of 3", {"axis": 1}, (2, 3, 4), {}, 12, 13),
    ("Resize", "linear, twice", {"mode": "linear"}, (1, 1, 3, 4), TWICE, 10, 11),
    ("Upsample", "linear, twice", {"mode": "linear"}, (1, 1, 3, 4), TWICE, 9, 11),
]


def answer(model, x):
    """Return what ONNX Runtime makes of x."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


found = []
for operator, words, attributes, shape, constants, before, after in CASES:
    x = rng.normal(size=shape).astype(np.float32)
    y_shape = [size * (2 if constants and axis > 1 else 1) for axis, size in enumerate(shape)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *constants], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, y_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", before)], ir_version=7)
    onnx.checker.check_model(model)
    converted = version_converter.convert_version(model, after)
    onnx.checker.check_model(converted)
    found.append(float(np.abs(answer(model, x) - answer(converted, x)).max()))
    print(f"{operator + ',':11} {words:14}  {before:2} to {after}: largest difference {found[-1]:.2f}")
same = found[1] < 1e-6 and all(difference > 0.1 for difference in (found[0], *found[2:]))
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

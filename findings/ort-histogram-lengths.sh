#!/usr/bin/env bash
# ONNX Runtime: entropy and percentile calibration fail on texts of different lengths; min-max does not.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, sympy 1.14.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: every calibration method takes batches whose last one is shorter or whose texts have other lengths, as the
# model itself does.
# Seen: MinMax works. Entropy, Percentile and Distribution raise ValueError (inhomogeneous shape), because the values
# of all batches are put into one array before they are counted.
#
#   onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6
#   guess: all methods calibrate on texts of 3, 5 and 9 tokens
#   MinMax       one length       works
#   MinMax       lengths 3, 5, 9  works
#   Entropy      one length       works
#   Entropy      lengths 3, 5, 9  ValueError: setting an array element with a sequence. The requested array has...
#   Percentile   one length       works
#   Percentile   lengths 3, 5, 9  ValueError: setting an array element with a sequence. The requested array has...
#   Distribution one length       works
#   Distribution lengths 3, 5, 9  ValueError: setting an array element with a sequence. The requested array has...
#
# Matters to: whoever calibrates an encoder with real texts: pad all to one length (the padding then counts in the
# histogram) or give each batch one shape.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import contextlib
import io
import logging

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static

logging.disable(logging.CRITICAL)
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
print("guess: all methods calibrate on texts of 3, 5 and 9 tokens")
WIDTH = 16


class Rows(CalibrationDataReader):
    """Batches of two texts; each batch has another length."""

    def __init__(self, lengths):
        rng = np.random.default_rng(0)
        self.rows = iter([{"x": rng.normal(size=(2, length, WIDTH)).astype(np.float32)} for length in lengths])

    def get_next(self):
        return next(self.rows, None)


graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", T.FLOAT, ["batch", "length", WIDTH])],
    [helper.make_tensor_value_info("y", T.FLOAT, ["batch", "length", WIDTH])],
    [numpy_helper.from_array(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)).astype(np.float32), "w")],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(made)
onnx.save(made, "float.onnx")
seen = {}
for method in CalibrationMethod:
    for name, lengths in (("one length", (5, 5, 5)), ("lengths 3, 5, 9", (3, 5, 9))):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                quantize_static("float.onnx", "int8.onnx", Rows(lengths), calibrate_method=method)
            seen[method.name, name] = "works"
        except ValueError as error:
            seen[method.name, name] = f"ValueError: {str(error)[:65]}..."
        print(f"{method.name:12} {name:16} {seen[method.name, name]}")
wrong = {name for (name, rows), text in seen.items() if text != "works" and rows != "one length"}
even = all(text == "works" for (_, rows), text in seen.items() if rows == "one length")
same = even and wrong == {"Entropy", "Percentile", "Distribution"}
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

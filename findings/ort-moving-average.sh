#!/usr/bin/env bash
# ONNX Runtime: the moving average of MinMax calibration is a plain mean; its constant acts only beside a stride.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: CalibMovingAverage=True moves the range by CalibMovingAverageConstant (0.01 where none is given) of the
# difference with each batch, as the option's text says and as torch's MovingAverageMinMaxObserver does.
# Seen: without CalibStridedMinMax it is the mean over all batches, whatever the constant. With a stride it is the mean
# of each so many batches, and an average by the constant over those: the range hangs on the stride as well, and a
# stride of the whole set is the plain mean again. One batch of a hundredfold range counts 12, 2 or 90.
#
#   onnxruntime 1.32.0
#   guess: 1.99 with the constant 0.01, 10.9 with 0.1 and 90.1 with 0.9, in every stride
#   nine batches from 0 to 1, the last one to 100; MinMax without an average: range 0 to 100.00
#   CalibStridedMinMax None  CalibMovingAverageConstant    0.01:  12.00    0.1:  12.00    0.9:  12.00
#   CalibStridedMinMax 1     CalibMovingAverageConstant    0.01:   1.99    0.1:  10.90    0.9:  90.10
#   CalibStridedMinMax 3     CalibMovingAverageConstant    0.01:   1.33    0.1:   4.30    0.9:  30.70
#   CalibStridedMinMax 9     CalibMovingAverageConstant    0.01:  12.00    0.1:  12.00    0.9:  12.00
#
# Matters to: whoever calibrates with moving averages against outliers, or tunes the constant.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging

logging.disable(logging.CRITICAL)

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

print(f"onnxruntime {ort.__version__}")
print("guess: 1.99 with the constant 0.01, 10.9 with 0.1 and 90.1 with 0.9, in every stride")
values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 4]) for name in "xy"]
weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weights])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "model.onnx")
PEAKS = [1.0] * 8 + [100.0]


class Batches(CalibrationDataReader):
    """Nine batches of one row from 0 to a peak; the last peak is 100, the others are 1."""

    def __init__(self):
        self.start_index, self.end_index = 0, len(PEAKS)
        self.rest = iter(PEAKS)

    def get_next(self):
        peak = next(self.rest, None)
        return None if peak is None else {"x": np.linspace(0, peak, 4, dtype=np.float32)[None]}

    def set_range(self, start_index, end_index):
        self.rest = iter(PEAKS[start_index:end_index])

    def __len__(self):
        return len(PEAKS)


def top(**options):
    """Return the largest number that the quantized model can hold of its input."""
    given = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "extra_options": options}
    quantize_static("model.onnx", "int8.onnx", Batches(), **given)
    model = onnx.load("int8.onnx")
    numbers = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return 255 * float(numbers["x_scale"])


plain = top()
print(f"nine batches from 0 to 1, the last one to 100; MinMax without an average: range 0 to {plain:.2f}")
seen = {}
for stride in (None, 1, 3, 9):
    for constant in (0.01, 0.1, 0.9):
        options = {"CalibMovingAverage": True, "CalibMovingAverageConstant": constant}
        if stride:
            options["CalibStridedMinMax"] = stride
        seen[stride, constant] = top(**options)
    line = "    ".join(f"{constant}: {seen[stride, constant]:6.2f}" for constant in (0.01, 0.1, 0.9))
    print(f"CalibStridedMinMax {stride!s:5} CalibMovingAverageConstant    {line}")
same = all(abs(seen[stride, constant] - 12) < 0.1 for stride in (None, 9) for constant in (0.01, 0.1, 0.9))
same = same and all(abs(seen[1, constant] - 1 - 99 * constant) < 0.1 for constant in (0.01, 0.1, 0.9))
raise SystemExit(0 if same and plain > 99 else "the behaviour is no longer so")
PYTHON

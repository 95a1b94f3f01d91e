#!/usr/bin/env bash
# NNCF: the range of an activation depends on how the calibration rows are grouped into batches.
#
# Versions: nncf 3.4.0, openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: nncf.quantize takes the smallest and the largest value seen in calibration (or a percentile of them), so
# the same hundred rows give the same range in any grouping.
# Seen: it takes the mean over the batches of each batch's smallest and largest value. One row of a hundred that is a
# hundred times larger gives a range of 2 with single rows, of 26 with batches of 25, and of 100 with one batch. What
# lies above is clipped.
#
#   nncf 3.4.0, openvino 2026.4.1
#   guess: -100..100 in each line, since the rows are the same
#   batches of 1    range    -1.97 ..   1.95
#   batches of 10   range   -10.88 ..  10.80
#   batches of 25   range   -25.70 ..  25.49
#   batches of 50   range   -50.38 ..  49.99
#   batches of 100  range   -99.76 ..  98.98
#
# Matters to: whoever calibrates encoders, whose activations have rare outliers, batch by batch of one: the batch size
# is a hidden quantization parameter. advanced_parameters can name the estimator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check nncf==3.4.0 openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import contextlib
import io
import logging

import nncf
import numpy as np
import openvino as ov
import openvino.opset13 as ops

logging.disable(logging.CRITICAL)
print(f"nncf {nncf.__version__}, openvino {ov.__version__.split('-')[0]}")
print("guess: -100..100 in each line, since the rows are the same")
WIDTH = 32
rng = np.random.default_rng(0)
rows = [rng.uniform(-1, 1, (1, WIDTH)).astype(np.float32) for _ in range(99)]
rows.append(rng.uniform(-100, 100, (1, WIDTH)).astype(np.float32))
weight = rng.normal(size=(WIDTH, 16)).astype(np.float32)
found = {}
for size in (1, 10, 25, 50, 100):
    batches = [np.concatenate(rows[start : start + size]) for start in range(0, 100, size)]
    x = ops.parameter([-1, WIDTH], np.float32, name="x")
    model = ov.Model([ops.relu(ops.matmul(x, ops.constant(weight), False, False))], [x], "linear")
    with contextlib.redirect_stdout(io.StringIO()):
        quantized = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    (node,) = (node for node in quantized.get_ordered_ops() if node.get_type_name() == "FakeQuantize")
    low, high = (float(node.input_value(place).get_node().get_data().ravel()[0]) for place in (1, 2))
    found[size] = high
    print(f"batches of {size:<4} range {low:8.2f} .. {high:6.2f}")
raise SystemExit(0 if found[1] < 3 and 20 < found[25] < 30 and found[100] > 95 else "the behaviour is no longer so")
PYTHON

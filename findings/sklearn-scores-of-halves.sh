#!/usr/bin/env bash
# scikit-learn: of predictions in FP16 r2_score is 1.0 and d2_absolute_error_score too good once there are many rows.
#
# Versions: scikit-learn 1.9.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: FP16 has three digits, so a measure of such predictions is right to two digits or more, at any
# number of rows.
# Seen: where the labels are a list, integers or FP16 as well, all is computed in FP16. D² compares with the median of
# the labels, and finds it by counting rows in FP16, where the count ends at 2048: the number it takes lies far below,
# and D² is too good from 3000 rows on, without a warning: 0.70 instead of 0.44 at 20000. The sum that R² divides by
# becomes infinite (numpy warns of an overflow): 1.0 for a model that has 0.62. With labels in FP32 or FP64 arrays both
# are right, and so are mean_squared_error and mean_absolute_error.
#
#   scikit-learn 1.9.1, numpy 2.4.6
#   guess: measures of predictions in FP16 are right to two digits, whatever the number of rows
#    1000 rows  r2          right 0.571, labels in a list 0.570, in FP64 0.571, 0 warnings
#    1000 rows  d2 absolute right 0.398, labels in a list 0.398, in FP64 0.398, 0 warnings
#    3000 rows  d2 absolute right 0.439, labels in a list 0.479, in FP64 0.439, 0 warnings
#    5000 rows  d2 absolute right 0.449, labels in a list 0.601, in FP64 0.449, 0 warnings
#   20000 rows  r2          right 0.623, labels in a list 0.623, in FP64 0.623, 0 warnings
#   20000 rows  d2 absolute right 0.441, labels in a list 0.699, in FP64 0.441, 0 warnings
#   50000 rows  r2          right 0.617, labels in a list 1.000, in FP64 0.617, 1 warnings
#   50000 rows  d2 absolute right 0.439, labels in a list 0.695, in FP64 0.439, 0 warnings
#   50000 rows  mse         right 0.801, labels in a list 0.801, in FP64 0.801, 0 warnings
#
# Matters to: whoever gates a similarity or rating model by R² or D² on what an engine in FP16 gives.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

import numpy as np
import sklearn
from sklearn import metrics

print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}")
print("guess: measures of predictions in FP16 are right to two digits, whatever the number of rows")
MEASURES = {
    "r2": metrics.r2_score,
    "d2 absolute": metrics.d2_absolute_error_score,
    "mse": metrics.mean_squared_error,
    "mae": metrics.mean_absolute_error,
}
rng = np.random.default_rng(0)
off = {}
for rows in (1000, 3000, 5000, 20000, 50000):
    labels = np.rint(rng.uniform(0, 5, rows) * 5) / 5
    halves = np.clip(labels + rng.normal(size=rows), 0, 5).astype(np.float16)
    for name, measure in MEASURES.items():
        right = measure(labels, halves.astype(np.float64))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            listed = measure(labels.tolist(), halves)
        arrays = measure(labels, halves)
        off[name, rows] = (abs(listed - right), abs(arrays - right))
        words = f"{rows:5} rows  {name:11} right {right:.3f}, labels in a list {listed:.3f}, in FP64 {arrays:.3f}"
        print(f"{words}, {len(said)} warnings")
listed = {key: seen[0] for key, seen in off.items()}
same = all(seen[1] < 0.002 for seen in off.values())
same = same and all(seen < 0.003 for (name, rows), seen in listed.items() if name in ("mse", "mae") or rows == 1000)
same = same and listed["d2 absolute", 5000] > 0.1 and listed["d2 absolute", 20000] > 0.1 and listed["r2", 50000] > 0.3
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

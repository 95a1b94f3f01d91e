#!/usr/bin/env bash
# scikit-learn: the log loss of the same probabilities hangs on their type, and sure mistakes cost least in float16.
#
# Versions: scikit-learn 1.9.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: probabilities that float16 holds exactly have one log loss, whatever the type of the array; a sure mistake
# is infinite, or costs the same in each; rounding to float16 moves the loss in the third digit at most.
# Seen: probabilities are clipped to eps and 1 - eps of the array's type. A sure mistake costs 36.0 in float64, 15.9 in
# float32 and 6.9 in float16, and sure right answers cost 0.001 in float16. A classifier's own answers have a loss that
# is lower by 28 % once they are written as float16.
#
#   scikit-learn 1.9.1, numpy 2.4.6
#   guess: each line has one number
#                                   float64  float32  float16
#   0.25 0.5 0.75, exact in all      0.6637   0.6637   0.6641
#   one sure mistake                36.0437  15.9424   6.9297
#   1000 sure, all right             0.0000   0.0000   0.0010
#   1000 sure, 20 wrong              0.7209   0.3188   0.1395
#   sigmoid, 5 % wrong               0.4608   0.4608   0.3335
#
# Matters to: whoever gates an engine by its log loss against the float model's: what is compared is the type. Cast both
# to one type first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import sklearn
from sklearn.metrics import log_loss

print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}")
print("guess: each line has one number")
TYPES = (np.float64, np.float32, np.float16)
truth = np.arange(1000) % 2
wrong = truth.copy()
wrong[:20] = 1 - wrong[:20]
# A classifier that is right in 19 of 20 cases and surer than it should be: logits in float32, as an engine has them.
rng = np.random.default_rng(0)
logits = (12 * np.where(rng.random(1000) < 0.95, 1, -0.8) * (2 * truth - 1)).astype(np.float32)
cases = {
    "0.25 0.5 0.75, exact in all": ([0, 1, 1, 0], np.array([0.25, 0.5, 0.75, 0.75])),
    "one sure mistake": ([0], np.array([1.0])),
    "1000 sure, all right": (truth, truth.astype(np.float64)),
    "1000 sure, 20 wrong": (truth, wrong.astype(np.float64)),
    "sigmoid, 5 % wrong": (truth, 1 / (1 + np.exp(-logits.astype(np.float64)))),
}
print(f"{'':30} " + " ".join(f"{kind.__name__:>8}" for kind in TYPES))
found = {}
for name, (labels, probabilities) in cases.items():
    found[name] = [float(log_loss(labels, probabilities.astype(kind), labels=[0, 1])) for kind in TYPES]
    print(f"{name:30} " + " ".join(f"{loss:8.4f}" for loss in found[name]))
one, right, some = found["one sure mistake"], found["1000 sure, all right"], found["1000 sure, 20 wrong"]
same = one[0] > 36 and 15 < one[1] < 17 and 6 < one[2] < 8 and right[1] < 1e-6 < 5e-4 < right[2]
same = same and some[0] > 2 * some[1] > 4 * some[2] and found["sigmoid, 5 % wrong"][2] < 0.4
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

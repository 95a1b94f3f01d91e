#!/usr/bin/env bash
# numpy: norm, var and std of FP16 rows with an outlier channel are infinite, where mean is right; histogram stops.
#
# Versions: numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: the norm and the standard deviation of numbers of FP16 are added up in float32, as the mean of the same
# numbers is (which the documentation says); histogram counts what it counts of the same numbers in float32.
# Seen: norm squares and adds in FP16: infinite from a norm of 256 on, for one vector and along an axis, and a vector
# divided by it is zeros, whose cosine with all others is 0. var and std, which take their mean in float32, square in
# FP16. histogram with 2048 bins, the usual number in calibration, raises a ValueError about the range of the data. All
# but that is a RuntimeWarning and a number.
#
#   numpy 2.4.6
#   guess: the second column is the first, within 0.1 %
#   4 rows of 768 numbers in FP16, of which one is 300
#   mean       float32    0.376   float16    0.376
#   std        float32   10.865   float16      inf
#   var        float32  118.051   float16      inf
#   norm       float32  301.275   float16      inf
#   a row divided by its norm: length 1.000 in float32, 0.000 in float16
#   histogram of 100000 numbers, 2048 bins: in float32 counted, in float16 Too many bins for data range
#
# Matters to: whoever normalizes embeddings of a model in FP16, or looks at its activations, with numpy; x.astype(
# np.float32) first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np

np.seterr(all="ignore")
print(f"numpy {np.__version__}")
print("guess: the second column is the first, within 0.1 %")
rng = np.random.default_rng(0)
halves = rng.normal(size=(4, 768)).astype(np.float16)
halves[:, 5] = 300
floats = halves.astype(np.float32)
print("4 rows of 768 numbers in FP16, of which one is 300")
MEASURES = {
    "mean": lambda rows: rows.mean(axis=1).max(),
    "std": np.std,
    "var": np.var,
    "norm": lambda rows: np.linalg.norm(rows[0]),
}
found = {}
for name, measure in MEASURES.items():
    found[name] = float(measure(floats)), float(measure(halves))
    print(f"{name:8}   float32 {found[name][0]:8.3f}   float16 {found[name][1]:8.3f}")


def unit(rows):
    """Return each row divided by its norm."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


lengths = [float(np.linalg.norm(unit(rows)[0].astype(np.float32))) for rows in (floats, halves)]
print(f"a row divided by its norm: length {lengths[0]:.3f} in float32, {lengths[1]:.3f} in float16")


def counted(values):
    """Say whether a histogram of 2048 bins has all values, or the error."""
    try:
        counts, _ = np.histogram(values, bins=2048)
    except ValueError as error:
        return str(error).partition(".")[0]
    return "counted" if counts.sum() == values.size else "not all counted"


many = rng.normal(size=100000).astype(np.float16)
told = [counted(many.astype(np.float32)), counted(many)]
print(f"histogram of 100000 numbers, 2048 bins: in float32 {told[0]}, in float16 {told[1]}")
same = np.isclose(*found["mean"], rtol=1e-3) and all(np.isinf(found[name][1]) for name in ("std", "var", "norm"))
same = same and lengths[0] > 0.99 and lengths[1] == 0 and told == ["counted", "Too many bins for data range"]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

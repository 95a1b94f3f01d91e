#!/usr/bin/env bash
# safetensors: save_file of numpy arrays writes the memory of a transposed array, so that other values are read back.
#
# Versions: safetensors 0.8.0 (and 0.7.0 beside it), numpy 2.4.6, ml_dtypes 0.6.0.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: what save_file takes is what load_file gives: an array that does not lie row by row is copied, as 0.7
# does, or refused, as safetensors.torch does. Types of ml_dtypes go in and out, as bfloat16 does.
# Seen: 0.8.0 takes the array's pointer and its shape and forgets its strides, silently. The text says that tensors
# have to be contiguous; numpy calls a transposed matrix contiguous too, and nothing checks it. Types of 8 bits raise
# an AttributeError, and one such tensor keeps load_file from reading all the others.
#
#   guess: each array is read back or refused, in both versions
#   safetensors 0.7.0
#   as it is              0 of 12 values differ, as read: [0 1 2 3]
#   transposed            0 of 12 values differ, as read: [0 4 8]
#   order F               0 of 12 values differ, as read: [0 1 2 3]
#   two of four columns   0 of 6 values differ, as read: [0 1]
#   bfloat16              read back
#   float8_e4m3fn         AttributeError: module 'numpy' has no attribute 'float8_e4m3fn'
#   safetensors 0.8.0
#   as it is              0 of 12 values differ, as read: [0 1 2 3]
#   transposed            10 of 12 values differ, as read: [0 1 2]
#   order F               10 of 12 values differ, as read: [0 4 8 1]
#   two of four columns   4 of 6 values differ, as read: [0 1]
#   bfloat16              read back
#   float8_e4m3fn         AttributeError: module 'numpy' has no attribute 'float8_e4m3fn'
#
# Matters to: whoever saves with numpy what came from a transpose, scikit-learn's PCA, a Fortran routine or a slice of
# columns (weights of TensorFlow and ONNX are often transposed on the way): np.ascontiguousarray goes before save_file.
# And to whoever opens an FP8 checkpoint without torch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.6.0
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target before safetensors==0.7.0
cat > layouts.py <<'PYTHON'
import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

rows = np.arange(12, dtype=np.float32).reshape(3, 4)
arrays = {
    "as it is": rows,
    "transposed": rows.T,
    "order F": np.asfortranarray(rows),
    "two of four columns": rows[:, :2],
}
print(f"safetensors {safetensors.__version__}")
for name, array in arrays.items():
    save_file({"x": array}, "x.safetensors")
    loaded = load_file("x.safetensors")["x"]
    print(f"{name:21} {int((loaded != array).sum())} of {array.size} values differ, as read: {loaded[0].astype(int)}")
for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
    try:
        save_file({"x": rows.astype(kind)}, "x.safetensors")
        outcome = "read back" if (load_file("x.safetensors")["x"] == rows.astype(kind)).all() else "other values"
    except AttributeError as error:
        outcome = f"AttributeError: {error}"
    print(f"{kind.__name__:21} {outcome}")
PYTHON
echo "guess: each array is read back or refused, in both versions"
PYTHONPATH=before venv/bin/python layouts.py | tee old
venv/bin/python layouts.py | tee new
if grep -q "^safetensors 0.7.0" old && ! grep -q "[1-9][0-9]* of .* differ" old &&
  [ "$(grep -c "[1-9][0-9]* of .* differ" new)" = 3 ] && grep -q "^float8_e4m3fn .*AttributeError" new; then
  exit 0
fi
echo "the behaviour is no longer so" >&2
exit 1

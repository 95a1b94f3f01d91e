#!/usr/bin/env bash
# ml_dtypes: sums, means and products of numpy arrays stay in the small type: a mean of ones is 0.26, INT4 wraps around.
#
# Versions: ml_dtypes 0.6.0, numpy 2.4.6, safetensors 0.8.0.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: numpy adds these types as it adds its own: int8 in int64, float16's mean in float32; q * q and
# q - zero_point of INT4 are wider or an error, as four bits have no room for them.
# Seen: sum, mean and std are accumulated in the type itself. BF16 stops at 256, E4M3 at 16, E2M1 at 4; INT4 is added,
# multiplied and subtracted modulo 16. matmul of BF16 and FP8 is computed in float32 and right, and so is what is called
# with dtype=np.float32. What safetensors.numpy loads of a BF16 checkpoint is such an array.
#
#   ml_dtypes 0.6.0, numpy 2.4.6, safetensors 0.8.0
#   guess: a mean of 1000 ones is 1 in every type, and a sum 1000
#   1000 ones         float16  mean 1         sum 1000   ones @ ones 1000
#   1000 ones        bfloat16  mean 0.255859  sum 256    ones @ ones 1000
#   1000 ones   float8_e4m3fn  mean 0.015625  sum 16     ones @ ones 1000
#   1000 ones   float4_e2m1fn  mean 0         sum 4      ones @ ones 1000
#   7 7 7 1              int8  mean 5.5  sum 22  times itself 49 49 49 1  minus 8 of its type -1 -1 -1 -7
#   7 7 7 1             uint4  mean 1    sum 6   times itself 1 1 1 1     minus 8 of its type 15 15 15 9
#   standard deviation of a weight of 768 x 768, drawn with 0.02, loaded from a BF16 file: 0.0019, as float32 0.0200
#
# Matters to: whoever looks at checkpoints and codes with numpy: ranges, scales, means over channels, dequantization.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check ml_dtypes==0.6.0 numpy==2.4.6 safetensors==0.8.0
venv/bin/python - <<'PYTHON'
import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print(f"ml_dtypes {ml_dtypes.__version__}, numpy {np.__version__}, safetensors {safetensors.__version__}")
print("guess: a mean of 1000 ones is 1 in every type, and a sum 1000")
means = {}
for name in ("float16", "bfloat16", "float8_e4m3fn", "float4_e2m1fn"):
    ones = np.ones(1000).astype(np.float16 if name == "float16" else getattr(ml_dtypes, name))
    means[name] = float(ones.mean())
    numbers = f"mean {means[name]:<9g} sum {float(ones.sum()):<6g} ones @ ones {float(ones @ ones):g}"
    print(f"1000 ones {name:>15}  {numbers}")
    assert float(ones.mean(dtype=np.float32)) == 1
results = {}
for name, kind in (("int8", np.int8), ("uint4", ml_dtypes.uint4)):
    codes, zero = np.array([7, 7, 7, 1], np.int8).astype(kind), np.array(8, np.int8).astype(kind)
    squares, moved = (" ".join(str(int(value)) for value in each) for each in (codes * codes, codes - zero))
    results[name] = float(codes.mean()), int(codes.sum()), squares, moved
    mean, total, squares, moved = results[name]
    print(f"7 7 7 1 {name:>17}  mean {mean:<4g} sum {total:<3} times itself {squares:11} minus 8 of its type {moved}")
weight = np.random.default_rng(0).normal(scale=0.02, size=(768, 768)).astype(ml_dtypes.bfloat16)
save_file({"weight": weight}, "model.safetensors")
loaded = load_file("model.safetensors")["weight"]
small, right = float(loaded.std()), float(loaded.astype(np.float32).std())
print(
    f"standard deviation of a weight of 768 x 768, drawn with 0.02, loaded from a BF16 file: {small:.4f},"
    f" as float32 {right:.4f}"
)
same = means["float16"] == 1 and means["bfloat16"] < 0.3 and means["float8_e4m3fn"] < 0.02
same = same and results["int8"][1] == 22 and results["uint4"] == (1, 6, "1 1 1 1", "15 15 15 9")
same = same and small < right / 2
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

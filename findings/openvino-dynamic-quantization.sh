#!/usr/bin/env bash
# OpenVINO: a model whose weights alone are INT8 has its activations quantized too, unless one forbids it.
#
# Versions: openvino 2026.4.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: compressed weights are multiplied back to float and the product runs in float, so the answer is that of
# the stored weights; a negative group size is refused, or means one group per token.
# Seen: DYNAMIC_QUANTIZATION_GROUP_SIZE is 32 by default and acts on every CPU model with INT8 weights, also with
# INFERENCE_PRECISION_HINT f32: the error is 10,000 times that of group size 0. Only groups that divide the inner size
# act: 48 and -1, and any other number, are accepted and silently change nothing.
#
#   openvino 2026.4.1, numpy 2.4.6
#   guess: the default computes with the stored weights in float; 50 and -1 are refused or act
#   group default  reads 32                    error 5.4e-03
#   group 0        reads 0                     error 3.5e-07
#   group 16       reads 16                    error 4.7e-03
#   group 32       reads 32                    error 5.4e-03
#   group 128      reads 128                   error 6.5e-03
#   group 384      reads 384                   error 7.2e-03
#   group 50       reads 50                    error 3.5e-07
#   group 100      reads 100                   error 3.5e-07
#   group -1       reads 18446744073709551615  error 3.5e-07
#   activations are quantized for: default, 16, 32, 128, 384
#
# Matters to: whoever compares a weight-only model with its simulation, or wants speed by a group size that is not a
# divisor. Set 0 for exact answers, and check that another value changes something.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import openvino as ov
import openvino.opset13 as ops

print(f"openvino {ov.__version__.split('-')[0]}, numpy {np.__version__}")
print("guess: the default computes with the stored weights in float; 50 and -1 are refused or act")
K, N = 384, 1536
rng = np.random.default_rng(0)
codes, scale = rng.integers(-127, 128, (N, K)).astype(np.int8), np.full((N, 1), 0.001, np.float32)
x = rng.normal(size=(64, K)).astype(np.float32)
node = ops.parameter([-1, K], np.float32, name="x")
weight = ops.multiply(ops.convert(ops.constant(codes), np.float32), ops.constant(scale))
model = ov.Model([ops.matmul(node, weight, False, True)], [node], "weight_only")
right = x.astype(np.float64) @ (codes * scale.astype(np.float64)).T
core, errors = ov.Core(), {}
for group in (None, 0, 16, 32, 128, K, 50, 100, -1):
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    if group is not None:
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(group)
    engine = core.compile_model(model, "CPU", settings)
    errors[group] = float(np.sqrt(((engine(x)[0] - right) ** 2).mean() / (right**2).mean()))
    read = engine.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
    print(f"group {'default' if group is None else group!s:8} reads {read:<21} error {errors[group]:.1e}")
acting = {group for group, error in errors.items() if error > 1e-4}
print(f"activations are quantized for: {', '.join('default' if g is None else str(g) for g in errors if g in acting)}")
raise SystemExit(0 if None in acting and not {0, 50, 100, -1} & acting else "the behaviour is no longer so")
PYTHON

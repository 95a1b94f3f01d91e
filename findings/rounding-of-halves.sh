#!/usr/bin/env bash
# QuantizeLinear of exact halves: one formula in the standard, three results in today's runtimes.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: with a scale of 1 nothing can differ: every library rounds x / scale half to even and adds the zero point.
# torch's fake_quantize is what its quantize_per_tensor does, and a simulation rint(x / scale) is all of them.
# Seen: OpenVINO's import of QuantizeLinear, and torch.quantize_per_tensor, add the zero point before they round, so
# that with an odd one every half goes the other way; torch's own fake_quantize and ONNX Runtime do not. OpenVINO's
# DynamicQuantizeLinear rounds halves up. With scale 0.3, torch and OpenVINO multiply by a rounded 1 / scale and
# differ from rint(x / scale) too, in all forms.
#
#   onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, torch 2.13.0
#   guess: no difference from rint(x / scale) + zero point, in any column
#   halves, uint8                 onnxruntime    reference     openvino        torch   torch fake
#   scale 1.0, zero point 0          0 of 255     0 of 255     0 of 255     0 of 255     0 of 255
#   scale 1.0, zero point 128        0 of 255     0 of 255     0 of 255     0 of 255     0 of 255
#   scale 1.0, zero point 3          0 of 255     0 of 255   255 of 255   255 of 255     0 of 255
#   scale 0.3, zero point 128        0 of 255     0 of 255    22 of 255    30 of 255    33 of 255
#   DynamicQuantizeLinear            0 of 250     0 of 250   122 of 250
#
# Matters to: whoever compares codes of a simulator, of quantization-aware training and of an engine bit by bit, on
# data that comes in steps (pixels, codes, counts). Differences of one code are no fault of the model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 \
  openvino==2026.4.1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import torch
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore")
print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__.split('-')[0]}", end=", ")
print(f"torch {torch.__version__.split('+')[0]}")
print("guess: no difference from rint(x / scale) + zero point, in any column")
core = ov.Core()


def runs(nodes, outputs, values, x):
    """Return the first output of a checked model from ONNX Runtime, the reference evaluator and OpenVINO."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", T.FLOAT, x.shape)],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, "m.onnx")
    yield ort.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    yield ReferenceEvaluator(made).run(None, {"x": x})[0]
    yield core.compile_model("m.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


columns = ("onnxruntime", "reference", "openvino", "torch", "torch fake")
print(f"{'halves, uint8':28}", *(f"{name:>12}" for name in columns))
table = {}
for scale, zero in ((1.0, 0), (1.0, 128), (1.0, 3), (0.3, 128)):
    x = ((np.arange(-zero, 255 - zero) + 0.5) * np.float32(scale)).astype(np.float32)
    right = np.clip(np.rint(x / np.float32(scale)) + zero, 0, 255)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    codes = list(runs([node], [("y", T.UINT8, x.shape)], {"s": np.float32(scale), "z": np.uint8(zero)}, x))
    tensor = torch.from_numpy(x)
    codes.append(torch.quantize_per_tensor(tensor, scale, zero, torch.quint8).int_repr().numpy())
    fake = torch.fake_quantize_per_tensor_affine(tensor, scale, zero, 0, 255).numpy()
    codes.append(np.rint(fake / np.float32(scale)) + zero)
    table[scale, zero] = [int((np.asarray(code, np.float64) != right).sum()) for code in codes]
    counts = (f"{count} of 255" for count in table[scale, zero])
    print(f"scale {scale}, zero point {zero:<6}", *(f"{count:>12}" for count in counts))
x = np.array([0, *(np.arange(250) + 0.5), 255], np.float32)
node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
outputs = [("y", T.UINT8, x.shape), ("s", T.FLOAT, []), ("z", T.UINT8, [])]
table["dynamic"] = [int((code != np.rint(x)).sum()) for code in runs([node], outputs, {}, x)]
print(f"{'DynamicQuantizeLinear':28}", *(f"{f'{count} of 250':>12}" for count in table["dynamic"]))
exact = all(counts[:2] == [0, 0] for counts in table.values())
odd, inverse = table[1.0, 3], table[0.3, 128]
same = exact and min(odd[2], odd[3]) > 200 and odd[4] == 0 and min(inverse[2:]) > 0
same = same and not any(table[1.0, 0]) and not any(table[1.0, 128]) and table["dynamic"][2] > 100
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

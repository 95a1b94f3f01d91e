#!/usr/bin/env bash
# ONNX Runtime: on x86 without VNNI, INT8 products are wrong by default; the option that makes them exact refuses models
# in which two products share a zero point.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, an AMD EPYC with AVX2 and no VNNI (Zen 3).
# Expected: an INT8 model gives the same integers on every CPU; session.x64quantprecision, which trades speed for exact
# sums on older CPUs, takes every model that opens without it.
# Seen: by default two neighbouring products are added in 16 bits, which saturate. Of unsigned codes half of the sum is
# left; of signed ones, which are made unsigned before and taken back afterwards, 1 % (or any other part). With the
# option the sums are right, for MatMulInteger, MatMulIntegerToFloat, QLinearMatMul and QAttention alike. But it makes a
# new unsigned tensor of each product's zero point and of its weights, by name: where two products read the same one, a
# scalar int8 zero for instance, the session fails with "Attempt to replace the existing tensor". A zero point of each
# product's own, or none at all, is the cure; for weights that layers share there is none. And a DequantizeLinear of
# weights with a scale per channel, which may leave the zero point out, gets one of the shape of a scale per tensor
# unless it is fused into an integer product: the session opens, and its first call fails. There zero points have to be
# written.
#
#   onnxruntime 1.32.0, onnx 1.23.2; run as a CPU without VNNI
#   right                            2072640
#   default                          1048544
#   exact, a zero point each         2072640
#   exact, no zero point             2072640
#   exact, a shared zero point       Attempt to replace the existing tensor
#   exact, shared weights            Attempt to replace the existing tensor
#   signed activations: right        812800
#   signed activations: default      8160
#   signed activations: exact        812800
#   INT8 weights alone, per channel  x_zero_point must be null or 1D tensor
#
# Matters to: who serves INT8 models on AMD up to Zen 3 or Intel before Cascade Lake, and exporters that write one
# constant for all zero points. With VNNI the option does nothing: the script then needs qemu-x86_64 (Debian's
# qemu-user), which runs it as a CPU without.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
run=(venv/bin/python)
if grep -qE '^flags.*\b(avx512_vnni|avx_vnni|amx_int8)\b' /proc/cpuinfo; then
  run=(qemu-x86_64 -cpu Haswell venv/bin/python)
fi
"${run[@]}" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}; run as a CPU without VNNI")
CODES = np.full((1, 64), 255, np.uint8)
WEIGHTS = np.full((64, 8), 127, np.int8)
ZERO = np.int8(0)
SAID = "Attempt to replace the existing tensor"
SHAPE = "x_zero_point must be null or 1D tensor"


def run(model, feeds, exact):
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", exact)
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return str(int(session.run(None, feeds)[-1][0, 0]))
    except Exception as error:
        return next((said for said in (SAID, SHAPE) if said in str(error)), str(error))


def second_product(weights, zeros, exact):
    """Run two MatMulIntegers that read these tensors by name; an empty name leaves the zero point out."""
    nodes = [
        helper.make_node("MatMulInteger", ["codes", w, "zero", z] if z else ["codes", w], [f"y{n}"])
        for n, (w, z) in enumerate(zip(weights, zeros))
    ]
    tensors = {name: WEIGHTS for name in weights} | {name: ZERO for name in zeros if name} | {"zero": np.uint8(0)}
    graph = helper.make_graph(
        nodes,
        "two products",
        [helper.make_tensor_value_info("codes", T.UINT8, CODES.shape)],
        [helper.make_tensor_value_info(f"y{n}", T.INT32, [1, 8]) for n in range(2)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return run(model, {"codes": CODES}, exact)


def signed_activations(exact):
    """Run a product of signed codes: 100 everywhere, with scales of 1."""
    pair = [("QuantizeLinear", "x", "q"), ("DequantizeLinear", "q", "values")]
    nodes = [helper.make_node(kind, [source, "one", "none"], [name]) for kind, source, name in pair]
    nodes.append(helper.make_node("DequantizeLinear", ["weights", "one", "none"], ["floats"]))
    nodes.append(helper.make_node("MatMul", ["values", "floats"], ["y"]))
    tensors = {"one": np.float32(1), "none": ZERO, "weights": WEIGHTS}
    graph = helper.make_graph(
        nodes,
        "signed activations",
        [helper.make_tensor_value_info("x", T.FLOAT, CODES.shape)],
        [helper.make_tensor_value_info("y", T.FLOAT, [1, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return run(model, {"x": np.full(CODES.shape, 100, np.float32)}, exact)


def dequantized():
    """Run a float product by INT8 weights with a scale per channel and no zero point."""
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["weights", "steps"], ["floats"], axis=1),
            helper.make_node("MatMul", ["x", "floats"], ["y"]),
        ],
        "a product",
        [helper.make_tensor_value_info("x", T.FLOAT, CODES.shape)],
        [helper.make_tensor_value_info("y", T.FLOAT, [1, 8])],
        [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(np.ones(8, np.float32), "steps")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return run(model, {"x": CODES.astype(np.float32)}, "1")


right = str(int((CODES.astype(int) @ WEIGHTS.astype(int))[0, 0]))
apart, own, shared = ("w0", "w1"), ("z0", "z1"), ("z", "z")
found = {
    "default": second_product(apart, own, "0"),
    "exact, a zero point each": second_product(apart, own, "1"),
    "exact, no zero point": second_product(apart, ("", ""), "1"),
    "exact, a shared zero point": second_product(apart, shared, "1"),
    "exact, shared weights": second_product(("w0", "w0"), own, "1"),
    "signed activations: right": str(64 * 100 * 127),
    "signed activations: default": signed_activations("0"),
    "signed activations: exact": signed_activations("1"),
    "INT8 weights alone, per channel": dequantized(),
}
print(f"{'right':32} {right}")
for name, value in found.items():
    print(f"{name:32} {value}")
exact = [found[name] for name in found if not name.endswith("default")]
wanted = [right, right, SAID, SAID, found["signed activations: right"]]
same = (
    found["default"] != right
    and float(found["signed activations: default"]) < 0.02 * float(wanted[-1])
    and exact == [*wanted, wanted[-1], SHAPE]
)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# ONNX Runtime: with I/O binding, results that were kept become those of the last batch.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: an output that is bound by name is made anew by each run, as session.run does; an array that was bound as
# input is an input as it was; an OrtValue of one type takes no data of another.
# Seen: the first run's memory stays bound, and later runs write there: arrays from get_outputs()[0].numpy() and the
# OrtValues themselves all show the last batch. Only copy_outputs_to_cpu, or bind_output before every run, gives each
# batch its own; a run with another shape raises an error. A bound array is read by the run, so what was written into it
# since counts, unless it was transposed or sliced: then it was copied. update_inplace compares the number of values and
# not their type, and copies bytes: ones in float64 become 0 and 1.875 in a float32 value.
#
#   onnxruntime 1.32.0, onnx 1.23.2
#   guess: batches of 1, 2 and 3, doubled, are kept as 2, 4 and 6
#   get_outputs()[0].numpy()   [6.0, 6.0, 6.0]
#   get_outputs()[0]           [6.0, 6.0, 6.0]
#   copy_outputs_to_cpu()[0]   [2.0, 4.0, 6.0]
#   bound before each run      [2.0, 4.0, 6.0]
#   a bound 1 that is then set to 5, doubled: 10.0; the same of a transposed array: 2.0
#   a float32 OrtValue updated with ones in float64: [0.0, 1.875, 0.0, 1.875, 0.0, 1.875]
#
# Matters to: whoever binds once and collects embeddings or logits of many batches of one shape, and who refills inputs
# in place, as CUDA graphs need it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}")
print("guess: batches of 1, 2 and 3, doubled, are kept as 2, 4 and 6")
graph = helper.make_graph(
    [helper.make_node("Add", ["x", "x"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", T.FLOAT, ["n", 3])],
    [helper.make_tensor_value_info("y", T.FLOAT, ["n", 3])],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(made)
session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def doubled(take, *, anew):
    """Run three batches through one binding, and look at what was kept of each when all have run."""
    binding = session.io_binding()
    binding.bind_output("y")
    kept = []
    for value in (1, 2, 3):
        binding.bind_cpu_input("x", np.full((2, 3), value, np.float32))
        if anew:
            binding.bind_output("y")
        session.run_with_iobinding(binding)
        kept.append(take(binding))
    return [float((entry.numpy() if isinstance(entry, ort.OrtValue) else entry)[0, 0]) for entry in kept]


def bound_then_set(array):
    """Double an array of ones that is set to 5 between the binding and the run."""
    binding = session.io_binding()
    binding.bind_output("y")
    binding.bind_cpu_input("x", array)
    array[:] = 5
    session.run_with_iobinding(binding)
    return float(binding.copy_outputs_to_cpu()[0][0, 0])


found = {
    "get_outputs()[0].numpy()": doubled(lambda binding: binding.get_outputs()[0].numpy(), anew=False),
    "get_outputs()[0]": doubled(lambda binding: binding.get_outputs()[0], anew=False),
    "copy_outputs_to_cpu()[0]": doubled(lambda binding: binding.copy_outputs_to_cpu()[0], anew=False),
    "bound before each run": doubled(lambda binding: binding.get_outputs()[0].numpy(), anew=True),
}
for name, values in found.items():
    print(f"{name:26} {values}")
plain, turned = bound_then_set(np.ones((2, 3), np.float32)), bound_then_set(np.ones((3, 2), np.float32).T)
print(f"a bound 1 that is then set to 5, doubled: {plain}; the same of a transposed array: {turned}")
value = ort.OrtValue.ortvalue_from_numpy(np.zeros((2, 3), np.float32))
value.update_inplace(np.ones((2, 3), np.float64))
mixed = value.numpy().ravel().tolist()
print(f"a float32 OrtValue updated with ones in float64: {mixed}")
same = list(found.values()) == [[6.0] * 3, [6.0] * 3, [2.0, 4.0, 6.0], [2.0, 4.0, 6.0]]
same = same and (plain, turned) == (10.0, 2.0) and mixed == [0.0, 1.875] * 3
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

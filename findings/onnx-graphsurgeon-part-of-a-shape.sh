#!/usr/bin/env bash
# onnx-graphsurgeon: fold_constants takes a Shape that begins at the second size for one that begins at the first.
#
# Versions: onnx-graphsurgeon 0.6.1, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: folding constants keeps what a graph computes. Since opset 15 a Shape has start and end, so that
# Shape(x, start=1, end=2) of 2 texts with 6 tokens is 6.
# Seen: start and end are not looked at. Where the sizes are known, the constant is the whole shape, 2 6 8, and a Gather
# behind it takes 2, the number of texts, for the number of tokens or for the width of a head: a mean is three times as
# large, scores of attention are twice as large, without an error. One size that is known is enough for that, here the
# batch; only a batch that is open keeps the graph right. With a Squeeze instead, which is what torch 2.13 exports, the
# constant has three numbers, and the session fails. onnxslim had the same fault (OnnxSlim, issue 38) and 0.1.98 gets
# these nodes right; of onnx-graphsurgeon no issue was found.
#
#   onnx-graphsurgeon 0.6.1, onnx 1.23.2, onnxruntime 1.32.0
#   guess: the folded graph gives the same numbers
#   mean             of x[2, 6, 8]          3.00 times what it was
#   mean             of x[2, 'tokens', 8]   3.00 times what it was
#   mean             of x['texts', 6, 8]    1.00 times what it was
#   scores           of x[2, 6, 8]          2.00 times what it was
#   scores           of x[2, 'tokens', 8]   2.00 times what it was
#   scores           of x['texts', 6, 8]    1.00 times what it was
#   mean, by Squeeze of x[2, 6, 8]          refused, a Fail
#   mean, by Squeeze of x[2, 'tokens', 8]   1.00 times what it was
#   mean, by Squeeze of x['texts', 6, 8]    1.00 times what it was
#
# Matters to: whoever fixes sizes and folds constants before TensorRT, and whoever writes graphs himself: a part of a
# shape is how opset 15 and later say one size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnx-graphsurgeon==0.6.1 onnx==1.23.2 \
  onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

versions = [f"{name} {importlib.metadata.version(name)}" for name in ("onnx-graphsurgeon", "onnx", "onnxruntime")]
print(", ".join(versions))
print("guess: the folded graph gives the same numbers")
X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
CONSTANTS = {"one": np.array([1]), "zero": np.array(0)}
node = helper.make_node
MEAN = [
    node("ReduceSum", ["x", "one"], ["sum"], keepdims=0),
    node("Shape", ["x"], ["size"], start=1, end=2),
    node("Gather", ["size", "zero"], ["tokens"]),
    node("Cast", ["tokens"], ["count"], to=TensorProto.FLOAT),
    node("Div", ["sum", "count"], ["y"]),
]
SCORES = [
    node("Transpose", ["x"], ["keys"], perm=[0, 2, 1]),
    node("MatMul", ["x", "keys"], ["products"]),
    node("Shape", ["x"], ["size"], start=-1),
    node("Gather", ["size", "zero"], ["last"]),
    node("Cast", ["last"], ["width"], to=TensorProto.FLOAT),
    node("Sqrt", ["width"], ["root"]),
    node("Div", ["products", "root"], ["y"]),
]
SQUEEZED = [
    node("ReduceSum", ["x", "one"], ["sum"], keepdims=0),
    node("Shape", ["x"], ["size"], start=1, end=2),
    node("Squeeze", ["size"], ["tokens"]),
    node("Cast", ["tokens"], ["count"], to=TensorProto.FLOAT),
    node("Div", ["sum", "count"], ["y"]),
]


def answer(model):
    """Return what ONNX Runtime computes of x, or how it refuses the graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as refused:
        return f"refused, a {type(refused).__name__}"
    return session.run(None, {"x": X})[0]


def answers(nodes, sizes, rank):
    """Return the answer of a graph over these sizes of x, before and after folding; rank is the answer's."""
    used = {name for each in nodes for name in each.input}
    constants = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)]
    values.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank))
    made = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    graph = gs.import_onnx(model)
    graph.fold_constants().cleanup()
    return answer(model), answer(gs.export_onnx(graph))


seen = {}
for name, (nodes, rank) in {"mean": (MEAN, 2), "scores": (SCORES, 3), "mean, by Squeeze": (SQUEEZED, 2)}.items():
    for sizes in ([2, 6, 8], [2, "tokens", 8], ["texts", 6, 8]):
        right, found = answers(nodes, sizes, rank)
        if isinstance(found, str):
            ratio, said = None, found
        else:
            ratio = round(float((found / right).mean()), 2)
            said = f"{ratio:.2f} times what it was"
        seen[name, str(sizes[0]), str(sizes[1])] = ratio
        print(f"{name:16} of x{str(sizes):18} {said}")
expected = {("mean", "2", "6"): 3.0, ("mean", "2", "tokens"): 3.0, ("mean", "texts", "6"): 1.0}
expected |= {("scores", "2", "6"): 2.0, ("scores", "2", "tokens"): 2.0, ("scores", "texts", "6"): 1.0}
expected |= {("mean, by Squeeze", "2", "6"): None}
expected |= {("mean, by Squeeze", "2", "tokens"): 1.0, ("mean, by Squeeze", "texts", "6"): 1.0}
raise SystemExit(0 if seen == expected else "the behaviour is no longer so")
PYTHON

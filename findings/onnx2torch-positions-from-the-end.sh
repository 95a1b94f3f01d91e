#!/usr/bin/env bash
# onnx2torch: a CumSum whose file says nothing of a direction sums from the end: RoBERTa's positions are turned around.
#
# Versions: onnx2torch 1.5.15, torch 2.13.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a model that was exported to ONNX and converted back to torch computes what it did. The attributes of
# CumSum, exclusive and reverse, are 0 where they are left out.
# Seen: reverse is taken as 1 where it is left out, as torch's exporter with dynamo=False leaves it (with dynamo=True it
# writes both, and all is right). RoBERTa counts its positions by CumSum over the mask, so the first token gets the
# last position and the last one the first; padding keeps its own. Nothing fails, and only a token in the middle has
# the vector that it had. NonZero is not transposed as ONNX wants it: 5 places of a matrix are (5, 2) where they should
# be (2, 5). No issue of either was found. torchvision is not installed: what needs it are boxes in images.
#
#   onnx2torch 1.5.15, torch 2.13.0, onnxruntime 1.32.0
#   guess: the file converted back to torch gives what it gave
#   ids                               0 7 9 11 2 1 | 0 5 2 1 1 1
#   positions in ONNX Runtime         2 3 4 5 6 1 | 2 3 4 1 1 1
#   positions back in torch           6 5 4 3 2 1 | 4 3 2 1 1 1
#   cosine of the vectors, no padding 0.10 0.90 1.00 0.63 0.45 | 0.55 1.00 0.52
#   sums of ones, nothing said        4 3 2 1
#   sums of ones, reverse=0           1 2 3 4
#   shape of NonZero, 5 places        (5, 2)
#
# Matters to: whoever takes an ONNX file of the RoBERTa family (XLM-R, E5, BGE-M3, MPNet) back to torch to train,
# quantize or convert it once more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps onnx2torch==1.5.15
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import io
import sys
import types
import warnings

warnings.simplefilter("ignore")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

# onnx2torch imports two functions for boxes in images, which no text encoder has; an empty module spares torchvision.
boxes = types.ModuleType("torchvision.ops")
boxes.nms = boxes.roi_align = None
sys.modules["torchvision"] = types.ModuleType("torchvision")
sys.modules["torchvision"].ops = boxes
sys.modules["torchvision.ops"] = boxes

from onnx2torch import convert

names = ("onnx2torch", "torch", "onnxruntime")
print(", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in names))
print("guess: the file converted back to torch gives what it gave")
PADDING = 1


class Embeddings(torch.nn.Module):
    """RoBERTa's embeddings: words, and positions counted over what is no padding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(50, 8, PADDING)
        self.places = torch.nn.Embedding(16, 8, PADDING)

    def forward(self, ids):
        mask = ids.ne(PADDING).int()
        positions = torch.cumsum(mask, dim=1).type_as(mask) * mask
        positions = positions.long() + PADDING
        return positions, self.words(ids) + self.places(positions)


def show(name, found):
    print(f"{name:33} {' | '.join(' '.join(str(int(place)) for place in row) for row in found)}")


def back(model, *arrays):
    """Return what torch computes of the converted file, as arrays."""
    found = convert(model)(*(torch.from_numpy(array) for array in arrays))
    return [each.detach().numpy() for each in (found if isinstance(found, (tuple, list)) else [found])]


def summed(**attributes):
    """Return the running sums of ones over four places, after the way there and back."""
    node = helper.make_node("CumSum", ["x", "axis"], ["y"], **attributes)
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, 4]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [numpy_helper.from_array(np.array(1), "axis")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return back(model, np.ones((1, 4), np.int64))[0]


def places():
    """Return the shape of the places of a (2, 3) matrix that are not zero."""
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    values.append(helper.make_tensor_value_info("y", TensorProto.INT64, [2, None]))
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return back(model, np.array([[1, 1, 0], [1, 1, 1]], np.float32))[0].shape


ids = np.array([[0, 7, 9, 11, 2, 1], [0, 5, 2, 1, 1, 1]])
file = io.BytesIO()
example = (torch.from_numpy(ids),)
torch.onnx.export(Embeddings().eval(), example, file, input_names=["ids"], opset_version=14, dynamo=False)
model = onnx.load_from_string(file.getvalue())
session = ort.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
right, found = session.run(None, {"ids": ids}), back(model, ids)
show("ids", ids)
show("positions in ONNX Runtime", right[0])
show("positions back in torch", found[0])
with np.errstate(invalid="ignore"):
    cosines = (right[1] * found[1]).sum(-1) / np.linalg.norm(right[1], axis=-1) / np.linalg.norm(found[1], axis=-1)
shown = [" ".join(f"{each:.2f}" for each in row[own]) for row, own in zip(cosines, ids != PADDING, strict=True)]
print(f"{'cosine of the vectors, no padding':33} {' | '.join(shown)}")
silent, told = summed(), summed(exclusive=0, reverse=0)
show("sums of ones, nothing said", silent)
show("sums of ones, reverse=0", told)
print(f"{'shape of NonZero, 5 places':33} {places()}")
same = found[0].tolist() == [[6, 5, 4, 3, 2, 1], [4, 3, 2, 1, 1, 1]] and right[0][0].tolist() == [2, 3, 4, 5, 6, 1]
same = same and silent.tolist() == [[4, 3, 2, 1]] and told.tolist() == [[1, 2, 3, 4]] and places() == (5, 2)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

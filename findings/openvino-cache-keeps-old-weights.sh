#!/usr/bin/env bash
# OpenVINO: with a model cache, new weights in model.bin are not read: the old model answers, from the cache.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: CACHE_DIR's key covers the weights, or at least the date and size of both files, so that a model trained
# anew and exported over the old one is compiled anew.
# Seen: the key and the check cover the path, the date and the size of the .xml (or .onnx) alone. The .xml holds
# the graph without the weights, so an export of the same network trained on is equal byte for byte, and whatever copies
# only what changed (git, rsync -c, a hub's local folder) leaves the old one. Its .bin, or an ONNX model's external
# data, is then new, and the answers are the old model's. Nor are both files enough where they keep a fixed date, as
# reproducible archives and images give it. read_model followed by compile_model hashes the weights and is right.
#
#   openvino 2026.4.1
#   guess: 20 wherever the weights are 5, and 4 where they are 1
#   model.xml of both is equal, byte for byte
#   model.onnx of both is equal, byte for byte
#   model.xml, weights 1                                               4 compiled
#   model.xml, model.bin replaced by weights 5                         4 from the cache
#   model.xml, the same by read_model and compile_model                20 compiled
#   model.xml touched                                                  20 compiled
#   model.onnx, weights 1                                              4 compiled
#   model.onnx, model.onnx.data replaced by weights 5                  4 from the cache
#   model.onnx, the same by read_model and compile_model               20 compiled
#   model.onnx touched                                                 20 compiled
#   dates fixed to 1970, weights 1                                     4 compiled
#   both files replaced by weights 5, dates fixed to 1970              4 from the cache
#
# Matters to: whoever retrains an encoder and ships the weights to servers that keep a cache folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > save.py <<'PYTHON'
"""Save y = x @ (a matrix of one number) under a name, as OpenVINO's two files or as ONNX with external data."""

import sys

import numpy as np
import onnx
import openvino as ov
from onnx import helper, numpy_helper
from openvino import opset13 as op

path, number = sys.argv[1], float(sys.argv[2])
weights = np.full((4, 4), number, np.float32)
if path.endswith(".xml"):
    given = op.parameter([-1, 4], np.float32, name="x")
    product = op.matmul(given, op.constant(weights, name="weights"), False, False, name="product")
    ov.save_model(ov.Model([op.result(product, name="y")], [given], "network"), path, compress_to_fp16=False)
else:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "network", values[:1], values[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    outside = {"save_as_external_data": True, "size_threshold": 0, "location": "model.onnx.data"}
    onnx.save_model(model, path, **outside)
PYTHON
cat > answer.py <<'PYTHON'
"""Print the first output for ones, and whether the cache was used."""

import sys

import numpy as np
import openvino as ov

core = ov.Core()
core.set_property({"CACHE_DIR": "cache"})
model = sys.argv[1]
compiled = core.compile_model(core.read_model(model) if "read" in sys.argv else model, "CPU")
answer = compiled(np.ones((1, 4), np.float32))[0][0, 0]
print(f"{answer:g}", "from the cache" if compiled.get_property("LOADED_FROM_CACHE") else "compiled")
PYTHON
told() { printf '%-66s %s\n' "$1" "$2"; }
run() { venv/bin/python answer.py "$@"; }
venv/bin/python -c 'import openvino; print("openvino", openvino.__version__.split("-")[0])'
echo 'guess: 20 wherever the weights are 5, and 4 where they are 1'
mkdir old new
for form in xml onnx; do
  venv/bin/python save.py old/model.$form 1
  venv/bin/python save.py new/model.$form 5
  cmp old/model.$form new/model.$form && echo "model.$form of both is equal, byte for byte"
done
failed=0
expect() { case "$2" in "$1") ;; *) failed=1 ;; esac; }
for form in xml:bin onnx:onnx.data; do
  file=model.${form%%:*} data=model.${form##*:}
  mkdir served && cp old/"$file" old/"$data" served
  seen=$(run served/"$file"); told "$file, weights 1" "$seen"; expect '4 compiled' "$seen"
  sleep 1.1
  cp new/"$data" served
  seen=$(run served/"$file"); told "$file, $data replaced by weights 5" "$seen"; expect '4 from the cache' "$seen"
  seen=$(run served/"$file" read); told "$file, the same by read_model and compile_model" "$seen"
  expect '20 compiled' "$seen"
  touch served/"$file"
  seen=$(run served/"$file"); told "$file touched" "$seen"; expect '20 compiled' "$seen"
  rm -r served cache
done
mkdir served && cp old/model.xml old/model.bin served && touch -d @0 served/*
seen=$(run served/model.xml); told "dates fixed to 1970, weights 1" "$seen"; expect '4 compiled' "$seen"
cp new/model.xml new/model.bin served && touch -d @0 served/*
seen=$(run served/model.xml); told "both files replaced by weights 5, dates fixed to 1970" "$seen"
expect '4 from the cache' "$seen"
if [ "$failed" != 0 ]; then echo 'the behaviour is no longer so' >&2; exit 1; fi

#!/usr/bin/env bash
# TensorRT's Python plugins: `from __future__ import annotations` in their file, and none can be registered.
#
# Versions: tensorrt_cu13 11.4.0.106, tensorrt_cu13_bindings 11.4.0.106, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64, without a GPU and with empty libraries behind the bindings.
# Expected: annotations that are written for the checker and those that are text mean the same to a library that reads
# them, as typing.get_type_hints makes of them.
# Seen: tensorrt.plugin compares the annotation as it stands. As text, a TensorDesc is no TensorDesc, and the error
# says that a TensorDesc has to come first, beside a signature in which it does. `impl` says that the tensor is an
# unexpected attribute.
#
#   tensorrt_cu13_bindings 11.4.0.106
#   guess: four times taken
#   [11/30/2026-00:18:56] [TRT] [W] Functionality provided through tensorrt.plugin module is experimental.
#   plain_plugin taken
#   text_plugin  ValueError: TensorDescs args should come first, followed by attributes
#   plain_kernel taken
#   text_kernel  ValueError: Unexpected attribute 'x' specified in impl function
#
# Matters to: whoever has the line in every file, or a linter that asks for it.
# The libraries are made here of functions that do nothing, as reading a signature calls none; a C compiler is needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps tensorrt_cu13==11.4.0.106 \
  tensorrt_cu13_bindings==11.4.0.106 numpy==2.4.6
packages=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$packages/tensorrt_libs"
for name in createInferBuilder_INTERNAL createInferRuntime_INTERNAL createInferRefitter_INTERNAL \
  createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL getNvOnnxParserVersion getPluginRegistry \
  getBuilderPluginRegistry initLibNvInferPlugins; do
  echo "void *$name(void) { return 0; }"
done > empty.c
for name in nvinfer nvinfer_plugin nvonnxparser; do
  cc -shared -fPIC -Wl,-soname,lib$name.so.11 -o "$packages/tensorrt_libs/lib$name.so.11" empty.c
done
cat > "$packages/tensorrt_libs/__init__.py" <<'PYTHON'
import ctypes
import pathlib

for path in sorted(pathlib.Path(__file__).parent.glob("*.so.*")):
    ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
PYTHON
cat > plugin.txt <<'PYTHON'
import tensorrt.plugin as trtp


@trtp.register("NAME::scaled", lazy_register=True)
def describe(x: trtp.TensorDesc, factor: float) -> trtp.TensorDesc:
    return x.like()
PYTHON
cat > kernel.txt <<'PYTHON'
import tensorrt.plugin as trtp


@trtp.impl("plain::scaled")
def compute(x: trtp.Tensor, factor: float, outputs: tuple[trtp.Tensor], stream: int) -> None:
    outputs[0].copy_(x)
PYTHON
for part in plugin kernel; do
  sed s/NAME/plain/ $part.txt > plain_$part.py
  (echo "from __future__ import annotations"; sed s/NAME/text/ $part.txt) > text_$part.py
done
venv/bin/python - <<'PYTHON'
import importlib
import sys

sys.path.insert(0, ".")

import tensorrt

print(f"tensorrt_cu13_bindings {tensorrt.__version__}")
print("guess: four times taken")
seen = []
for module in ("plain_plugin", "text_plugin", "plain_kernel", "text_kernel"):
    try:
        importlib.import_module(module)
        seen.append("taken")
    except ValueError as error:
        seen.append(f"ValueError: {str(error).partition('.')[0]}")
    print(f"{module:12} {seen[-1]}")
same = seen[0] == seen[2] == "taken" and all(said.startswith("ValueError") for said in seen[1::2])
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# torch.onnx: scatter_reduce "mean" is exported as "keep the last", label smoothing is left out, log-sigmoid is -inf.
#
# Versions: torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the exporter writes what the module computes or refuses it; amax, amin, sum and prod are right, and ONNX's
# ScatterElements has no mean, so that mean is a sum divided by a count, or an error.
# Seen: mean becomes ScatterElements with reduction "none": of the pieces of a word the last one's vector is kept, with
# include_self or without. cross_entropy loses label_smoothing. logsigmoid is Log behind Sigmoid, which ONNX Runtime
# computes as 0 from about -18 on, so that it is minus infinity where torch has -20; binary cross entropy with logits
# has the same. Nothing is told.
#
#   torch 2.13.0, onnxruntime 1.32.0
#   guess: each pair of lines is equal, or the export is refused
#   scatter_reduce sum                   torch    4.000   90.000
#                                        ONNX     4.000   90.000
#   scatter_reduce amax                  torch    3.000   60.000
#                                        ONNX     3.000   60.000
#   scatter_reduce mean                  torch    2.000   30.000
#                                        ONNX     3.000   60.000
#   scatter_reduce mean, include_self    torch    1.333   22.500
#                                        ONNX     3.000   60.000
#   cross_entropy                        torch    0.241
#                                        ONNX     0.241
#   cross_entropy, label_smoothing 0.3   torch    0.691
#                                        ONNX     0.241
#   logsigmoid of -10, -20, -50          torch  -10.000  -20.000  -50.000
#                                        ONNX   -10.000     -inf     -inf
#   log_softmax of -20 beside 0          torch  -20.000    0.000
#                                        ONNX   -20.000    0.000
#
# Matters to: whoever pools pieces to words, tokens to sentences or chunks to texts by scatter_reduce, and whoever
# exports log-likelihoods.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 \
  onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import contextlib
import io
import logging
import warnings

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

import numpy as np
import onnxruntime as ort
import torch
from torch import nn
from torch.nn import functional

print(f"torch {torch.__version__.split('+')[0]}, onnxruntime {ort.__version__}")
print("guess: each pair of lines is equal, or the export is refused")
TOKENS = torch.tensor([[1.0, 3.0, 10.0, 20.0, 60.0]])
WORDS = torch.tensor([[0, 0, 1, 1, 1]])
LOGITS = torch.tensor([[2.0, -1.0, 0.5]])


class Module(nn.Module):
    """One function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


def pooled(how, include_self):
    """Return the function that reduces tokens to words."""
    return lambda tokens, words: torch.zeros(1, 2).scatter_reduce(1, words, tokens, how, include_self=include_self)


CASES = {
    "scatter_reduce sum": (pooled("sum", False), TOKENS, WORDS),
    "scatter_reduce amax": (pooled("amax", False), TOKENS, WORDS),
    "scatter_reduce mean": (pooled("mean", False), TOKENS, WORDS),
    "scatter_reduce mean, include_self": (pooled("mean", True), TOKENS, WORDS),
    "cross_entropy": (lambda x: functional.cross_entropy(x, torch.tensor([0])), LOGITS),
    "cross_entropy, label_smoothing 0.3": (
        lambda x: functional.cross_entropy(x, torch.tensor([0]), label_smoothing=0.3),
        LOGITS,
    ),
    "logsigmoid of -10, -20, -50": (functional.logsigmoid, torch.tensor([-10.0, -20, -50])),
    "log_softmax of -20 beside 0": (lambda x: x.log_softmax(-1), torch.tensor([-20.0, 0])),
}
different = []
for name, (function, *given) in CASES.items():
    module = Module(function).eval()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(module, tuple(given), dynamo=True, verbose=False).save("model.onnx")
    session = ort.InferenceSession("model.onnx")
    names = [each.name for each in session.get_inputs()]
    answer = session.run(None, {each: value.numpy() for each, value in zip(names, given, strict=True)})[0]
    truth = module(*given).numpy()
    if not np.allclose(truth, answer, rtol=1e-3, atol=1e-4):
        different.append(name)
    for who, numbers in (("torch", truth), ("ONNX", answer)):
        print(f"{name if who == 'torch' else '':36} {who:5}", " ".join(f"{number:8.3f}" for number in numbers.ravel()))
expected = [name for name in CASES if "mean" in name or "smoothing" in name or "logsigmoid" in name]
raise SystemExit(0 if different == expected else f"the behaviour is no longer so: {different} differ")
PYTHON

#!/usr/bin/env bash
# ONNX Runtime: its transformer optimizer finds no attention in what today's torch exports of BERT.
#
# Versions: torch 2.13.0, transformers 5.24.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, sympy 1.14.0, numpy
# 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: onnxruntime.transformers.optimizer with model_type="bert" fuses each layer's attention of
# torch.onnx.export's graph; it is what the tool is for.
# Seen: no Attention and no MultiHeadAttention, no EmbedLayerNormalization either; only LayerNormalization with its
# addition and the bias of GELU are fused. The graph has the same number of products afterwards, and the tool ends
# without an error. At opset 23 the exporter writes the standard's Attention operator itself, one per layer.
#
#   onnxruntime 1.32.0, torch 2.13.0, transformers 5.24.0, onnx 1.23.2
#   guess: two layers, two fused attentions
#   fused: 2 BiasGelu, 1 LayerNormalization, 4 SkipLayerNormalization
#   Attention 0, MultiHeadAttention 0; MatMul 16 before, 16 after; Softmax 2
#   exported with opset 23: Attention 2, Softmax 0
#
# Matters to: whoever follows the usual recipe export, optimize, quantize: print get_fused_operator_statistics, or
# export with opset_version=23.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 onnx==1.23.2 \
  onnxscript==0.7.2 onnxruntime==1.32.0 sympy==1.14.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import collections
import contextlib
import io
import logging
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import onnx
import onnxruntime
import torch
import transformers
from onnxruntime.transformers import optimizer

print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__.split('+')[0]}", end=", ")
print(f"transformers {transformers.__version__}, onnx {onnx.__version__}")
print("guess: two layers, two fused attentions")
config = transformers.BertConfig(
    vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, num_labels=2
)
model = transformers.BertForSequenceClassification(config).eval()
ids = torch.randint(0, 100, (2, 8))
shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)}
kinds = {}
for opset in (None, 23):
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            f"{opset}.onnx",
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            dynamic_shapes=(shape, shape),
            external_data=False,
            opset_version=opset,
        )
    kinds[opset] = collections.Counter(node.op_type for node in onnx.load(f"{opset}.onnx").graph.node)
optimized = optimizer.optimize_model("None.onnx", model_type="bert", num_heads=2, hidden_size=64)
counts = optimized.get_fused_operator_statistics()
after = collections.Counter(node.op_type for node in optimized.model.graph.node)
print(f"fused: {', '.join(f'{count} {name}' for name, count in counts.items() if count)}")
print(f"Attention {counts['Attention']}, MultiHeadAttention {counts['MultiHeadAttention']}", end="; ")
print(f"MatMul {kinds[None]['MatMul']} before, {after['MatMul']} after; Softmax {after['Softmax']}")
print(f"exported with opset 23: Attention {kinds[23]['Attention']}, Softmax {kinds[23]['Softmax']}")
same = counts["Attention"] == counts["MultiHeadAttention"] == 0 and after["Softmax"] == 2
raise SystemExit(0 if same and kinds[23]["Attention"] == 2 else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# ModelOpt: the default INT8 configuration quantizes the input of every LayerNorm, and there the accuracy goes.
#
# Versions: nvidia-modelopt 0.47.0, requests 2.34.2, torch 2.13.0, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: INT8_DEFAULT_CFG quantizes the inputs and weights of Linear layers; LayerNorm, as a module without
# products, is left alone.
# Seen: its pattern *input_quantizer matches LayerNorm too, so the residual stream gets one INT8 scale per tensor in
# front of each one, and so do pooler and classifier. In a network with one large channel, as trained encoders have,
# most of the error comes from those; disabling *LayerNorm* removes it.
#
#   modelopt 0.47.0, transformers 5.24.0, torch 2.13.0
#   guess: no quantizer in front of LayerNorm; disabling *LayerNorm* changes nothing
#   19 inputs are quantized, 5 of them of LayerNorm, for example bert.encoder.layer.0.attention.output.LayerNorm
#   pooler: True, classifier: True
#   error of the logits: 23.4% of their spread; without LayerNorm's quantizers 2.2%
#
# Matters to: whoever trains or calibrates an encoder with ModelOpt's defaults, and whoever reads such a checkpoint:
# an engine that quantizes products only is not what was trained.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check nvidia-modelopt==0.47.0 requests==2.34.2 \
  torch==2.13.0 transformers==5.24.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import contextlib
import copy
import io
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import modelopt
import modelopt.torch.quantization as mtq
import torch
import transformers

print(f"modelopt {modelopt.__version__}, transformers {transformers.__version__}", end=", ")
print(f"torch {torch.__version__.split('+')[0]}")
print("guess: no quantizer in front of LayerNorm; disabling *LayerNorm* changes nothing")
torch.manual_seed(0)
config = transformers.BertConfig(
    vocab_size=200, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, num_labels=3
)
model = transformers.BertForSequenceClassification(config).eval()
with torch.no_grad():
    # One large channel of the residual stream, which the scale of LayerNorm takes back: so do trained encoders.
    model.bert.encoder.layer[0].output.dense.bias[7] = 60.0
    model.bert.encoder.layer[0].output.LayerNorm.weight.fill_(8.0)
    model.bert.encoder.layer[0].output.LayerNorm.weight[7] = 0.1
    model.classifier.weight.mul_(20)
ids = torch.randint(0, 200, (64, 16))


def quantize(*disabled):
    """Return a quantized copy, with the quantizers of the given patterns disabled."""
    with contextlib.redirect_stdout(io.StringIO()):
        made = mtq.quantize(copy.deepcopy(model), mtq.INT8_DEFAULT_CFG, lambda network: network(ids))
        for pattern in disabled:
            mtq.disable_quantizer(made, pattern)
    return made


with torch.no_grad():
    exact = model(ids).logits
    quantized = quantize()
    names = [
        name.removesuffix(".input_quantizer")
        for name, module in quantized.named_modules()
        if name.endswith("input_quantizer") and module.is_enabled
    ]
    norms = [name for name in names if name.endswith("LayerNorm")]
    default = float((quantized(ids).logits - exact).square().mean().sqrt() / exact.std())
    without = float((quantize("*LayerNorm*")(ids).logits - exact).square().mean().sqrt() / exact.std())
print(f"{len(names)} inputs are quantized, {len(norms)} of them of LayerNorm, for example {norms[1]}")
print(f"pooler: {'bert.pooler.dense' in names}, classifier: {'classifier' in names}")
print(f"error of the logits: {default:.1%} of their spread; without LayerNorm's quantizers {without:.1%}")
raise SystemExit(0 if len(norms) == 5 and default > 3 * without else "the behaviour is no longer so")
PYTHON

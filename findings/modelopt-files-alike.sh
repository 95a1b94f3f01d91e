#!/usr/bin/env bash
# ModelOpt: the saved weights and config.json do not tell four bits from eight, FP8 from FP4, or sparse from dense.
#
# Versions: nvidia-modelopt 0.47.0, requests 2.34.2, torch 2.13.0, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: save_pretrained of a quantized model writes its format beside the ranges (a key, a type, an entry of
# config.json), and that of a sparsified model writes the zeros.
# Seen: the files of INT4 and INT8 by channel are equal byte for byte, those of FP8 and NVFP4 as well; only the
# separate modelopt_state.pth tells them apart. A model of magnitude sparsity is saved with all its weights and a mask
# beside each, so that who reads the weights alone has the dense model. After modelopt.torch.sparsity.export the file
# holds the zeros.
#
#   modelopt 0.47.0, transformers 5.24.0, torch 2.13.0
#   guess: four formats give four different files; the sparse model's file is half zeros
#   ModelOpt save/restore enabled for `transformers` library.
#   INT8             33 ranges; model.safetensors 1f2e3530, config.json 6f032737
#   INT4 by channel  33 ranges; model.safetensors 1f2e3530, config.json 6f032737
#   FP8              33 ranges; model.safetensors 59741de3, config.json 6f032737
#   NVFP4            33 ranges; model.safetensors 59741de3, config.json 6f032737
#   sparse           zeros in a weight 0%, masks 14
#   exported         zeros in a weight 50%, masks 0
#
# Matters to: whoever reads such a checkpoint without ModelOpt, and whoever hands one on: tensors named _amax are not
# INT8 ranges by themselves, and a directory without masks applied is the dense model.
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
import hashlib
import io
import os
import pathlib
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import modelopt
import modelopt.torch.opt as mto
import modelopt.torch.quantization as mtq
import modelopt.torch.sparsity as mts
import torch
import transformers
from safetensors.torch import load_file

transformers.utils.logging.disable_progress_bar()
print(f"modelopt {modelopt.__version__}, transformers {transformers.__version__}", end=", ")
print(f"torch {torch.__version__.split('+')[0]}")
print("guess: four formats give four different files; the sparse model's file is half zeros")
torch.manual_seed(0)
config = transformers.BertConfig(
    vocab_size=200, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, num_labels=3
)
model = transformers.BertForSequenceClassification(config).eval()
ids = torch.randint(0, 200, (8, 16))
mto.enable_huggingface_checkpointing()
four_bits = copy.deepcopy(mtq.INT8_DEFAULT_CFG)
for entry in four_bits["quant_cfg"]:
    if entry["quantizer_name"] == "*weight_quantizer":
        entry["cfg"]["num_bits"] = 4
formats = {
    "INT8": mtq.INT8_DEFAULT_CFG,
    "INT4 by channel": four_bits,
    "FP8": mtq.FP8_DEFAULT_CFG,
    "NVFP4": mtq.NVFP4_DEFAULT_CFG,
}
digests = {}
for name, chosen in formats.items():
    with contextlib.redirect_stdout(io.StringIO()):
        made = mtq.quantize(copy.deepcopy(model), chosen, lambda network: network(ids))
        made.save_pretrained(name)
    folder = pathlib.Path(name)
    digests[name] = [
        hashlib.sha256((folder / file).read_bytes()).hexdigest()[:8] for file in ("model.safetensors", "config.json")
    ]
    ranges = [key for key in load_file(folder / "model.safetensors") if key.endswith("_amax")]
    print(f"{name:16} {len(ranges)} ranges; model.safetensors {digests[name][0]}, config.json {digests[name][1]}")

WEIGHT = "bert.encoder.layer.0.output.dense.weight"
zeros = {}
with contextlib.redirect_stdout(io.StringIO()):
    sparse = mts.sparsify(copy.deepcopy(model), "sparse_magnitude")
    sparse.save_pretrained("sparse")
    mts.export(sparse).save_pretrained("exported")
for name in ("sparse", "exported"):
    tensors = load_file(f"{name}/model.safetensors")
    zeros[name] = float((tensors[WEIGHT] == 0).float().mean())
    masks = sum(key.endswith("_weight_mask") for key in tensors)
    print(f"{name:16} zeros in a weight {zeros[name]:.0%}, masks {masks}")
same = digests["INT8"] == digests["INT4 by channel"] != digests["FP8"] == digests["NVFP4"]
raise SystemExit(0 if same and zeros == {"sparse": 0.0, "exported": 0.5} else "the behaviour is no longer so")
PYTHON

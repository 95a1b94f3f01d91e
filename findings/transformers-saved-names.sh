#!/usr/bin/env bash
# transformers 5: save_pretrained writes tensors that the model does not have, beside a config.json that knows them not.
#
# Versions: torch 2.13.0, transformers 5.24.0, safetensors 0.8.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: model.safetensors is the state_dict, as it has been, under the names of the class that config.json names.
# Seen: for models that others published first (nomic-bert, GTE) a new model is saved under the names of those
# publishers' own code, query, key and value as one matrix; config.json is in transformers' words (hidden_size, where
# nomic's own has n_embd). That code cannot read the folder, and load_state_dict cannot read the file;
# from_pretrained of transformers 5 reads it.
#
#   transformers 5.24.0, torch 2.13.0
#   guess: the file holds the model's tensors under the model's names
#   Bert      23 tensors, 23 in the file, 23 names in common; load_state_dict reads it, from_pretrained: same model
#   NomicBert 15 tensors, 13 in the file, 2 names in common; load_state_dict refuses it, from_pretrained: same model
#             in the file alone: encoder.layers.0.attn.Wqkv.weight [96, 32]
#   Gte       20 tensors, 15 in the file, 4 names in common; load_state_dict refuses it, from_pretrained: same model
#             in the file alone: encoder.layer.0.attention.qkv_proj.bias [96]
#             in the file alone: encoder.layer.0.attention.qkv_proj.weight [96, 32]
#   config.json of NomicBert has hidden_size: True, n_embd: False
#
# Matters to: whoever reads checkpoints without transformers, compares files with state_dicts, or sends a fine-tuned
# model back to the publisher's code.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 \
  safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import json
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
warnings.simplefilter("ignore")

import torch
import transformers
from safetensors.torch import load_file

transformers.utils.logging.disable_progress_bar()
print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}")
print("guess: the file holds the model's tensors under the model's names")
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
found = {}
for name in ("Bert", "NomicBert", "Gte"):
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(vocab_size=20, **SIZES))
    model.save_pretrained(name)
    own, file = model.state_dict(), load_file(f"{name}/model.safetensors")
    try:
        model.load_state_dict(file)
        read = "reads it"
    except RuntimeError:
        read = "refuses it"
    again = transformers.AutoModel.from_pretrained(name).state_dict()
    same = own.keys() == again.keys() and all(torch.equal(own[key], again[key]) for key in own)
    found[name] = len(own.keys() & file.keys()), len(own), len(file), read, same
    print(f"{name:9} {len(own)} tensors, {len(file)} in the file, {found[name][0]} names in common", end="; ")
    print(f"load_state_dict {read}, from_pretrained: {'same model' if same else 'another model'}")
    for key in sorted(file.keys() - own.keys()):
        if "qkv" in key.lower():
            print(f"          in the file alone: {key} {list(file[key].shape)}")
with open("NomicBert/config.json") as file:
    words = json.load(file)
print(f"config.json of NomicBert has hidden_size: {'hidden_size' in words}, n_embd: {'n_embd' in words}")
refused = {name for name, (_, _, _, read, _) in found.items() if read == "refuses it"}
same = refused == {"NomicBert", "Gte"} and all(again for *_, again in found.values())
same = same and found["NomicBert"][0] < found["NomicBert"][2] and "hidden_size" in words and "n_embd" not in words
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

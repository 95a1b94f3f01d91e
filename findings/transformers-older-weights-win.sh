#!/usr/bin/env bash
# transformers: a model that is saved in shards over an older model.safetensors is loaded with the older weights.
#
# Versions: transformers 5.24.0, torch 2.13.0, safetensors 0.8.0.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: save_pretrained into a folder replaces the model that is there: it removes older shards, and what is loaded
# is what was saved last.
# Seen: with max_shard_size below the model's size it writes the shards and their index and leaves model.safetensors
# where it is; from_pretrained looks for that file first. No warning from either. The other way round, from shards to
# one file, the shards are removed, their index stays, and the new file is loaded.
#
#   transformers 5.24.0, safetensors 0.8.0
#   guess: 2.0, then 3.0
#   saved 1.0 as one file, then 2.0 in shards: loaded 1.0
#   in the folder: model.safetensors, model.safetensors.index.json and 3 shards
#   saved 2.0 in shards, then 3.0 as one file: loaded 3.0
#
# Matters to: whoever trains on and saves into the same folder with another max_shard_size: training looks as if it did
# nothing. Remove model.safetensors first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.13.0 \
  safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import safetensors
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification

transformers.utils.logging.disable_progress_bar()
print(f"transformers {transformers.__version__}, safetensors {safetensors.__version__}")
print("guess: 2.0, then 3.0")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
model = BertForSequenceClassification(BertConfig(vocab_size=100, max_position_embeddings=64, **SIZES))


def saved(folder, value, **options):
    """Save the model with a classifier of one value."""
    with torch.no_grad():
        model.classifier.weight.fill_(value)
    model.save_pretrained(folder, **options)


def loaded(folder):
    """Return the value of the classifier that is loaded."""
    return float(BertForSequenceClassification.from_pretrained(folder).classifier.weight.detach()[0, 0])


saved("first", 1)
saved("first", 2, max_shard_size="40KB")
found = loaded("first")
names = sorted(name for name in os.listdir("first") if name.startswith("model"))
shards = [name for name in names if "-of-" in name]
print(f"saved 1.0 as one file, then 2.0 in shards: loaded {found}")
others = [name for name in names if name not in shards]
print(f"in the folder: {', '.join(others)} and {len(shards)} shards")
saved("second", 2, max_shard_size="40KB")
saved("second", 3)
again = loaded("second")
print(f"saved 2.0 in shards, then 3.0 as one file: loaded {again}")
same = found == 1 and again == 3 and others == ["model.safetensors", "model.safetensors.index.json"] and shards
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

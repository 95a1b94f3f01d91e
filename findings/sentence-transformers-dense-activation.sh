#!/usr/bin/env bash
# sentence-transformers: a Dense module is saved with the name of its activation alone, and loads with another one.
#
# Versions: torch 2.13.0, sentence-transformers 6.2.0, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a model that was saved and loaded gives the vectors that it gave before; a Dense whose file names no
# activation has none.
# Seen: the arguments of the class are lost without a word: LeakyReLU(0.5) loads as LeakyReLU(0.01). A class outside
# torch loads as Tanh (a warning in the log says so), and so does a Dense whose file names none.
#
#   sentence-transformers 6.2.0, torch 2.13.0
#   guess: each model gives the same vectors before saving and after loading
#   None                  loads as Identity()                             smallest cosine  1.00, warnings 0
#   LeakyReLU(0.5)        loads as LeakyReLU(negative_slope=0.01)         smallest cosine  0.81, warnings 0
#   Softplus(beta=0.1)    loads as Softplus(beta=1.0, threshold=20.0)     smallest cosine  0.74, warnings 0
#   a class of one's own  loads as Tanh()                                 smallest cosine -0.52, warnings 1
#   None, not named       loads as Tanh()                                 smallest cosine  0.91, warnings 0
#
# Matters to: whoever trains a Dense with an activation that takes arguments, of his own or of another library, and
# whoever writes such a config.json: what was validated before saving is not what is served.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 sentence-transformers==6.2.0 \
  transformers==5.24.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import json
import logging
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

torch.manual_seed(0)
print(f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__.split('+')[0]}")
print("guess: each model gives the same vectors before saving and after loading")
WORDS = ["[UNK]", *"one two three four five six seven eight".split()]
TEXTS = WORDS[1:]
words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()


class Squares(nn.Module):
    """An activation of one's own."""

    def forward(self, x):
        return x * x


class Warnings(logging.Handler):
    """Keeps what is logged."""

    said = []

    def emit(self, record):
        self.said.append(record.getMessage())


logging.getLogger("sentence_transformers").addHandler(Warnings())
logging.getLogger("sentence_transformers").propagate = False


def after_loading(activation, change=lambda config: config):
    """Return the cosine of the vectors before saving and after loading, the loaded activation and what was said."""
    dense = Dense(16, 16, bias=False, activation_function=activation)
    model = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=vectors), dense])
    before = model.encode(TEXTS, normalize_embeddings=True)
    model.save("model", create_model_card=False)
    with open("model/1_Dense/config.json") as file:
        config = change(json.load(file))
    with open("model/1_Dense/config.json", "w") as file:
        json.dump(config, file)
    Warnings.said.clear()
    loaded = SentenceTransformer("model", device="cpu")
    after = loaded.encode(TEXTS, normalize_embeddings=True)
    return float((before * after).sum(1).min()), repr(loaded[1].activation_function), len(Warnings.said)


def unnamed(config):
    return {key: value for key, value in config.items() if key != "activation_function"}


vectors = np.random.default_rng(0).normal(scale=3, size=(len(WORDS), 16)).astype(np.float32)
cases = {
    "None": (None,),
    "LeakyReLU(0.5)": (nn.LeakyReLU(0.5),),
    "Softplus(beta=0.1)": (nn.Softplus(beta=0.1),),
    "a class of one's own": (Squares(),),
    "None, not named": (None, unnamed),
}
found = {}
for name, case in cases.items():
    cosine, loaded, warned = after_loading(*case)
    found[name] = cosine, loaded, warned
    print(f"{name:21} loads as {loaded:38} smallest cosine {cosine:5.2f}, warnings {warned}")
low = {name for name, (cosine, _, _) in found.items() if cosine < 0.95}
silent = {name for name, (_, _, warned) in found.items() if not warned}
same = low == set(cases) - {"None"} and silent == set(cases) - {"a class of one's own"}
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# transformers: the token classification pipeline cuts the entities of BIOES and BILOU models in pieces.
#
# Versions: torch 2.13.0, transformers 5.24.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: aggregation joins B-PER, E-PER (or B-PER, L-PER) to one entity PER, or else refuses labels other than B-
# and I-.
# Seen: only B- and I- are known. Another prefix counts as a type of its own while tokens are joined, but is cut off
# when the result is named: "Ada Lovelace" tagged B-PER E-PER is two entities PER, "Ada" and "Lovelace". The output
# looks sound, and the count of entities is wrong.
#
#   transformers 5.24.0, torch 2.13.0
#   guess: one entity PER, "ada lovelace" or "ada king lovelace", under each scheme
#   BIO    B-PER I-PER O            [('PER', 'ada lovelace')]
#   BIO    B-PER I-PER I-PER O      [('PER', 'ada king lovelace')]
#   BIOES  B-PER E-PER O            [('PER', 'ada'), ('PER', 'lovelace')]
#   BIOES  B-PER I-PER E-PER O      [('PER', 'ada king'), ('PER', 'lovelace')]
#   BILOU  B-PER L-PER O            [('PER', 'ada'), ('PER', 'lovelace')]
#   BILOU  B-PER I-PER L-PER O      [('PER', 'ada king'), ('PER', 'lovelace')]
#
# Matters to: whoever serves a BIOES or BILOU model through the pipeline, or measures a quantized one against it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}")
print('guess: one entity PER, "ada lovelace" or "ada king lovelace", under each scheme')
SCHEMES = {"BIO": "BII", "BIOES": "BIE", "BILOU": "BIL"}
words = ["[PAD]", "[UNK]", "ada", "king", "lovelace", "wrote"]
fast = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
fast.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="[PAD]", unk_token="[UNK]")
found = {}
for scheme, (first, inner, last) in SCHEMES.items():
    labels = ["O", "B-PER", *dict.fromkeys(f"{tag}-PER" for tag in inner + last)]
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=0,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=dict(enumerate(labels)),
        label2id={label: row for row, label in enumerate(labels)},
    )
    model = transformers.BertForTokenClassification(config).eval()
    tags = {"ada": f"{first}-PER", "king": f"{inner}-PER", "lovelace": f"{last}-PER"}
    with torch.no_grad():  # a model without layers whose answer is a table from word to label
        for part in (model.bert.embeddings.position_embeddings, model.bert.embeddings.token_type_embeddings):
            part.weight.zero_()
        table = torch.eye(len(words), 16)
        model.bert.embeddings.word_embeddings.weight.copy_(table)
        hidden = model.bert.embeddings.LayerNorm(table)
        model.classifier.bias.zero_()
        model.classifier.weight.zero_()
        for row, word in enumerate(words):
            model.classifier.weight[labels.index(tags.get(word, "O"))] += hidden[row]
    settings = {"tokenizer": tokenizer, "aggregation_strategy": "simple"}
    pipe = transformers.pipeline("token-classification", model=model, **settings)
    for text in ("ada lovelace wrote", "ada king lovelace wrote"):
        found[scheme, text] = [(part["entity_group"], part["word"]) for part in pipe(text)]
        raw = " ".join(tags.get(word, "O") for word in text.split())
        print(f"{scheme:6} {raw:24} {found[scheme, text]}")
sound = all(len(parts) == 1 for (scheme, _), parts in found.items() if scheme == "BIO")
cut = all(len(parts) > 1 for (scheme, _), parts in found.items() if scheme != "BIO")
named = {kind for parts in found.values() for kind, _ in parts} == {"PER"}
raise SystemExit(0 if sound and cut and named else "the behaviour is no longer so")
PYTHON

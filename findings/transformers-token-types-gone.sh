#!/usr/bin/env bash
# transformers 5: the tokenizers of ALBERT, RemBERT and XLNet return no token types, as those of 4 did.
#
# Versions: torch 2.13.0, transformers 5.24.0 and 4.57.6, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the folder of a pair model that transformers 4 saved gives in transformers 5 what it gave there: the
# second text has token type 1, and XLNet's classifier token 2.
# Seen: the same pieces, but no token types, without a word. ALBERT then takes both texts for the first, XLNet leaves
# the term for segments out of its attention, for single texts too. The template in the tokenizer still has the types;
# return_token_type_ids=True gives them, or "model_input_names" in tokenizer_config.json.
#
#   transformers 5.24.0, and 4.57.6 for comparison
#   guess: the same ids and token types from the same folder
#   AlbertTokenizer   same ids: True, types in 4.57.6: [0, 0, 0, 0, 1, 1], now: None
#   RemBertTokenizer  same ids: True, types in 4.57.6: [0, 0, 0, 0, 1, 1], now: None
#   XLNetTokenizer    same ids: True, types in 4.57.6: [0, 0, 0, 1, 1, 2], now: None
#   Albert texts: 1, logits of a random model differ by up to 0.00
#   Albert texts: 2, logits of a random model differ by up to 0.72
#   XLNet  texts: 1, logits of a random model differ by up to 0.65
#   XLNet  texts: 2, logits of a random model differ by up to 1.27
#
# Matters to: whoever serves a classifier of pairs that was trained with transformers 4, or evaluates old with new.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
"${PYTHON:-python3}" -m venv venv4
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy==2.4.6
venv4/bin/python -m pip install --quiet --disable-pip-version-check transformers==4.57.6 numpy==2.4.6
cat >four.py <<'PYTHON'
import json
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

# Class, model_type, pieces, how a pair is joined.
BERTS = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
XLNETS = "$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2"
SQUARE = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "[PAD]", "[UNK]"]
ANGLE = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
KINDS = {
    "AlbertTokenizer": ("albert", SQUARE, BERTS),
    "RemBertTokenizer": ("rembert", SQUARE, BERTS),
    "XLNetTokenizer": ("xlnet", ANGLE, XLNETS),
}
answers = {}
for name, (kind, special, joined) in KINDS.items():
    pieces = [*special, "▁one", "▁two", "▁three"]
    scored = [(piece, -float(row)) for row, piece in enumerate(pieces)]
    rules = Tokenizer(models.Unigram(scored, special.index("<unk>")))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    marks = [(mark, pieces.index(mark)) for mark in ("[CLS]", "[SEP]", "<cls>", "<sep>") if mark in pieces]
    rules.post_processor = processors.TemplateProcessing(
        single=joined.replace(" $B:1", "").replace(" [SEP]:1", "").replace(" <sep>:1", ""),
        pair=joined,
        special_tokens=marks,
    )
    os.mkdir(name)
    rules.save(f"{name}/tokenizer.json")
    with open(f"{name}/config.json", "w") as file:
        json.dump({"model_type": kind}, file)
    made = getattr(transformers, f"{name}Fast")(tokenizer_file=f"{name}/tokenizer.json")
    made.save_pretrained(name)
    answers[name] = dict(transformers.AutoTokenizer.from_pretrained(name)("one two", "three"))
with open("answers.json", "w") as file:
    json.dump([transformers.__version__, answers], file)
PYTHON
venv4/bin/python four.py 2>/dev/null
venv/bin/python - <<'PYTHON'
import json
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import torch
import transformers

torch.set_num_threads(1)
with open("answers.json") as file:
    version, answers = json.load(file)
print(f"transformers {transformers.__version__}, and {version} for comparison")
print("guess: the same ids and token types from the same folder")
kept = []
for name, before in answers.items():
    after = dict(transformers.AutoTokenizer.from_pretrained(name)("one two", "three"))
    kept.append((before["input_ids"] == after["input_ids"], "token_type_ids" in after))
    types = before["token_type_ids"], after.get("token_type_ids")
    print(f"{name:17} same ids: {kept[-1][0]}, types in {version}: {types[0]}, now: {types[1]}")
SIZES = {
    "Albert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "XLNet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
}
moved = {}
for name, sizes in SIZES.items():
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=12, initializer_range=0.5, **sizes)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(f"{name}Tokenizer")
    for texts in (("one two",), ("one two", "three")):
        given = [tokenizer(*texts, return_tensors="pt", return_token_type_ids=types) for types in (None, True)]
        with torch.no_grad():
            plain, typed = (model(**inputs).logits for inputs in given)
        moved[name, len(texts)] = float((plain - typed).abs().max())
        print(f"{name:6} texts: {len(texts)}, logits of a random model differ by up to {moved[name, len(texts)]:.2f}")
same = all(pair == (True, False) for pair in kept) and moved["Albert", 1] == 0
same = same and min(moved["Albert", 2], moved["XLNet", 1], moved["XLNet", 2]) > 0.1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

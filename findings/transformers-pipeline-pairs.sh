#!/usr/bin/env bash
# transformers: a pair given to the text classification pipeline as a tuple is classified by its first text alone.
#
# Versions: transformers 5.24.0, torch 2.13.0, tokenizers 0.23.3, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a tuple of two texts is a pair, as for the tokenizer and for sentence-transformers' cross-encoders, or it is
# refused, as a list of two texts in a list is; a list of such tuples has an answer for each pair.
# Seen: the tuple is tokenized as a batch of two texts, and the answer to the second is dropped. If the two have another
# number of tokens each, that is an error which advises padding=True and truncation=True; with these, or with texts of
# one length, there is an answer for each tuple, and it is that of the first text. A dictionary with text and text_pair
# is right.
#
#   transformers 5.24.0, torch 2.13.0
#   guess: the answers of the dictionaries
#   the first text alone                       0.1134  0.0459
#   {"text": a, "text_pair": b}                0.0396  0.0110
#   (a, b)                                     ValueError: ... truncation and/or padding with 'padding=True' ...
#   (a, b), padding=True, truncation=True      0.1134  0.0459
#   (a, b), as many tokens in both             0.1134, of the dictionary 0.0420
#   [a, b] in a list                           ValueError: ... you can try to send a dictionary ...
#
# Matters to: whoever compares an engine for rerankers or NLI with the pipeline: the reference has read half of the
# input.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.13.0 \
  tokenizers==0.23.3 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import re
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, pipeline

print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}")
print("guess: the answers of the dictionaries")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"one two three four five six seven eight".split()]
words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words,
    pad_token="[PAD]",
    unk_token="[UNK]",
    cls_token="[CLS]",
    sep_token="[SEP]",
    model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    model_max_length=32,
)
torch.manual_seed(0)
config = BertConfig(
    vocab_size=len(WORDS),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=32,
    initializer_range=0.3,
)
classify = pipeline(
    "text-classification", model=BertForSequenceClassification(config).eval(), tokenizer=tokenizer, device="cpu"
)
PAIRS = [("one two", "three four five"), ("six seven eight", "one")]
EQUAL = ("one two", "seven eight")
DICTIONARIES = [{"text": first, "text_pair": second} for first, second in PAIRS]


def scores(texts, **settings):
    """Return the score of the first class of each answer, or what was raised."""
    try:
        answers = classify(texts, top_k=None, **settings)
    except ValueError as error:
        return str(error)
    answers = answers if isinstance(answers[0], list) else [answers]
    return [round(next(entry["score"] for entry in one if entry["label"] == "LABEL_0"), 4) for one in answers]


def told(found, part):
    """Return the scores, or the part of the error that gives the advice."""
    if isinstance(found, str):
        return f"ValueError: ... {re.search(part, found).group()} ..."
    return "  ".join(f"{score:.4f}" for score in found)


first = scores([one for one, _ in PAIRS])
pairs = scores(DICTIONARIES)
bare, padded = scores(PAIRS), scores(PAIRS, padding=True, truncation=True)
equal, right = scores([EQUAL]), scores([{"text": EQUAL[0], "text_pair": EQUAL[1]}])
lists = scores([list(pair) for pair in PAIRS])
for name, found, part in (
    ("the first text alone", first, ""),
    ('{"text": a, "text_pair": b}', pairs, ""),
    ("(a, b)", bare, r"truncation and/or padding with 'padding=True'"),
    ("(a, b), padding=True, truncation=True", padded, ""),
):
    print(f"{name:42} {told(found, part)}")
print(f"{'(a, b), as many tokens in both':42} {told(equal, '')}, of the dictionary {told(right, '')}")
print(f"{'[a, b] in a list':42} {told(lists, 'you can try to send a dictionary')}")
same = padded == first != pairs and equal == first[:1] != right and isinstance(bare, str) and isinstance(lists, str)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# transformers: a pair whose second text is empty is a single text where it is tokenized alone, and a pair in a batch.
#
# Versions: transformers 5.24.0, tokenizers 0.23.3.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: tokenizer(a, b) has the ids of tokenizer([a], [b]), as it has for all other texts, and an empty text beside
# another is a pair, as it is where the first one is empty.
# Seen: an empty second text counts as none in the call for one pair, whose separator and token type are then missing.
# An empty first text does not. The tokenizers library, a list of pairs and batches have the pair. 4.57 does the same.
#
#   transformers 5.24.0, tokenizers 0.23.3
#   guess: each line has the same tokens three times
#   a, b        tokenizer(a, b)                  tokenizer([a], [b])              tokenizers' encode(a, b)
#   'hi' 'yo'   [CLS] hi [SEP] yo [SEP] 00011    [CLS] hi [SEP] yo [SEP] 00011    [CLS] hi [SEP] yo [SEP] 00011
#   '' 'yo'     [CLS] [SEP] yo [SEP] 0011        [CLS] [SEP] yo [SEP] 0011        [CLS] [SEP] yo [SEP] 0011
#   'hi' ''     [CLS] hi [SEP] 000               [CLS] hi [SEP] [SEP] 0001        [CLS] hi [SEP] [SEP] 0001
#   '' ''       [CLS] [SEP] 00                   [CLS] [SEP] [SEP] 001            [CLS] [SEP] [SEP] 001
#
# Matters to: whoever trains or validates on batches, by map(batched=True) say, and serves request by request, the
# pipeline included, where answers, passages or fields can be empty: the model gets another text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
print("guess: each line has the same tokens three times")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hi", "yo"]
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
)


def told(ids, types):
    """Return the tokens, and the type of each."""
    return " ".join(WORDS[row] for row in ids) + " " + "".join(map(str, types))


print(f"{'a, b':11} {'tokenizer(a, b)':32} {'tokenizer([a], [b])':32} tokenizers' encode(a, b)")
found = {}
for first, second in (("hi", "yo"), ("", "yo"), ("hi", ""), ("", "")):
    one, batch = tokenizer(first, second), tokenizer([first], [second])
    alone = words.encode(first, second)
    row = (
        told(one["input_ids"], one["token_type_ids"]),
        told(batch["input_ids"][0], batch["token_type_ids"][0]),
        told(alone.ids, alone.type_ids),
    )
    found[first, second] = row
    print(f"{f'{first!r} {second!r}':11} {row[0]:32} {row[1]:32} {row[2]}")
same = all((row[0] == row[1]) == bool(second) for (_, second), row in found.items())
same = same and all(row[1] == row[2] for row in found.values())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# transformers: of a sentencepiece.bpe.model the vocabulary counts, not what it says about prefixes, spaces and bytes.
#
# Versions: transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3, protobuf 7.36.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: the tokenizer that XLM-RoBERTa's class makes of a folder with SentencePiece's own file gives
# SentencePiece's pieces, or refuses what it cannot.
# Seen: it reads the pieces and their scores. A prefix is put before each text where the model has add_dummy_prefix off,
# and marks of spaces stay in front where it has them behind (treat_whitespace_as_suffix), so that nearly every piece
# is another one; runs of spaces become one; bytes of byte_fallback are unknown tokens; a symbol of
# user_defined_symbols at the beginning of a word goes before the mark of that word. With the options of XLM-RoBERTa
# itself all is equal. ALBERT's and T5's classes do the same. No warning.
#
#   transformers 5.24.0, sentencepiece 0.2.3
#   guess: 0 of 5 texts differ in each line
#   XLM-RoBERTa's own          0 of 5 texts differ
#   add_dummy_prefix off       5 of 5 texts differ: abc def is a b c ▁ d e f, here ▁ab c ▁ d e f
#   marks of spaces behind     5 of 5 texts differ: abc def is a b c ▁ d e f ▁, here ▁ a b c ▁ d e f
#   runs of spaces kept        1 of 5 texts differ: abc  def is ▁ab c ▁ ▁ d e f, here ▁ab c ▁ d e f
#   byte_fallback              1 of 5 texts differ: qz abc is ▁ <0x71> <0x7A> ▁ab c, here ▁ <unk> ▁ab c
#   user_defined_symbols       5 of 5 texts differ: abc def is ▁ ab c ▁ d e f, here ab ▁ c ▁ d e f
#
# Matters to: whoever trains a vocabulary of his own with SentencePiece for one of these families, or converts a model
# that was trained with it: compare the ids of a few texts first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3 \
  sentencepiece==0.2.3 protobuf==7.36.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import json
import random

import sentencepiece
import transformers
from transformers import XLMRobertaTokenizer

print(f"transformers {transformers.__version__}, sentencepiece {sentencepiece.__version__}")
print("guess: 0 of 5 texts differ in each line")
random.seed(0)
words = ["".join(random.choices("abcdefghij", k=random.randint(2, 7))) for _ in range(300)]
with open("text.txt", "w") as file:
    for _ in range(2000):
        file.write(" ".join(random.choices(words, k=8)) + random.choice([" 12 345", ".", "!"]) + "\n")
TEXTS = ["abc def", "abc  def", "abc def!", "qz abc", "ghij ab"]
OPTIONS = {
    "XLM-RoBERTa's own": {},
    "add_dummy_prefix off": {"add_dummy_prefix": False},
    "marks of spaces behind": {"treat_whitespace_as_suffix": True},
    "runs of spaces kept": {"remove_extra_whitespaces": False},
    "byte_fallback": {"byte_fallback": True, "vocab_size": 560},
    "user_defined_symbols": {"user_defined_symbols": ["ab"]},
}
found = {}
for name, options in OPTIONS.items():
    folder = name.replace(" ", "-")
    os.mkdir(folder)
    sentencepiece.SentencePieceTrainer.train(
        input="text.txt",
        model_prefix=f"{folder}/sentencepiece.bpe",
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 300, **options},
    )
    with open(f"{folder}/config.json", "w") as file:
        json.dump({"model_type": "xlm-roberta"}, file)
    own = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/sentencepiece.bpe.model")
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder)
    unknown = own.id_to_piece(own.unk_id())
    wanted = [[own.id_to_piece(i) for i in own.encode(text)] for text in TEXTS]
    given = [
        [token if token != tokenizer.unk_token else unknown for token in tokenizer.convert_ids_to_tokens(ids)]
        for ids in tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    ]
    differ = [number for number, (one, other) in enumerate(zip(wanted, given, strict=True)) if one != other]
    found[name] = len(differ)
    print(f"{name:26} {len(differ)} of {len(TEXTS)} texts differ", end="")
    if differ:
        first = differ[0]
        print(f": {TEXTS[first]} is {' '.join(wanted[first])}, here {' '.join(given[first])}", end="")
    print()
same = found.pop("XLM-RoBERTa's own") == 0 and all(found.values())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

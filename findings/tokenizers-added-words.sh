#!/usr/bin/env bash
# transformers: a word that was added to an uncased BERT's tokenizer is found inside other words: said is s, ai and d.
#
# Versions: transformers 5.24.0, tokenizers 0.23.3, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: add_tokens(["AI"]) adds a word: the text "AI" is that token, other words are tokenized as before.
# Seen: the added word is lower-cased and looked for in the lower-cased text before that is split into words, anywhere:
# every word that holds it is cut into three, whether the vocabulary has it or not, and what stands behind the added
# word begins a new one. AddedToken("AI", single_word=True) is what one would have guessed.
#
#   transformers 5.24.0, tokenizers 0.23.3
#   guess: before and after differ in nothing but AI
#   before                 the main a ##i model said again in spain
#   add_tokens(["AI"])     the m ai n ai model s ai d a ##g ai n in s ##p ai n
#   with single_word=True  the main ai model said again in spain
#
# Matters to: whoever adds the words of a field and trains on: the embeddings of other words are no longer used, and
# short additions (units, abbreviations) spoil the most words.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import tokenizers
import transformers
from tokenizers import AddedToken
from transformers import AutoTokenizer, BertTokenizer

print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
print("guess: before and after differ in nothing but AI")
WORDS = ["said", "again", "in", "spain", "the", "main", "model"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
PIECES += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
TEXT = "the main AI model said again in Spain"


def made(*added):
    """Return a tokenizer with added words, saved and loaded again."""
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(PIECES)})
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained("saved")
    return AutoTokenizer.from_pretrained("saved").tokenize(TEXT)


found = {
    "before": made(),
    'add_tokens(["AI"])': made("AI"),
    "with single_word=True": made(AddedToken("AI", single_word=True)),
}
for name, tokens in found.items():
    print(f"{name:22}", *tokens)
plain, added, single = found.values()
same = "said" in plain and "said" not in added and "spain" not in added and "said" in single and "spain" in single
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

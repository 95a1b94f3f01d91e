#!/usr/bin/env bash
# langchain, chonkie, semantic-text-splitter: a chunk of 512 tokens by a model's tokenizer is 514 for the model.
#
# Versions: langchain-text-splitters 1.1.3, chonkie 1.7.0, semantic-text-splitter 0.33.1, transformers 5.24.0,
# tokenizers 0.23.3.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: who gives a splitter the model's tokenizer and its length gets chunks that the model reads to their ends.
# Seen: all three count without [CLS] and [SEP]. The model cuts the last two tokens of a full chunk, nearly each one in
# two of the libraries, without a word.
#
#   langchain-text-splitters 1.1.3, chonkie 1.7.0, semantic-text-splitter 0.33.1, transformers 5.24.0
#   guess: a chunk of 512 tokens by the model's own tokenizer is read by a model of 512 positions to its end
#   langchain-text-splitters  longest 514 tokens, 71 of 72 chunks are not read to their end
#                             one ends ...'iri kuri domu rolu kufi fime', read: ...'sa giri kuri domu rolu'
#   chonkie                   longest 514 tokens, 3 of 73 chunks are not read to their end
#                             one ends ...'o savu bosa sola zeda libi. ', read: ...'po savu bosa sola zeda'
#   semantic-text-splitter    longest 514 tokens, 71 of 72 chunks are not read to their end
#                             one ends ...'iri kuri domu rolu kufi fime', read: ...'sa giri kuri domu rolu'
#
# Matters to: whoever embeds chunks at the model's own length: the last word of a chunk is in no vector, and with names
# or numbers that is what was asked for. Cure: a length without the special tokens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check langchain-text-splitters==1.1.3 chonkie==1.7.0 \
  semantic-text-splitter==0.33.1 transformers==5.24.0 tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import random
from importlib.metadata import version

from chonkie import RecursiveChunker
from langchain_text_splitters import RecursiveCharacterTextSplitter
from semantic_text_splitter import TextSplitter
from transformers import BertTokenizerFast

names = ("langchain-text-splitters", "chonkie", "semantic-text-splitter", "transformers")
print(", ".join(f"{name} {version(name)}" for name in names))
print("guess: a chunk of 512 tokens by the model's own tokenizer is read by a model of 512 positions to its end")
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES]
tokenizer = BertTokenizerFast(
    vocab={word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "."])},
    model_max_length=512,
)
random.seed(0)
TEXT = " ".join(" ".join(random.choices(WORDS, k=random.randrange(5, 30))) + "." for _ in range(2000))
CHUNKS = {
    "langchain-text-splitters": RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        tokenizer, chunk_size=512, chunk_overlap=0
    ).split_text(TEXT),
    "chonkie": [piece.text for piece in RecursiveChunker(tokenizer.backend_tokenizer, chunk_size=512)(TEXT)],
    "semantic-text-splitter": TextSplitter.from_huggingface_tokenizer(tokenizer.backend_tokenizer, 512).chunks(TEXT),
}
found = {}
for name, pieces in CHUNKS.items():
    lengths = [len(tokenizer(piece, verbose=False)["input_ids"]) for piece in pieces]
    kept = [
        tokenizer.decode(tokenizer(piece, truncation=True)["input_ids"], skip_special_tokens=True) for piece in pieces
    ]
    cut = [(piece, read) for piece, read in zip(pieces, kept, strict=True) if len(read.split()) < len(piece.split())]
    found[name] = max(lengths), len(cut)
    print(f"{name:25} longest {max(lengths)} tokens, {len(cut)} of {len(pieces)} chunks are not read to their end")
    if cut:
        print(f"{'':25} one ends ...{cut[0][0][-28:]!r}, read: ...{cut[0][1][-22:]!r}")
same = all(longest == 514 and cut for longest, cut in found.values())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

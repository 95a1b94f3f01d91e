#!/usr/bin/env bash
# tokenizers and safetensors: the same input gives another vocabulary, and another file, in the next process.
#
# Versions: tokenizers 0.23.3, safetensors 0.8.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: training a tokenizer has no random part, so the same text gives the same vocabulary; saving the same
# tensors and the same metadata gives the same bytes.
# Seen: WordPiece training chooses among pairs that are equally good by the order of a hash table, which is another
# one in each process: some tokens differ. BPE and Unigram choose the same tokens each time. safetensors writes
# several entries of metadata in such an order too, so files of equal content have different digests; with one entry,
# as transformers writes it, they are equal.
#
#   tokenizers 0.23.3, safetensors 0.8.0
#   guess: one result in each line
#   WordPiece vocabulary   5 different in 8 processes
#   BPE vocabulary         1 different in 8 processes
#   Unigram vocabulary     1 different in 8 processes
#   file with 1 metadata   1 different in 8 processes
#   file with 8 metadata   8 different in 8 processes
#
# Matters to: whoever keys caches by the digest of a checkpoint, compares builds byte by byte, or trains a vocabulary
# twice and expects ids to fit.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3 safetensors==0.8.0 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import collections
import importlib.metadata
import subprocess
import sys

print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tokenizers", "safetensors")))
print("guess: one result in each line")
PROGRAM = """
import hashlib, itertools, json
import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

random = np.random.default_rng(0)
words = ["".join(random.choice(list("abcdefgh"), random.integers(3, 9))) for _ in range(400)]
for kind, model, trainer in (
    ("WordPiece vocabulary", models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer),
    ("BPE vocabulary", models.BPE(), trainers.BpeTrainer),
    ("Unigram vocabulary", models.Unigram(), trainers.UnigramTrainer),
):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([" ".join(words)], trainer(vocab_size=200, show_progress=False))
    digest = hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab())).encode()).hexdigest()
    print(f"{kind}={digest[:8]}")
for count in (1, 8):
    data = save({"a": np.ones(2), "b": np.ones(3)}, metadata={f"key{entry}": "x" for entry in range(count)})
    print(f"file with {count} metadata={hashlib.sha256(data).hexdigest()[:8]}")
"""
RUNS = 8
found = collections.defaultdict(set)
for _ in range(RUNS):
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    for line in run.stdout.split("\n")[:-1]:
        kind, digest = line.split("=")
        found[kind].add(digest)
for kind, digests in found.items():
    print(f"{kind:22} {len(digests)} different in {RUNS} processes")
several = {kind for kind, digests in found.items() if len(digests) > 1}
raise SystemExit(0 if several == {"WordPiece vocabulary", "file with 8 metadata"} else "the behaviour is no longer so")
PYTHON

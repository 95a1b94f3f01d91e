#!/usr/bin/env bash
# sentence-transformers: its search over UINT8 embeddings finds fewer of the nearest texts than that over single bits.
#
# Versions: torch 2.13.0, sentence-transformers 6.2.0, transformers 5.24.0, faiss-cpu 1.15.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a byte per number finds nearly what float finds (nine of ten or more), with rescoring all of it; a bit per
# number finds less.
# Seen: quantize_embeddings puts the smallest value of each dimension at code 0 and the largest at 255, and
# semantic_search_faiss takes the inner product of these codes as they are. Zero lies near 128, so each product holds
# 128 times the sum of the document's codes, which is the same for every query and larger than what tells documents
# apart: the same documents answer many queries. Rescoring orders only what was found. Queries and corpus have the same
# ranges here, the corpus's; the codes are good, as the product of the dequantized ones shows.
#
#   sentence-transformers 6.2.0, faiss 1.15.1
#   guess: uint8 finds 0.9 or more of the ten nearest, ubinary less
#   float32  without rescoring: 1.00 of the ten nearest, 196 texts are first for 200 queries
#   uint8    without rescoring: 0.15 of the ten nearest, 96 texts are first for 200 queries
#   uint8    with rescoring:    0.26 of the ten nearest, 181 texts are first for 200 queries
#   ubinary  without rescoring: 0.45 of the ten nearest, 196 texts are first for 200 queries
#   ubinary  with rescoring:    0.52 of the ten nearest, 195 texts are first for 200 queries
#   the same codes, each dequantized before the product: 0.98
#
# Matters to: whoever shrinks embeddings to a byte with this library: dequantize, or search with one scale for all
# dimensions and zero at zero.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 sentence-transformers==6.2.0 \
  transformers==5.24.0 faiss-cpu==1.15.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import faiss
import numpy as np
import sentence_transformers
from sentence_transformers.util import quantize_embeddings
from sentence_transformers.util.quantization import semantic_search_faiss

print(f"sentence-transformers {sentence_transformers.__version__}, faiss {faiss.__version__}")
print("guess: uint8 finds 0.9 or more of the ten nearest, ubinary less")
WIDTH, TOPICS, TEXTS, QUERIES = 384, 200, 10000, 200
rng = np.random.default_rng(0)
topics = rng.normal(size=(TOPICS, WIDTH))
rows = topics[rng.integers(0, TOPICS, TEXTS + QUERIES)] + rng.normal(size=(TEXTS + QUERIES, WIDTH))
rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
queries, corpus = rows[:QUERIES], rows[QUERIES:]
nearest = np.argsort(-(queries @ corpus.T), axis=1)[:, :10]


def share(answers):
    """Return how many of the ten nearest are among ten answers, over all queries."""
    pairs = zip(answers, nearest.tolist(), strict=True)
    return float(np.mean([len(set(given) & set(wanted)) / 10 for given, wanted in pairs]))


found = {}
for precision, rescore in [("float32", False), *((name, again) for name in ("uint8", "ubinary") for again in (0, 1))]:
    hits, _ = semantic_search_faiss(
        queries,
        corpus_embeddings=quantize_embeddings(corpus, precision=precision),
        corpus_precision=precision,
        calibration_embeddings=corpus if precision == "uint8" else None,
        top_k=10,
        rescore=bool(rescore),
        exact=True,
    )
    answers = [[hit["corpus_id"] for hit in entry] for entry in hits]
    found[precision, rescore] = share(answers)
    how = "with rescoring:   " if rescore else "without rescoring:"
    first = len({entry[0] for entry in answers})
    print(f"{precision:8} {how} {found[precision, rescore]:.2f} of the ten nearest, ", end="")
    print(f"{first} texts are first for {QUERIES} queries")
low, high = corpus.min(axis=0), corpus.max(axis=0)
codes = [quantize_embeddings(part, precision="uint8", calibration_embeddings=corpus) for part in (queries, corpus)]
values = [low + (part + 0.5) * (high - low) / 255 for part in codes]
right = share(np.argsort(-(values[0] @ values[1].T), axis=1)[:, :10].tolist())
print(f"the same codes, each dequantized before the product: {right:.2f}")
worse = all(found["uint8", again] < found["ubinary", again] for again in (0, 1))
raise SystemExit(0 if worse and found["uint8", 0] < 0.5 and right > 0.9 else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# rank-bm25: a word that is in most documents counts more than one that is in a fifth of them.
#
# Versions: rank-bm25 0.2.2, bm25s 0.3.16, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: the more documents have a word, the less it counts, down to nothing.
# Seen: BM25Okapi gives words of more than half of the documents, whose weight would be negative, a quarter of the mean
# weight over the vocabulary, in which rare words are many: more than words of a fifth of the documents have, and ten
# times what those of 45 % have. Words like the or and then decide. bm25s's weights fall all the way.
#
#   rank-bm25 0.2.2, bm25s 0.3.16
#   guess: the more documents have a word, the less it counts, down to nothing
#   the largest score of a document by one word
#   a word of   1% of the documents   BM25Okapi  4.26   bm25s  1.71
#   a word of  20% of the documents   BM25Okapi  1.54   bm25s  0.72
#   a word of  45% of the documents   BM25Okapi  0.22   bm25s  0.36
#   a word of  55% of the documents   BM25Okapi  2.00   bm25s  0.27
#   a word of  95% of the documents   BM25Okapi  2.00   bm25s  0.02
#   BM25Okapi with two common words in the query: 54% of the first 400 have the rarer word
#   bm25s     with two common words in the query: 100% of the first 400 have the rarer word
#
# Matters to: baselines of retrieval and hybrid search without stop words: the baseline is weaker than BM25 is, and an
# encoder looks better beside it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check rank-bm25==0.2.2 bm25s==0.3.16 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import bm25s
import numpy as np
import rank_bm25

print(", ".join(f"{name} {version(name)}" for name in ("rank-bm25", "bm25s")))
print("guess: the more documents have a word, the less it counts, down to nothing")
rng = np.random.default_rng(0)
SHARES = {"rare": 0.01, "some": 0.2, "many": 0.45, "most": 0.55, "nearly all": 0.95}
COUNT = 2000
DOCUMENTS = [[f"own{number}a", f"own{number}b", f"own{number}c"] for number in range(COUNT)]
for word, share in SHARES.items():
    for number in rng.permutation(COUNT)[: int(share * COUNT)]:
        DOCUMENTS[number].append(word)
okapi = rank_bm25.BM25Okapi(DOCUMENTS)
other = bm25s.BM25(method="lucene")
other.index(DOCUMENTS, show_progress=False)
weights = {word: (okapi.get_scores([word]).max(), other.get_scores([word]).max()) for word in SHARES}
print("the largest score of a document by one word")
for word, (one, two) in weights.items():
    print(f"a word of {SHARES[word]:4.0%} of the documents   BM25Okapi {one:5.2f}   bm25s {two:5.2f}")
query = ["some", "nearly all", "most"]
wanted = {number for number, words in enumerate(DOCUMENTS) if "some" in words}
found = {}
for name, scores in (("BM25Okapi", okapi.get_scores(query)), ("bm25s", other.get_scores(query))):
    best = np.argsort(-scores, kind="stable")[: len(wanted)]
    found[name] = np.mean([number in wanted for number in best])
    print(
        f"{name:9} with two common words in the query: {found[name]:.0%} of the first {len(wanted)} have the rarer word"
    )
same = weights["nearly all"][0] > weights["some"][0] > weights["many"][0] and weights["nearly all"][1] < 0.1
same = same and found["BM25Okapi"] < 0.8 and found["bm25s"] == 1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# hnswlib: with a NaN among the first k vectors the exact index misses most or all; the graph answers with the NaN.
#
# Versions: chroma-hnswlib 0.7.6 (hnswlib as a wheel; hnswlib 0.8.0, which has to be built, gave the same), faiss-cpu
# 1.15.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a vector of NaN (an empty text whose zeros were divided by their length) is far from everything; the
# other vectors are found as before. BFIndex is exact, so it is what recall is measured by.
# Seen: BFIndex begins with the first k rows and takes another that is nearer than the farthest of those it has. A NaN
# among them is, by its row, soon or at once the farthest, and no number is nearer than NaN: with k of 10 and the NaN in
# row 8 or 9 every query gets the first ten rows, with k of 100 and the NaN in row 80 or so as well. Behind the first k
# rows NaN is never taken and does no harm. The graph finds nearly all, and the NaN too, among the first ten of most
# queries. faiss leaves the NaN out and finds all others. No error and no warning.
#
#   chroma-hnswlib 0.7.6, faiss-cpu 1.15.1, numpy 2.4.6
#   guess: one NaN costs at most itself, and the index by brute force is exact
#   exact  k   1  NaN in row  None     0     1
#                 found       1.00  0.00  1.00
#                 NaN found   0.00  1.00  0.00
#   exact  k  10  NaN in row  None     0     3     5     8     9    10  1000
#                 found       1.00  1.00  0.68  0.20  0.00  0.00  1.00  1.00
#                 NaN found   0.00  1.00  1.00  1.00  1.00  1.00  0.00  0.00
#   exact  k 100  NaN in row  None     0    50    80    99   100
#                 found       1.00  1.00  0.08  0.00  0.00  1.00
#                 NaN found   0.00  1.00  1.00  1.00  1.00  0.00
#   graph  k  10  NaN in row  None     0     3     5     8     9    10  1000
#                 found       1.00  1.00  1.00  1.00  1.00  1.00  1.00  1.00
#                 NaN found   0.00  0.93  0.90  0.92  0.87  0.90  0.93  0.34
#   flat   k  10  NaN in row  None     0     3     5     8     9    10  1000
#                 found       1.00  1.00  1.00  1.00  1.00  1.00  1.00  1.00
#                 NaN found   0.00  0.00  0.00  0.00  0.00  0.00  0.00  0.00
#
# Matters to: whoever searches embeddings with empty texts among them, or takes BFIndex for the truth.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check chroma-hnswlib==0.7.6 faiss-cpu==1.15.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import faiss
import hnswlib
import numpy as np

print(f"chroma-hnswlib {version('chroma-hnswlib')}, faiss-cpu {version('faiss-cpu')}, numpy {np.__version__}")
print("guess: one NaN costs at most itself, and the index by brute force is exact")
ROWS, SIZE = 2000, 64
rng = np.random.default_rng(0)


def unit(vectors):
    """Return the vectors with length 1, NaN for zeros."""
    with np.errstate(invalid="ignore"):
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def exact(vectors, queries, k):
    """Return the rows that hnswlib finds by brute force."""
    index = hnswlib.BFIndex("cosine", SIZE)
    index.init_index(ROWS)
    index.add_items(vectors)
    return index.knn_query(queries, k)[0]


def graph(vectors, queries, k):
    """Return the rows that hnswlib's graph finds."""
    index = hnswlib.Index("cosine", SIZE)
    index.init_index(ROWS, ef_construction=200, random_seed=1)
    index.set_num_threads(1)
    index.add_items(vectors)
    index.set_ef(200)
    return index.knn_query(queries, k)[0]


def flat(vectors, queries, k):
    """Return the rows that faiss finds by brute force."""
    index = faiss.IndexFlatIP(SIZE)
    index.add(vectors)
    return index.search(queries, k)[1]


plain = rng.normal(size=(ROWS, SIZE))
asked = np.arange(200, 400)
queries = unit(plain[asked] + rng.normal(scale=0.2, size=(len(asked), SIZE)))


def measured(search, at, k):
    """Return the share of queries that find the vector they were made from, and of those that find the NaN."""
    vectors = plain.copy()
    if at is not None:
        vectors[at] = 0
    rows = search(unit(vectors), queries, k)
    own = np.mean([row in found for row, found in zip(asked, rows, strict=True)])
    return float(own), float((rows == at).any(axis=1).mean())


PLACES = {1: (None, 0, 1), 10: (None, 0, 3, 5, 8, 9, 10, 1000), 100: (None, 0, 50, 80, 99, 100)}
seen = {}
for search in (exact, graph, flat):
    for k, places in PLACES.items():
        for at in places:
            seen[search.__name__, k, at] = measured(search, at, k)
        own, nan = zip(*(seen[search.__name__, k, at] for at in places), strict=True)
        print(f"{search.__name__:5}  k {k:3}  NaN in row  {'  '.join(f'{at!s:>4}' for at in places)}")
        print(f"              found       {'  '.join(f'{share:4.2f}' for share in own)}")
        print(f"              NaN found   {'  '.join(f'{share:4.2f}' for share in nan)}")
same = all(own == 1 for (_, _, at), (own, _) in seen.items() if at is None)
same = same and all(found == (1, 0) for (name, _, _), found in seen.items() if name == "flat")
same = same and all(seen["exact", k, at][0] < 0.05 for k, at in ((1, 0), (10, 8), (10, 9), (100, 80), (100, 99)))
same = same and all(seen["exact", k, at][0] == 1 for k, at in ((1, 1), (10, 10), (10, 1000), (100, 100)))
same = same and seen["graph", 10, 0][1] > 0.5
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# usearch: an index of dtype i8 gives every vector one length, so that ip is cosine and l2sq ignores lengths.
#
# Versions: usearch 2.26.6, faiss-cpu 1.15.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: dtype="i8" rounds, and metric="ip" and "l2sq" rank as they do with f16, a few neighbours aside; vectors that
# do not fit are clipped, as values beyond [-1, 1] in other libraries. faiss's eight bits show what is lost by rounding.
# Seen: each vector that is given as floats is scaled by its own length to one of 127 before it is stored, and so is
# each query. The ranking is that of cosine under every metric, with nothing said; f16 and bf16 keep lengths. Codes that
# are given as int8 are taken as they are. (The graph is built anew each time: a percent more or less.)
#
#   usearch 2.26.6, faiss 1.15.1
#   guess: i8 finds nearly what f16 finds, whatever the metric
#   1000 vectors of 64 values, lengths from 0.5 to 5; of the true ten nearest are found
#   ip    f32   100 %    f16    99 %    i8     44 %    faiss, 8 bits   99 %    i8, as cosine   96 %
#   l2sq  f32   100 %    f16    98 %    i8     27 %    faiss, 8 bits   97 %    i8, as cosine   94 %
#   one direction, lengths 0.25 0.5 1 2 4: stored by ip with i8 as lengths 124 124 124 124 124
#
# Matters to: whoever has embeddings whose length counts: models trained with dot products, sparse and static ones,
# vectors cut to truncate_dim behind the normalisation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check usearch==2.26.6 faiss-cpu==1.15.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import faiss
import numpy as np
import usearch
from usearch.index import Index

print(f"usearch {usearch.__version__}, faiss {faiss.__version__}")
print("guess: i8 finds nearly what f16 finds, whatever the metric")
rng = np.random.default_rng(0)
SIZE, ROWS = 64, 1000
directions = rng.normal(size=(ROWS, SIZE))
directions /= np.linalg.norm(directions, axis=1, keepdims=True)
vectors = (directions * rng.uniform(0.5, 5, size=(ROWS, 1))).astype(np.float32)
queries = (directions[rng.permutation(ROWS)[:100]] * rng.uniform(0.5, 5, size=(100, 1))).astype(np.float32)
queries += rng.normal(scale=0.05, size=queries.shape).astype(np.float32)
products = queries @ vectors.T
lengths = np.linalg.norm(vectors, axis=1)
NEAREST = {
    "ip": np.argsort(-products, axis=1)[:, :10],
    "l2sq": np.argsort(lengths**2 - 2 * products, axis=1)[:, :10],
    "cos": np.argsort(-products / lengths, axis=1)[:, :10],
}


def share(found, metric):
    """Return how much of the true ten nearest by a metric is found."""
    pairs = zip(found, NEAREST[metric], strict=True)
    return float(np.mean([len(set(ours) & set(truth)) / 10 for ours, truth in pairs]))


def indexed(metric, kind):
    index = Index(ndim=SIZE, metric=metric, dtype=kind, expansion_search=ROWS)
    index.add(np.arange(ROWS), vectors)
    return index.search(queries, 10).keys


def by_faiss(metric):
    of = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    index = faiss.IndexScalarQuantizer(SIZE, faiss.ScalarQuantizer.QT_8bit, of)
    index.train(vectors)
    index.add(vectors)
    return index.search(queries, 10)[1]


print("1000 vectors of 64 values, lengths from 0.5 to 5; of the true ten nearest are found")
seen = {}
for metric in ("ip", "l2sq"):
    row = {kind: share(indexed(metric, kind), metric) for kind in ("f32", "f16", "i8")}
    row["faiss, 8 bits"] = share(by_faiss(metric), metric)
    row["i8, as cosine"] = share(indexed(metric, "i8"), "cos")
    seen[metric] = row
    print(f"{metric:5}", "    ".join(f"{name:4} {100 * value:4.0f} %" for name, value in row.items()))
LENGTHS = (0.25, 0.5, 1, 2, 4)
index = Index(ndim=SIZE, metric="ip", dtype="i8")
index.add(np.arange(len(LENGTHS)), np.stack([directions[0] * length for length in LENGTHS]).astype(np.float32))
stored = [float(np.linalg.norm(np.asarray(index.get(key)).astype(np.float32))) for key in range(len(LENGTHS))]
before, after = (" ".join(f"{length:g}" for length in each) for each in (LENGTHS, np.round(stored)))
print(f"one direction, lengths {before}: stored by ip with i8 as lengths {after}")
same = all(row["f16"] > 0.9 and row["i8"] < 0.7 and row["i8, as cosine"] > 0.85 for row in seen.values())
same = same and seen["ip"]["faiss, 8 bits"] > 0.9 and max(stored) - min(stored) < 2
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

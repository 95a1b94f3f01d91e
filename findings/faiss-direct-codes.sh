#!/usr/bin/env bash
# faiss: an index of codes as they come (8bit_direct, 8bit_direct_signed) cuts the query to bytes too, if SIMD fits.
#
# Versions: faiss-cpu 1.15.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64 with AVX-512.
# Expected: the stored codes are read as numbers and the query stays float, as in the other scalar quantizers, so that
# a float query ranks by its products with the codes, whatever its length and the dimension.
# Seen: at 384 and 768 dimensions each value of the query is cut to an integer and taken modulo 256: a normalized query
# is all zeros and every product with it 0, a value of 130 is one of -126. At 300 dimensions, and at all that are no
# multiple of 32 (with AVX2 of 16), the same query stays float. HNSW and IVF over such codes do the same; what they
# reconstruct is right. Asked, a maintainer said that queries are floating point (facebookresearch/faiss, issue 2399).
#
#   faiss 1.15.1, numpy 2.4.6
#   guess: 1.00 everywhere: the codes are numbers, and the query is float
#   2000 documents; of the ten nearest by the codes and the float query are found
#   300 8bit_direct_signed IP   normalized query 1.00    in steps of the codes 1.00    these clipped 1.00
#   384 8bit_direct_signed IP   normalized query 0.02    in steps of the codes 0.58    these clipped 0.98
#   768 8bit_direct_signed IP   normalized query 0.01    in steps of the codes 0.57    these clipped 0.99
#   300 8bit_direct        L2   in steps of the codes 1.00    these clipped 1.00
#   384 8bit_direct        L2   in steps of the codes 0.61    these clipped 0.98
#   768 8bit_direct        L2   in steps of the codes 0.62    these clipped 0.99
#   products of one normalized query of 384 with its ten best: 0 0 0 0 0 0 0 0 0 0
#
# Matters to: whoever stores INT8 embeddings as a model or sentence-transformers gives them and asks with a float
# vector; a trial at another dimension does not show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import faiss
import numpy as np

print(f"faiss {faiss.__version__}, numpy {np.__version__}")
print("guess: 1.00 everywhere: the codes are numbers, and the query is float")
ROWS = 2000
STEP = 3 / 127  # of a code: values have a standard deviation of 1


def share(found, truth):
    """Return how many of the true ten nearest are found."""
    return float(np.mean([len(set(ours) & set(right)) / 10 for ours, right in zip(found, truth, strict=True)]))


def nearest(codes, queries, inner):
    """Return the rows of the ten nearest codes, by product or squared distance."""
    far = -(queries @ codes.T) if inner else (codes**2).sum(1) - 2 * queries @ codes.T
    return np.argsort(far, axis=1)[:, :10]


print(f"{ROWS} documents; of the ten nearest by the codes and the float query are found")
seen, best = {}, {}
for kind, lowest, metric in (("8bit_direct_signed", -128, "IP"), ("8bit_direct", 0, "L2")):
    for size in (300, 384, 768):
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(ROWS, size))
        wanted = vectors[:100] + rng.normal(scale=0.5, size=(100, size))
        codes = np.clip(np.rint(vectors / STEP), -128, 127) + lowest + 128
        queries = wanted / STEP + lowest + 128
        cases = {"in steps of the codes": queries, "these clipped": np.clip(queries, lowest, lowest + 255)}
        if metric == "IP":
            cases = {"normalized query": wanted / np.linalg.norm(wanted, axis=1, keepdims=True)} | cases
        of = faiss.METRIC_INNER_PRODUCT if metric == "IP" else faiss.METRIC_L2
        index = faiss.IndexScalarQuantizer(size, getattr(faiss.ScalarQuantizer, f"QT_{kind}"), of)
        index.train(codes.astype(np.float32))
        index.add(codes.astype(np.float32))
        assert (index.reconstruct_n(0, ROWS) == codes).all()
        for name, asked in cases.items():
            distances, found = index.search(asked.astype(np.float32), 10)
            seen[kind, size, name] = share(found, nearest(codes, asked, metric == "IP"))
            best[kind, size, name] = distances[0]
        row = "    ".join(f"{name} {seen[kind, size, name]:.2f}" for name in cases)
        print(f"{size} {kind:18} {metric}   {row}")
zeros = best["8bit_direct_signed", 384, "normalized query"]
print("products of one normalized query of 384 with its ten best:", *(f"{each:g}" for each in zeros))
same = all(value > 0.99 for (_, size, _), value in seen.items() if size == 300) and not zeros.any()
same = same and all(value < 0.7 for (_, size, name), value in seen.items() if size != 300 and "clipped" not in name)
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

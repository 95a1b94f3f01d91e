#!/usr/bin/env bash
# polars: a sum of FP16 by group stops at 2048, where the column's own sum goes on; dot of INT8 multiplies in eight
# bits.
#
# Versions: polars 2.1.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: group_by gives what the column gives; dot is the sum of the products, in a wider type, as sum is.
# Seen: by group, and in SQL, ones in Float16 are added in Float16: 2048 and 1 is 2048. The column's own sum, and each
# mean, are right. sum of Int8 is widened to Int64; dot sums wide too, but each product is one of eight bits. No error
# and no warning.
#
#   polars 2.1.0, numpy 2.4.6
#   guess: a sum by group is the sum of the column; dot is the sum of the products, widened as sum is
#   5000 ones in Float16: sum 5000, of the one group 2048, by SQL 2048
#   mean of the group 1
#   5000 codes of 100 in Int8: sum 500000, right 500000
#   dot with itself 80000, right 50000000
#   two INT8 vectors of 384: cosine by dot -1.069, right -0.007
#
# Matters to: whoever keeps scores in Float16 or INT8 embeddings in a table: sums per model or label, cosines.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check polars==2.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import polars as pl

print(f"polars {pl.__version__}, numpy {np.__version__}")
print("guess: a sum by group is the sum of the column; dot is the sum of the products, widened as sum is")
COUNT = 5000
table = pl.DataFrame({"group": [0] * COUNT, "one": [1.0] * COUNT, "code": [100] * COUNT})
table = table.cast({"one": pl.Float16, "code": pl.Int8})
column = table["one"].sum()
grouped = table.group_by("group").agg(pl.col("one").sum(), pl.col("one").mean().alias("mean"))
queried = table.sql("select sum(one) as one from self group by group")["one"].item()
print(f"{COUNT} ones in Float16: sum {column:.0f}, of the one group {grouped['one'].item():.0f}, by SQL {queried:.0f}")
print(f"mean of the group {grouped['mean'].item():.0f}")
codes = table["code"]
wide = codes.to_numpy().astype(np.int64)
print(f"{COUNT} codes of 100 in Int8: sum {codes.sum()}, right {wide.sum()}")
print(f"dot with itself {codes.dot(codes)}, right {wide @ wide}")
rng = np.random.default_rng(0)
vectors = np.clip(np.rint(rng.normal(scale=40, size=(2, 384))), -128, 127).astype(np.int8)
one, other = (pl.Series(row) for row in vectors)
cosine = one.dot(other) / (one.dot(one) * other.dot(other)) ** 0.5
exact = vectors.astype(float)
right = exact[0] @ exact[1] / np.linalg.norm(exact[0]) / np.linalg.norm(exact[1])
print(f"two INT8 vectors of 384: cosine by dot {cosine:.3f}, right {right:.3f}")
same = column == COUNT and grouped["one"].item() == queried == 2048 and grouped["mean"].item() == 1
same = same and codes.sum() == wide.sum() and codes.dot(codes) == 16 * COUNT and abs(cosine - right) > 0.05
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# sqlite-vec: a zero vector in the first row of a table is the nearest neighbour of every query, in other rows of none.
#
# Versions: sqlite-vec 0.1.9, apsw 3.54.1.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a vector without a direction (zeros by cosine, NaN by any metric) has no distance, so that it comes last or
# is left out, wherever it stands, and the other rows are found as ever; zeros are refused by vec_normalize or stay so.
# Seen: the search for the k smallest takes the first row of each chunk of 1024 as the smallest so far, and no number is
# smaller than NaN. In the last chunk such a row is the first answer to every query, with None as its distance; in an
# earlier one it hides all rows up to its chunk's end, since the chunks' answers are merged by the same comparison. In
# another row of a chunk it is left out. INT8 tables too. vec_normalize makes NaN of zeros, and the table takes it.
#
#   sqlite-vec 0.1.9
#   guess: an empty vector is never an answer, and of the true five nearest 100 % are found
#   cosine, float, zeros; how often the empty row is the first answer, and how many of the five nearest are found
#       1000 rows, row    0 empty: first 100 %    found  80 %
#       1000 rows, row  500 empty: first   0 %    found 100 %
#       3000 rows, row    0 empty: first   0 %    found  66 %
#       3000 rows, row  500 empty: first   0 %    found 100 %
#       3000 rows, row 1024 empty: first   0 %    found  33 %
#       3000 rows, row 2048 empty: first 100 %    found  80 %
#   (the same numbers for int8 by cosine, and for L2 behind vec_normalize)
#   vec_normalize of zeros: [null,null]
#
# Matters to: whoever stores embeddings of texts of which one may be empty or unknown (static models give zeros, mean
# pooling over nothing NaN), and whoever overwrites a deleted row with zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check sqlite-vec==0.1.9 apsw==3.54.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import apsw
import numpy as np
import sqlite_vec

print(f"sqlite-vec {version('sqlite-vec')}")
print("guess: an empty vector is never an answer, and of the true five nearest 100 % are found")
rng = np.random.default_rng(0)
SIZE = 8
directions = rng.normal(size=(3200, SIZE)).astype(np.float32)
directions /= np.linalg.norm(directions, axis=1, keepdims=True)
VECTORS, QUERIES = directions[:3000], directions[3000:]
database = apsw.Connection(":memory:")
database.enable_load_extension(True)
database.load_extension(sqlite_vec.loadable_path())


def measured(rows, empty, metric, kind, put):
    """Return how often the empty row is the first answer, and how many of the true five nearest are found."""
    codes, queries, take = VECTORS[:rows], QUERIES, "?"
    if kind == "int8":
        codes, queries = np.rint(127 * codes).astype(np.int8), np.rint(127 * queries).astype(np.int8)
        take = "vec_int8(?)"
    lengths = np.maximum(np.linalg.norm(codes.astype(float), axis=1), 1e-9)
    likeness = queries.astype(float) @ codes.astype(float).T / lengths
    likeness[:, empty] = -np.inf
    nearest = np.argsort(-likeness, axis=1)[:, :5]
    database.execute("drop table if exists texts")
    database.execute(f"create virtual table texts using vec0(vector {kind}[{SIZE}] distance_metric={metric})")
    for row, code in enumerate(codes):
        value, into = (code, take) if row != empty else (np.zeros_like(code), put)
        database.execute(f"insert into texts(rowid, vector) values (?, {into})", (row, value.tobytes()))
    find = f"select rowid from texts where vector match {take} and k = 5"
    found = [[row for (row,) in database.execute(find, (query.tobytes(),))] for query in queries]
    first = np.mean([rows[0] == empty for rows in found])
    pairs = zip(found, nearest, strict=True)
    return float(first), float(np.mean([len(set(ours) & set(truth)) / 5 for ours, truth in pairs]))


CASES = {
    "cosine, float, zeros": ("cosine", "float", "?"),
    "cosine, int8, zeros": ("cosine", "int8", "vec_int8(?)"),
    "L2, float, vec_normalize of zeros": ("L2", "float", "vec_normalize(?)"),
}
seen = {}
for name, case in CASES.items():
    print(f"{name}; how often the empty row is the first answer, and how many of the five nearest are found")
    for rows, places in ((1000, (0, 500)), (3000, (0, 500, 1024, 2048))):
        for empty in places:
            first, found = seen[name, rows, empty] = measured(rows, empty, *case)
            print(f"    {rows} rows, row {empty:4} empty: first {100 * first:3.0f} %    found {100 * found:3.0f} %")
zeros = np.zeros(2, np.float32).tobytes()
normal = next(database.execute("select vec_to_json(vec_normalize(?))", (zeros,)))[0]
print(f"vec_normalize of zeros: {normal}")
same = normal == "[null,null]"
for name in CASES:
    same = same and seen[name, 1000, 0][0] == 1 and seen[name, 1000, 500] == (0, 1) and seen[name, 3000, 500] == (0, 1)
    same = same and seen[name, 3000, 2048][0] == 1 and seen[name, 3000, 1024][1] < 0.5
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

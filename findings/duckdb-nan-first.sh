#!/usr/bin/env bash
# duckdb: a vector of zeros is the first answer of ORDER BY cosine DESC: its cosine is NaN, the largest number there.
#
# Versions: duckdb 2.0.1, polars 2.1.0, numpy 2.4.6, pandas 3.1.1.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: the cosine with a vector of zeros is 0 or NULL, and NaN comes last in a falling order, as in pandas.
# Seen: array_cosine_similarity and list_cosine_similarity give NaN, and the order of SQL puts NaN above all numbers, so
# that the row is the first for each query, before an equal vector. array_cosine_distance ASC puts it last. polars'
# sort(descending=True) and top_k of a frame have NaN first too, its Series.top_k has not.
#
#   duckdb 2.0.1, polars 2.1.0
#   guess: empty is last in all lines
#   duckdb array_cosine_similarity DESC  empty equal near far
#   duckdb list_cosine_similarity DESC   empty equal near far
#   duckdb array_cosine_distance ASC     equal near far empty
#   polars sort(descending=True)         empty equal near far
#   polars top_k of a frame              empty equal near far
#   pandas sort_values(ascending=False)  equal near far empty
#
# Matters to: whoever searches by SQL over embeddings of which one is zeros: an empty text in a static or sparse model,
# a row that was filled up, what an engine in FP16 lost. WHERE NOT isnan(similarity).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 numpy==2.4.6 \
  pandas==3.1.1
venv/bin/python - <<'PYTHON'
import duckdb
import pandas
import polars

print(f"duckdb {duckdb.__version__}, polars {polars.__version__}")
print("guess: empty is last in all lines")
database = duckdb.connect()
database.execute("create table texts(name varchar, vector float[3])")
ROWS = [("equal", [1, 0.5, 0]), ("empty", [0, 0, 0]), ("far", [0, 0, 1]), ("near", [1, 0, 0])]
database.executemany("insert into texts values (?, ?)", ROWS)


def ordered(function, direction):
    """Return the names in the order of a function of the vectors and a query."""
    expression = f"{function}(vector, [1, 0.5, 0]::float[3])"
    rows = database.execute(f"select name from texts order by {expression} {direction}").fetchall()
    return [name for (name,) in rows]


scores = {"name": [name for name, _ in ROWS], "score": [1.0, float("nan"), 0.0, 0.89]}
found = {
    "duckdb array_cosine_similarity DESC": ordered("array_cosine_similarity", "desc"),
    "duckdb list_cosine_similarity DESC": ordered("list_cosine_similarity", "desc"),
    "duckdb array_cosine_distance ASC": ordered("array_cosine_distance", "asc"),
    "polars sort(descending=True)": polars.DataFrame(scores).sort("score", descending=True)["name"].to_list(),
    "polars top_k of a frame": polars.DataFrame(scores).top_k(4, by="score")["name"].to_list(),
    "pandas sort_values(ascending=False)": list(pandas.DataFrame(scores).sort_values("score", ascending=False)["name"]),
}
for name, names in found.items():
    print(f"{name:36}", *names)
firsts = [names[0] == "empty" for names in found.values()]
raise SystemExit(0 if firsts == [True, True, False, True, True, False] else "the behaviour is no longer so")
PYTHON

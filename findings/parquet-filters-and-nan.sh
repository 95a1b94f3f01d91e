#!/usr/bin/env bash
# pyarrow: a filter that NaN passes loses rows of NaN when it is given to the reader of a Parquet file.
#
# Versions: pyarrow 26.0.1, pandas 3.1.1, duckdb 2.0.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: reading with a filter gives the rows that the filter takes of the whole table; statistics only save time.
# Seen: the statistics leave NaN out, and a group of rows whose smallest and largest number do not pass is skipped with
# its NaN: "not above 0.5" in a group of good scores, "not 1.0" where all numbers are 1.0. There is_nan itself finds
# nothing. pyarrow.dataset and pandas do the same. So the rows that are found depend on the size of the groups. duckdb
# finds no NaN by isnan in such files and takes 1.0 for the maximum: known (duckdb issue 25521), with can_have_nan
# against it.
#
#   pyarrow 26.0.1, pandas 3.1.1, duckdb 2.0.1
#   guess: a filter given to the reader takes the rows that it takes of the table
#   scores [0.1, 0.2, nan, 0.3, 0.6, 0.7, nan, 0.9, 1.0, 1.0, nan, 1.0]
#   not score > 0.5  table        [0, 1, 2, 3, 6, 10]
#   not score > 0.5  one group    [0, 1, 2, 3, 6, 10]
#   not score > 0.5  three groups [0, 1, 2, 3]
#   score != 1.0     table        [0, 1, 2, 3, 4, 5, 6, 7, 10]
#   score != 1.0     three groups [0, 1, 2, 3, 4, 5, 6, 7]
#   is_nan(score)    table        [2, 6, 10]
#   is_nan(score)    three groups [2, 6]
#   duckdb's isnan   table        [2, 6, 10], largest score nan
#   duckdb's isnan   file         [], largest score 1.0
#   duckdb's isnan   file, told   [2, 6, 10], largest score nan
#
# Matters to: whoever keeps scores or losses in Parquet and looks for what fell below a threshold, or for NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 duckdb==2.0.1 \
  numpy==2.4.6
venv/bin/python - <<'PYTHON'
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

print(f"pyarrow {pa.__version__}, pandas {pd.__version__}, duckdb {duckdb.__version__}")
print("guess: a filter given to the reader takes the rows that it takes of the table")
SCORES = [0.1, 0.2, np.nan, 0.3, 0.6, 0.7, np.nan, 0.9, 1.0, 1.0, np.nan, 1.0]
table = pa.table({"row": range(len(SCORES)), "score": SCORES})
for name, size in (("one", len(SCORES)), ("three", 4)):
    pq.write_table(table, f"{name}.parquet", row_group_size=size)
print(f"scores {SCORES}")
score = pc.field("score")
FILTERS = {"not score > 0.5": ~(score > 0.5), "score != 1.0": score != 1.0, "is_nan(score)": pc.is_nan(score)}
seen = {}
for name, rule in FILTERS.items():
    readers = {
        "table": table.filter(rule),
        "one group": pq.read_table("one.parquet", filters=rule),
        "three groups": pq.read_table("three.parquet", filters=rule),
        "dataset": ds.dataset("three.parquet").to_table(filter=rule),
        "pandas": pa.Table.from_pandas(pd.read_parquet("three.parquet", filters=rule)),
    }
    seen[name] = {reader: rows["row"].to_pylist() for reader, rows in readers.items()}
    for reader, rows in seen[name].items():
        print(f"{name:15}  {reader:12} {rows}")
told = "read_parquet('three.parquet', can_have_nan=true)"
words = {"table": '"table"', "file": "'three.parquet'", "file, told": told}
found = {}
for reader, source in words.items():
    rows = duckdb.sql(f"select row from {source} where isnan(score)").fetchall()
    ((largest,),) = duckdb.sql(f"select max(score) from {source}").fetchall()
    found[reader] = [row for (row,) in rows]
    print(f"duckdb's isnan   {reader:12} {found[reader]}, largest score {largest}")
low, other, nan = (seen[name] for name in FILTERS)
same = low["table"] == low["one group"] == [0, 1, 2, 3, 6, 10] and low["three groups"] == [0, 1, 2, 3]
same = same and low["dataset"] == low["pandas"] == low["three groups"]
same = same and set(other["table"]) - set(other["three groups"]) == {10}
same = same and nan["table"] == nan["one group"] == [2, 6, 10] and nan["three groups"] == nan["pandas"] == [2, 6]
same = same and found == {"table": [2, 6, 10], "file": [], "file, told": [2, 6, 10]}
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

#!/usr/bin/env bash
# datasets: from_list, from_generator and map keep the keys of the first row, and drop what only later rows have.
#
# Versions: datasets 5.2.0, pyarrow 26.0.1, numpy 2.4.6, pandas 3.1.1.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a key that the first row lacks is a column with None in that row, as load_dataset("json") and pandas give.
# Seen: from_list and from_generator have no such column, and map adds none, whatever the other rows hold: no error and
# no warning. If the first row has the key and a later one lacks it, from_list gives None, and map a KeyError, of rows
# in one batch of writing. pyarrow's Table.from_pylist does as from_list.
#
#   datasets 5.2.0, pyarrow 26.0.1
#   guess: text and label in each line
#   load_dataset of JSONL     text label
#   pandas.DataFrame          text label
#   Dataset.from_list         text
#   Dataset.from_generator    text
#   Dataset.map               text
#   pyarrow from_pylist       text
#
# Matters to: whoever makes data sets of records with optional fields (labels of some rows, a second text, answers of
# SQuAD 2), or whose map returns nothing for rows that it skips: whether the field is there depends on the first row.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6 \
  pandas==3.1.1
HF_HOME="$folder" venv/bin/python - <<'PYTHON'
import json

import datasets
import pandas
import pyarrow
from datasets import Dataset

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}, pyarrow {pyarrow.__version__}")
print("guess: text and label in each line")
ROWS = [{"text": "not labelled yet"}, {"text": "good", "label": 1}, {"text": "bad", "label": 0}]
with open("rows.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in ROWS)
labels = {row["text"]: row["label"] for row in ROWS if "label" in row}


def labelled(row):
    """Return the label of a row that has one."""
    return {"label": labels[row["text"]]} if row["text"] in labels else {}


found = {
    "load_dataset of JSONL": datasets.load_dataset("json", data_files="rows.jsonl", split="train").column_names,
    "pandas.DataFrame": list(pandas.DataFrame(ROWS).columns),
    "Dataset.from_list": Dataset.from_list(ROWS).column_names,
    "Dataset.from_generator": Dataset.from_generator(lambda: iter(ROWS)).column_names,
    "Dataset.map": Dataset.from_list([{"text": row["text"]} for row in ROWS]).map(labelled).column_names,
    "pyarrow from_pylist": pyarrow.Table.from_pylist(ROWS).column_names,
}
for name, columns in found.items():
    print(f"{name:24} ", *columns)
kept = [name for name, columns in found.items() if "label" in columns]
raise SystemExit(0 if kept == ["load_dataset of JSONL", "pandas.DataFrame"] else "the behaviour is no longer so")
PYTHON

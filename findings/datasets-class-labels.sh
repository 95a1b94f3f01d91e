#!/usr/bin/env bash
# datasets: making a column of labels a ClassLabel renumbers them, and another ClassLabel renames them.
#
# Versions: datasets 5.2.0, pyarrow 26.0.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: class_encode_column, which makes the column that train_test_split(stratify_by_column=...) asks for, leaves
# labels 0 to 11 what they are; cast_column to names in another order keeps each row's name and changes its number.
# Seen: class_encode_column sorts the numbers as text: 2 becomes 4, 10 becomes 2. With ten labels or fewer nothing
# moves, so small tests pass. cast_column keeps the numbers, so every neg becomes pos; align_labels_with_mapping is what
# maps names. No warning from either.
#
#   datasets 5.2.0, pyarrow 26.0.1
#   guess: labels 0 to 11 stay, and the names of rows stay: neg pos pos
#   without class_encode_column the split says: Stratifying by column is only supported for ClassLabel column
#   10 labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
#   12 labels: [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]
#   cast_column: before neg pos pos, after pos neg neg
#   align_labels_with_mapping: neg pos pos
#
# Matters to: whoever stratifies a data set of many intents or topics whose numbers a trained model already has, or
# joins data sets: the model's accuracy falls to that of chance for the labels that moved.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6
HF_HOME="$folder" venv/bin/python - <<'PYTHON'
import datasets
import pyarrow
from datasets import ClassLabel, Dataset, Features

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}, pyarrow {pyarrow.__version__}")
print("guess: labels 0 to 11 stay, and the names of rows stay: neg pos pos")


def encoded(count):
    """Return what 0, 1, ... count - 1 are after class_encode_column."""
    rows = Dataset.from_dict({"label": list(range(count)) * 10})
    return rows.class_encode_column("label")["label"][:count]


def names(rows):
    """Return the name of each row's label."""
    return " ".join(rows.features["label"].int2str(rows["label"][:]))


try:
    Dataset.from_dict({"label": [0, 1] * 10}).train_test_split(stratify_by_column="label")
    advice = "nothing"
except ValueError as error:
    advice = str(error)[:61]
print(f"without class_encode_column the split says: {advice}")
ten, twelve = encoded(10), encoded(12)
print(f"10 labels: {ten}")
print(f"12 labels: {twelve}")
rows = Dataset.from_dict({"label": [0, 1, 1]}, features=Features(label=ClassLabel(names=["neg", "pos"])))
turned = rows.cast_column("label", ClassLabel(names=["pos", "neg"]))
print(f"cast_column: before {names(rows)}, after {names(turned)}")
aligned = rows.align_labels_with_mapping({"pos": 0, "neg": 1}, "label")
print(f"align_labels_with_mapping: {names(aligned)}")
same = ten == list(range(10)) and twelve == [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]
same = same and names(turned) == "pos neg neg" and names(aligned) == names(rows) == "neg pos pos"
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

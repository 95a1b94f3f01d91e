#!/usr/bin/env bash
# polars: the codes of a Categorical depend on what else the process holds at that time.
#
# Versions: polars 2.1.0.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: 0, 1, 2 in the order in which words appear in the column, each time.
# Seen: all Categoricals of a process share one numbering, which lasts as long as a column that uses it. Held training
# rows give the rows of a test set their numbers, which looks right; in a process that does not hold them the same file
# has others, and a word of another column, Köln, moves all. Enum has fixed codes.
#
#   polars 2.1.0
#   guess: the codes of a column are 0, 1, 2 in the order of its words, each time
#   negative neutral positive: [0, 1, 2]
#   the same while a table with Köln, Bonn, positive and neutral is held: [4, 3, 2]
#   the same after that table has gone: [0, 1, 2]
#   positive neutral negative, while the training rows are held: [2, 1, 0]
#   the same where the training rows are not: [0, 1, 2]
#   as Enum of the three words: [2, 1, 0]
#
# Matters to: whoever makes label ids by to_physical: right in the notebook, permuted in the service.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check polars==2.1.0
venv/bin/python - <<'PYTHON'
import polars as pl

print(f"polars {pl.__version__}")
print("guess: the codes of a column are 0, 1, 2 in the order of its words, each time")


def codes(words):
    """Return the codes of a column of labels."""
    return pl.Series("label", words).cast(pl.Categorical).to_physical().to_list()


LABELS = ["negative", "neutral", "positive"]
found = {"alone": codes(LABELS)}
print(f"{' '.join(LABELS)}: {found['alone']}")
other = pl.DataFrame({"place": ["Köln", "Bonn"], "mood": ["positive", "neutral"]}).cast(pl.Categorical)
found["beside another table"] = codes(LABELS)
print(f"the same while a table with Köln, Bonn, positive and neutral is held: {found['beside another table']}")
del other
found["alone again"] = codes(LABELS)
print(f"the same after that table has gone: {found['alone again']}")
train, test = (pl.DataFrame({"label": words}).cast(pl.Categorical) for words in (LABELS, LABELS[::-1]))
found["held"] = test["label"].to_physical().to_list()
print(f"{' '.join(LABELS[::-1])}, while the training rows are held: {found['held']}")
del train, test
found["in a process of its own"] = codes(LABELS[::-1])
print(f"the same where the training rows are not: {found['in a process of its own']}")
fixed = pl.Series(LABELS[::-1]).cast(pl.Enum(LABELS)).to_physical().to_list()
print(f"as Enum of the three words: {fixed}")
same = found["alone"] == found["alone again"] == [0, 1, 2] != found["beside another table"]
same = same and found["held"] == [2, 1, 0] == fixed and found["in a process of its own"] == [0, 1, 2]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

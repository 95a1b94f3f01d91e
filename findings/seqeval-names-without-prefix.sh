#!/usr/bin/env bash
# seqeval: of labels without B- and I- the first letter is the prefix: ORG is no entity, and DATE is equal to RATE.
#
# Versions: seqeval 1.2.2, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: labels PER, ORG, DATE without a scheme are taken as types, and neighbours of one type are an entity; or they
# are refused.
# Seen: the first letter is cut off and read as the prefix, the rest is the type. ORG, ORDINAL and OTHER begin with O
# and are outside: they count neither as found nor as missed. Types that differ in the first letter are equal. All types
# of one letter are the type _. There is the warning "ORG seems not to be NE tag", and a number.
#
#   seqeval 1.2.2
#   guess: 1.0, 0.0, 0.67, 0.0
#   truth ORG O,     answer ORG O        F1 0.00
#   truth ORG O,     answer O O          F1 0.00
#   truth PER O ORG, answer PER O O      F1 1.00
#   truth DATE O,    answer RATE O       F1 1.00
#   the report names the types: ATE ER
#
# Matters to: taggers whose labels have no prefixes (tables of types, IO tags, what a pipeline with an aggregation
# gives): organisations do not count, and the score says nothing of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check seqeval==1.2.2 numpy==2.4.6 setuptools==80.9.0
venv/bin/python - <<'PYTHON'
import warnings

warnings.simplefilter("ignore")

from importlib.metadata import version

from seqeval.metrics import classification_report, f1_score

print(f"seqeval {version('seqeval')}")
print("guess: 1.0, 0.0, 0.67, 0.0")
PAIRS = [("ORG O", "ORG O"), ("ORG O", "O O"), ("PER O ORG", "PER O O"), ("DATE O", "RATE O")]
found = []
for truth, answer in PAIRS:
    found.append(float(f1_score([truth.split()], [answer.split()])))
    print(f"truth {truth + ',':10} answer {answer:10}   F1 {found[-1]:.2f}")
tags = [["DATE", "O", "ORG", "O", "PER"]]
types = sorted(classification_report(tags, tags, output_dict=True).keys() - {"micro avg", "macro avg", "weighted avg"})
print("the report names the types:", *types)
raise SystemExit(0 if found == [0, 0, 1, 1] and types == ["ATE", "ER"] else "the behaviour is no longer so")
PYTHON

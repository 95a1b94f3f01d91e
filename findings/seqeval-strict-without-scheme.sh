#!/usr/bin/env bash
# seqeval: mode="strict" without a scheme is not strict.
#
# Versions: seqeval 1.2.2, scikit-learn 1.9.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: f1_score(..., mode="strict") counts strictly (an entity has to begin with B-), recognises the scheme from
# the labels, or says that it needs one.
# Seen: the argument is ignored unless a scheme is given with it. An entity that begins with I- counts as right, and
# the score is that of the lenient default.
#
#   seqeval 1.2.2
#   guess: the second line equals the third, or raises an error
#   default                      F1 1.000
#   mode="strict"                F1 1.000
#   mode="strict", scheme=IOB2   F1 0.500
#
# Matters to: whoever gates a quantized tagger by strict F1: the two differ exactly where quantization turns B- into
# I-.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check seqeval==1.2.2 scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import warnings

from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

warnings.simplefilter("ignore")
print(f"seqeval {importlib.metadata.version('seqeval')}")
print("guess: the second line equals the third, or raises an error")
truth = [["B-PER", "I-PER", "O", "B-LOC", "O", "B-ORG"]]
answer = [["B-PER", "I-PER", "O", "I-LOC", "O", "I-ORG"]]
scores = {
    "default": f1_score(truth, answer),
    'mode="strict"': f1_score(truth, answer, mode="strict"),
    'mode="strict", scheme=IOB2': f1_score(truth, answer, mode="strict", scheme=IOB2),
}
for name, score in scores.items():
    print(f"{name:28} F1 {score:.3f}")
default, alone, strict = scores.values()
raise SystemExit(0 if default == alone == 1 and strict < 0.6 else "the behaviour is no longer so")
PYTHON

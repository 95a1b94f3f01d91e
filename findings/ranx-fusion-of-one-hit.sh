#!/usr/bin/env bash
# ranx: in the default fusion the only document that a search finds counts nothing.
#
# Versions: ranx 0.3.21, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: what both searches find goes up, and the only document that a search finds counts as its best, 1.
# Seen: min-max, which is the default, sum and zmuv scale by the distance of the best from the last: a single hit, or
# several with one score, are the last and have 0, as if the search had not found them. With zmuv a document that both
# found is below all that one found alone, if its place was low: what is missing counts as the mean. max, and rank, give
# a single hit its 1.
#
#   ranx 0.3.21
#   guess: what both searches find goes up, and the only document that a search finds counts as its best
#   min-max  words find b alone          {'a': 1.0, 'b': 0.95, 'c': 0.46, 'd': 0.0}
#   min-max  words find b and c alike    {'a': 1.0, 'b': 0.95, 'c': 0.46, 'd': 0.0}
#   min-max  words find d last of three  {'x': 1.0, 'a': 1.0, 'b': 0.95, 'y': 0.86, 'c': 0.46, 'd': 0.0}
#   sum      words find b alone          {'a': 0.41, 'b': 0.39, 'c': 0.19, 'd': 0.0}
#   sum      words find b and c alike    {'a': 0.41, 'b': 0.39, 'c': 0.19, 'd': 0.0}
#   sum      words find d last of three  {'x': 0.54, 'y': 0.46, 'a': 0.41, 'b': 0.39, 'c': 0.19, 'd': 0.0}
#   zmuv     words find b alone          {'a': 0.97, 'b': 0.85, 'c': -0.34, 'd': -1.48}
#   zmuv     words find b and c alike    {'a': 0.97, 'b': 0.85, 'c': -0.34, 'd': -1.48}
#   zmuv     words find d last of three  {'a': 0.97, 'x': 0.86, 'b': 0.85, 'y': 0.54, 'c': -0.34, 'd': -2.89}
#   max      words find b alone          {'b': 1.98, 'a': 1.0, 'c': 0.73, 'd': 0.5}
#   max      words find b and c alike    {'b': 1.98, 'c': 1.73, 'a': 1.0, 'd': 0.5}
#   max      words find d last of three  {'x': 1.0, 'a': 1.0, 'b': 0.98, 'd': 0.92, 'y': 0.92, 'c': 0.73}
#   rank     words find b alone          {'b': 1.75, 'a': 1.0, 'c': 0.5, 'd': 0.25}
#   rank     words find b and c alike    {'b': 1.75, 'c': 1.0, 'a': 1.0, 'd': 0.25}
#   rank     words find d last of three  {'x': 1.0, 'a': 1.0, 'b': 0.75, 'y': 0.67, 'd': 0.58, 'c': 0.5}
#
# Matters to: hybrid search: a product code that words find in one document alone is what should win, and adds nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check ranx==0.3.21 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from ranx import Run, fuse

print(f"ranx {version('ranx')}")
print("guess: what both searches find goes up, and the only document that a search finds counts as its best")


def ranked(words, vectors, norm):
    """Return the documents of two runs fused by a norm and the sum, best first, with their scores."""
    run = fuse(runs=[Run({"q": words}), Run({"q": vectors})], norm=norm, method="sum").run["q"]
    return {name: round(score, 2) for name, score in sorted(run.items(), key=lambda each: -each[1])}


VECTORS = {"a": 0.82, "b": 0.80, "c": 0.60, "d": 0.41}
CASES = {
    "words find b alone": {"b": 12.3},
    "words find b and c alike": {"b": 12.3, "c": 12.3},
    "words find d last of three": {"x": 12.0, "y": 11.0, "d": 5.0},
}
found = {}
for norm in ("min-max", "sum", "zmuv", "max", "rank"):
    for name, words in CASES.items():
        found[norm, name] = ranked(words, VECTORS, norm)
        print(f"{norm:8} {name:27} {found[norm, name]}")
alone = {norm: found[norm, "words find b alone"] for norm in ("min-max", "sum", "zmuv", "max", "rank")}
same = all(next(iter(alone[norm])) == "a" for norm in ("min-max", "sum", "zmuv"))
same = same and all(next(iter(alone[norm])) == "b" for norm in ("max", "rank"))
same = same and next(reversed(found["zmuv", "words find d last of three"])) == "d"
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

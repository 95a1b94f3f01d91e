#!/usr/bin/env bash
# scipy: rank tests compute in the scores' type: four equal encoders on 50 texts in FP16 differ with p = 0.
#
# Versions: scipy 1.17.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a test of ranks has one answer for the same numbers in any type, since their ranks are the same.
# Seen: sums of ranks are formed in the type of the scores. In FP16 kruskal has the statistic infinity and p = 0 from a
# dozen texts on, friedmanchisquare from some fifty on; wilcoxon and mannwhitneyu have p = 1, and NaN from 256 on. numpy
# warns of an overflow, the result says nothing. In FP32 there is no warning: over many rows kruskal subtracts two
# numbers near 600000 with 7 digits, and has 0 and p = 1 here. Of mannwhitneyu in FP32 it is known (scipy, issue 24777).
#
#   scipy 1.17.1, numpy 2.4.6
#   guess: one p for each test, whatever the type
#   scores of four encoders that are equally good, numbers that FP16 has; p of each test
#     50 texts  float64 kruskal 0.996 friedman 0.912 wilcoxon 0.881 mannwhitneyu 0.945
#     50 texts  float16 kruskal 0.000 friedman 0.918 wilcoxon 1.000 mannwhitneyu 0.942
#    200 texts  float64 kruskal 0.982 friedman 0.488 wilcoxon 0.937 mannwhitneyu 0.962
#    200 texts  float16 kruskal 0.000 friedman 0.000 wilcoxon 1.000 mannwhitneyu 1.000
#   1000 texts  float64 kruskal 0.993 friedman 0.757 wilcoxon 0.430 mannwhitneyu 0.789
#   1000 texts  float16 kruskal   nan friedman 0.000 wilcoxon   nan mannwhitneyu   nan
#   200000 scores, float64: H 0.0696, p 0.792; float32: H 0.0000, p 1.000; warnings 0
#
# Matters to: whoever compares engines by scores per text that they have in FP16, or many of them in FP32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

import numpy as np
import scipy
from scipy.stats import friedmanchisquare, kruskal, mannwhitneyu, wilcoxon

print(f"scipy {scipy.__version__}, numpy {np.__version__}")
print("guess: one p for each test, whatever the type")
print("scores of four encoders that are equally good, numbers that FP16 has; p of each test")
rng = np.random.default_rng(0)
found = {}
for texts in (50, 200, 1000):
    truth = rng.uniform(0.6, 0.95, size=texts)
    halves = (truth + rng.normal(scale=0.03, size=(4, texts))).astype(np.float16)
    for kind in (np.float64, np.float16):
        scores = halves.astype(kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = {
                "kruskal": kruskal(*scores),
                "friedman": friedmanchisquare(*scores),
                "wilcoxon": wilcoxon(scores[0], scores[1]),
                "mannwhitneyu": mannwhitneyu(scores[0], scores[1]),
            }
        row = {name: float(result.pvalue) for name, result in results.items()}
        found[texts, kind] = row
        print(f"{texts:4} texts  {kind.__name__}", *(f"{name} {p:5.3f}" for name, p in row.items()))
rng = np.random.default_rng(0)
ours = rng.random(100_000).astype(np.float32)
theirs = (ours + rng.normal(scale=0.05, size=ours.size) + 0.0002).astype(np.float32)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    wide = kruskal(ours.astype(np.float64), theirs.astype(np.float64))
    single = kruskal(ours, theirs)
print(f"{2 * ours.size} scores, float64: H {wide.statistic:.4f}, p {wide.pvalue:.3f}; ", end="")
print(f"float32: H {single.statistic:.4f}, p {single.pvalue:.3f}; warnings {len(said)}")
half = {texts: found[texts, np.float16] for texts in (50, 200, 1000)}
same = half[50]["kruskal"] == 0 and half[200]["friedman"] == 0 and half[1000]["friedman"] == 0
same = same and half[200]["wilcoxon"] == 1 and all(np.isnan(half[1000][name]) for name in ("wilcoxon", "mannwhitneyu"))
same = same and all(p > 0.05 for (_, kind), row in found.items() if kind == np.float64 for p in row.values())
same = same and single.statistic == 0 and wide.statistic > 0.05 and not said
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

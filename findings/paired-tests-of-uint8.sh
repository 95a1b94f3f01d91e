#!/usr/bin/env bash
# Paired tests of labels or ratings in uint8 subtract modulo 256: t is 19.6 where it is -0.69, without a word.
#
# Versions: scipy 1.17.1, pingouin 0.7.0, statsmodels 0.15.0, krippendorff 0.9.0, scikit-learn 1.9.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: what is right for int64 is right for uint8: other tests of the same packages convert first.
# Seen: the difference of a pair is formed in uint8, so that one star too few is 255 too many. ttest_rel of scipy,
# ttest(paired=True) of pingouin and ttost_paired of statsmodels do it; so do Krippendorff's alpha for intervals and
# max_error of scikit-learn. No error and no warning. wilcoxon, ttest_ind and mean_absolute_error are right.
#
#   scipy 1.17.1, pingouin 0.7.0, statsmodels 0.15.0, krippendorff 0.9.0, scikit-learn 1.9.1
#   guess: the same for int64 and uint8
#   1000 ratings from 1 to 5 and a model's, a star off at most
#   scipy, ttest_rel, t                   int64  -0.6922   uint8  19.5653
#   scipy, ttest_ind, t                   int64  -0.2555   uint8  -0.2555
#   scipy, wilcoxon, p                    int64   0.4887   uint8   0.4887
#   pingouin, paired ttest, t             int64  -0.6922   uint8  19.5653
#   statsmodels, ttost_paired, p          int64   0.0001   uint8   1.0000
#   krippendorff, alpha of intervals      int64   0.8638   uint8   0.3272
#   scikit-learn, max_error               int64   1.0000   uint8 255.0000
#   scikit-learn, mean_absolute_error     int64   0.5340   uint8   0.5340
#   1000 texts, right or wrong by two models of 90 %: p of ttest_rel int64 0.5, uint8 2.2e-23
#
# Matters to: whoever keeps ratings, labels or "right or wrong" in a byte and compares two models by them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scipy==1.17.1 pingouin==0.7.0 \
  statsmodels==0.15.0 krippendorff==0.9.0 scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore", FutureWarning)

import krippendorff
import pingouin
from scipy.stats import ttest_ind, ttest_rel, wilcoxon
from sklearn.metrics import max_error, mean_absolute_error
from statsmodels.stats.weightstats import ttost_paired

PACKAGES = ("scipy", "pingouin", "statsmodels", "krippendorff", "scikit-learn")
print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
print("guess: the same for int64 and uint8")
print("1000 ratings from 1 to 5 and a model's, a star off at most")
rng = np.random.default_rng(0)
truth = rng.integers(1, 6, size=1000)
answer = np.clip(truth + rng.integers(-1, 2, size=1000), 1, 5)
WAYS = {
    "scipy, ttest_rel, t": lambda one, other: ttest_rel(one, other).statistic,
    "scipy, ttest_ind, t": lambda one, other: ttest_ind(one, other).statistic,
    "scipy, wilcoxon, p": lambda one, other: wilcoxon(one, other).pvalue,
    "pingouin, paired ttest, t": lambda one, other: pingouin.ttest(one, other, paired=True)["T"].iloc[0],
    "statsmodels, ttost_paired, p": lambda one, other: ttost_paired(one, other, -0.1, 0.1)[0],
    "krippendorff, alpha of intervals": lambda one, other: krippendorff.alpha(
        np.stack([one, other]), level_of_measurement="interval"
    ),
    "scikit-learn, max_error": max_error,
    "scikit-learn, mean_absolute_error": mean_absolute_error,
}
RIGHT = ("scipy, ttest_ind, t", "scipy, wilcoxon, p", "scikit-learn, mean_absolute_error")
said, found = [], {}
for name, way in WAYS.items():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found[name] = [float(way(truth.astype(kind), answer.astype(kind))) for kind in (np.int64, np.uint8)]
    said += heard
    print(f"{name:36}  int64 {found[name][0]:8.4f}   uint8 {found[name][1]:8.4f}")
ours, theirs = (rng.random(size=(2, 1000)) < 0.9).astype(np.uint8)
wide = ttest_rel(ours.astype(np.int64), theirs.astype(np.int64)).pvalue
narrow = ttest_rel(ours, theirs).pvalue
print(f"1000 texts, right or wrong by two models of 90 %: p of ttest_rel int64 {wide:.2g}, uint8 {narrow:.2g}")
same = all((abs(right - seen) < 1e-9) == (name in RIGHT) for name, (right, seen) in found.items())
same = same and wide > 0.05 and narrow < 1e-6
raise SystemExit(0 if same and not said else f"the behaviour is no longer so, or warns: {[str(each) for each in said]}")
PYTHON

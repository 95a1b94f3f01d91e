#!/usr/bin/env bash
# torchmetrics: constant answers have a Matthews correlation of up to 0.4, and Spearman's correlation 0 instead of nan.
#
# Versions: torchmetrics 1.9.0, scikit-learn 1.9.1, scipy 1.17.1, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a constant answer knows nothing: Matthews correlation 0 as in scikit-learn (or undefined), Spearman's and
# Pearson's correlation undefined (nan), as in scipy.
# Seen: Matthews correlation is 0.41 for a constant answer to labels 0, 0, 1, and it falls with the number of rows;
# labels of a single class give 1 or -1. Spearman's is 0, Pearson's nan.
#
#   torchmetrics 1.9.0, scikit-learn 1.9.1, scipy 1.17.1
#   guess: both columns agree
#   always 0; labels 0 0 1               torchmetrics  0.408   scikit-learn  0.000
#   always 0; 10 rows, 3 of them 1       torchmetrics  0.276   scikit-learn  0.000
#   always 0; 1000 rows, 300 of them 1   torchmetrics  0.028   scikit-learn  0.000
#   always 0; only label 0               torchmetrics  1.000   scikit-learn  0.000
#   always 0.5; Spearman                 torchmetrics  0.000   scipy           nan
#   always 0.5; Pearson                  torchmetrics    nan   scipy           nan
#
# Matters to: whoever gates CoLA or STS by these: an engine that broke and answers one class can pass on a small
# sample, and a nan and a 0 are not the same failure.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 scikit-learn==1.9.1 \
  scipy==1.17.1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

import numpy as np
import scipy
import scipy.stats
import sklearn
import sklearn.metrics
import torch
import torchmetrics

warnings.simplefilter("ignore")
print(f"torchmetrics {torchmetrics.__version__}, scikit-learn {sklearn.__version__}, scipy {scipy.__version__}")
print("guess: both columns agree")
matthews = torchmetrics.MatthewsCorrCoef("binary")
found = {}
for name, truth in (
    ("labels 0 0 1", [0, 0, 1]),
    ("10 rows, 3 of them 1", [0] * 7 + [1] * 3),
    ("1000 rows, 300 of them 1", [0] * 700 + [1] * 300),
    ("only label 0", [0, 0, 0]),
):
    answer = [0] * len(truth)
    value = float(matthews(torch.tensor(answer), torch.tensor(truth)))
    found[name] = value, float(sklearn.metrics.matthews_corrcoef(truth, answer))
    print(f"always 0; {name:26} torchmetrics {value:6.3f}   scikit-learn {found[name][1]:6.3f}")
constant, truth = [0.5] * 4, [1.0, 2.0, 3.0, 4.0]
for name, metric, peer in (
    ("Spearman", torchmetrics.SpearmanCorrCoef(), scipy.stats.spearmanr),
    ("Pearson", torchmetrics.PearsonCorrCoef(), scipy.stats.pearsonr),
):
    found[name] = float(metric(torch.tensor(constant), torch.tensor(truth))), float(peer(constant, truth).statistic)
    print(f"always 0.5; {name:24} torchmetrics {found[name][0]:6.3f}   scipy        {found[name][1]:6.3f}")
same = found["labels 0 0 1"][0] > 0.3 and found["labels 0 0 1"][1] == 0
same = same and found["Spearman"][0] == 0 and np.isnan(found["Spearman"][1])
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

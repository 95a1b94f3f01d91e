#!/usr/bin/env bash
# torchmetrics: AUROC, average precision and F1 of cosine similarities depend on how the rows are cut into batches.
#
# Versions: torchmetrics 1.9.0, torch 2.13.0, scikit-learn 1.9.1, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a metric that is updated batch by batch gives what it gives for all rows at once; AUROC and average
# precision depend on the order of the scores alone.
# Seen: each update asks anew whether its scores are probabilities. A batch with one score outside 0 to 1 goes through
# a sigmoid, the next one does not, and the two are ranked together: 0.7 of one batch becomes 0.67, that of the next
# stays, and an unlike pair of -0.1 becomes 0.48, more than an alike one of 0.45. As one batch, or moved into 0 to 1,
# the scores have the AUROC that scikit-learn finds. Logits have the same fault where a small batch of them lies within
# 0 and 1. F1 has another threshold in each kind of batch. No warning.
#
#   torchmetrics 1.9.0, torch 2.13.0, scikit-learn 1.9.1
#   guess: what scikit-learn finds, whatever the batch, and one F1
#   scikit-learn                   AUROC 0.9048, average precision 0.9041
#   16 of 4096 cosines are below zero
#   torchmetrics, batches of    1  AUROC 0.9041, average precision 0.9038, F1 0.8349
#   torchmetrics, batches of    8  AUROC 0.9017, average precision 0.9021, F1 0.8296
#   torchmetrics, batches of   32  AUROC 0.8929, average precision 0.8948, F1 0.8138
#   torchmetrics, batches of   64  AUROC 0.8816, average precision 0.8867, F1 0.7912
#   torchmetrics, batches of  256  AUROC 0.8750, average precision 0.8853, F1 0.7144
#   torchmetrics, batches of 4096  AUROC 0.9048, average precision 0.9041, F1 0.6736
#   (score + 1) / 2, batches of 64 AUROC 0.9048, average precision 0.9041
#
# Matters to: whoever evaluates pairs by the cosine, or compares an engine with its original in other batches: give the
# metric probabilities, or all rows at once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 torchmetrics==1.9.0 \
  scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryF1Score

print(f"torchmetrics {torchmetrics.__version__}, torch {torch.__version__.split('+')[0]}, ", end="")
print(f"scikit-learn {sklearn.__version__}")
print("guess: what scikit-learn finds, whatever the batch, and one F1")
ROWS = 4096
rng = np.random.default_rng(0)
alike = rng.integers(0, 2, ROWS)
cosines = np.clip(np.where(alike == 1, 0.7, 0.4) + 0.17 * rng.normal(size=ROWS), -1, 1).astype(np.float32)


def updated(kind, scores, batch):
    """Return a metric of all rows, updated batch by batch."""
    metric = kind()
    for first in range(0, ROWS, batch):
        part = slice(first, first + batch)
        metric.update(torch.from_numpy(scores[part]), torch.from_numpy(alike[part]))
    return metric.compute().item()


area, precision = roc_auc_score(alike, cosines), average_precision_score(alike, cosines)
print(f"scikit-learn                   AUROC {area:.4f}, average precision {precision:.4f}")
print(f"{int((cosines < 0).sum())} of {ROWS} cosines are below zero")
found = {}
for batch in (1, 8, 32, 64, 256, ROWS):
    kinds = (BinaryAUROC, BinaryAveragePrecision, BinaryF1Score)
    found[batch] = [updated(kind, cosines, batch) for kind in kinds]
    text = "AUROC {:.4f}, average precision {:.4f}, F1 {:.4f}".format(*found[batch])
    print(f"torchmetrics, batches of {batch:4}  {text}")
moved = [updated(kind, (cosines + 1) / 2, 64) for kind in (BinaryAUROC, BinaryAveragePrecision)]
print("(score + 1) / 2, batches of 64 AUROC {:.4f}, average precision {:.4f}".format(*moved))
right = abs(found[ROWS][0] - area) < 1e-3 and abs(moved[0] - area) < 1e-3
scores = [entry[0] for entry in found.values()]
raise SystemExit(0 if right and max(scores) - min(scores) > 0.01 else "the behaviour is no longer so")
PYTHON

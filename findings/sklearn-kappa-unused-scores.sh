#!/usr/bin/env bash
# scikit-learn: quadratic kappa takes scores by their place among those that occur, not by their value.
#
# Versions: scikit-learn 1.9.1, torchmetrics 1.9.0, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: the weights are squares of the differences of scores; whether somebody gave a 5 changes nothing for the
# others.
# Seen: 0, 1, 2 and 10 count as 0, 1, 2 and 3: to take a 10 for a 2 costs what to take a 2 for a 1 does, and kappa is
# 0.785 where by values it is 0.600. A row that is right can lower it, as its score opens a gap. labels= with the whole
# scale mends it; torchmetrics, which is told the number of scores, has values.
#
#   scikit-learn 1.9.1, torchmetrics 1.9.0, numpy 2.4.6
#   guess: quadratic weights are squares of differences of scores; a score that nobody uses changes nothing
#   scores 0 to 10         neighbours mixed up  alone 0.971   labels=range(11) 0.971   torchmetrics 0.971
#   scores 0 to 10         a fifth at random    alone 0.844   labels=range(11) 0.844   torchmetrics 0.844
#   scores 0, 1, 2 and 10  neighbours mixed up  alone 0.785   labels=range(11) 0.600   torchmetrics 0.600
#   scores 0, 1, 2 and 10  a fifth at random    alone 0.800   labels=range(11) 0.795   torchmetrics 0.795
#   one 10 taken for 2: 0.990; with one more row, a 6 that is right: 0.977
#
# Matters to: whoever gates essay scores, ratings or graded relevance by quadratic weighted kappa, on slices above all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 torchmetrics==1.9.0 \
  torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn.metrics import cohen_kappa_score
from torchmetrics.classification import MulticlassCohenKappa

print(f"scikit-learn {sklearn.__version__}, torchmetrics {torchmetrics.__version__}, numpy {np.__version__}")
print("guess: quadratic weights are squares of differences of scores; a score that nobody uses changes nothing")


def both(truth, answers):
    """Return the quadratic kappa by scikit-learn alone, with all scores named, and by torchmetrics."""
    alone = cohen_kappa_score(truth, answers, weights="quadratic")
    named = cohen_kappa_score(truth, answers, weights="quadratic", labels=range(11))
    metric = MulticlassCohenKappa(num_classes=11, weights="quadratic")
    other = metric(torch.tensor(answers), torch.tensor(truth)).item()
    return alone, named, other


rng = np.random.default_rng(0)
CASES = {"scores 0 to 10": np.arange(11), "scores 0, 1, 2 and 10": np.array([0, 1, 2, 10])}
found = {}
for name, scale in CASES.items():
    places = rng.integers(len(scale), size=400)
    near = np.clip(places + rng.integers(-1, 2, size=400), 0, len(scale) - 1)
    far = np.where(rng.random(400) < 0.2, rng.permutation(places), places)
    for kind, guessed in (("neighbours mixed up", near), ("a fifth at random", far)):
        found[name, kind] = both(scale[places], scale[guessed])
        one, two, three = (f"{value:.3f}" for value in found[name, kind])
        print(f"{name:22} {kind:20} alone {one}   labels=range(11) {two}   torchmetrics {three}")
truth, answers = [0, 1, 2, 10] * 10, [0, 1, 2, 10] * 9 + [0, 1, 2, 2]
before, after = both(truth, answers), both([*truth, 6], [*answers, 6])
print(f"one 10 taken for 2: {before[0]:.3f}; with one more row, a 6 that is right: {after[0]:.3f}")
wide = found["scores 0, 1, 2 and 10", "neighbours mixed up"]
same = wide[0] - wide[1] > 0.1 and all(abs(named - other) < 1e-3 for _, named, other in found.values())
same = same and before[0] - after[0] > 0.01
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

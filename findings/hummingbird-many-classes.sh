#!/usr/bin/env bash
# Hummingbird: a LogisticRegression of three classes becomes one against the rest: same labels, other probabilities.
#
# Versions: hummingbird-ml 0.4.12, scikit-learn 1.9.1, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: what converts to torch gives scikit-learn's probabilities, with three classes as with two.
# Seen: with more than two classes each score goes through a sigmoid and is divided by the sum, as for one against the
# rest, where the model was trained with a softmax. The labels are the same, so a test of them sees nothing; the
# probabilities are up to 0.65 apart, and few or none are above 0.8. The converter asks for multi_class, an attribute
# that scikit-learn has no more. Boosting for counts loses its exponential, so that the answer is the logarithm; the
# exponential loss has other probabilities and some other labels. No issue of these was found.
#
#   hummingbird-ml 0.4.12, scikit-learn 1.9.1, torch 2.13.0
#   guess: the torch module gives scikit-learn's probabilities
#   2 classes: probabilities up to 0.000 apart, 0.0% other labels
#     log loss 0.341 and 0.341, above 0.8 1299 and 1299 of 2000 texts
#   3 classes: probabilities up to 0.399 apart, 0.0% other labels
#     log loss 0.530 and 0.660, above 0.8 1068 and 75 of 2000 texts
#   5 classes: probabilities up to 0.654 apart, 0.0% other labels
#     log loss 0.759 and 1.074, above 0.8 765 and 0 of 2000 texts
#   boosting of counts (poisson): 1.126 is 0.119, 2e-07 from its logarithm
#   boosting with exponential loss: 0.9% other labels, probabilities up to 0.158 apart
#
# Matters to: whoever serves a classifier over embeddings as a torch module and rejects answers below a probability, or
# adds its probabilities to those of another model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check hummingbird-ml==0.4.12 scikit-learn==1.9.1 \
  torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import warnings

warnings.simplefilter("ignore")

import numpy as np
from hummingbird.ml import convert
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

names = ("hummingbird-ml", "scikit-learn", "torch")
print(", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in names))
print("guess: the torch module gives scikit-learn's probabilities")
rng = np.random.default_rng(0)
meaning = rng.normal(size=(16, 5))
train, test = (rng.normal(size=(2000, 16)).astype(np.float32) for _ in range(2))


def topics(vectors, count):
    """Return which of the first count directions a vector is nearest to, with some noise."""
    scores = vectors @ meaning[:, :count] + 2 * rng.normal(size=(len(vectors), count))
    return scores.argmax(1)


seen = {}
for count in (2, 3, 5):
    estimator = LogisticRegression().fit(train, topics(train, count))
    module = convert(estimator, "torch")
    right, found = estimator.predict_proba(test), module.predict_proba(test)
    labels = topics(test, count)
    other = float((module.predict(test) != estimator.predict(test)).mean())
    apart = float(np.abs(found - right).max())
    rows = np.arange(len(test))
    losses = [float(-np.log(shares[rows, labels]).mean()) for shares in (right, found)]
    sure = [int((shares.max(1) > 0.8).sum()) for shares in (right, found)]
    seen[count] = apart
    if count > 2:
        each = 1 / (1 + np.exp(-estimator.decision_function(test)))
        assert np.allclose(found, each / each.sum(1, keepdims=True), atol=1e-5)
    print(f"{count} classes: probabilities up to {apart:.3f} apart, {other:.1%} other labels")
    print(f"  log loss {losses[0]:.3f} and {losses[1]:.3f}, above 0.8 {sure[0]} and {sure[1]} of 2000 texts")
    seen[count, "labels"] = other
grown = np.abs(train @ meaning[:, 0]) + 0.1
regressor = HistGradientBoostingRegressor(loss="poisson", max_iter=50).fit(train, grown)
right, found = regressor.predict(test), convert(regressor, "torch", test[:1]).predict(test).ravel()
logs = float(np.abs(np.log(right) - found).max())
print(f"boosting of counts (poisson): {right[0]:.3f} is {found[0]:.3f}, {logs:.1g} from its logarithm")
booster = GradientBoostingClassifier(loss="exponential", random_state=0).fit(train, topics(train, 2))
module = convert(booster, "torch", test[:1])
other = float((module.predict(test) != booster.predict(test)).mean())
apart = float(np.abs(module.predict_proba(test) - booster.predict_proba(test)).max())
print(f"boosting with exponential loss: {other:.1%} other labels, probabilities up to {apart:.3f} apart")
same = seen[2] < 1e-4 and seen[3] > 0.1 and seen[5] > 0.1 and seen[3, "labels"] < 0.01 and logs < 1e-3
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON

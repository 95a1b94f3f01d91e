#!/usr/bin/env bash
# skl2onnx: a threshold that scikit-learn tuned is not in the ONNX file, whose labels are those of one half.
#
# Versions: skl2onnx 1.20.0, scikit-learn 1.9.1, onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a TunedThresholdClassifierCV, which has a converter, gives the same labels as ONNX; what has no
# converter is refused, as a FixedThresholdClassifier is.
# Seen: the converter writes the classifier within and leaves the threshold out. The probabilities are the same, the
# labels are those of 0.5: of those that the balancing threshold calls positive more than half are lost. Nothing is
# said, and no issue of it was found (the converter came with sklearn-onnx's pull request 1107).
#
#   skl2onnx 1.20.0, scikit-learn 1.9.1, onnxruntime 1.32.0
#   guess: the file gives the labels of the estimator, or the conversion fails
#   tuned for balanced_accuracy, threshold 0.14
#     scikit-learn  balanced_accuracy 0.860, recall 0.898, 1185 positive
#     ONNX          balanced_accuracy 0.801, recall 0.640, 548 positive
#   tuned for f1, threshold 0.32
#     scikit-learn  f1 0.713, recall 0.781, 786 positive
#     ONNX          f1 0.699, recall 0.640, 548 positive
#   a threshold that is fixed at 0.2: refused, a MissingShapeCalculator
#
# Matters to: whoever puts a classifier over frozen embeddings into an ONNX file, with a threshold that was tuned for
# rare classes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check skl2onnx==1.20.0 scikit-learn==1.9.1 \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import importlib.metadata
import warnings

warnings.simplefilter("ignore")

import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

names = ("skl2onnx", "scikit-learn", "onnxruntime")
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))
print("guess: the file gives the labels of the estimator, or the conversion fails")
rng = np.random.default_rng(0)
meaning = rng.normal(size=16)


def texts(count):
    """Return embeddings (count, 16) and labels of which about 18 of 100 are 1."""
    vectors = rng.normal(size=(count, 16)).astype(np.float32)
    return vectors, (vectors @ meaning + 2 * rng.normal(size=count) > 4).astype(int)


def converted(estimator):
    """Return the labels and probabilities of the held-out texts as the ONNX file gives them."""
    model = to_onnx(estimator, train[:1], options={"zipmap": False})
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": test})


train, labels = texts(4000)
test, right = texts(4000)
wrong = []
for scoring, measure in (("balanced_accuracy", balanced_accuracy_score), ("f1", f1_score)):
    tuned = TunedThresholdClassifierCV(LogisticRegression(), scoring=scoring).fit(train, labels)
    own, (given, shares) = tuned.predict(test), converted(tuned)
    assert np.allclose(tuned.predict_proba(test), shares, atol=1e-5)
    assert (given == (shares[:, 1] > 0.5)).all()
    print(f"tuned for {scoring}, threshold {tuned.best_threshold_:.2f}")
    for name, found in (("scikit-learn", own), ("ONNX", given)):
        numbers = f"{measure(right, found):.3f}, recall {recall_score(right, found):.3f}, {found.sum()} positive"
        print(f"  {name:13} {scoring} {numbers}")
    wrong.append(given.sum() < 0.8 * own.sum() and measure(right, given) < measure(right, own))
try:
    converted(FixedThresholdClassifier(LogisticRegression(), threshold=0.2).fit(train, labels))
    refused = "converted"
except Exception as fault:
    refused = f"refused, a {type(fault).__name__}"
print(f"a threshold that is fixed at 0.2: {refused}")
raise SystemExit(0 if all(wrong) and refused.startswith("refused") else "the behaviour is no longer so")
PYTHON

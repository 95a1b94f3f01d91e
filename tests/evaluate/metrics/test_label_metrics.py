"""Metrics of labels against hand-worked values, scikit-learn and SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bertc.core.head import Head
from bertc.errors import InputError
from bertc.evaluate.formulas import FORMULAS
from bertc.evaluate.metric import metric_from_name
from bertc.evaluate.metrics.classification import probabilities
from bertc.tasks import task_from_name
from tests.evaluate.toy import INTENT, MULTI, STARS, TOPIC

TASK = task_from_name("sequence-classification")

# Four spam (1), six ham (0); decisions: three of the spam, two of the ham.
GOLD = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
GIVEN = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
LOGITS = np.stack([np.where(GIVEN == 0, 1.0, 0.0), np.where(GIVEN == 1, 1.0, 0.0)], -1).astype(np.float32)


def value(name: str, gold: Any, logits: Any, head: Head = INTENT) -> float:
    return metric_from_name(TASK, head, name).value(gold, logits)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 7 / 10),
        ("f1", 2 * 3 / (2 * 3 + 2 + 1)),
        ("f1[spam]", 6 / 9),
        ("f1[ham]", 8 / 11),
        ("macro_f1", (6 / 9 + 8 / 11) / 2),
        ("matthews", (3 * 4 - 2 * 1) / math.sqrt(5 * 4 * 6 * 5)),
        ("precision[spam]", 3 / 5),
        ("recall[spam]", 3 / 4),
        ("recall[ham]", 4 / 6),
        ("false_positive_rate[spam]", 2 / 6),
        ("fpr[ham]", 1 / 4),
    ],
)
def test_hand_worked(name: str, expected: float) -> None:
    assert value(name, GOLD, LOGITS) == pytest.approx(expected, abs=1e-12)


def test_thresholds_replace_the_served_decision() -> None:
    # The probability of the decided label is 1 / (1 + 1/e) = 0.731, of the other 0.269.
    assert value("recall[spam]@0.73", GOLD, LOGITS) == 3 / 4
    assert value("recall[spam]@0.74", GOLD, LOGITS) == 0
    assert value("fpr[spam]@0.2", GOLD, LOGITS) == 1
    assert metric_from_name(TASK, INTENT, "fpr[spam]@0.70").name == "false_positive_rate[spam]@0.7"


def test_directions() -> None:
    names = {"fpr[spam]": "lower", "recall[spam]": "higher", "accuracy": "higher", "logit_mse": "lower"}
    assert {name: metric_from_name(TASK, INTENT, name).direction for name in names} == names


@pytest.mark.parametrize("name", ["recall[eggs]", "weighted_f1", "fpr[spam]@1.5", "recall", "mse", ""])
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"accuracy|threshold"):
        metric_from_name(TASK, INTENT, name)


def test_undefined_and_zero_values() -> None:
    none_spam = np.zeros(10, np.int64)
    assert math.isnan(value("recall[spam]", none_spam, LOGITS))
    assert math.isnan(value("fpr[spam]", np.ones(10, np.int64), LOGITS))
    all_ham = np.tile(np.array([[1.0, 0.0]], np.float32), (10, 1))
    assert value("precision[spam]", GOLD, all_ham) == 0
    assert value("matthews", GOLD, all_ham) == 0


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_against_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    gold, logits = random.integers(0, 3, 200), random.standard_normal((200, 3)).astype(np.float32)
    given = logits.argmax(-1)
    expected = {
        "accuracy": sklearn.accuracy_score(gold, given),
        "macro_f1": sklearn.f1_score(gold, given, average="macro"),
        "matthews": sklearn.matthews_corrcoef(gold, given),
        "precision[bank]": sklearn.precision_score(gold, given, labels=[1], average=None)[0],
        "recall[bank]": sklearn.recall_score(gold, given, labels=[1], average=None)[0],
        "f1[car]": sklearn.f1_score(gold, given, labels=[2], average=None)[0],
    }
    assert {name: value(name, gold, logits, TOPIC) for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_multi_label_against_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    gold, logits = random.random((200, 3)) < 0.4, random.standard_normal((200, 3)).astype(np.float32)
    given = logits >= 0
    expected = {
        "micro_f1": sklearn.f1_score(gold, given, average="micro"),
        "macro_f1": sklearn.f1_score(gold, given, average="macro"),
        "accuracy": sklearn.accuracy_score(gold, given),
        "recall[b]": sklearn.recall_score(gold[:, 1], given[:, 1]),
    }
    assert {name: value(name, gold, logits, MULTI) for name in expected} == pytest.approx(expected, abs=1e-12)
    assert value("recall[b]@0.5", gold, logits, MULTI) == expected["recall[b]"]
    assert np.allclose(probabilities(logits, MULTI), 1 / (1 + np.exp(-logits.astype(np.float64))))


def test_regression_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    gold = np.round(5 * random.random(300), 1)
    scores = (gold + random.standard_normal(300)).round(1).astype(np.float32)[:, None]
    found = {name: value(name, gold, scores, STARS) for name in ("pearson", "spearman", "mse")}
    expected = {
        "pearson": stats.pearsonr(gold, scores[:, 0]).statistic,
        "spearman": stats.spearmanr(gold, scores[:, 0]).statistic,
        "mse": float(np.mean((gold - scores[:, 0]) ** 2)),
    }
    assert found == pytest.approx(expected, abs=1e-9)
    assert math.isnan(value("spearman", np.ones(300), scores, STARS))


@pytest.mark.parametrize("formula", sorted(FORMULAS))
def test_weights_mean_repeated_rows(formula: str) -> None:
    random = np.random.default_rng(4)
    columns = {"mean_of_ratios": 6, "best_threshold": 3}.get(formula, 2)
    statistics = random.integers(0, 3, (50, columns)).astype(np.float64)
    if formula == "matthews":
        hot = np.eye(3)
        given, true = random.integers(0, 3, 50), random.integers(0, 3, 50)
        statistics = np.concatenate([(given == true)[:, None], np.ones((50, 1)), hot[given], hot[true]], 1)
    weights = random.integers(0, 4, (5, 50)).astype(np.float64)
    found = FORMULAS[formula].values(statistics, weights)
    repeated = [np.repeat(statistics, row.astype(int), axis=0) for row in weights]
    expected = [FORMULAS[formula].values(rows, np.ones((1, len(rows))))[0] for rows in repeated]
    assert found == pytest.approx(np.array(expected), abs=1e-9)

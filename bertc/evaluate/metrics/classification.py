"""Metrics of labels: accuracy, F1, Matthews, and precision, recall and false-positive rate of one label.

`gold` is int64 [n] (one label per row) or bool [n, L] (several); logits are float32 [n, L]. The decision is the
largest logit, or with several labels every label whose probability is at least 0.5; a threshold replaces either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.head import Head, Problem
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, LOWER, Metric

Mask = NDArray[np.bool_]


def softmax(logits: NDArray[Any]) -> Array:
    """Return the softmax over the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def sigmoid(logits: NDArray[Any]) -> Array:
    """Return 1 / (1 + exp(-x)) in float64, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64))))


def probabilities(logits: NDArray[Any], head: Head) -> Array:
    """Return the probability of each label, [n, L]."""
    return sigmoid(logits) if head.problem == Problem.MULTI_LABEL else softmax(logits)


def decided(logits: NDArray[Any], head: Head) -> Mask:
    """Return which labels each row is given, [n, L]: the served decision."""
    if head.problem == Problem.MULTI_LABEL:
        return np.asarray(logits >= 0)
    return one_hot(logits.argmax(-1), logits.shape[-1])


def one_hot(ids: NDArray[Any], labels: int) -> Mask:
    """Return ids [n] as bool [n, labels]."""
    return np.asarray(np.arange(labels) == np.asarray(ids)[:, None])


def truth(gold: NDArray[Any], labels: int) -> Mask:
    """Return gold labels of either kind as bool [n, labels]."""
    return gold.astype(bool) if gold.ndim == 2 else one_hot(gold, labels)


def label_metrics(head: Head) -> tuple[Metric, ...]:
    """Return the metrics of a classification head without regression, the main one first."""

    def accuracy(gold: Any, logits: Any) -> Array:
        right = (truth(gold, logits.shape[-1]) == decided(logits, head)).all(-1)
        return np.stack([right, np.ones_like(right)], -1).astype(np.float64)

    def macro(gold: Any, logits: Any) -> Array:
        true, given = truth(gold, logits.shape[-1]), decided(logits, head)
        return np.concatenate([2.0 * (true & given), true.astype(np.float64) + given], -1)

    def micro(gold: Any, logits: Any) -> Array:
        both = macro(gold, logits)
        half = both.shape[-1] // 2
        return np.stack([both[:, :half].sum(-1), both[:, half:].sum(-1)], -1)

    def matthews(gold: Any, logits: Any) -> Array:
        true, given = truth(gold, logits.shape[-1]), decided(logits, head)
        right = np.asarray((true & given).any(-1))[:, None]
        return np.concatenate([right, np.ones_like(right), given, true], -1).astype(np.float64)

    found = {
        "accuracy": Metric(name="accuracy", direction=HIGHER, statistics=accuracy, formula="ratio"),
        "macro_f1": Metric(name="macro_f1", direction=HIGHER, statistics=macro, formula="mean_of_ratios"),
        "micro_f1": Metric(name="micro_f1", direction=HIGHER, statistics=micro, formula="ratio_or_zero"),
        "matthews": Metric(
            name="matthews", direction=HIGHER, statistics=matthews, formula="matthews", bounds=(-1.0, 1.0)
        ),
    }
    if head.problem == Problem.MULTI_LABEL:
        return tuple(found[name] for name in ("micro_f1", "macro_f1", "accuracy"))
    common = tuple(found[name] for name in ("accuracy", "macro_f1", "matthews"))
    if len(head.labels) != 2:
        return common
    positive = label_metric(head, "f1", len(head.labels) - 1, None, name="f1")
    return (common[0], positive, *common[1:])


BASES = {
    "precision": (HIGHER, "ratio_or_zero"),
    "recall": (HIGHER, "ratio"),
    "f1": (HIGHER, "ratio_or_zero"),
    "false_positive_rate": (LOWER, "ratio"),
}
ALIASES = {"fpr": "false_positive_rate"}


def label_metric(head: Head, base: str, label: int, threshold: float | None, name: str = "") -> Metric:
    """Return `base` of one label, decided as served or by its probability against `threshold`."""
    base = ALIASES.get(base, base)
    direction, formula = BASES[base]

    def statistics(gold: Any, logits: Any) -> Array:
        true = truth(gold, logits.shape[-1])[:, label]
        given = given_label(logits, head, label, threshold)
        hit = true & given
        pairs = {
            "precision": (hit, given),
            "recall": (hit, true),
            "f1": (2.0 * hit, true.astype(np.float64) + given),
            "false_positive_rate": (given & ~true, ~true),
        }
        return np.stack(pairs[base], -1).astype(np.float64)

    suffix = "" if threshold is None else f"@{threshold:g}"
    return Metric(
        name=name or f"{base}[{head.labels[label]}]{suffix}",
        direction=direction,
        statistics=statistics,
        formula=formula,
        label=head.labels[label],
        threshold=threshold,
    )


def given_label(logits: NDArray[Any], head: Head, label: int, threshold: float | None) -> Mask:
    """Return which rows are given a label, [n]: as served, or where its probability is at least `threshold`."""
    if threshold is None:
        return np.asarray(decided(logits, head)[:, label])
    return np.asarray(probabilities(logits, head)[:, label] >= threshold)

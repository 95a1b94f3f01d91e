"""The threshold that restores the float model's operating point.

A quantized classifier's probabilities shift a little, so a fixed threshold lets more (or fewer) false positives
through. Where that matters, moving the threshold is cheaper than another build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bertc.core.head import Head, Problem
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.classification import label_metric, probabilities, truth

SERVED_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A metric at the served threshold, for float and engine, and the engine's threshold that gives float's value."""

    metric: str
    threshold: float
    reference: float
    engine: float
    restored_threshold: float | None
    restored: float | None
    label: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the point as report.json has it."""
        return asdict(self)


def operating_points(
    metrics: Sequence[Metric], head: Head, gold: Any, reference: Any, engine: Any
) -> tuple[OperatingPoint, ...]:
    """Return the point of every recall and false-positive rate among `metrics` that is decided by a threshold.

    The largest of more than two scores is decided by no threshold; such metrics need one (`recall[spam]@0.7`).
    """
    found = (
        operating_point(metric, head, gold, reference, engine) for metric in metrics if metric.label in head.labels
    )
    return tuple(point for point in found if point is not None)


def operating_point(metric: Metric, head: Head, gold: Any, reference: Any, engine: Any) -> OperatingPoint | None:
    """Return the operating point of one metric, or None if it has none.

    For a false-positive rate: the smallest threshold at which the engine has no more false positives than float; for
    a recall: the largest at which it finds no fewer. Either lies half-way between two scores that occur.
    """
    base = metric.name.partition("[")[0]
    by_threshold = metric.threshold is not None or head.problem == Problem.MULTI_LABEL or len(head.labels) == 2
    if metric.label is None or base not in ("recall", "false_positive_rate") or not by_threshold:
        return None
    label = head.labels.index(metric.label)
    wanted = truth(gold, len(head.labels))[:, label] == (base == "recall")
    if not wanted.any():
        return None
    hits = int(metric.statistics(gold, reference)[:, 0].sum())
    scores = np.sort(probabilities(engine, head)[wanted, label])[::-1]
    restored = _admit_at_most(scores, hits) if base != "recall" else _admit_at_least(scores, hits)
    moved = None if restored is None else label_metric(head, base, label, restored).value(gold, engine)
    return OperatingPoint(
        metric=metric.name,
        threshold=SERVED_THRESHOLD if metric.threshold is None else metric.threshold,
        reference=metric.value(gold, reference),
        engine=metric.value(gold, engine),
        restored_threshold=restored,
        restored=moved,
        label=metric.label,
    )


def _admit_at_most(scores: Array, hits: int) -> float | None:
    """`scores` fall. The threshold above the first score too many."""
    if hits >= len(scores):
        return None
    too_many = scores[hits]
    above = scores[scores > too_many]
    return _between(float(too_many), float(above[-1]) if len(above) else 1.0)


def _admit_at_least(scores: Array, hits: int) -> float | None:
    """`scores` fall. The threshold below the last score that is needed."""
    if hits == 0:
        return None
    needed = scores[hits - 1]
    below = scores[scores < needed]
    return min(_between(float(below[0]) if len(below) else 0.0, float(needed)), float(needed))


def _between(low: float, high: float) -> float:
    middle = 0.5 * (low + high)
    return middle if middle > low else float(np.nextafter(low, 2.0))

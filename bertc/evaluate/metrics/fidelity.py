"""Metrics that need no labels: how near an engine's outputs are to the float model's.

Their `gold` is the float model's outputs, so the float model itself scores 1 (agreement) or 0 (distances).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, LOWER, Metric
from bertc.evaluate.metrics.classification import sigmoid, softmax


def agreement_metric(agrees: Callable[[Any, Any], NDArray[Any]], name: str = "agreement") -> Metric:
    """Return the share of decisions that are the float model's. `agrees` gives [n] or [n, (agreeing, decisions)]."""

    def statistics(reference: Any, outputs: Any) -> Array:
        found = np.asarray(agrees(reference, outputs), dtype=np.float64)
        return found if found.ndim == 2 else np.stack([found, np.ones_like(found)], -1)

    return Metric(name=name, direction=HIGHER, statistics=statistics, formula="ratio", fidelity=True)


def distance_metric(name: str, distance: Callable[[Any, Any], Array]) -> Metric:
    """Return a mean distance, lower is better. `distance` gives [n, (sum, count)]."""
    unbounded = (0.0, math.inf)
    return Metric(name=name, direction=LOWER, statistics=distance, formula="ratio", fidelity=True, bounds=unbounded)


def squared_error(reference: NDArray[Any], outputs: NDArray[Any]) -> tuple[float, float]:
    """Return (sum of squared differences, number of values), entries that are NaN on both sides left out."""
    kept = ~(np.isnan(reference) & np.isnan(outputs))
    difference = reference[kept].astype(np.float64) - outputs[kept]
    return float((difference**2).sum()), float(difference.size)


def divergence(reference: NDArray[Any], outputs: NDArray[Any]) -> Array:
    """Return KL(float || engine) in nats of the softmax over the last axis."""
    return divergence_of_chances(softmax(reference), softmax(outputs))


def divergence_of_chances(p: Array, q: Array) -> Array:
    """Return KL(p || q) in nats over the last axis.   sum p (log p - log q)."""
    tiny = np.finfo(np.float64).tiny
    return np.asarray(np.maximum((p * (np.log(p + tiny) - np.log(q + tiny))).sum(-1), 0.0))


def divergence_of_labels(reference: NDArray[Any], outputs: NDArray[Any]) -> Array:
    """Return KL(float || engine) in nats, the mean over independent labels (sigmoid), [n]."""
    p, q = (np.clip(sigmoid(logits), 1e-12, 1 - 1e-12) for logits in (reference, outputs))
    return np.asarray((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(-1))

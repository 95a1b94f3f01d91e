"""Metrics of scores on a scale: Pearson, Spearman and mean squared error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, LOWER, Metric


def correlation_metrics(score: Callable[[Any], Array]) -> tuple[Metric, Metric]:
    """Return Pearson's and Spearman's correlation of gold [n] with `score(outputs)` [n]."""

    def statistics(gold: Any, outputs: Any) -> Array:
        return np.stack([np.asarray(gold, np.float64), np.asarray(score(outputs), np.float64)], -1)

    return (
        Metric(name="pearson", direction=HIGHER, statistics=statistics, formula="pearson", bounds=(-1.0, 1.0)),
        Metric(name="spearman", direction=HIGHER, statistics=statistics, formula="spearman", bounds=(-1.0, 1.0)),
    )


def error_metric(score: Callable[[Any], Array]) -> Metric:
    """Return the mean squared error of `score(outputs)`, in squared units of the labels."""

    def statistics(gold: Any, outputs: Any) -> Array:
        squared = (np.asarray(gold, np.float64) - np.asarray(score(outputs), np.float64)) ** 2
        return np.stack([squared, np.ones_like(squared)], -1)

    return Metric(name="mse", direction=LOWER, statistics=statistics, formula="ratio", bounds=(0.0, math.inf))

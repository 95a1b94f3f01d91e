"""From per-row statistics to a metric's value, for many weightings of the rows at once.

A metric is a matrix of statistics [rows, k] and one of these formulas. The bootstrap then is a product of the matrix
of resampling counts [resamples, rows] with the statistics, whatever the metric; only ranks need the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Unit = Literal["rows", "queries"]


@dataclass(frozen=True, slots=True)
class Formula:
    """`additive`: `value` maps weighted sums [B, k] to [B]. Otherwise it maps (statistics [n, k], weights [B, n]).

    `unit` is what a statistic is of: each row, or each query that counts, on its first row (the others' are 0).
    """

    additive: bool
    of_sums: Callable[[Array], Array] | None = None
    of_rows: Callable[[Array, Array], Array] | None = None
    unit: Unit = "rows"

    def values(self, statistics: Array, weights: Array) -> Array:
        """Return the value under each row of `weights` [B, n], as [B]. NaN where it is not defined."""
        if self.additive:
            return self.of_added(weights @ statistics)
        assert self.of_rows is not None
        return self.of_rows(statistics, weights)

    def of_added(self, sums: Array) -> Array:
        """Return the value of weighted sums [B, k] of an additive formula, as [B]."""
        assert self.of_sums is not None
        return self.of_sums(sums)

    def samples(self, statistics: Array) -> int:
        """Return of how many units there are statistics [n, k]; a query that does not count has a last column of 0."""
        return len(statistics) if self.unit == "rows" else int(np.count_nonzero(statistics[:, -1]))


def _divide(numerator: Array, denominator: Array, empty: float) -> Array:
    filled: Array = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), empty)
    np.divide(numerator, denominator, out=filled, where=denominator > 0)
    return filled


def _ratio(sums: Array) -> Array:
    """Columns: numerator, denominator. Not defined for an empty denominator."""
    return _divide(sums[..., 0], sums[..., 1], np.nan)


def _ratio_or_zero(sums: Array) -> Array:
    """Columns: numerator, denominator. 0 for an empty denominator: precision and F1 of what never occurs."""
    return _divide(sums[..., 0], sums[..., 1], 0.0)


def _mean_of_ratios(sums: Array) -> Array:
    """Columns: L numerators, L denominators. The mean over the labels that occur (macro F1)."""
    labels = sums.shape[-1] // 2
    numerators, denominators = sums[..., :labels], sums[..., labels:]
    occurs = denominators > 0
    return _divide(_divide(numerators, denominators, 0.0).sum(-1), occurs.sum(-1).astype(np.float64), np.nan)


def _matthews(sums: Array) -> Array:
    """Columns: correct, rows, L predicted counts, L true counts. Gorodkin (2004), R_K; 0 if one side is constant."""
    labels = (sums.shape[-1] - 2) // 2
    correct, rows = sums[..., 0], sums[..., 1]
    predicted, true = sums[..., 2 : 2 + labels], sums[..., 2 + labels :]
    covariance = correct * rows - (predicted * true).sum(-1)
    spread = (rows**2 - (predicted**2).sum(-1)) * (rows**2 - (true**2).sum(-1))
    return _divide(covariance, np.sqrt(np.maximum(spread, 0.0)), 0.0)


def _pearson(statistics: Array, weights: Array) -> Array:
    """Columns: x, y. Centred by the plain means first, so that the sums of squares keep their digits."""
    x, y = (statistics - statistics.mean(0)).T
    return _correlation(x[None, :], y[None, :], weights)


def _spearman(statistics: Array, weights: Array) -> Array:
    """Columns: x, y. Pearson's correlation of mid-ranks, ranks taken anew among the weighted rows."""
    x, y = statistics.T
    return _correlation(_weighted_ranks(x, weights), _weighted_ranks(y, weights), weights)


def _best_threshold(statistics: Array, weights: Array) -> Array:
    """Columns: score if answered, score if not, null score. The best mean over thresholds of the null score."""
    answered, unanswered, null = statistics.T
    order = np.argsort(null, kind="stable")
    gained = np.cumsum(weights[:, order] * (answered - unanswered)[order], axis=1)
    return np.asarray((weights @ unanswered + np.maximum(gained.max(1), 0.0)) / weights.sum(1))


def _weighted_ranks(values: Array, weights: Array) -> Array:
    """Return the mid-rank of each row among rows repeated `weights` times, centred about 0: [B, n]."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)  # [B, distinct values]
    ranks = np.cumsum(counts, axis=1) - 0.5 * counts - 0.5 * counts.sum(1, keepdims=True)
    return np.asarray(ranks[:, group])


def _correlation(x: Array, y: Array, weights: Array) -> Array:
    total = weights.sum(1)
    x = x - ((weights * x).sum(1) / total)[:, None]
    y = y - ((weights * y).sum(1) / total)[:, None]
    covariance = (weights * x * y).sum(1)
    spread = np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))
    return _divide(covariance, spread, np.nan)


FORMULAS: Mapping[str, Formula] = MappingProxyType(
    {
        "ratio": Formula(True, of_sums=_ratio),
        "ratio_or_zero": Formula(True, of_sums=_ratio_or_zero),
        "mean_of_queries": Formula(True, of_sums=_ratio, unit="queries"),
        "mean_of_ratios": Formula(True, of_sums=_mean_of_ratios),
        "matthews": Formula(True, of_sums=_matthews),
        "pearson": Formula(False, of_rows=_pearson),
        "spearman": Formula(False, of_rows=_spearman),
        "best_threshold": Formula(False, of_rows=_best_threshold),
    }
)

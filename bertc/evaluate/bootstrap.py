"""The paired bootstrap: rows (or groups of rows) drawn with replacement, the same draw for every metric and system.

Percentile intervals after Efron and Tibshirani (1993), chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertc.evaluate.formulas import FORMULAS, Array

RESAMPLES = 2000
BLOCK_VALUES = 2_000_000  # resampling counts held at once: 16 MB


@dataclass(frozen=True, slots=True)
class Sample:
    """The statistics [rows, k] of one metric of one system, and the name of its formula."""

    formula: str
    statistics: Array


def bootstrap_values(
    samples: Sequence[Sample], groups: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Array:
    """Return the value of every sample under every resampling, [samples, resamples].

    `groups` [rows] numbers the unit that each row belongs to, from 0 without gaps; units are what is drawn.
    """
    units = int(groups.max()) + 1
    additive = [index for index, sample in enumerate(samples) if FORMULAS[sample.formula].additive]
    # One matrix product serves every additive metric: its columns stand side by side.
    summed = [_summed(samples[index].statistics, groups, units) for index in additive]
    columns = np.concatenate([*summed, np.zeros((units, 0))], 1)
    bounds = np.cumsum([part.shape[1] for part in summed])[:-1]
    values = np.empty((len(samples), resamples))
    random = np.random.default_rng(seed)
    block = max(1, min(resamples, BLOCK_VALUES // len(groups)))
    for start in range(0, resamples, block):
        weights = _drawn_counts(random, units, min(block, resamples - start))
        here = slice(start, start + len(weights))
        for index, sums in zip(additive, np.split(weights @ columns, bounds, axis=1), strict=False):
            values[index, here] = FORMULAS[samples[index].formula].of_added(sums)
        if len(additive) < len(samples):
            by_row = weights[:, groups]
            for index in set(range(len(samples))).difference(additive):
                values[index, here] = FORMULAS[samples[index].formula].values(samples[index].statistics, by_row)
    return values


def interval(values: Array, bounds: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of resampled values [resamples], those that are not defined left out.

    Both lie within `bounds`, the lowest and highest possible value: rounding alone can lead beyond.
    """
    kept = values[~np.isnan(values)]
    if not len(kept):
        return (float("nan"), float("nan"))
    low, high = np.clip(np.percentile(kept, [2.5, 97.5]), *bounds)
    return float(low), float(high)


def groups_from_names(names: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups of rows by first appearance; a row without a name is a group of its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(name or index, len(numbers)) for index, name in enumerate(names)], np.int64)


def _drawn_counts(random: np.random.Generator, units: int, resamples: int) -> Array:
    """Return how often each unit is drawn in each resampling, [resamples, units]."""
    drawn = random.integers(0, units, (resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


def _summed(statistics: Array, groups: NDArray[np.int64], units: int) -> Array:
    summed = np.zeros((units, statistics.shape[1]))
    np.add.at(summed, groups, statistics)
    return summed

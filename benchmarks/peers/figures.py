"""What tables and pictures are made of: quartiles, ratios within a round, Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median, quantiles


def geometric_mean(values: Sequence[float]) -> float:
    """Return it; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile; all the value itself of one."""
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def spread(values: Sequence[float]) -> float:
    """Return half the range between the quartiles, as a part of the median."""
    low, middle, high = quartiles(values)
    return (high - low) / 2 / middle


def fastest(figures: Mapping[str, Sequence[float]], names: Sequence[str]) -> str | None:
    """Return the engine with the least median."""
    present = [name for name in names if figures.get(name)]
    return min(present, key=lambda name: median(figures[name])) if present else None


def compared(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, str]:
    """Return how many times as fast ours is: the median of the ratios within a round, and it with their quartiles."""
    low, middle, high = quartiles([b / a for a, b in zip(ours, theirs, strict=True)])
    return middle, f"{middle:.2f}x ({low:.2f} to {high:.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(row)} |" for row in rows), ""]

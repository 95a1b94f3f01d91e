"""Where things lie in a chart, for templates/charts.html to draw as inline SVG.

Text keeps its size on every screen: places are percentages of the width, heights are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bertc.report.schema import HistogramPart

_PLOT = 132  # height of a histogram's bars, px
_MOST_BARS = 64
_GAP = 2.5  # between bars, thousandths of the width


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A stretch of numbers laid over the width of a drawing, with a margin for what sits on its ends."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a value lies, 0 left to 1 right; values outside lie on the edge."""
        width = self.high - self.low
        return min(max((value - self.low) / width, 0.0), 1.0) if width > 0 else 0.5

    def percentage(self, value: float) -> float:
        """Return a value's place in percent of the width, the margin included."""
        return 2 + 96 * self.share(value)

    def at(self, value: float) -> str:
        """Return a value's place as an SVG percentage."""
        return f"{self.percentage(value):.2f}%"

    def anchor(self, value: float, near: float = 0.07) -> str:
        """Return which end of a label stands at a value, so that near an edge (a share) it stays inside."""
        share = self.share(value)
        return "start" if share < near else "end" if share > 1 - near else "middle"

    def ticks(self, about: int = 4) -> list[tuple[float, str]]:
        """Return round numbers inside, roughly `about` of them, with as many decimals as they need."""
        step = _round_step((self.high - self.low) / about)
        digits = max(0, math.ceil(-math.log10(step) - 1e-9))
        first = math.ceil(self.low / step)
        values = [index * step for index in range(first, first + 4 * about) if index * step <= self.high]
        return [(value, f"{value:.{digits}f}") for value in values]


def axis_around(values: Iterable[float]) -> Axis:
    """Return an axis over some values with air at both ends."""
    present = list(values)
    low, high = min(present), max(present)
    air = 0.12 * (high - low) or 0.01
    return Axis(low=low - air, high=high + air)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """One dot with its interval; `kind` is "float" or "engine" and chooses the colour."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhiskerChart:
    """Dots with intervals above each other on one axis; what lies beyond `limit` is shaded as not allowed."""

    title: str
    whiskers: Sequence[Whisker]
    axis: Axis
    limit: float | None = None
    lower_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramChart:
    """Counts (log) over magnitude: bars as the paths of two colours, and the labels of the counts by height in px.

    A path is drawn on a cost_model 1000 wide and `height` high. What lies beyond `amax` is clipped.
    """

    axis: Axis
    amax: float | None
    inside: str
    clipped: str
    levels: Sequence[tuple[float, str]]
    height: int = _PLOT


def chart_from_histogram(histogram: HistogramPart, amax: float | None) -> HistogramChart:
    """Lay out a histogram with the end of the INT8 range."""
    edges, counts = _coarsened(histogram)
    axis = Axis(low=edges[0], high=max(edges[-1], amax or 0.0))
    top = math.log10(max(*counts, 9) + 1)
    inside: list[str] = []
    clipped: list[str] = []
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            x, width = 1000 * axis.share(left), 1000 * (axis.share(right) - axis.share(left)) - _GAP
            height = _PLOT * math.log10(count + 1) / top
            bar = f"M{x:.0f} {_PLOT}v-{height:.0f}h{max(width, 3):.0f}v{height:.0f}z"
            (clipped if amax is not None and left >= amax else inside).append(bar)
    powers = range(0, int(top) + 1, 1 if top < 4 else 2)
    levels = [(_PLOT * (1 - power / top), str(10**power) if power < 3 else f"1e{power}") for power in powers]
    return HistogramChart(axis=axis, amax=amax, inside="".join(inside), clipped="".join(clipped), levels=levels)


def _coarsened(histogram: HistogramPart) -> tuple[list[float], list[int]]:
    """Join neighbouring bins until a bar is wide enough to be seen."""
    step = max(1, math.ceil(len(histogram.counts) / _MOST_BARS))
    starts = range(0, len(histogram.counts), step)
    counts = [sum(histogram.counts[start : start + step]) for start in starts]
    return [*(histogram.edges[start] for start in starts), histogram.edges[-1]], counts


def _round_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least `rough`."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9)))

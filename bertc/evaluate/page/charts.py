"""Charts as inline SVG whose text keeps its size on every screen: positions are percentages, heights are pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bertc.evaluate.page.markup import Markup, significant, tag
from bertc.evaluate.report import HistogramPart

_ROW = 34  # height of a whisker's row, px
_PLOT = 132  # height of a histogram's bars, px
_MOST_BARS = 64
_NEAR_EDGE = 0.07  # of the width: labels closer to an edge are anchored there
_NEAR_EDGE_LONG = 0.28  # the same for the label of a limit, on the narrowest screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A stretch of numbers laid over the width of a drawing, with a margin for what sits on its ends."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a value lies, 0 left to 1 right; values outside lie on the edge."""
        width = self.high - self.low
        return min(max((value - self.low) / width, 0.0), 1.0) if width > 0 else 0.5

    def at(self, value: float) -> str:
        """Return a value's place as an SVG percentage."""
        return f"{2 + 96 * self.share(value):.2f}%"

    def ticks(self, about: int = 4) -> list[float]:
        """Return round numbers inside, roughly `about` of them."""
        step = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, first + 4 * about) if index * step <= self.high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """One dot with its interval; `kind` is "float" or "engine" and chooses the colour."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str
    text: str


def axis_around(values: Iterable[float]) -> Axis:
    """Return an axis over some values with air at both ends."""
    present = list(values)
    low, high = min(present), max(present)
    air = 0.12 * (high - low) or 0.01
    return Axis(low=low - air, high=high + air)


def whisker_chart(
    whiskers: Sequence[Whisker], *, axis: Axis, limit: float | None, lower_is_better: bool, title: str
) -> Markup:
    """Draw dots with intervals above each other on one axis; what lies beyond `limit` is shaded as not allowed."""
    rows: list[Markup] = []
    for whisker in whiskers:
        plot = _drawing(
            _ROW, f"{whisker.label}: {whisker.text}", _ground(axis, limit, lower_is_better), *_dot(whisker, axis)
        )
        rows += [tag("div", whisker.label, class_="row-label"), plot, tag("div", whisker.text, class_="row-value")]
    scale = _drawing(38, "scale", *_scale(axis, limit))
    rows += [tag("div"), scale, tag("div")]
    return tag("div", *rows, class_="whiskers", role="group", aria_label=title)


def small_whisker(value: float, interval: tuple[float, float] | None, *, axis: Axis, limit: float | None) -> Markup:
    """Draw one drop in a table's cell: zero is a line, right of `limit` is not allowed."""
    whisker = Whisker(label="drop", value=value, interval=interval, kind="engine", text=significant(value))
    zero = tag("line", x1=axis.at(0), x2=axis.at(0), y1=0, y2=22, class_="zero")
    drawing = (_ground(axis, limit, True, height=22), zero, *_dot(whisker, axis, middle=11))
    return tag("div", _drawing(22, "drop with its interval", *drawing), class_="small-plot")


def bars(lengths: Sequence[tuple[float, str]], *, title: str) -> Markup:
    """Draw horizontal bars below each other; a length is a share of the width, its second part a colour's class."""
    drawn = [
        tag("rect", x=0, y=index * 12, width=f"{100 * min(length, 1):.1f}%", height=9, rx=2, class_=kind)
        for index, (length, kind) in enumerate(lengths)
    ]
    return tag("div", _drawing(12 * len(lengths) - 3, title, *drawn), class_="small-plot")


def histogram_chart(histogram: HistogramPart, *, amax: float | None, title: str) -> Markup:
    """Draw counts (log) over magnitude, with the end of the INT8 range; what lies beyond it is clipped."""
    edges, counts = _coarsened(histogram)
    axis = Axis(low=edges[0], high=max(edges[-1], amax or 0.0))
    top = math.log10(max(*counts, 9) + 1)
    drawn = []
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            height = _PLOT * math.log10(count + 1) / top
            kind = "clipped" if amax is not None and left >= amax else "engine"
            width = f"{max(96 * (axis.share(right) - axis.share(left)) - 0.25, 0.3):.2f}%"
            drawn.append(
                tag(
                    "rect",
                    x=axis.at(left),
                    y=f"{14 + _PLOT - height:.1f}",
                    width=width,
                    height=f"{height:.1f}",
                    class_=kind,
                )
            )
    floor = 14 + _PLOT
    drawn.append(tag("line", x1="0", x2="100%", y1=floor, y2=floor, class_="axis"))
    drawn += _number_labels(axis, floor + 16)
    if amax is not None:
        drawn += _amax_mark(axis, amax, floor)
    levels = _drawing(_PLOT + 40, "counts", *_count_labels(top), width="34")
    return tag("div", levels, _drawing(_PLOT + 40, title, *drawn), class_="histogram")


def _drawing(height: int, title: str, *content: str, width: str = "100%") -> Markup:
    return tag("svg", tag("title", title), *content, width=width, height=height, role="img", aria_label=title)


def _ground(axis: Axis, limit: float | None, beyond_right: bool, height: int = _ROW) -> Markup:
    """Shade the side of the limit that a gate does not allow, and mark the limit."""
    middle = f"{height / 2:g}"
    rail = tag("line", x1="0", x2="100%", y1=middle, y2=middle, class_="rail")
    if limit is None:
        return rail
    start = 2 + 96 * axis.share(limit)
    x, width = (f"{start:.2f}%", f"{100 - start:.2f}%") if beyond_right else ("0", f"{start:.2f}%")
    shade = tag("rect", x=x, y=0, width=width, height=height, class_="beyond")
    return Markup(shade + rail + tag("line", x1=axis.at(limit), x2=axis.at(limit), y1=0, y2=height, class_="limit"))


def _dot(whisker: Whisker, axis: Axis, middle: float = _ROW / 2) -> list[Markup]:
    drawn = []
    if whisker.interval is not None:
        low, high = whisker.interval
        drawn.append(
            tag("line", x1=axis.at(low), x2=axis.at(high), y1=middle, y2=middle, class_=f"whisker {whisker.kind}")
        )
        for end in (low, high):
            place = axis.at(end)
            drawn.append(
                tag("line", x1=place, x2=place, y1=middle - 5, y2=middle + 5, class_=f"whisker {whisker.kind}")
            )
    drawn.append(tag("circle", cx=axis.at(whisker.value), cy=middle, r=5.5, class_=whisker.kind))
    return drawn


def _scale(axis: Axis, limit: float | None) -> list[Markup]:
    drawn = [tag("line", x1="0", x2="100%", y1=0.5, y2=0.5, class_="axis"), *_number_labels(axis, 16)]
    if limit is not None:
        drawn.append(_label(axis, limit, 33, f"limit {limit:.4f}", "limit-label", _NEAR_EDGE_LONG))
    return drawn


def _number_labels(axis: Axis, y: float) -> list[Markup]:
    ticks = axis.ticks()
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(axis.high) or 1.0
    digits = max(0, math.ceil(-math.log10(step) - 1e-9))
    return [_label(axis, tick, y, f"{tick:.{digits}f}", "tick") for tick in ticks]


def _label(axis: Axis, value: float, y: float, text: str, kind: str, near: float = _NEAR_EDGE) -> Markup:
    share = axis.share(value)
    anchor = "start" if share < near else "end" if share > 1 - near else "middle"
    return tag("text", text, x=axis.at(value), y=y, text_anchor=anchor, class_=kind)


def _amax_mark(axis: Axis, amax: float, floor: int) -> list[Markup]:
    share = axis.share(amax)
    anchor, shift = ("end", -5) if share > 0.5 else ("start", 5)
    return [
        tag("line", x1=axis.at(amax), x2=axis.at(amax), y1=2, y2=floor, class_="limit"),
        tag(
            "text",
            f"amax {significant(amax)}",
            x=axis.at(amax),
            dx=shift,
            y=11,
            text_anchor=anchor,
            class_="limit-label",
        ),
    ]


def _count_labels(top: float) -> list[Markup]:
    step = 1 if top < 4 else 2
    powers = range(0, int(top) + 1, step)
    return [
        tag("text", f"{10**power:,}" if power < 4 else f"1e{power}", x=30, y=f"{18 + _PLOT * (1 - power / top):.0f}",
            text_anchor="end", class_="tick")
        for power in powers
    ]  # fmt: skip


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

"""A sweep as a page: for each checkpoint a picture of drop, speed and size, and the figures; then what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bertc.core.number_text import figure
from bertc.report.html.charts import Axis, axis_around
from bertc.report.html.environment import page_from_template
from bertc.report.html.figures import times
from bertc.report.html.verdict import mean_speed
from bertc.report.sweep import SweepReport, SweepRow, counts_of_states

_HEIGHT = 280  # of the plot, px
_LARGEST = 24.0  # radius of the largest circle, px
_SMALLEST = 4.0
_LINE = 15  # px between the labels
_FAR = 3.0  # a limit that is so many times the largest drop is not drawn: it would press all into a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A circle: its place (percent of the width, px), its radius, and its label at the side, `label_y` px below it."""

    x: str
    y: float
    radius: float
    kind: str
    label: str
    text: str
    left: bool
    label_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepChart:
    """Times as fast as float to the right, the drop downwards, the size as the area: the best are at the upper right.

    `limit` is the height below which the gate does not pass, None where there is none, several, or one far away.
    """

    axis: Axis
    levels: Sequence[tuple[float, str]]
    marks: Sequence[Mark]
    limit: float | None
    limit_text: str = ""
    height: int = _HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepGroup:
    """One checkpoint's builds: rows with their speeds, a sentence on the best, and the picture if there is one."""

    checkpoint: str
    rows: Sequence[tuple[SweepRow, float | None]]
    best: str
    chart: SweepChart | None


def html_from_sweep(report: SweepReport) -> str:
    """Return the page of a sweep. All text is escaped."""
    rows = report.builds
    passed = sum(row.state == "pass" for row in rows)
    return page_from_template(
        "sweep.html",
        title="bertc sweep",
        name=report.sweep or "bertc sweep",
        details=report.cpu,
        outcome=_outcome(rows),
        heading=f"{passed} of {len(rows)} passed",
        counts=f"{len(rows)} builds: {counts_of_states(rows)}.",
        groups=[_group(name, list(own)) for name, own in groupby(rows, key=lambda row: row.checkpoint)],
        failed=[row for row in rows if row.state == "error"],
        waiting=[row for row in rows if row.state == "waiting"],
    )


def _outcome(rows: Sequence[SweepRow]) -> str:
    """Return the verdict on all: the worst of them."""
    states = {row.state for row in rows}
    if states & {"fail", "error"}:
        return "fail"
    return next((state for state in ("inconclusive", "waiting", "none") if state in states), "pass")


def _group(checkpoint: str, rows: Sequence[SweepRow]) -> SweepGroup:
    built = [(row, mean_speed(row.latency)) for row in rows if row.built]
    return SweepGroup(checkpoint=checkpoint, rows=built, best=_best(built), chart=_chart(built))


def _best(rows: Sequence[tuple[SweepRow, float | None]]) -> str:
    """Say which is the fastest that passes."""
    passing = [(speed, row) for row, speed in rows if row.state == "pass" and speed is not None]
    if not passing:
        return "" if any(row.state in ("pass", "none") for row, _ in rows) else "None passes its gates."
    speed, row = max(passing, key=lambda pair: pair[0])
    drop = None if row.accuracy is None else row.accuracy.drop
    return f"The fastest that passes is {row.scheme}: {times(speed)} float's speed, drop {figure(drop, sign=True)}."


def _chart(rows: Sequence[tuple[SweepRow, float | None]]) -> SweepChart | None:
    """Lay out the engines that have a drop and a speed, and float at (1, 0)."""
    drawn = [
        (row, speed, row.accuracy.drop)
        for row, speed in rows
        if speed is not None and row.accuracy is not None and row.accuracy.drop is not None
    ]
    if not drawn:
        return None
    drops = [0.0, *(drop for _, _, drop in drawn)]
    limits = {row.drop_limit for row, _, _ in drawn}
    limit = limits.pop() if len(limits) == 1 else None
    near = limit is not None and limit <= _FAR * max(map(abs, drops))
    down = axis_around([*drops, limit] if near and limit is not None else drops)
    across = axis_around([1.0, *(speed for _, speed, _ in drawn)])
    most = max(max(row.bytes or 0, row.reference_bytes or 0) for row, _, _ in drawn) or 1
    reference = next((row.reference_bytes for row, _, _ in drawn if row.reference_bytes), None)
    points: list[tuple[str, str, float, float, int | None]] = [
        (row.scheme, row.state, speed, drop, row.bytes) for row, speed, drop in drawn
    ]
    if reference is not None:
        points.insert(0, ("float", "float", 1.0, 0.0, reference))
    heights = [_HEIGHT * down.share(drop) for _, _, _, drop, _ in points]
    marks = [
        Mark(
            x=across.at(speed),
            y=round(y, 1),
            radius=round(max(_SMALLEST, _LARGEST * math.sqrt((size or 0) / most)), 1),
            kind={"none": "other"}.get(state, state),
            label=label,
            text=f"{label}: {times(speed)} float's speed, drop {figure(drop, sign=True)}, {(size or 0) / 1e6:.1f} MB",
            left=across.share(speed) > 0.5,
            label_y=round(at - y, 1),
        )
        for (label, state, speed, drop, size), y, at in zip(points, heights, _apart(heights), strict=True)
    ]
    return SweepChart(
        axis=across,
        levels=[(_HEIGHT * down.share(value), text.replace("-", "\N{MINUS SIGN}")) for value, text in down.ticks()],
        marks=sorted(marks, key=lambda mark: -mark.radius),  # the small ones lie on top
        limit=round(_HEIGHT * down.share(limit), 1) if near and limit is not None else None,
        limit_text="" if limit is None else figure(limit),
    )


def _apart(heights: Sequence[float]) -> list[float]:
    """Return heights of labels that do not cover each other, each as near to its circle's as may be.

    >>> _apart([100, 101, 200])
    [93.0, 108.0, 200.0]
    """
    places = [0.0] * len(heights)
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    group: list[int] = []
    groups: list[list[int]] = []
    for index in order:
        group = [index]
        while groups and _top(group, heights) < _top(groups[-1], heights) + _LINE * len(groups[-1]):
            group = groups.pop() + group
        groups.append(group)
    for group in groups:
        for place, index in enumerate(group):
            places[index] = _top(group, heights) + _LINE * place
    return places


def _top(group: Sequence[int], heights: Sequence[float]) -> float:
    """Return where the first of a group's labels stands, if all of them are around the mean of their circles."""
    middle = sum(heights[index] for index in group) / len(group)
    return float(round(middle - _LINE * (len(group) - 1) / 2))

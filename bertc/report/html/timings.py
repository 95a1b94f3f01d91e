"""Timings of engines side by side as a page: for each work a drawing of p50 to p99, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bertc.report.html.charts import Axis, Whisker, WhiskerChart
from bertc.report.html.environment import page_from_template
from bertc.report.html.figures import significant


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """One engine at one work: milliseconds of a call, texts per second, and the ratio to the first with its range."""

    engine: str
    p50: float
    p95: float
    p99: float
    texts_per_second: float
    ratio: float
    ratio_range: tuple[float, float]
    spread: float


def html_from_timings(title: str, facts: str, works: Sequence[tuple[str, Sequence[TimingRow]]]) -> str:
    """Return one HTML document; `facts` says where and how it was measured."""
    charts = [(name, rows, _chart(name, rows)) for name, rows in works]
    return page_from_template("timings.html", title=title, name=title, details=facts, works=charts)


def _chart(name: str, rows: Sequence[TimingRow]) -> WhiskerChart:
    whiskers = [
        Whisker(
            label=row.engine,
            value=row.p50,
            interval=(row.p50, row.p99),
            kind="engine" if place else "float",
            text=f"{significant(row.p50)} ms",
        )
        for place, row in enumerate(rows)
    ]
    axis = Axis(low=0.0, high=1.05 * max(row.p99 for row in rows))
    return WhiskerChart(title=f"{name}: milliseconds per call", whiskers=whiskers, axis=axis)

"""Timings of engines side by side as a page: for each work a drawing of p50 to p99, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bertc.evaluate.page.charts import Axis, Whisker, whisker_chart
from bertc.evaluate.page.markup import Markup, join, section, significant, table, tag


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


def timings_main(title: str, facts: str, works: Sequence[tuple[str, Sequence[TimingRow]]]) -> Markup:
    """Return the page's content; `facts` says where and how it was measured."""
    sections = [_work(number, name, rows) for number, (name, rows) in enumerate(works)]
    return tag("main", tag("p", tag("strong", title), join([" ", tag("span", facts)]), class_="byline"), *sections)


def _work(number: int, name: str, rows: Sequence[TimingRow]) -> Markup:
    axis = Axis(low=0.0, high=1.05 * max(row.p99 for row in rows))
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
    chart = whisker_chart(whiskers, axis=axis, limit=None, lower_is_better=True, title=f"{name}: milliseconds per call")
    head = ("engine", "p50", "p95", "p99", "spread", "texts/s", "times as fast", "range")
    lines = [
        (
            row.engine,
            *(significant(value) for value in (row.p50, row.p95, row.p99)),
            f"{row.spread:.1%}",
            significant(row.texts_per_second),
            f"{row.ratio:.2f}\N{MULTIPLICATION SIGN}",
            f"{row.ratio_range[0]:.2f} to {row.ratio_range[1]:.2f}",
        )
        for row in rows
    ]
    caption = "Milliseconds per call (a batch), and the speed beside the first engine's"
    figures = table(head, lines, caption=caption, numbers=range(1, 8))
    lead = "The dot is the median, the line ends at the 99th percentile of all calls."
    return section(name, chart, figures, identity=f"work-{number}", note=lead)

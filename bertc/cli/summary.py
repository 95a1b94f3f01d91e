"""A report in a few lines of text: what a person wants to know when a build or a validation ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bertc.evaluate.report import LatencyPart, Report

LABEL_WIDTH = 11
WORST = 3


class ScoreLike(Protocol):
    """What a score and the report's copy of it have in common."""

    @property
    def metric(self) -> str: ...
    @property
    def samples(self) -> int: ...
    @property
    def reference(self) -> float: ...
    @property
    def engine(self) -> float: ...
    @property
    def drop(self) -> float: ...
    @property
    def drop_ci95(self) -> tuple[float, float] | None: ...
    @property
    def agreement(self) -> float | None: ...


class GateLike(Protocol):
    """What a gate's result and the report's copy of it have in common."""

    @property
    def verdict(self) -> str: ...
    @property
    def reason(self) -> str: ...


def lines_from_report(report: Report) -> Iterator[str]:
    """Write the end of a build, without its warnings."""
    yield line("verdict", verdict_text(report.passed, unvalidated=report.unvalidated))
    if report.accuracy is not None:
        yield from lines_from_score(report.accuracy)
    for gate in report.gates:
        yield line("gate", f"{gate.verdict}: {gate.reason}")
    yield line("size", size_text(report))
    if report.latency:
        yield line("latency", latency_text(report.latency))


def lines_from_score(score: ScoreLike) -> Iterator[str]:
    """Write the main metric, its drop with the interval, and the agreement."""
    yield line("metric", f"{score.metric} {score.reference:.4f} (float) -> {score.engine:.4f}, {score.samples} rows")
    yield line("drop", f"{signed(score.drop)}{interval_text(score.drop_ci95)}")
    if score.agreement is not None:
        yield line("agreement", f"{score.agreement:.4f} of the float model's decisions")


def interval_text(bounds: tuple[float, float] | None) -> str:
    """Write a 95 % interval where there is one."""
    if bounds is None or not all(map(math.isfinite, bounds)):
        return ""
    return f" (95 % interval {signed(bounds[0])} to {signed(bounds[1])})"


def signed(value: float) -> str:
    """Write a difference with its sign; none for what rounds to nothing.

    >>> signed(0.0123), signed(-0.00001)
    ('+0.0123', '0.0000')
    """
    text = f"{value:+.4f}"
    return text if float(text) else text[1:]


def verdict_text(passed: bool, *, unvalidated: bool = False) -> str:
    """Say the verdict in words."""
    if unvalidated:
        return "UNVALIDATED: nothing proves the accuracy of this engine"
    return "passed" if passed else "NOT PASSED"


def size_text(report: Report) -> str:
    """Write the engine's size, and beside it the float model's."""
    text = f"{report.engine.bytes / 1e6:.1f} MB"
    if report.engine.reference_bytes:
        text += f", {report.engine.bytes / report.engine.reference_bytes:.0%} of float's"
        text += f" {report.engine.reference_bytes / 1e6:.1f} MB"
    return text


def latency_text(latency: Sequence[LatencyPart]) -> str:
    """Write how many times as fast as float the engine is: the geometric mean, and each shape's milliseconds."""
    measured = [row for row in latency if row.milliseconds > 0 and row.reference_milliseconds > 0]
    shapes = ", ".join(f"{row.batch}x{row.length} {row.milliseconds:.2f} ms" for row in measured)
    if not measured:
        return "not measured"
    ratio = math.exp(sum(math.log(row.reference_milliseconds / row.milliseconds) for row in measured) / len(measured))
    return f"{ratio:.2f} times as fast as float ({shapes})"


def failure_text(reasons: Sequence[GateLike], worst: Sequence[str]) -> str:
    """Write the one line of a verdict that is not a pass: by how much, and where the error is largest."""
    missed = "; ".join(gate.reason for gate in reasons if gate.verdict != "pass")
    sites = f"; largest errors: {', '.join(worst)}" if worst else ""
    return f"not passed: {missed}{sites}"


def worst_sites(report: Report) -> tuple[str, ...]:
    """Return the three sites with the largest error: on the outputs, or where that was not measured, on themselves."""
    if report.worst_sites:
        return report.worst_sites
    measured = [site for site in report.sites if site.error is not None]
    return tuple(site.site for site in sorted(measured, key=lambda site: -(site.error or 0.0))[:WORST])


def line(label: str, text: str) -> str:
    """Write a labelled line."""
    return f"{label:<{LABEL_WIDTH}}{text}"

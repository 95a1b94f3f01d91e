"""The verdict: what was lost, against what is allowed, and how sure that is; in words, and as the accuracy's chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bertc.report.html.charts import Axis, Whisker, WhiskerChart, axis_around
from bertc.report.html.figures import capital, fraction, percent, plain_name
from bertc.report.schema import GatePart, LatencyPart, MetricPart, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The main metric's chart, all metrics, the axis of their drops, and the largest drop allowed by metric."""

    chart: WhiskerChart
    metrics: Sequence[MetricPart]
    drops: Axis
    limits: Mapping[str, float]


def outcome(report: Report) -> Literal["pass", "fail", "inconclusive", "none"]:
    """Return "pass", "fail", "inconclusive", or "none" where nothing was validated."""
    if report.unvalidated:
        return "none"
    if report.passed:
        return "pass"
    verdicts = {gate.verdict for gate in report.gates}
    return "inconclusive" if verdicts <= {"pass", "inconclusive"} and "inconclusive" in verdicts else "fail"


def sentences(report: Report) -> list[str]:
    """Say what was lost, by how much it is within or beyond the gates, and where the largest errors are if it is."""
    metric = report.accuracy
    if metric is None:
        return ["There was no validation data, so nothing is known about the accuracy of this engine."]
    gate = _gate_of(report, metric.metric)
    doubt = "" if report.doubt is None else report.doubt.reason
    said = [_sentence(doubt)] if doubt else []
    said.append(_first(metric, gate))
    failed = [gate for gate in report.gates if gate.verdict != "pass" and gate.reason != doubt]
    # A failed limit on the main metric's drop is what the first sentence just said.
    unsaid = [each for each in failed if each is not gate or each.verdict != "fail" or each.decide != "point"]
    said += [_reason(each) for each in unsaid]
    if failed and report.worst_sites:
        said.append("The largest errors are at " + ", ".join(report.worst_sites) + ".")
    return said


def mean_speed(latency: Sequence[LatencyPart]) -> float | None:
    """Return how many times as fast as float the engine is, the geometric mean over all that was timed."""
    ratios = [row.reference_milliseconds / row.milliseconds for row in latency if row.milliseconds]
    positive = [ratio for ratio in ratios if ratio > 0]
    return math.exp(sum(map(math.log, positive)) / len(positive)) if positive else None


def accuracy_from_report(report: Report) -> Accuracy | None:
    """Lay out the metrics of float and engine; nothing where nothing was validated."""
    metric = report.accuracy
    if metric is None:
        return None
    metrics = (metric, *report.metrics)
    gates = [gate for gate in (_gate_of(report, each.metric) for each in metrics) if gate is not None]
    limits = {gate.metric: gate.drop_limit for gate in gates if gate.drop_limit is not None}
    ends = [end for each in metrics for end in (each.drop, *(each.drop_ci95 or ())) if end is not None]
    return Accuracy(
        chart=_chart(metric, limits.get(metric.metric)),
        metrics=metrics,
        drops=axis_around([0.0, *ends, *limits.values()]),
        limits=limits,
    )


def _chart(metric: MetricPart, drop_limit: float | None) -> WhiskerChart:
    """Draw both values; the engine's whisker is the paired interval of the drop, carried to the metric's own axis."""
    sign = 1 if metric.direction == "higher" else -1
    limit = None if drop_limit is None else metric.reference - sign * drop_limit
    paired = None
    if metric.drop_ci95 is not None:
        low, high = sorted(metric.reference - sign * end for end in metric.drop_ci95)
        paired = (low, high)
    pairs = (("float", metric.reference, metric.reference_ci95), ("engine", metric.engine, paired))
    whiskers = [
        Whisker(label=name, value=value, interval=interval, kind=name, text=fraction(value))
        for name, value, interval in pairs
        if value is not None
    ]
    shown = [end for whisker in whiskers for end in (whisker.value, *(whisker.interval or ()))]
    return WhiskerChart(
        title=f"{plain_name(metric.metric)} of float and engine",
        whiskers=whiskers,
        axis=axis_around(shown if limit is None else [*shown, limit]),
        limit=limit,
        lower_is_better=sign < 0,
    )


def _reason(gate: GatePart) -> str:
    return _sentence(gate.reason if gate.reason.startswith(gate.metric) else f"{gate.metric}: {gate.reason}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].removesuffix(".") + "."


def _first(metric: MetricPart, gate: GatePart | None) -> str:
    name, reference = capital(metric.metric), fraction(metric.reference)
    if metric.engine is None or metric.drop is None:
        return f"{name} is not defined for the engine, whose outputs are all alike; float has {reference}."
    return f"{name} is {fraction(metric.engine)} where float has {reference}: {_loss(metric, metric.drop, gate)}"


def _loss(metric: MetricPart, drop: float, gate: GatePart | None) -> str:
    relative = f" ({percent(abs(drop) / abs(metric.reference))} of it)" if metric.reference else ""
    if drop > 0:
        lost = f"{fraction(drop)} lost{relative}"
    else:
        lost = "nothing lost" + (f", {fraction(-drop)} won" if drop < 0 else "")
    if gate is None or gate.drop_limit is None:
        return lost + "."
    spare = gate.drop_limit - drop
    if spare >= 0:
        return f"{lost}; the gate allows {fraction(gate.drop_limit)}, so {fraction(spare)} is to spare."
    return f"{lost}, which is {fraction(-spare)} more than the {fraction(gate.drop_limit)} that the gate allows."


def _gate_of(report: Report, metric: str) -> GatePart | None:
    """Return the strictest gate on the drop of a metric."""
    gates = [gate for gate in report.gates if gate.metric == metric and gate.drop_limit is not None]
    return min(gates, key=lambda gate: gate.drop_limit or 0.0, default=None)

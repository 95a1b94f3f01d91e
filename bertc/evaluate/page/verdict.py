"""The verdict in words and pictures: what was lost, against what is allowed, and how sure that is."""

from __future__ import annotations

import math

from bertc.evaluate.page.charts import Axis, Whisker, axis_around, small_whisker, whisker_chart
from bertc.evaluate.page.markup import (
    Markup,
    fraction,
    join,
    percent,
    plain_name,
    section,
    significant,
    size,
    table,
    tag,
)
from bertc.evaluate.report import GatePart, MetricPart, Report

_WORDS = {
    "pass": ("\N{CHECK MARK}", "Passed"),
    "fail": ("\N{MULTIPLICATION X}", "Failed"),
    "inconclusive": ("?", "Inconclusive"),
    "none": ("!", "Not validated"),
}


def outcome(report: Report) -> str:
    """Return "pass", "fail", "inconclusive", or "none" where nothing was validated."""
    if report.unvalidated:
        return "none"
    if report.passed:
        return "pass"
    verdicts = {gate.verdict for gate in report.gates}
    return "inconclusive" if verdicts <= {"pass", "inconclusive"} and "inconclusive" in verdicts else "fail"


def verdict_banner(report: Report) -> Markup:
    """Write the verdict, by how much, and the four figures people ask for first."""
    state = outcome(report)
    sign, word = _WORDS[state]
    heading = tag("h1", tag("span", sign, class_="sign", aria_hidden="true"), word)
    sentences = [tag("p", sentence) for sentence in _sentences(report)]
    return tag("header", heading, *sentences, _figures(report), class_=f"verdict {state}")


def accuracy_section(report: Report) -> Markup | None:
    """Draw the main metric of float and engine with the interval of the drop and the gate's limit."""
    metric = report.accuracy
    if metric is None:
        return None
    sign = 1 if metric.direction == "higher" else -1
    gate = _gate_of(report, metric.metric)
    limit = metric.reference - sign * gate.drop_limit if gate and gate.drop_limit is not None else None
    interval = _interval_of_engine(metric, sign)
    whiskers = (
        Whisker(
            label="float",
            value=metric.reference,
            interval=metric.reference_ci95,
            kind="float",
            text=fraction(metric.reference),
        ),
        Whisker(label="engine", value=metric.engine, interval=interval, kind="engine", text=fraction(metric.engine)),
    )
    shown = [metric.reference, metric.engine, *(metric.reference_ci95 or ()), *(interval or ())]
    axis = axis_around([*shown, limit] if limit is not None else shown)
    title = f"{plain_name(metric.metric)} of float and engine"
    chart = whisker_chart(whiskers, axis=axis, limit=limit, lower_is_better=sign < 0, title=title)
    return section("Accuracy", chart, _metrics_table(report), identity="accuracy", note=_how_to_read(metric, limit))


def gates_section(report: Report) -> Markup | None:
    """List the gates, and the served thresholds where there are any."""
    if not report.gates and not report.operating_points:
        return None
    rows = [
        (
            plain_name(gate.metric),
            gate.limit,
            "\N{EN DASH}" if gate.value is None else fraction(gate.value),
            "interval's end" if gate.decide == "bound" else "point estimate",
            _verdict_mark(gate),
            gate.reason,
        )
        for gate in report.gates
    ]
    head = ("metric", "limit", "measured", "decided on", "verdict", "reason")
    gates = table(head, rows, caption="Gates", numbers=(2,), hide_caption=True) if rows else None
    return section("Gates", gates, _operating_points(report), identity="gates")


def _verdict_mark(gate: GatePart) -> Markup:
    sign, word = _WORDS[gate.verdict]
    return tag("span", tag("span", f"{sign} ", aria_hidden="true"), word.lower(), class_=f"mark {gate.verdict}")


def _sentences(report: Report) -> list[str]:
    metric = report.accuracy
    if metric is None:
        return ["There was no validation data, so nothing is known about the accuracy of this engine."]
    first = f"{_capital(metric.metric)} is {fraction(metric.engine)} where float has {fraction(metric.reference)}: "
    gate = _gate_of(report, metric.metric)
    sentences = [first + _loss(metric, gate)]
    failed = [gate for gate in report.gates if gate.verdict != "pass"]
    # A failed limit on the main metric's drop is what the first sentence just said.
    unsaid = [each for each in failed if each is not gate or each.verdict != "fail" or each.decide != "point"]
    sentences += [_reason(each) for each in unsaid]
    if failed and report.worst_sites:
        sentences.append("The largest errors are at " + ", ".join(report.worst_sites) + ".")
    return sentences


def _reason(gate: GatePart) -> str:
    text = gate.reason if gate.reason.startswith(gate.metric) else f"{gate.metric}: {gate.reason}"
    return text[:1].upper() + text[1:].removesuffix(".") + "."


def _loss(metric: MetricPart, gate: GatePart | None) -> str:
    relative = f" ({percent(abs(metric.drop) / abs(metric.reference))} of it)" if metric.reference else ""
    if metric.drop > 0:
        lost = f"{fraction(metric.drop)} lost{relative}"
    else:
        lost = "nothing lost" + (f", {fraction(-metric.drop)} won" if metric.drop < 0 else "")
    if gate is None or gate.drop_limit is None:
        return lost + "."
    spare = gate.drop_limit - metric.drop
    if spare >= 0:
        return f"{lost}; the gate allows {fraction(gate.drop_limit)}, so {fraction(spare)} is to spare."
    return f"{lost}, which is {fraction(-spare)} more than the {fraction(gate.drop_limit)} that the gate allows."


def _figures(report: Report) -> Markup:
    """Write the tiles: drop, agreement, size, speed; those that exist."""
    tiles: list[tuple[str, str, str]] = []
    metric = report.accuracy
    if metric is not None:
        spread = metric.drop_ci95
        detail = (
            f"95 %: {fraction(spread[0], sign=True)} to {fraction(spread[1], sign=True)}" if spread else metric.metric
        )
        tiles.append(("drop", fraction(metric.drop), detail))
        if metric.agreement is not None:
            tiles.append(("same answers as float", percent(metric.agreement), f"of {metric.samples:,} samples"))
    reference = report.engine.reference_bytes
    if reference and report.engine.bytes:
        tiles.append(
            (
                "smaller",
                f"{reference / report.engine.bytes:.1f}\N{MULTIPLICATION SIGN}",
                f"{size(report.engine.bytes)} instead of {size(reference)}",
            )
        )
    speed = _mean_speed(report)
    if speed is not None:
        word, factor = ("faster", speed) if speed >= 1 else ("slower", 1 / speed)
        tiles.append((word, f"{factor:.2f}\N{MULTIPLICATION SIGN}", "than the float reference, geometric mean"))
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value, tag("small", detail), class_="figure"))
            for name, value, detail in tiles
        ),
        class_="tiles",
    )


def _mean_speed(report: Report) -> float | None:
    ratios = [row.reference_milliseconds / row.milliseconds for row in report.latency if row.milliseconds]
    positive = [ratio for ratio in ratios if ratio > 0]
    return math.exp(sum(map(math.log, positive)) / len(positive)) if positive else None


def _gate_of(report: Report, metric: str) -> GatePart | None:
    """Return the strictest gate on the drop of a metric."""
    gates = [gate for gate in report.gates if gate.metric == metric and gate.drop_limit is not None]
    return min(gates, key=lambda gate: gate.drop_limit or 0.0, default=None)


def _interval_of_engine(metric: MetricPart, sign: int) -> tuple[float, float] | None:
    """Carry the paired interval of the drop to the engine's place on the metric's axis."""
    if metric.drop_ci95 is None:
        return None
    ends = sorted(metric.reference - sign * end for end in metric.drop_ci95)
    return ends[0], ends[1]


def _how_to_read(metric: MetricPart, limit: float | None) -> str:
    text = f"{_capital(metric.metric)} on {metric.samples:,} samples ({metric.direction} is better)."
    if metric.drop_ci95 is not None:
        text += " The engine's whisker is the paired 95 % interval of its distance to float."
    return text + (" The shaded side is what the gate does not allow." if limit is not None else "")


def _metrics_table(report: Report) -> Markup:
    metrics = [metric for metric in (report.accuracy, *report.metrics) if metric is not None]
    ends = [end for metric in metrics for end in (metric.drop, *(metric.drop_ci95 or ()))]
    limits = {metric.metric: _gate_of(report, metric.metric) for metric in metrics}
    allowed = [gate.drop_limit for gate in limits.values() if gate and gate.drop_limit is not None]
    axis = axis_around([0.0, *ends, *allowed])
    rows = [_metric_row(metric, limits[metric.metric], axis) for metric in metrics]
    head = ("metric", "float", "engine", "drop", "95 % interval", "drop, to scale", "agreement", "score error")
    caption = "All metrics. A positive drop is a loss; score error is the mean square error of the scores to float's."
    return table(head, rows, caption=caption, numbers=(1, 2, 3, 4, 6, 7))


def _metric_row(metric: MetricPart, gate: GatePart | None, axis: Axis) -> tuple[str, ...]:
    spread = metric.drop_ci95
    return (
        join([plain_name(metric.metric), tag("small", "lower is better") if metric.direction == "lower" else None]),
        fraction(metric.reference),
        fraction(metric.engine),
        fraction(metric.drop),
        f"{fraction(spread[0], sign=True)} to {fraction(spread[1], sign=True)}" if spread else fraction(None),
        small_whisker(metric.drop, spread, axis=axis, limit=gate.drop_limit if gate else None),
        fraction(metric.agreement),
        fraction(None) if metric.logit_mse is None else significant(metric.logit_mse),
    )


def _operating_points(report: Report) -> Markup | None:
    if not report.operating_points:
        return None
    rows = [
        (
            plain_name(point.metric) + (f" [{point.label}]" if point.label else ""),
            significant(point.threshold),
            fraction(point.reference),
            fraction(point.engine),
            fraction(None) if point.restored_threshold is None else significant(point.restored_threshold, 4),
            fraction(point.restored),
        )
        for point in report.operating_points
    ]
    head = ("metric", "threshold", "float", "engine", "threshold that restores it", "engine there")
    caption = "Served thresholds, and the engine's threshold that restores float's operating point"
    return table(head, rows, caption=caption, numbers=(1, 2, 3, 4, 5))


def _capital(text: str) -> str:
    return text[:1].upper() + plain_name(text[1:])

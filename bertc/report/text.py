"""A report in a few lines of text: what a person wants to know when a build or a validation ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bertc.core.number_text import figure

if TYPE_CHECKING:
    from bertc.evaluate.gates import GateResult
    from bertc.evaluate.regression import Regression
    from bertc.evaluate.scores import Score
    from bertc.report.choice import CandidatePart, ExitPart, SearchPart
    from bertc.report.schema import DataPart, GatePart, LatencyPart, MetricPart, Report, SparsityPart

WORST = 3
UNMOVED = "no row gains or loses"

Fact = tuple[str, str]


def facts_from_report(report: Report) -> Iterator[Fact]:
    """Write the end of a build, without its warnings; what is wrong with the float model comes first."""
    doubt = "" if report.doubt is None else report.doubt.reason
    if doubt:
        yield "doubt", doubt
    yield "verdict", verdict_text(report.passed, unvalidated=report.unvalidated)
    yield from _facts_from_data(report.data)
    if report.accuracy is not None:
        yield from facts_from_score(report.accuracy)
    for gate in report.gates:
        if gate.reason != doubt:
            yield "gate", f"{gate.verdict}: {gate.reason}"
    if report.sparsity is not None:
        yield "sparsity", sparsity_text(report.sparsity)
    for candidate in report.candidates:
        yield "chosen" if candidate.chosen else "candidate", candidate_text(candidate)
    if report.search is not None:
        yield "search", search_text(report.search)
    if report.early_exit is not None:
        yield "early exit", exit_text(report.early_exit)
    yield "size", size_text(report)
    if report.latency:
        yield "latency", latency_text(report.latency)


def _facts_from_data(data: DataPart) -> Iterator[Fact]:
    """Write how each file was read."""
    for source, use in ((data.calibration, "to calibrate"), (data.validation, "to validate")):
        if source is not None and source.reading is not None:
            yield fact_of_reading(source.path, use, source.reading.sentence)


def fact_of_reading(path: str, use: str, sentence: str) -> Fact:
    """Write how a file was read: columns, what labels mean, rows."""
    return "read", f"{path} {use}: {sentence}"


def facts_from_score(score: Score | MetricPart) -> Iterator[Fact]:
    """Write the main metric, its drop with the interval, and the agreement."""
    values = f"{figure(score.reference)} (float) -> {figure(score.engine)}"
    yield "metric", f"{score.metric} {values}, {score.samples} {score.unit}"
    yield "drop", f"{figure(score.drop, sign=True)}{interval_text(score.drop_ci95)}"
    if score.agreement is not None:
        what = "decisions" if score.unit == "rows" else "first rows of a query"
        yield "agreement", f"{figure(score.agreement)} of the float model's {what}"


def interval_text(bounds: tuple[float, float] | None) -> str:
    """Write a drop's 95 % interval where there is one.

    Where no row differs every resampling is the same, and no width would say more than the rows can tell: the gates
    go by the rule of three there (`drop_bounds`).
    """
    if bounds is None or not all(map(math.isfinite, bounds)):
        return ""
    return f" ({UNMOVED})" if is_unmoved(bounds) else f" (95 % interval {ends_text(bounds)})"


def is_unmoved(bounds: tuple[float, float]) -> bool:
    """Say whether a drop's interval is that of rows of which none gained or lost."""
    return bounds[0] == bounds[1] == 0


def ends_text(bounds: tuple[float, float]) -> str:
    """Write the ends of an interval."""
    return " to ".join(figure(end, sign=True) for end in bounds)


def verdict_text(passed: bool, *, unvalidated: bool = False) -> str:
    """Say the verdict in words."""
    if unvalidated:
        return "UNVALIDATED: nothing proves the accuracy of this engine"
    return "passed" if passed else "NOT PASSED"


def search_text(search: SearchPart) -> str:
    """Write what a search chose: the scheme, how much of the budget it uses, and its time beside the first scheme's."""
    chosen = search.trials[search.chosen]
    kept = f"{', '.join(chosen.float_sites)} in float" if chosen.float_sites else "nothing in float"
    prefix = "" if search.passed else "nothing passes; the best is "
    smoothing = "" if chosen.smoothing is None else f", smoothing {chosen.smoothing:g}"
    return (
        f"{prefix}granularity {chosen.granularity}{smoothing}, {kept}: {chosen.used:.2f} of the budget, "
        f"{chosen.milliseconds:.2f} ms (at first {search.start_milliseconds:.2f} ms), {len(search.trials)} trials"
    )


def exit_text(part: ExitPart) -> str:
    """Write how much faster the engine is for letting texts leave, and how far they go."""
    point = part.chosen
    times = point.texts_per_second / max(part.texts_per_second_without, 1e-9)
    return (
        f"below {part.threshold:g} texts leave: {point.layers:.2f} layers on average, "
        f"{point.texts_per_second:.0f} texts/s, {times:.2f} times as many as without "
        f"({figure(part.accuracy_without)} -> {figure(point.accuracy)} on {part.rows} rows)"
    )


def candidate_text(candidate: CandidatePart) -> str:
    """Write one engine that was tried, its milliseconds per text alone and in batches, and the reason."""
    times = ""
    if candidate.milliseconds_alone is not None and candidate.milliseconds_batched is not None:
        times = f" {candidate.milliseconds_alone:.2f} ms alone, {candidate.milliseconds_batched:.2f} ms in batches"
    return f"{candidate.name}:{times}; {candidate.reason}" if times else f"{candidate.name}: {candidate.reason}"


def size_text(report: Report) -> str:
    """Write the engine's size, and beside it the float model's."""
    text = f"{report.engine.bytes / 1e6:.1f} MB"
    if report.engine.reference_bytes:
        text += f", {report.engine.bytes / report.engine.reference_bytes:.0%} of float's"
        text += f" {report.engine.reference_bytes / 1e6:.1f} MB"
    return text


def sparsity_text(part: SparsityPart) -> str:
    """Write how much is sparse, and whether the target gains from it."""
    source = "as in the checkpoint" if part.criterion == "checkpoint" else f"by {part.criterion}"
    state = "verified in the file" if part.verified else "NOT verified in the file"
    unused = f"; no gain on this target: {part.unused}" if part.unused else ""
    products = f"; {part.products} products skip the zeros" if part.products else ""
    return f"{part.pattern} {source}, {part.tensors} tensors, {state}{products}{unused}"


def latency_text(latency: Sequence[LatencyPart]) -> str:
    """Write how many times as fast as float the engine is: the geometric mean, and each shape's milliseconds."""
    measured = [row for row in latency if row.milliseconds > 0 and row.reference_milliseconds > 0]
    shapes = ", ".join(f"{row.batch}x{row.length} {row.milliseconds:.2f} ms" for row in measured)
    if not measured:
        return "not measured"
    ratio = math.exp(sum(math.log(row.reference_milliseconds / row.milliseconds) for row in measured) / len(measured))
    return f"{ratio:.2f} times as fast as float ({shapes})"


def search_failure(report: Report) -> str:
    """Return what the report says of a search that found nothing within the budget; empty where there is none such."""
    if report.search is None or report.search.passed:
        return ""
    return next(text for text in report.warnings if text.startswith("the search found"))


def failure_text(reasons: Sequence[GateResult | GatePart], worst: Sequence[str], *, search: str = "") -> str:
    """Write the one line of a verdict that is not a pass: by how much, and where the error is largest.

    A search that found nothing is the reason, whatever the gates found.
    """
    if search:
        return f"not passed: {search}"
    missed = [gate for gate in reasons if gate.verdict != "pass"]
    by_drop = any(gate.drop_limit is not None for gate in missed)
    sites = f"; largest errors: {', '.join(worst)}" if worst and by_drop else ""
    return f"not passed: {'; '.join(gate.reason for gate in missed)}{sites}"


def worst_sites(report: Report) -> tuple[str, ...]:
    """Return the three sites with the largest error: on the outputs, or where that was not measured, on themselves."""
    if report.worst_sites:
        return report.worst_sites
    measured = [site for site in report.sites if site.error is not None]
    return tuple(site.site for site in sorted(measured, key=lambda site: -(site.error or 0.0))[:WORST])


def lines_from_regression(regression: Regression) -> list[str]:
    """Write how many rows were paired, and how many of which difference there are."""
    counts = (
        (len(regression.flipped), "decided otherwise than in the baseline"),
        (len(regression.changed), "with another label than in the baseline, left out"),
        (len(regression.vanished), "of the baseline missing in this run"),
        (len(regression.added), "not in the baseline, left out"),
    )
    differences = [f"{count} {'row' if count == 1 else 'rows'} {text}" for count, text in counts if count]
    return [f"{regression.paired} {'row' if regression.paired == 1 else 'rows'} paired", *differences]

"""The regression gate: this run's engine against the committed baseline's, paired row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.evaluate.baseline import rows_from_baseline
from bertc.evaluate.gates import Decide, Gate, Verdict, judge, judge_doubtful, limit_from_text
from bertc.evaluate.metrics.classification import ALIASES
from bertc.evaluate.reference import LEAST_ROWS, Doubt, doubt_from_report
from bertc.evaluate.row_table import MetricRows, RowTable
from bertc.evaluate.rows_file import VERSION, SavedRows, rows_from_report
from bertc.evaluate.scores import Score, scores_from_table

DEFAULT_LIMIT = "0.5%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What the two runs are called where they cannot be compared, and what to do then."""

    current: str = "the report"
    baseline: str = "the baseline"
    remedy: str = "make a new baseline with --update"


GATE = Sides()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is judged by, as `regression_from_reports` takes it; with a `doubt` of the float model nothing passes."""

    limit: str = DEFAULT_LIMIT
    gates: Sequence[str] = ()
    decide: Decide = "point"
    doubt: Doubt | None = None


RowNames = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Hashes of n rows' texts, and of their labels: uint64 [n] each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """What the gate found. In `scores` the reference is the baseline's engine and the engine is this run's.

    `flipped` are paired rows with another decision, `changed` rows with another label (left out of the scores),
    `vanished` and `added` rows of one side only: hashes, 16 hexadecimal digits each.
    """

    verdict: Verdict
    scores: tuple[Score, ...]
    paired: int
    flipped: tuple[str, ...]
    changed: tuple[str, ...]
    vanished: tuple[str, ...]
    added: tuple[str, ...]
    notes: tuple[str, ...]


def regression_from_reports(
    report: Path,
    baseline: Path,
    *,
    limit: str = DEFAULT_LIMIT,
    gates: Sequence[str] = (),
    decide: Decide = "point",
    any_reference: bool = False,
) -> Regression:
    """Compare the rows of a report.json with a baseline file.

    `limit` is that of the main metric's drop and holds unless `gates` ("METRIC:LIMIT") name it. A float model that the
    report gravely doubts fails here as it did in the build, unless `any_reference` takes it as it is. Raises
    `InputError` on damaged files, where hardly a row can be paired, and where the baseline has no value of the main
    metric.
    """
    current, doubt = rows_from_report(report), doubt_from_report(report)
    failed = doubt if doubt is not None and doubt.grave and not any_reference else None
    terms = Terms(limit=limit, gates=gates, decide=decide, doubt=failed)
    found = regression_from_rows(current, rows_from_baseline(baseline), terms)
    main = found.scores[0]
    if main.samples < LEAST_ROWS:
        raise InputError(
            f"the report and the baseline share too few {main.unit} to prove anything ({main.samples}, at least "
            f"{LEAST_ROWS} are needed); make a new baseline with --update"
        )
    return found if doubt is None or failed is not None else replace(found, notes=(*found.notes, doubt.reason))


def regression_from_rows(current: SavedRows, baseline: SavedRows, terms: Terms, *, sides: Sides = GATE) -> Regression:
    """Compare two runs' rows; see `regression_from_reports`. Errors call the runs what `sides` does."""
    if current.table.task != baseline.table.task:
        raise InputError(
            f"{sides.baseline} is of the task {baseline.table.task} and {sides.current} of {current.table.task}; "
            f"{sides.remedy}"
        )
    places = places_of_rows(*((side.table.hashes, side.table.labels) for side in (current, baseline)))
    here = np.flatnonzero(places >= 0)
    there = places[here]
    same = current.table.labels[here] == baseline.table.labels[there]
    if not same.any():
        raise InputError(f"{sides.current} and {sides.baseline} share no row; {sides.remedy}")
    paired = _paired_table(current.table, baseline.table, here[same], there[same])
    scores = scores_from_table(paired)
    main = _main_metric(current.table, paired, scores, sides)
    chosen = _gates(main, scores, terms.gates, terms.limit)
    every = tuple(scores.values())
    if terms.doubt is None:
        verdict = judge(every, chosen, decide=terms.decide)
    else:
        verdict = judge_doubtful(every, chosen, terms.doubt, decide=terms.decide)
    return Regression(
        verdict=verdict,
        scores=every,
        paired=len(paired.hashes),
        flipped=_names(paired.hashes[paired.decisions_reference != paired.decisions_engine]),
        changed=_names(current.table.hashes[here[~same]]),
        vanished=_names(np.delete(baseline.table.hashes, there)),
        added=_names(np.delete(current.table.hashes, here)),
        notes=tuple(_notes(current, baseline)),
    )


def places_of_rows(mine: RowNames, theirs: RowNames) -> NDArray[np.int64]:
    """Return where among `theirs` each row of `mine` stands, int64 [n]; -1 for one that is not there.

    Of equal texts those with the same label pair first, each in its order, so that the order of a file's rows changes
    nothing; then the rest of them, whose labels differ.
    """
    places = np.full(len(mine[0]), -1, np.int64)
    for parts in (2, 1):  # text and label, then the text alone
        ours, others = (list(zip(*(part.tolist() for part in side[:parts]), strict=True)) for side in (mine, theirs))
        taken = set(places.tolist())
        waiting: dict[tuple[int, ...], list[int]] = {}
        for index in reversed(range(len(others))):
            if index not in taken:
                waiting.setdefault(others[index], []).append(index)
        for index in np.flatnonzero(places < 0).tolist():
            if same := waiting.get(ours[index]):
                places[index] = same.pop()
    return places


def _paired_table(current: RowTable, baseline: RowTable, here: NDArray[np.int64], there: NDArray[np.int64]) -> RowTable:
    """Return the table of paired rows: the baseline's engine as reference, this run's as engine."""
    known = {metric.name: metric for metric in baseline.metrics}
    metrics = [
        MetricRows(
            name=metric.name,
            direction=metric.direction,
            formula=metric.formula,
            bounds=metric.bounds,
            reference=old.engine[there],
            engine=metric.engine[here],
        )
        for metric in current.metrics
        if (old := known.get(metric.name)) is not None
        and (old.formula, old.engine.shape[1:]) == (metric.formula, metric.engine.shape[1:])
    ]
    return RowTable(
        task=current.task,
        hashes=current.hashes[here],
        labels=current.labels[here],
        groups=tuple(current.groups[index] for index in here),
        decisions_reference=baseline.decisions_engine[there],
        decisions_engine=current.decisions_engine[here],
        outputs_reference=(),
        outputs_engine=(),
        metrics=tuple(metrics),
    )


def _main_metric(current: RowTable, paired: RowTable, scores: Mapping[str, Score], sides: Sides) -> str:
    """Return this run's main metric, which is always gated. Raises `InputError` where the baseline does not tell it."""
    if not current.metrics:
        raise InputError(f"{sides.current} has no metric; build it with validation data")
    main = current.metrics[0].name
    if main in scores:
        return main
    if main in {metric.name for metric in paired.metrics}:
        raise InputError(
            f"the main metric '{main}' is not defined for {sides.baseline} on the {len(paired.hashes)} rows that both "
            f"runs have (their labels or its outputs are all alike); {sides.remedy}"
        )
    raise InputError(f"{sides.baseline} does not have the main metric of {sides.current}, '{main}'; {sides.remedy}")


def _gates(main: str, scores: Mapping[str, Score], texts: Sequence[str], limit: str) -> list[Gate]:
    chosen = []
    for text in texts:
        name, colon, wanted = text.rpartition(":")
        base, bracket, rest = name.strip().partition("[")
        name = ALIASES.get(base, base) + bracket + rest
        if not colon or name not in scores:
            raise InputError(
                f"'{text}' is no gate on a metric of both runs; write METRIC:LIMIT with one of {', '.join(scores)}"
            )
        chosen.append(Gate(name, limit_from_text(wanted)))
    if main not in {gate.metric for gate in chosen}:
        chosen.insert(0, Gate(main, limit_from_text(limit)))
    return chosen


def _names(hashes: Sequence[int] | NDArray[np.uint64]) -> tuple[str, ...]:
    return tuple(f"{int(value):016x}" for value in hashes)


def _notes(current: SavedRows, baseline: SavedRows) -> list[str]:
    mine, theirs = (_facts_of_origin(side.origin) for side in (current, baseline))
    return [
        _difference(name, theirs.get(name), mine.get(name))
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    ]


def _facts_of_origin(origin: Mapping[str, str]) -> dict[str, str]:
    """Name what an origin says as people do; bertc's own version stands there under two keys."""
    libraries = {key: key.removeprefix(VERSION) for key in origin if key.startswith(VERSION) or key == "bertc"}
    return {f"version of {libraries[key]}" if key in libraries else key: value for key, value in origin.items()}


def _difference(name: str, old: str | None, new: str | None) -> str:
    """Say what one side has otherwise, or alone: a runtime of another target, a library that older files do not name.

    >>> _difference("cpu", "Xeon", "EPYC")
    'another cpu: the baseline has Xeon, this run EPYC'
    >>> _difference("version of openvino", "2026.4.1", None)
    'the baseline has the version of openvino 2026.4.1, this run names none'
    """
    if new is None:
        return f"the baseline has the {name} {old}, this run names none"
    if old is None:
        return f"this run has the {name} {new}, the baseline names none"
    return f"another {name}: the baseline has {old}, this run {new}"

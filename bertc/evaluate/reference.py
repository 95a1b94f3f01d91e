"""The float model is judged too: one that is no better than a guess proves nothing about its engine.

Gold labels and float outputs in, a `Doubt` out, or None where the float model is as it should be. The most frequent
cause is not the model: its labels are numbered in another order than the data's. So the plausible orders are tried, and
the one that fits is named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.head import Head
from bertc.core.number_text import figure
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.formulas import FORMULAS, Array
from bertc.evaluate.row_table import KeptNumbers, RowTable

if TYPE_CHECKING:
    from bertc.evaluate.scores import Score
    from bertc.evaluate.task import Task

LEAST_ROWS = 4
"""With fewer rows of which none differs, every other row may (the rule of three): they tell nothing."""

NEAR_ZERO = 0.1
"""F1 of entities and answers has no majority class; a trained model is far above this."""

SURE = 3.0
"""A reading fits if it gains more than so many times the half width of the 95 % interval: 5.9 standard errors, since
the best of many readings is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What the float model's main metric has to be above, and what that is: "the 0.52 of always answering 'spam'".

    `alike` is the sentence where all of gold is alike, so that nothing can be told; else it is empty.
    """

    value: float
    words: str
    alike: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """Another meaning of the same labels: why it may be ("the labels are numbered ..."), how, and gold so read."""

    cause: str
    words: str
    gold: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why the float model is not to be believed, in a sentence. `grave`: more than a few unlucky rows can explain."""

    metric: str
    reason: str
    value: float
    floor: float
    grave: bool


def doubt_of_reference(
    task: Task, head: Head, gold: Any, graded: Any, score: Score, *, constant: bool = False
) -> Doubt | None:
    """Doubt the float model by its main metric's score and its `graded` outputs; `constant`: all of them are alike.

    Grave where the whole 95 % interval is at or below the task's floor, where the value is and the model is itself such
    a constant answer, or where another reading of the labels surely fits better. Not grave where the value is at or
    below the floor and the interval is not.
    """
    value, upper = score.reference, max(score.reference_ci95[1], score.reference)
    if upper == value:
        upper += 3.0 / score.samples  # no width: the rule of three, as for drops
    floor = task.floor(head, gold)
    if floor.alike:
        return None
    metric = task.metrics(head)[0]
    readings = [(metric.value(each.gold, graded), each) for each in task.readings(head, gold, graded)]
    best, reading = max(readings, key=lambda pair: pair[0], default=(value, None))
    fits = reading is not None and best - value > SURE * (upper - value) and best > floor.value
    if value > floor.value and not fits:
        return None
    said = f"the float model itself scores {figure(value)} ({metric.name})"
    if value <= floor.value:
        said += f", not above {floor.words}"
    if reading is not None and best > floor.value:
        certain = "probably" if fits else "perhaps"
        said += f"; {certain} {reading.cause}: with {reading.words} it scores {figure(best)}"
    elif constant:
        said += ", as it gives every row the same outputs; see that the checkpoint is whole and trained"
    else:
        said += "; see that the labels, the columns and the checkpoint belong together"
    grave = fits or constant or upper <= floor.value
    return Doubt(metric=metric.name, reason=said, value=value, floor=floor.value, grave=grave)


def doubt_from_report(path: Path) -> Doubt | None:
    """Read what a build doubted of the float model from its report.json. Raises `InputError` for no report."""
    try:
        part = json.loads(path.read_bytes()).get("doubt")
        return None if part is None else Doubt(**part)
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: is no report of bertc; give the report.json of a build") from None


def check_rows_tell(path: str, task: Task, head: Head, rows: Sequence[Row]) -> None:
    """Raise `InputError` for rows that say nothing of any model: hardly any, or all with the same label."""
    if len(rows) < LEAST_ROWS:
        raise InputError(
            f"{path}: {len(rows)} {'row is' if len(rows) == 1 else 'rows are'} too few to prove anything: even where "
            f"none differs, every other row may; give at least {LEAST_ROWS}, and some hundred for a verdict that tells"
        )
    gold = task.gold(rows, head)
    if gold is not None and (alike := task.floor(head, gold).alike):
        raise InputError(f"{path}: {alike}; give rows with others as well")


def warnings_of_rows(table: RowTable) -> tuple[str, ...]:
    """Say which of the two models gives every row the same outputs."""
    models = {"float model": table.outputs_reference, "engine": table.outputs_engine}
    found = _uncounted_queries(table)
    return found + tuple(
        f"the {name} gives all {len(outputs)} rows the same outputs, whatever their text"
        for name, outputs in models.items()
        if is_constant(outputs)
    )


def _uncounted_queries(table: RowTable) -> tuple[str, ...]:
    """Say how many queries the main metric of a ranking leaves out."""
    main = table.metrics[0]
    queries, counted = len(set(table.groups)), FORMULAS[main.formula].samples(main.reference)
    if FORMULAS[main.formula].unit == "rows" or counted == queries:
        return ()
    why = "no row of theirs is relevant, or there is nothing to compare"
    return (f"{queries - counted} of {queries} queries do not count in {main.name}: {why}",)


def floor_of_labels(gold: NDArray[Any], labels: Sequence[str]) -> Floor:
    """Return what the best constant answer scores: accuracy of ids [n], or micro F1 of bool [n, labels]."""
    if gold.ndim == 1:
        counts = np.bincount(gold, minlength=len(labels))
        best = int(counts.argmax())
        value, words = float(counts[best]) / len(gold), f"'{labels[best]}'"
    else:
        counts = np.sort(gold.sum(0))[::-1]
        given = np.arange(1, len(counts) + 1)
        scores = 2.0 * counts.cumsum() / np.maximum(given * len(gold) + counts.sum(), 1)
        most = int(scores.argmax()) + 1
        value, words = float(scores.max()), "the most frequent label" if most == 1 else f"the {most} most frequent ones"
    alike = ""
    if not counts.any():
        alike = f"none of the {len(gold)} rows has a label, so nothing can be found"
    elif value == 1.0:
        alike = f"all {len(gold)} rows have the same label ({words}), so a model that always says it is perfect"
    return Floor(value=value, words=f"the {figure(value)} of always answering {words}", alike=alike)


def floor_of_scores(gold: Array) -> Floor:
    """Return that a correlation has to be positive."""
    equal = np.ptp(gold) == 0
    alike = f"all {len(gold)} rows have the same score, {gold[0]:g}, with which nothing correlates" if equal else ""
    return Floor(value=0.0, words="the 0 of scores that mean nothing", alike=alike)


def floor_near_zero(alike: str = "") -> Floor:
    """Return the floor of an F1 that nothing constant reaches."""
    return Floor(value=NEAR_ZERO, words=f"the {NEAR_ZERO:g} that a trained model surely reaches", alike=alike)


def turned_round(gold: Array) -> Reading:
    """Return scores on the scale turned round: distances for similarities, or ranks that begin with the best."""
    return Reading(cause="the scale is turned round", words="the sign of all scores changed", gold=-gold)


def is_constant(outputs: Sequence[KeptNumbers]) -> bool:
    """Say whether all rows are alike as far as the shortest goes: a row may have an output per word."""
    length = min(map(len, outputs), default=0)
    if len(outputs) < 2 or not length:
        return False
    rows = np.stack([row[:length] for row in outputs])
    return bool((rows == rows[0]).all())

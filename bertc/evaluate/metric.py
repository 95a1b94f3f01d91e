"""What a metric is: a name, a direction, statistics per row and the formula that makes a value of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bertc.core.head import Head
from bertc.errors import InputError
from bertc.evaluate.formulas import FORMULAS, Array

if TYPE_CHECKING:
    from bertc.evaluate.task import Task

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)

HIGHER = "higher"
LOWER = "lower"

NAME = re.compile(r"(?P<base>\w+)\[(?P<label>.+)\](@(?P<threshold>[0-9.]+))?$")
NAME_AT = re.compile(r"(?P<base>\w+)(@(?P<cutoff>[^@]*))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric. Its value is a fraction where there is one (0.8922), never per cent.

    `statistics(gold, outputs)` gives float64 [rows, k], and `formula` names the entry of `FORMULAS` that makes
    the value. A metric with labels reads what the task's `graded` makes of the outputs; for a `fidelity` metric `gold`
    is the float model's outputs instead of labels, and both are whole. With `whole_set` the statistics of a row depend
    on the others'; those of all rows but the first `corpus` are 0 then, and only as many are compared. `bounds` are the
    lowest and the highest value that is possible. `label` and `threshold` are set for the metrics of one label.
    """

    name: str
    direction: str
    statistics: Callable[[Any, Any], Array]
    formula: str
    fidelity: bool = False
    whole_set: bool = False
    corpus: int | None = None
    bounds: Bounds = (0.0, 1.0)
    label: str | None = None
    threshold: float | None = None

    def value(self, gold: Any, outputs: Any) -> float:
        """Return the metric's value over all rows. NaN if it is not defined on them."""
        return value_of(self.formula, self.statistics(gold, outputs))


def value_of(formula: str, statistics: Array) -> float:
    """Return the value of a formula over all rows of `statistics` [n, k]."""
    return float(FORMULAS[formula].values(statistics, np.ones((1, len(statistics))))[0])


def metric_from_name(task: Task, head: Head, name: str) -> Metric:
    """Return the metric of a name such as "accuracy", "recall[spam]", "fpr[spam]@0.7" or "ndcg@5".

    Raises `InputError` listing the metrics there are.
    """
    plain = {metric.name: metric for metric in (*task.metrics(head), *task.fidelity(head))}
    if name in plain:
        return plain[name]
    found = None
    if (match := NAME.fullmatch(name)) is not None:
        found = task.metric(head, match["base"], match["label"], _threshold(name, match["threshold"]))
    elif (match := NAME_AT.fullmatch(name)) is not None and task.metric_at(head, match["base"], None) is not None:
        found = task.metric_at(head, match["base"], _cutoff(name, match["cutoff"]))
    if found is not None:
        return found
    raise InputError(f"'{name}' is no metric of {task.name}; there are {', '.join(_existing(task, head, list(plain)))}")


def _threshold(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise InputError(f"'{name}': the threshold must be a number between 0 and 1, for example @0.7")
    return value


def _cutoff(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(f"'{name}': the number of ranks must be a whole number from 1, for example @10")
    return int(text)


def _existing(task: Task, head: Head, plain: list[str]) -> list[str]:
    examples = [label.removeprefix("B-") for label in head.labels if label != "O" and not label.startswith("I-")]
    bases = [
        base
        for base in ("precision", "recall", "f1", "false_positive_rate")
        if examples and task.metric(head, base, examples[0], None) is not None
    ]
    some = ", ".join(examples[:5]) + (", ..." if len(examples) > 5 else "")
    return plain + [f"{base}[label]" for base in bases] + ([f"where label is one of {some}"] if bases else [])

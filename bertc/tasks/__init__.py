"""A task is one file here, found by its name: a constant `TASK` that obeys the protocol `bertc.evaluate.task.Task`.

What two tasks share lies in a file whose name begins with an underscore. No file reading belongs here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import cast

from bertc.core.head import Head, Problem
from bertc.core.outputs import Output
from bertc.core.plugins import TASKS
from bertc.data.columns import Layout
from bertc.data.rows import Row
from bertc.data.usual import QUERY
from bertc.errors import InputError
from bertc.evaluate.spelling import first_labels_spelt
from bertc.evaluate.task import Encoder, Task

SCORING, RANKING, COMPARING = "sequence-classification", "text-ranking", "late-interaction"

MEMBERS = tuple(name for name in vars(Task) if not name.startswith("_"))


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, sorted."""
    return TASKS.names()


@cache
def task_from_name(name: str) -> Task:
    """Return the task of that name ("sequence-classification").

    Raises `InputError` listing the tasks there are, or naming what the task's file lacks.
    """
    module = TASKS.module(name)
    missing = [member for member in MEMBERS if not hasattr(module.TASK, member)]
    if missing:
        raise InputError(
            f"{module.__file__}: TASK lacks {', '.join(missing)}; see the protocol bertc.evaluate.task.Task"
        )
    if module.TASK.name != name:
        raise InputError(f"{module.__file__}: TASK has the name '{module.TASK.name}'; give it the file's, '{name}'")
    return cast(Task, module.TASK)


def layout_from_head(head: Head) -> Layout:
    """Return the columns that labelled rows of a head are read from; several labels may each have their own."""
    layout = task_from_name(head.task).layout
    if head.problem == Problem.REGRESSION and QUERY not in layout.optional:
        return replace(layout, optional=(*layout.optional, QUERY), whole_groups=True)
    return replace(layout, labels=head.labels) if head.problem == Problem.MULTI_LABEL else layout


def head_of_rows(head: Head, rows: Sequence[Row]) -> Head:
    """Return the head as rows are to judge it: a score that is given to several rows of a query ranks them, and one of
    compared tokens that is not is a regression."""
    names = Counter(row.group for row in rows if row.group and len(row.texts) == 2)
    return head_as_judged(head, ranked=max(names.values(), default=0) >= 2)


def head_as_judged(head: Head, *, ranked: bool) -> Head:
    """Return the head as rows judge it that are ranked by query, or are not."""
    if head.task == COMPARING:
        return replace(head, problem=None if ranked else Problem.REGRESSION)
    return (
        replace(head, task=RANKING) if ranked and head.task == SCORING and head.problem == Problem.REGRESSION else head
    )


def checked_rows(task: Task, rows: Sequence[Row], head: Head, encoder: Encoder) -> tuple[Row, ...]:
    """Check rows for a task; raw text of a task that reads words gets the tokenizer's. Raises `InputError`."""
    if any(column.role == "words" for choice in task.layout.choices for column in choice):
        rows = [row if row.words is not None else _in_words(row, encoder) for row in rows]
    if head.mask is not None:
        rows = first_labels_spelt(rows, head, encoder)
    return task.check_rows(rows, head)


def unanswered_rows(task: Task, rows: Sequence[Row], head: Head, encoder: Encoder) -> tuple[Row, ...]:
    """Check rows whose texts alone are wanted, as to calibrate or to time: neither labels nor masks matter."""
    bare = [replace(row, label=None, tags=None, answers=()) for row in rows]
    return checked_rows(task, bare, replace(head, mask=None), encoder)


def _in_words(row: Row, encoder: Encoder) -> Row:
    words = encoder.words_of_text(row.texts[0])
    if not words:
        raise InputError(f"{row.place}: the text has no words; fill the cell or remove the row")
    return replace(row, words=words)


def outputs_from_head(head: Head) -> tuple[Output, ...]:
    """Return what a head's graph and engines give out, in the graph's order."""
    return task_from_name(head.task).outputs(head)

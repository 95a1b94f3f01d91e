"""Tasks: what a model's raw outputs mean, and how they are scored. One file per task, found by its name.

A task module has a constant `TASK` that obeys the protocol below. In come checked rows and raw arrays, out go
features, decisions, predictions and metrics. No model code and no file reading belongs here.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bertc.data.columns import Layout
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.features import Feature, Head
from bertc.outputs import Output

if TYPE_CHECKING:
    from bertc.evaluate.metric import Metric

# Output name -> one array per feature, without padding: [labels] or [length, labels] for "logits", [length] for
# "start_logits" and "end_logits", [hidden] for "embedding".
RawOutputs = Mapping[str, Sequence[NDArray[np.float32]]]


class Encoder(Protocol):
    """The part of `bertc.checkpoint.text.TextEncoder` that tasks use. Lengths are in tokens, special ones included."""

    def encode_batch(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int
    ) -> Sequence[Any]:
        """Encode texts or pairs; each result has ids, type_ids, offsets, word_ids, sequence_ids, truncated."""

    def encode_words(self, words: Sequence[str], *, max_length: int) -> Any:
        """Encode a text that is already split; `word_ids` of the result are the words' numbers, None elsewhere."""

    def encode_windows(self, question: str, context: str, *, max_length: int, stride: int) -> Sequence[Any]:
        """Encode a question with overlapping windows of a context; `stride` is the overlap."""


class Task(Protocol):
    """What the pipeline asks of a task. `rows` are always the checked ones and in one order everywhere."""

    name: str
    layout: Layout
    main_fidelity: str  # the fidelity metric that decides where there are no labels

    def schema(self, head: Head) -> str:
        """Return the help on what columns the task needs and which labels the head knows."""

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return what the head's graph gives out, in its order."""

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Return the rows with labels mapped to ids. Raises `InputError` on a label or text that does not fit."""

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode rows; `Feature.row` is the row's index. Never longer than `max_length` tokens."""

    def row_outputs(self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head) -> Any:
        """Return what the model says of each row: a sequence (array or list) with one entry per row."""

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return outputs for people and JSON: labels with scores, entities, answers or embeddings."""

    def gold(self, rows: Sequence[Row], head: Head) -> Any:
        """Return what the labelled metrics compare with, or None where the rows have no labels."""

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return the metrics that need labels, the main one first."""

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return the metric `base[label]@threshold`, or None if the task has no such metric."""

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the metrics that compare with the float model: "agreement", "logit_mse" and the task's own."""

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return per row a number that is the same if and only if (up to a hash) the decision is."""

    def packed(self, outputs: Any) -> list[NDArray[np.float16]]:
        """Return per row the flat numeric outputs to keep beside a report."""


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, sorted."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


@cache
def task_from_name(name: str) -> Task:
    """Return the task of that name ("sequence-classification"). Raises `InputError` listing the tasks there are."""
    if name not in task_names():
        raise InputError(f"'{name}' is no task; the tasks are {', '.join(task_names())}")
    return cast(Task, import_module(f"{__name__}.{name.replace('-', '_')}").TASK)


def outputs_from_head(head: Head) -> tuple[Output, ...]:
    """Return what a head's graph and engines give out, in the graph's order."""
    return task_from_name(head.task).outputs(head)

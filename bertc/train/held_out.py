"""What the student is worth on the part of the training data that it does not learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.exits import exit_name
from bertc.data.rows import Row
from bertc.evaluate.task import Tensors
from bertc.tasks import outputs_from_head, task_from_name
from bertc.train.batches import Order, Units, parts_of_share
from bertc.train.losses import LABELS, LOGITS, Objective, part_from_examples

LOSS = "loss"
Raw = dict[str, list[NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Rows that are held out, as examples, and the objective that a student is judged by.

    `mixed` are the same texts with replaced tokens where training has such: a student is judged on both, since on whole
    texts the teacher is so certain that the loss is mostly noise. The task's metric is that of the whole texts.
    """

    rows: Sequence[Row]
    examples: Sequence[Example]
    objective: Objective
    mixed: Sequence[Example] = ()


def held_out_objective(objective: Objective, *, labelled: bool) -> Objective:
    """Return what decides on the held-out part: outputs alone, so that a teacher runs over it only once.

    The losses of outputs and labels as they are weighted in training, the temperature 1; the divergence from the
    teacher where training weighs neither.
    """
    weights = {name: weight for name, weight in objective.weights.items() if name in (LABELS, LOGITS)}
    if not labelled:
        weights.pop(LABELS, None)
    return Objective(
        head=objective.head, weights=weights or {LOGITS: 1.0}, temperature=1.0, layers=(), scaling=objective.scaling
    )


class Evaluation:
    """Measures a student on what is held out. It mutates: it keeps the teacher's outputs, which never change."""

    def __init__(self, held: HeldOut, device: torch.device, precision: Any) -> None:
        self.held = held
        self._precision: AbstractContextManager[Any] = precision
        lengths = [example.feature.length for example in held.examples]
        self._orders: list[Order] = parts_of_share([tuple(range(len(lengths)))], lengths, rank=0, world=1)
        # Token by token the mixed texts are as long as the whole ones.
        judged = [each for each in (held.examples, held.mixed) if each]
        self._parts = [part_from_examples(each, order, device) for each in judged for order in self._orders]
        self._units = Units(
            rows=len(lengths) * len(judged),
            labelled=sum(example.labelled for each in judged for example in each),
            outputs=sum(example.outputs for each in judged for example in each),
            tokens=sum(lengths) * len(judged),
        )
        self._teacher: list[Tensors] = []
        self._theirs: Any = None

    def measure(self, student: torch.nn.Module, teacher: torch.nn.Module | None) -> dict[str, float | None]:
        """Return the loss, the task's main metric where there are labels, and the agreement with a teacher.

        Then the metric (without labels the agreement) of each exit, as `accuracy_1` for that behind the first layer.
        What is not defined on these rows is None.
        """
        head = self.held.objective.head
        if teacher is not None:
            self._ask(teacher)
        outputs = self._outputs(student)
        loss = 0.0
        for place, (values, part) in enumerate(zip(outputs, self._parts, strict=True)):
            theirs = self._teacher[place] if teacher is not None else {}
            losses = self.held.objective.losses(values, theirs, part, self._units)
            loss += float(self.held.objective.total(losses))
        ours = self._row_outputs(outputs)
        found: dict[str, float | None] = {LOSS: loss, **self._score(ours)}
        if teacher is not None:
            agreement = task_from_name(head.task).fidelity(head)[0]
            found[agreement.name] = _defined(agreement.value(self._theirs, ours))
        return found | self._scores_of_exits(outputs)

    def _scores_of_exits(self, outputs: Sequence[Tensors]) -> dict[str, float | None]:
        """Return what each exit is worth, by the name of the metric and the number of layers before it."""
        head = self.held.objective.head
        found: dict[str, float | None] = {}
        for each in head.exits:
            answers = self._row_outputs([{**values, "logits": values[exit_name(each.layer)]} for values in outputs])
            scores = self._score(answers)
            if not scores and self._teacher:
                agreement = task_from_name(head.task).fidelity(head)[0]
                scores = {agreement.name: _defined(agreement.value(self._theirs, answers))}
            found |= {f"{name}_{each.layer + 1}": value for name, value in scores.items()}
        return found

    def score_of_teacher(self, teacher: torch.nn.Module) -> dict[str, float | None]:
        """Return the teacher's main metric; empty where there are no labels."""
        self._ask(teacher)
        return self._score(self._theirs)

    def _ask(self, teacher: torch.nn.Module) -> None:
        """Run the teacher, the first time."""
        if not self._teacher:
            self._teacher = self._outputs(teacher)
            self._theirs = self._row_outputs(self._teacher)

    def _score(self, answers: Any) -> dict[str, float | None]:
        """Return the task's main metric of some answers to the rows; empty where the rows have no labels."""
        head = self.held.objective.head
        task = task_from_name(head.task)
        gold = task.gold(self.held.rows, head)
        if gold is None:
            return {}
        metric = task.metrics(head)[0]
        return {metric.name: _defined(metric.value(gold, task.graded(answers, head)))}

    def _outputs(self, network: torch.nn.Module) -> list[Tensors]:
        with torch.no_grad(), self._precision:
            return [{name: value.float() for name, value in network(part.feeds).items()} for part in self._parts]

    def _row_outputs(self, outputs: Sequence[Tensors]) -> Any:
        """Cut the padding off and let the task read what the network says of each row."""
        held = self.held
        features = [example.feature for example in held.examples]
        head = held.objective.head
        read = [output for output in outputs_from_head(head) if output.read]
        raw: Raw = {output.key: [np.empty(0, np.float32)] * len(features) for output in read}
        for order, values in zip(self._orders, outputs[: len(self._orders)], strict=True):
            for output in read:
                array = values[output.name].cpu().numpy()
                for row, place in enumerate(order):
                    tokens = slice(features[place].length)
                    raw[output.key][place] = array[row, tokens] if output.per_token else array[row]
        return task_from_name(head.task).row_outputs(held.rows, features, raw, head)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value

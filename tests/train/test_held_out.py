"""What a student is worth on what is held out: the loss on whole and mixed texts, the metric on whole ones."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from bertc.core.example import Example
from bertc.data.rows import Row
from bertc.train.held_out import LOSS, Evaluation, HeldOut
from bertc.train.losses import Objective
from bertc.train.network import Network
from bertc.train.student import teacher_from_checkpoint
from tests.tiny import LAYERS, TinyModel

FOREIGN = 99
"""A token that stands in the mixed texts alone."""


def evaluation_of(model: TinyModel, mixed: tuple[Example, ...]) -> Evaluation:
    objective = Objective(
        head=model.checkpoint.head, weights={"logits": 1.0}, temperature=1.0, layers=tuple(range(LAYERS)), scaling=1.0
    )
    rows = [Row(texts=("x",), hash=str(number), label=number % 2) for number in range(len(examples(model)))]
    held = HeldOut(rows=rows, examples=examples(model), objective=objective, mixed=mixed)
    return Evaluation(held, torch.device("cpu"), nullcontext())


def examples(model: TinyModel) -> tuple[Example, ...]:
    features = model.features[:12]
    kept = [replace(each, input_ids=np.where(each.input_ids == FOREIGN, 7, each.input_ids)) for each in features]
    return tuple(Example(feature=replace(each, row=row)) for row, each in enumerate(kept))


def mixed_of(model: TinyModel) -> tuple[Example, ...]:
    return tuple(
        replace(each, feature=replace(each.feature, input_ids=np.full_like(each.feature.input_ids, FOREIGN)))
        for each in examples(model)
    )


@pytest.fixture
def student(tiny_classifier: TinyModel) -> Network:
    """The teacher itself, but for the one token that whole texts do not have."""
    network = teacher_from_checkpoint(tiny_classifier.checkpoint)
    (word,) = (weight for name, weight in network.initializer_parameters().items() if name.endswith(".word"))
    word.data[FOREIGN] *= -3.0
    return network


def test_mixed_texts_count_in_the_loss_and_not_in_the_metric(tiny_classifier: TinyModel, student: Network) -> None:
    teacher = teacher_from_checkpoint(tiny_classifier.checkpoint)
    whole = evaluation_of(tiny_classifier, ()).measure(student, teacher)
    both = evaluation_of(tiny_classifier, mixed_of(tiny_classifier)).measure(student, teacher)
    assert whole[LOSS] == pytest.approx(0, abs=1e-6)
    assert both[LOSS] is not None and both[LOSS] > 1e-4
    assert {name: value for name, value in whole.items() if name != LOSS} == {
        name: value for name, value in both.items() if name != LOSS
    }
    assert whole["agreement"] == 1.0


def test_a_student_that_is_its_teacher_loses_nothing(tiny_classifier: TinyModel) -> None:
    teacher = teacher_from_checkpoint(tiny_classifier.checkpoint)
    found = evaluation_of(tiny_classifier, mixed_of(tiny_classifier)).measure(teacher, teacher)
    assert found[LOSS] == pytest.approx(0, abs=1e-6)

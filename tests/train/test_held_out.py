"""What a student is worth on what is held out: the loss on whole and mixed texts, the metric on whole ones."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from bertc.core.example import Example
from bertc.core.head import Exit
from bertc.data.rows import Row
from bertc.train.held_out import LOSS, Evaluation, HeldOut
from bertc.train.losses import Objective
from bertc.train.network import Network
from bertc.train.student import teacher_from_checkpoint
from tests.tiny import LAYERS, TinyModel

FOREIGN = 99
"""A token that stands in the mixed texts alone."""


def evaluation_of(model: TinyModel, mixed: tuple[Example, ...], *, labelled: bool = True) -> Evaluation:
    objective = Objective(
        head=model.checkpoint.head, weights={"logits": 1.0}, temperature=1.0, layers=tuple(range(LAYERS)), scaling=1.0
    )
    labels = [number % 2 if labelled else None for number in range(len(examples(model)))]
    rows = [Row(texts=("x",), hash=str(number), label=label) for number, label in enumerate(labels)]
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


class Opposite(torch.nn.Module):
    """A network with one exit, which says the opposite of the last classifier."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = self.network(feeds)
        return {**found, "exit_0_logits": -found["logits"]}


@pytest.mark.parametrize("labelled, name", [(True, "accuracy"), (False, "agreement")])
def test_each_exit_is_measured_as_the_last_classifier_is(
    labelled: bool, name: str, tiny_classifier: TinyModel, student: Network
) -> None:
    """By the labels, and without them by how often it says what the teacher does."""
    teacher = teacher_from_checkpoint(tiny_classifier.checkpoint)
    plain = evaluation_of(tiny_classifier, (), labelled=labelled).measure(student, teacher)
    assert f"{name}_1" not in plain
    exits = (Exit(layer=0, dense="d", classifier="c"),)
    checkpoint = tiny_classifier.checkpoint
    model = replace(tiny_classifier, checkpoint=replace(checkpoint, head=replace(checkpoint.head, exits=exits)))
    found = evaluation_of(model, (), labelled=labelled).measure(Opposite(student), teacher)
    assert found[name] == plain[name]
    assert found[f"{name}_1"] == pytest.approx(1 - found[name])  # type: ignore[operator]
    assert [each for each in found if each.endswith("_1")] == [f"{name}_1"]

"""Rows to examples and the part that is held out."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.core.example import IGNORED
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem
from bertc.data.rows import Row, row_from_texts
from bertc.tasks import task_from_name
from bertc.train.examples import examples_from_rows, split_rows

TEXTS = task_from_name("sequence-classification")
ROWS = [row_from_texts(f"text {number}", label=number % 2) for number in range(40)]


def feature(length: int, **detail: object) -> Feature:
    ids = np.arange(length, dtype=np.int64)
    return Feature(input_ids=ids, token_type_ids=np.zeros_like(ids), row=0, detail=detail)


def test_the_split_is_seeded_and_does_not_depend_on_the_order() -> None:
    kept, held = split_rows(ROWS, 8, seed=0, task=TEXTS)
    assert len(held) == 8 and len(kept) == 32
    assert {row.hash for row in kept} | {row.hash for row in held} == {row.hash for row in ROWS}
    _, again = split_rows(ROWS[::-1], 8, seed=0, task=TEXTS)
    assert {row.hash for row in again} == {row.hash for row in held}
    _, other = split_rows(ROWS, 8, seed=1, task=TEXTS)
    assert {row.hash for row in other} != {row.hash for row in held}


def test_nothing_is_held_out_where_nobody_asks() -> None:
    assert split_rows(ROWS, 0, seed=0, task=TEXTS) == (tuple(ROWS), ())


@pytest.mark.parametrize("task", ["sequence-classification", "question-answering"])
def test_the_same_text_is_never_on_both_sides(task: str) -> None:
    rows = [row_from_texts(f"question {number % 20}", f"context {number % 5}") for number in range(60)]
    kept, held = split_rows(rows, 6, seed=3, task=task_from_name(task))
    unit = {"question-answering": lambda row: row.texts[1]}.get(task, lambda row: row.hash)
    assert held and not {unit(row) for row in kept} & {unit(row) for row in held}


@pytest.mark.parametrize(
    ("problem", "label", "gold"),
    [
        (Problem.SINGLE_LABEL, 1, np.int64(1)),
        (Problem.MULTI_LABEL, (0, 2), np.float32([1, 0, 1])),
        (Problem.MULTI_LABEL, (), np.float32([0, 0, 0])),
        (Problem.REGRESSION, 2.5, np.float32(2.5)),
    ],
)
def test_labels_of_texts(problem: Problem, label: object, gold: object) -> None:
    head = Head(task="sequence-classification", labels=("a", "b", "c"), problem=problem)
    (example,) = examples_from_rows([row_from_texts("x", label=label)], [feature(3)], head)
    assert example.gold is not None and example.gold.dtype == np.asarray(gold).dtype
    assert np.array_equal(example.gold, np.asarray(gold)) and example.labelled == example.outputs == 1
    (example,) = examples_from_rows([row_from_texts("x")], [feature(3)], head)
    assert example.gold is None and (example.labelled, example.outputs) == (0, 1)


def test_tags_stand_at_the_first_piece_of_each_word_that_is_left() -> None:
    head = Head(task="token-classification", labels=("O", "B"))
    encoded = feature(6, words=np.array([0, 1]), first=np.array([1, 3]))  # of 3 words the last was cut off
    rows = [row_from_texts("a bc d", words=("a", "bc", "d"), tags=("B", "O", "B"))]
    (example,) = examples_from_rows(rows, [encoded], head)
    assert example.gold is not None and example.scored is not None
    assert example.gold.tolist() == [IGNORED, 1, IGNORED, 0, IGNORED, IGNORED]
    assert example.scored.tolist() == [False, True, False, True, False, False]
    assert (example.outputs, example.labelled) == (2, 2)
    (example,) = examples_from_rows([row_from_texts("a bc d")], [encoded], head)
    assert example.gold is None and (example.outputs, example.labelled) == (2, 0)


def _question(answers: tuple[str, ...]) -> Row:
    return row_from_texts("who", "ann met ann lee", answers=answers)


def test_every_place_of_an_answer_counts_and_special_tokens_never() -> None:
    head = Head(task="question-answering")
    offsets = np.array([[0, 0], [0, 3], [0, 0], [0, 3], [4, 7], [8, 11], [12, 15], [0, 0]], np.int32)
    inside = np.array([0, 0, 0, 1, 1, 1, 1, 0], bool)
    encoded = feature(8, context=inside, offsets=offsets)
    (example,) = examples_from_rows([_question(("ann", "ann lee"))], [encoded], head)
    assert example.gold is not None
    assert np.flatnonzero(example.gold[0]).tolist() == [3, 5]
    assert np.flatnonzero(example.gold[1]).tolist() == [3, 5, 6]
    assert (example.outputs, example.labelled) == (1, 1)
    (example,) = examples_from_rows([_question(("bob",))], [encoded], head)
    assert example.gold is None and (example.outputs, example.labelled) == (1, 0)

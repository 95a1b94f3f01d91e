"""Labels and predictions of sequence classification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertc.core.head import Head
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import task_from_name
from tests.evaluate.toy import INTENT, MULTI, STARS, ToyEncoder

TASK = task_from_name("sequence-classification")


def label(head: Head, value: Any) -> Any:
    return TASK.check_rows([row_from_texts("text", label=value, source="a.tsv", line=7)], head)[0].label


@pytest.mark.parametrize("value", ["spam", "1", 1, 1.0, "1.0", " Spam ", True])
def test_a_label_is_a_name_or_a_number(value: Any) -> None:
    assert label(INTENT, value) == 1


@pytest.mark.parametrize("value", ["eggs", "2", -1, 0.5, "nan", ["spam"], {}])
def test_an_unknown_label_is_refused_with_the_known_ones(value: Any) -> None:
    with pytest.raises(InputError, match=r"a\.tsv, line 7: .*ham, spam"):
        label(INTENT, value)


def test_names_that_are_numbers_win_over_ids() -> None:
    assert label(Head(task="x", labels=("5", "4", "1"), problem=INTENT.problem), "1") == 2


@pytest.mark.parametrize("value", ["a,c", "a, c", '["c", "a"]', ["a", "c"], [0, 2], "[0, 2, 0]"])
def test_several_labels(value: Any) -> None:
    assert label(MULTI, value) == (0, 2)


@pytest.mark.parametrize("value", ["a,z", '["a"', [9]])
def test_bad_several_labels(value: Any) -> None:
    with pytest.raises(InputError, match="line 7"):
        label(MULTI, value)


def test_scores() -> None:
    assert label(STARS, "4.5") == 4.5
    for value in ("good", "nan", "inf", [1]):
        with pytest.raises(InputError, match="is no number"):
            label(STARS, value)


def test_truncated_rows_are_marked() -> None:
    rows = [row_from_texts("a " * 30), row_from_texts("a")]
    features = TASK.features_from_rows(rows, ToyEncoder(), 16)
    assert [feature.truncated for feature in features] == [True, False]


def test_predictions() -> None:
    rows = [row_from_texts("a"), row_from_texts("b")]
    logits = np.array([[0.0, 2.0], [1.0, 0.0]], np.float32)
    first, second = TASK.predictions(rows, logits, INTENT)
    assert (first["label"], second["label"]) == ("spam", "ham")
    assert first["score"] == pytest.approx(1 / (1 + np.exp(-2))) and sum(first["scores"].values()) == pytest.approx(1)
    many = TASK.predictions(rows, np.array([[1, -1, 1], [-1, -1, -1]], np.float32), MULTI)
    assert [item["labels"] for item in many] == [["a", "c"], []]
    assert TASK.predictions(rows, np.array([[4.5], [1]], np.float32), STARS)[0] == {"score": 4.5}

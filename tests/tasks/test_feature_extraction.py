"""Embeddings of texts and pairs."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import task_from_name
from tests.evaluate.toy import EMBED, ToyEncoder

TASK = task_from_name("feature-extraction")


def test_a_pair_gives_two_features_and_a_similarity() -> None:
    rows = TASK.check_rows([row_from_texts("a", "b c", label="2.5"), row_from_texts("d", "e", label=5)], EMBED)
    features = TASK.features_from_rows(rows, ToyEncoder(), 16)
    assert [(f.row, f.detail["text"], f.length) for f in features] == [(0, 0, 3), (0, 1, 4), (1, 0, 3), (1, 1, 3)]
    raw = {"embedding": np.array([[1, 0], [0, 1], [1, 0], [2, 0]], np.float32)}
    outputs = TASK.row_outputs(rows, features, raw, EMBED)
    assert outputs.shape == (2, 2, 2)
    assert [item["similarity"] for item in TASK.predictions(rows, outputs, EMBED)] == [0, 1]
    assert TASK.metrics(EMBED)[0].name == "spearman"
    assert TASK.metrics(EMBED)[0].value(TASK.gold(rows, EMBED), TASK.graded(outputs, EMBED)) == pytest.approx(1)


def test_single_texts_have_no_labels() -> None:
    rows = TASK.check_rows([row_from_texts("a", label="whatever"), row_from_texts("b")], EMBED)
    assert TASK.gold(rows, EMBED) is None
    outputs = np.ones((2, 1, 4), np.float32)
    assert TASK.predictions(rows, outputs, EMBED)[0] == {"embedding": [1, 1, 1, 1]}


def test_scores_must_be_numbers() -> None:
    with pytest.raises(InputError, match="is no number"):
        TASK.check_rows([row_from_texts("a", "b", label="high")], EMBED)

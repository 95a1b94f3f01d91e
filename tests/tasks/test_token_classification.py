"""Words, tags and entities of token classification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertc.data.rows import Row, row_from_texts
from bertc.errors import InputError
from bertc.evaluate.metric import metric_from_name
from bertc.tasks import task_from_name
from tests.evaluate.toy import NER, ToyEncoder

TASK = task_from_name("token-classification")


def row(words: str, tags: str | None = None, **fields: Any) -> Row:
    split = tuple(words.split())
    return row_from_texts(words, words=split, tags=None if tags is None else tuple(tags.split()), line=3, **fields)


def logits(*ids: int) -> np.ndarray:
    return np.eye(len(NER.labels), dtype=np.float32)[list(ids)] * 5


def test_tags_by_name_or_number() -> None:
    checked = TASK.check_rows([row("Mary Smith ran", "B-person 2 O")], NER)[0]
    assert checked.tags == ("B-person", "I-person", "O")
    assert TASK.gold([checked], NER) == [checked.tags]


@pytest.mark.parametrize(
    ("tags", "message"), [("B-dog O O", "B-person"), ("O O", "3 words and 2 tags"), ("9 O O", "O, B")]
)
def test_bad_tags(tags: str, message: str) -> None:
    with pytest.raises(InputError, match=f"line 3: .*{message}"):
        TASK.check_rows([row("a b c", tags)], NER)


def test_a_text_without_words_is_split() -> None:
    checked = TASK.check_rows([row_from_texts("Mary's in Rome, now")], NER)[0]
    assert checked.words == ("Mary", "'", "s", "in", "Rome", ",", "now")


def test_the_first_piece_of_a_word_decides() -> None:
    rows = TASK.check_rows([row("Maryanne ran", "B-person O")], NER)
    features = TASK.features_from_rows(rows, ToyEncoder(), 16)
    assert features[0].length == 5  # [CLS] Mary anne ran [SEP]
    raw = {"logits": [logits(0, 1, 4, 0, 0)]}
    outputs = TASK.row_outputs(rows, features, raw, NER)
    assert TASK.predictions(rows, outputs, NER)[0]["tags"] == ["B-person", "O"]
    assert TASK.metrics(NER)[0].value(TASK.gold(rows, NER), TASK.graded(outputs, NER)) == 1


def test_words_that_were_cut_off_are_outside() -> None:
    rows = TASK.check_rows([row("a b c d", "O O O B-city")], NER)
    features = TASK.features_from_rows(rows, ToyEncoder(), 4)
    assert features[0].truncated
    outputs = TASK.row_outputs(rows, features, {"logits": [logits(0, 3, 4, 0)]}, NER)
    assert TASK.predictions(rows, outputs, NER)[0]["tags"] == ["B-city", "I-city", "O", "O"]
    gold = TASK.gold(rows, NER)
    assert metric_from_name(TASK, NER, "recall").value(gold, TASK.graded(outputs, NER)) == 0
    assert metric_from_name(TASK, NER, "token_accuracy").value(gold, TASK.graded(outputs, NER)) == 1 / 4
    assert metric_from_name(TASK, NER, "f1[city]").value(gold, TASK.graded(outputs, NER)) == 0
    assert metric_from_name(TASK, NER, "logit_mse").value(outputs, outputs) == 0


def test_entities_have_places_in_the_text() -> None:
    text = "So Mary  Smith, of Rome"
    rows = TASK.check_rows([row_from_texts(text)], NER)
    outputs = [logits(0, 1, 2, 0, 0, 3)]
    entities = TASK.predictions(rows, outputs, NER)[0]["entities"]
    assert [(e["label"], e["text"], e["words"]) for e in entities] == [
        ("person", "Mary  Smith", [1, 3]),
        ("city", "Rome", [5, 6]),
    ]
    assert all(text[e["start"] : e["end"]] == e["text"] and 0.9 < e["score"] <= 1 for e in entities)

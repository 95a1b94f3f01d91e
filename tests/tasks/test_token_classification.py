"""Words, tags and entities of token classification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertc.core.example import IGNORED
from bertc.core.head import Head
from bertc.data.rows import Row, row_from_texts
from bertc.errors import InputError
from bertc.evaluate.chain import best_tags, chain_from_head, tag_chances
from bertc.evaluate.metric import metric_from_name
from bertc.tasks import task_from_name
from tests.evaluate.toy import NER, TAGGER, WHOLE, ToyEncoder

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
    features = TASK.features_from_rows(rows, ToyEncoder(), 16)
    raw = {"logits": [logits(0, 0, 1, 2, 0, 0, 0, 3, 0)]}  # [CLS] So Mary Smit h , of Rome [SEP]
    outputs = TASK.row_outputs(rows, features, raw, NER)
    entities = TASK.predictions(rows, outputs, NER)[0]["entities"]
    assert [(e["label"], e["text"], e["words"]) for e in entities] == [
        ("person", "Mary  Smith", [1, 3]),
        ("city", "Rome", [5, 6]),
    ]
    assert all(text[e["start"] : e["end"]] == e["text"] and 0.9 < e["score"] <= 1 for e in entities)


def said_of(head: Head, scores: np.ndarray) -> Any:
    """What is said of "Maryanne ran" by scores of [CLS] Mary anne ran [SEP]."""
    rows = TASK.check_rows([row("Maryanne ran")], head)
    features = TASK.features_from_rows(rows, ToyEncoder(), 16)
    return rows, TASK.row_outputs(rows, features, {"logits": [scores]}, head)[0]


@pytest.mark.parametrize(("head", "places"), [(TAGGER, [1, 3]), (WHOLE, [0, 1, 2, 3, 4])], ids=["words", "tokens"])
def test_a_crf_decides_over_first_pieces_or_over_all_tokens(head: Head, places: list[int]) -> None:
    chain = chain_from_head(head)
    differs = 0
    for seed in range(20):
        scores = np.random.default_rng(seed).standard_normal((5, len(head.labels))).astype(np.float32)
        _, found = said_of(head, scores)
        tags, chances = best_tags(chain, [scores[places]])[0], tag_chances(chain, [scores[places]])[0]
        words = [places.index(1), places.index(3)]
        assert np.array_equal(found.tags, tags[words]) and np.array_equal(found.chances, chances[words])
        assert np.array_equal(found.logits, scores[[1, 3]])
        differs += not np.array_equal(found.tags, said_of(NER, scores)[1].tags)
    assert differs


def test_the_score_of_an_entity_is_its_tags_probability_over_all_sequences() -> None:
    scores = logits(0, 1, 0, 2, 0)
    rows, found = said_of(TAGGER, scores)
    entity = TASK.predictions(rows, [found], TAGGER)[0]["entities"][0]
    chances = tag_chances(chain_from_head(TAGGER), [scores[[1, 3]]])[0]
    assert entity["words"] == [0, 2] and entity["score"] == pytest.approx((chances[0, 1] + chances[1, 2]) / 2)


def test_words_that_were_cut_off_are_no_part_of_the_sequence() -> None:
    rows = TASK.check_rows([row("a b c d")], TAGGER)
    features = TASK.features_from_rows(rows, ToyEncoder(), 4)
    scores = np.random.default_rng(0).standard_normal((4, len(TAGGER.labels))).astype(np.float32)
    found = TASK.row_outputs(rows, features, {"logits": [scores]}, TAGGER)[0]
    assert found.tags[:2].tolist() == best_tags(chain_from_head(TAGGER), [scores[1:3]])[0].tolist()
    assert found.tags[2:].tolist() == [0, 0] and found.scored.tolist() == [True, True, False, False]
    assert TASK.packed([found])[0].reshape(4, 2)[2:].tolist() == [[-1, 0], [-1, 0]]


@pytest.mark.parametrize(("head", "outputs"), [(NER, 2), (TAGGER, 2), (WHOLE, 5)], ids=["none", "words", "tokens"])
def test_an_example_scores_what_decides_and_has_a_tag_for_every_word(head: Head, outputs: int) -> None:
    rows = TASK.check_rows([row("Maryanne ran", "B-person O")], head)
    feature = TASK.features_from_rows(rows, ToyEncoder(), 16)[0]
    example = TASK.example(rows[0], feature, head)
    assert example.scored is not None and example.scored.sum() == example.outputs == outputs
    assert example.gold is not None and example.gold.tolist() == [IGNORED, 1, IGNORED, 0, IGNORED]
    assert example.labelled == 2


def test_a_metric_of_a_type_is_of_one_that_the_tags_tell_apart() -> None:
    """A gate on a type that no tag has would be met by whatever an engine gives."""
    plain = Head(task="token-classification", labels=("O", "first-name", "E-mail", "URL"))
    for label in ("first-name", "E-mail", "URL"):
        metric = TASK.metric(plain, "f1", label, None)
        assert metric is not None
        wrong = [0] * 4
        right = [plain.labels.index(label)] * 4
        assert metric.value([[label] * 4], [right]) == 1 and metric.value([[label] * 4], [wrong]) == 0
    assert all(TASK.metric(plain, "f1", label, None) is None for label in ("name", "mail", "O"))
    marked = Head(task="token-classification", labels=("O", "B-first-name", "I-first-name"))
    assert TASK.metric(marked, "f1", "first-name", None) is not None
    assert TASK.metric(marked, "f1", "name", None) is None

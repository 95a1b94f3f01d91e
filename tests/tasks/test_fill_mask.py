"""Masks: the user's with a label, or one in the place of a token; ranks of the right ones, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.core.batch import batch_from_features, packed_batch_from_features
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.metric import metric_from_name
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.jobs.inputs import reading_of_validation
from bertc.recipe import ValidationRecipe
from bertc.tasks import checked_rows, task_from_name, unanswered_rows
from tests.evaluate.toy import FILL, ToyEncoder
from tests.fixtures import tiny_vocab, write_tiny_bert, write_tokenizer
from tests.tiny import TinyModel, tiny_checkpoint
from tests.tiny_families import write_byte_level

TASK = task_from_name("fill-mask")
PLAIN = [row_from_texts(f"alpha{number} beta gamma delta") for number in range(20)]


def scores(*best: int) -> NDArray[np.float32]:
    """Return scores of all tokens, the best ones in that order."""
    found = np.zeros(len(FILL.labels), np.float32)
    found[list(best)] = np.arange(len(best), 0, -1)
    return found


def test_a_text_without_a_mask_loses_one_token_that_its_hash_chooses() -> None:
    rows = TASK.check_rows(PLAIN, FILL)
    features = TASK.features_from_rows(rows, ToyEncoder(), 24)
    plain = ToyEncoder().encode_batch([row.texts[0] for row in PLAIN], max_length=24)
    places = set()
    for feature, before in zip(features, plain, strict=True):
        (place,) = np.flatnonzero(feature.input_ids != before.ids)
        assert feature.input_ids[place] == FILL.mask and feature.detail["gold"] == before.ids[place]
        assert before.sequence_ids[place] >= 0
        places.add(int(place))
    assert len(places) > 3
    again = TASK.features_from_rows(rows, ToyEncoder(), 24)
    assert all(np.array_equal(a.input_ids, b.input_ids) for a, b in zip(features, again, strict=True))


def test_a_token_that_cannot_be_spelt_is_never_masked() -> None:
    encoder = ToyEncoder()
    encoder.unknown_id = int(encoder.encode_batch(["beta"], max_length=9)[0].ids[1])
    features = TASK.features_from_rows(TASK.check_rows([row_from_texts("beta beta")], FILL), encoder, 24)
    assert features[0].detail["gold"] == -1 and FILL.mask not in features[0].input_ids
    outputs = TASK.row_outputs(PLAIN[:1], features, {"logits": [scores(5)]}, FILL)
    assert np.isnan(TASK.metrics(FILL)[0].value(None, TASK.graded(outputs, FILL)))


def test_ranks_accuracies_and_answers() -> None:
    rows = [row_from_texts(f"a [MASK] b{number}", label="t7") for number in range(3)]
    checked = TASK.check_rows(rows, FILL)
    assert [row.label for row in checked] == [7, 7, 7]
    features = TASK.features_from_rows(checked, ToyEncoder(), 24)
    raw = {"logits": [scores(7, 8), scores(8, 9, 7), scores(1, 2, 3, 4, 5, 7)]}
    outputs = TASK.row_outputs(checked, features, raw, FILL)
    graded, gold = TASK.graded(outputs, FILL), TASK.gold(checked, FILL)
    assert graded.tolist() == [0, 2, 5]
    found = {name: metric_from_name(TASK, FILL, name).value(gold, graded) for name in ("accuracy", "accuracy@5")}
    assert found == {"accuracy": pytest.approx(1 / 3), "accuracy@5": pytest.approx(2 / 3)}
    assert metric_from_name(TASK, FILL, "accuracy@6").value(gold, graded) == 1
    asked = [replace(row, label=None) for row in checked]
    (first, *_) = TASK.predictions(asked, outputs, FILL)
    assert [item["token"] for item in first["tokens"][:2]] == ["t7", "t8"]
    assert first["tokens"][0]["score"] == pytest.approx(np.exp(2) / (np.exp(2) + np.exp(1) + 98), rel=1e-5)
    assert TASK.lines(first)[0].startswith("t7  0.0")


@pytest.mark.parametrize("gold", [0, 7, 99])
def test_of_equal_scores_one_token_is_the_most_probable(gold: int) -> None:
    """A model that scores all tokens alike decides on the first one, and is right where that is right."""
    rows = TASK.check_rows([row_from_texts("a [MASK]", label=FILL.labels[gold] if gold else None)], FILL)
    features = [replace(each, detail={"gold": gold}) for each in TASK.features_from_rows(rows, ToyEncoder(), 24)]
    for logits in (scores(), scores(7), scores(99, 7)):
        (answer,) = outputs = TASK.row_outputs(rows, features, {"logits": [logits]}, FILL)
        (rank,) = TASK.graded(outputs, FILL)
        assert (rank == 0) == (TASK.decisions(outputs, FILL)[0] == gold)
        assert (rank < 5) == (gold in answer.best)


@pytest.mark.parametrize(
    ("texts", "labels", "told"),
    [
        (["a [MASK] [MASK]"], None, r"has \[MASK\] 2 times"),
        (["a [MASK]", "b c"], None, r"has no \[MASK\], and others have it; either every text has it once, or none has"),
        (["a <mask>", "b"], ["t1", "t2"], r"the text has <mask>, and this model's mask is \[MASK\]; write that"),
        (["a [MASK]", "b [mask]"], ["t1", "t2"], r"has \[mask\], and this model's mask is \[MASK\]"),
        (["a [MASK]"], ["[MASK]"], r"the label is \[MASK\] itself"),
        (["a [MASK]", "[MASK] b"], ["t1", ""], "no label"),
        (["a [MASK]"], ["zebra"], "no token 'zebra'"),
        ([" "], None, "the text is empty"),
    ],
)
def test_what_is_refused(texts: list[str], labels: list[str] | None, told: str) -> None:
    rows = [row_from_texts(text, label=labels and labels[index]) for index, text in enumerate(texts)]
    with pytest.raises(InputError, match=told):
        TASK.check_rows(rows, FILL)


@pytest.mark.parametrize(
    "before, label, token",
    [
        ("in ", "rome", "Ġrome"),
        (" ", "rome", "Ġrome"),
        ("in\t", "rome", "Ġrome"),
        ("chrono", "rome", "rome"),
        ("(", "Ġrome", "Ġrome"),
        ("in ", "paris", "▁paris"),
        ("", "paris", "▁paris"),
        ("in ", "oslo", "oslo"),
        ("", "rome", "rome"),
    ],
)
def test_what_stands_before_a_mask_says_which_of_two_tokens_a_label_is(before: str, label: str, token: str) -> None:
    head = replace(FILL, labels=("[MASK]", "▁paris", "Ġrome", "rome", "oslo"))
    (row,) = TASK.check_rows([row_from_texts(f"{before}[MASK] x", label=label)], head)
    assert row.label is not None and head.labels[row.label] == token
    with pytest.raises(InputError, match=r"'▁paris', which begins a word, and no 'paris'.* write a blank before"):
        TASK.check_rows([row_from_texts("a-[MASK]", label="paris")], head)


@pytest.mark.parametrize(("prefix_space", "first"), [(False, ""), (True, "Ġ")])
def test_a_label_is_the_token_that_a_text_without_a_mask_has_there(
    prefix_space: bool, first: str, tmp_path: Path
) -> None:
    write_byte_level(tmp_path, 128, prefix_space=prefix_space)
    encoder = text_encoder_from_path(tmp_path, {"model_type": "roberta", "max_position_embeddings": 130})
    names = encoder.names_of_ids(encoder.vocab_size)
    head = replace(FILL, labels=names, mask=encoder.mask_id)
    word = next(name[1:] for name in names if name.startswith("Ġ") and len(name) > 1 and name[1:] in names)
    found = {}
    for text in (f"<mask> {word}", f"{word} <mask>"):
        (row,) = checked_rows(TASK, [row_from_texts(text, label=word)], head, encoder)
        (feature,) = TASK.features_from_rows([row], encoder, 64)
        (whole,) = encoder.encode_batch([text.replace("<mask>", word)], max_length=64)
        (place,) = np.flatnonzero(feature.input_ids == encoder.mask_id)
        assert whole.ids[place] == feature.detail["gold"]
        found[text] = names[feature.detail["gold"]]
    assert list(found.values()) == [first + word, f"Ġ{word}"]


def test_calibration_takes_texts_as_they_are() -> None:
    texts = ["one two", "a [MASK]", "[MASK] [MASK] c", "one two three four five six [MASK]", "a <mask>"]
    rows = unanswered_rows(TASK, [row_from_texts(text, label="t1") for text in texts], FILL, ToyEncoder())
    features = TASK.features_from_rows(rows, ToyEncoder(), 6)
    assert [int((feature.input_ids == FILL.mask).sum()) for feature in features] == [1, 1, 2, 1, 1]
    with pytest.raises(InputError, match="either every text has it once, or none has"):
        checked_rows(TASK, [row_from_texts(text) for text in texts], FILL, ToyEncoder())


def test_labels_that_no_mask_asks_for_are_said(tmp_path: Path) -> None:
    said = []
    for content in (
        "text,label\na b,t1\nc d,t2\n",
        "text,label\na [MASK],t1\nc [MASK],t2\n",
        "text,label\na b,\nc d,\n",
    ):
        (tmp_path / "a.csv").write_text(content)
        reading = reading_of_validation(ValidationRecipe(data=str(tmp_path / "a.csv")), FILL)
        assert reading is not None
        said.append(reading.sentence().partition("; columns text=text, label=label; ")[2])
    assert said == ["2 rows, 0 with a label; 2 labels left out", "2 rows", "2 rows, 0 with a label"]


def test_an_answer_needs_a_mask_and_a_mask_that_is_read() -> None:
    rows = TASK.check_rows(PLAIN[:1], FILL)
    outputs = TASK.row_outputs(rows, TASK.features_from_rows(rows, ToyEncoder(), 24), {"logits": [scores(5)]}, FILL)
    with pytest.raises(InputError, match=r"has no \[MASK\]; write it where a token is asked for"):
        TASK.predictions(rows, outputs, FILL)

    class Other(ToyEncoder):
        mask_id = 98

    asked = TASK.check_rows([row_from_texts("a [MASK]")], FILL)
    with pytest.raises(InputError, match="does not read the mask as one token"):
        TASK.features_from_rows(asked, Other(), 24)
    late = TASK.check_rows([row_from_texts("one two three four five six [MASK]")], FILL)
    with pytest.raises(InputError, match=r"behind the first 6 tokens, .* before it, or raise max_length$"):
        TASK.features_from_rows(late, ToyEncoder(), 6)
    short = ToyEncoder()
    short.positions = 6
    with pytest.raises(InputError, match=r"behind the first 6 tokens, .*; shorten the text before it$"):
        TASK.features_from_rows(late, short, 6)


def test_labels_that_are_all_alike_tell_nothing() -> None:
    assert "same token, 't7'" in TASK.floor(FILL, np.array([7, 7, 7])).alike
    assert not TASK.floor(FILL, np.array([7, 8])).alike and not TASK.floor(FILL, np.array([-1, -1])).alike


def test_the_mask_s_vector_alone_is_read_whatever_stands_beside_it(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, task="fill-mask")
    mask = checkpoint.head.mask
    assert mask == 4 and checkpoint.head.labels == tiny_vocab()
    words = ["the [MASK] is good", "[MASK]", "who was in the red car of [MASK]"]
    features = [
        replace(feature, row=index)
        for index, word in enumerate(words)
        for feature in TASK.features_from_rows([row_from_texts(word)], checkpoint.encoder, 32)
    ]
    graph = graph_from_checkpoint(checkpoint)
    interpreter = Interpreter(graph)
    order = range(len(features))
    (apart,) = interpreter.run(batch_from_features(features, order)).values()
    (packed,) = interpreter.run(packed_batch_from_features(features, [(2, 0), (1,)])).values()
    np.testing.assert_allclose(packed, apart[[2, 0, 1]], atol=1e-4)
    (alone,) = interpreter.run(batch_from_features(features, [1])).values()
    np.testing.assert_allclose(alone[0], apart[1], atol=1e-4)
    elsewhere = [
        replace(feature, input_ids=np.where(feature.input_ids == mask, 9, feature.input_ids)) for feature in features
    ]
    (first,) = interpreter.run(batch_from_features(elsewhere, order)).values()  # of the first token, where none has it
    assert first.shape == apart.shape and np.abs(first - apart).max() > 0.01


def test_a_checkpoint_without_the_head_or_a_mask_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "classifier")
    with pytest.raises(
        InputError, match=r"lacks the tensor cls\.predictions\.transform\.dense\.weight of a masked lang"
    ):
        checkpoint_from_path(folder, task="fill-mask")
    masked = write_tiny_bert(tmp_path / "masked", task="fill-mask")
    assert checkpoint_from_path(masked).head.task == "fill-mask"
    words = [word if word != "[MASK]" else "[GUESS]" for word in tiny_vocab()]
    write_tokenizer(masked, words)
    with pytest.raises(InputError, match="the tokenizer has no mask token, which fill-mask needs"):
        checkpoint_from_path(masked)


def test_the_head_counts_as_the_model_s_only_where_it_is_read(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path, task="fill-mask", dtype="float32")
    masked = checkpoint_from_path(folder)
    plain = checkpoint_from_path(folder, task="feature-extraction")
    head = 64 * 64 + 3 * 64 + len(tiny_vocab())
    assert (masked.ignored_bytes, plain.ignored_bytes) == (0, 4 * head)
    assert masked.parameters - plain.parameters == head


def test_only_the_masks_meet_the_vocabulary(tiny_masked: TinyModel) -> None:
    from bertc.runtime.plan.compile import plan_from_graph
    from bertc.runtime.plan.kernel_plan import Op, Rows

    plan, _ = plan_from_graph(tiny_masked.graph)
    wide = [step for step in plan.steps if step.n == len(tiny_vocab())]
    assert wide and all(step.rows is Rows.TEXTS for step in wide)
    assert [step.token for step in plan.steps if step.op is Op.MARKED] == [4]


@pytest.fixture(scope="module")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("masked"), task="fill-mask")

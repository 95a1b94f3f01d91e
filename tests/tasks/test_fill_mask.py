"""Masks: the user's with a label, or one in the place of a token; ranks of the right ones, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features, packed_batch_from_features
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.metric import metric_from_name
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import task_from_name
from tests.evaluate.toy import FILL, ToyEncoder
from tests.fixtures import tiny_vocab, write_tiny_bert, write_tokenizer
from tests.tiny import TinyModel, tiny_checkpoint

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


@pytest.mark.parametrize(
    ("texts", "labels", "told"),
    [
        (["a [MASK] [MASK]"], None, r"has \[MASK\] 2 times"),
        (["a [MASK]", "b c"], None, r"has \[MASK\] 0 times"),
        (["a [MASK]", "[MASK] b"], ["t1", ""], "no label"),
        (["a [MASK]"], ["zebra"], "no token 'zebra'"),
        ([" "], None, "the text is empty"),
    ],
)
def test_what_is_refused(texts: list[str], labels: list[str] | None, told: str) -> None:
    rows = [row_from_texts(text, label=labels and labels[index]) for index, text in enumerate(texts)]
    with pytest.raises(InputError, match=told):
        TASK.check_rows(rows, FILL)


def test_a_word_may_be_given_without_the_vocabulary_s_sign_for_a_blank() -> None:
    head = replace(FILL, labels=("[MASK]", "▁paris", "Ġrome", "rome"))
    rows = [row_from_texts(f"[MASK] {number}", label=label) for number, label in enumerate(("paris", "rome", "Ġrome"))]
    assert [row.label for row in TASK.check_rows(rows, head)] == [1, 3, 2]


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
    with pytest.raises(InputError, match="lies behind the first 6 tokens"):
        TASK.features_from_rows(late, ToyEncoder(), 6)


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
    from bertc.runtime.native.compile import plan_from_graph
    from bertc.runtime.native.kernel_plan import Op, Rows

    plan, _ = plan_from_graph(tiny_masked.graph)
    wide = [step for step in plan.steps if step.n == len(tiny_vocab())]
    assert wide and all(step.rows is Rows.TEXTS for step in wide)
    assert [step.token for step in plan.steps if step.op is Op.MARKED] == [4]


@pytest.fixture(scope="module")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("masked"), task="fill-mask")

"""Batches hold every feature once, within their bound; answers come back in order, without padding."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from bertc.core.batch import Batch, batch_from_features, batches_from_features
from bertc.core.head import Head
from bertc.errors import InputError
from bertc.export.ort import lower as ort
from bertc.runtime import engine as engine_module
from bertc.runtime.engine import OrtEngine, outputs_from_features
from bertc.runtime.ort.inference_session import open_session
from tests.conftest import TinyOf
from tests.tiny import OUTPUTS, TinyModel, random_features

NAMES = {
    "sequence-classification": {"logits"},
    "text-ranking": {"logits"},
    "token-classification": {"logits"},
    "question-answering": {"start_logits", "end_logits"},
    "feature-extraction": {"embedding"},
    "late-interaction": {"vectors"},
    "fill-mask": {"logits"},
    "sparse-embedding": {"embedding"},
}


@pytest.mark.parametrize("tokens", [1, 30, 64, 200, 100_000])
def test_every_feature_comes_exactly_once_within_the_bound(tokens: int) -> None:
    features = random_features(70, seed=tokens)
    batches = list(batches_from_features(features, tokens))
    assert sorted(place for batch in batches for place in batch.order) == list(range(70))
    for batch in batches:
        assert batch.size == len(batch.order) == len(batch.input_ids)
        assert batch.input_ids.size <= tokens or batch.size == 1
    if tokens == 1:
        assert len(batches) == 70
    if tokens == 100_000:
        assert len(batches) == 1


def test_a_batch_could_not_be_larger() -> None:
    """The bound is used: no two neighbouring batches fit together."""
    batches = list(batches_from_features(random_features(70), 120))
    for batch, after in itertools.pairwise(batches):
        longest = after.input_ids.shape[1]
        assert (batch.size + after.size) * longest > 120


def test_features_are_padded_on_the_right_and_masked() -> None:
    features = random_features(9)
    order = [4, 0, 7]
    batch = batch_from_features(features, order)
    assert batch.order == (4, 0, 7) and batch.input_ids.dtype == np.int64
    assert batch.input_ids.shape == (3, max(features[place].length for place in order))
    for row, place in enumerate(order):
        length = features[place].length
        np.testing.assert_array_equal(batch.input_ids[row, :length], features[place].input_ids)
        np.testing.assert_array_equal(batch.token_type_ids[row, :length], features[place].token_type_ids)
        assert batch.mask[row].tolist() == [1] * length + [0] * (batch.mask.shape[1] - length)
        assert not batch.input_ids[row, length:].any() and not batch.token_type_ids[row, length:].any()


def test_sorting_by_length_leaves_little_padding() -> None:
    features = random_features(200)
    batches = list(batches_from_features(features, 300))
    real = sum(feature.length for feature in features)
    assert sum(batch.mask.sum() for batch in batches) == real
    assert sum(batch.mask.size for batch in batches) < 1.15 * real


def test_a_batch_feeds_what_is_asked_for() -> None:
    batch = batch_from_features(random_features(2), [0, 1])
    assert list(batch.feeds(["attention_mask", "input_ids"])) == ["attention_mask", "input_ids"]
    assert batch.feeds(["attention_mask"])["attention_mask"] is batch.mask
    with pytest.raises(KeyError):
        batch.feeds(["pixels"])


def test_no_features_give_no_batches() -> None:
    assert not list(batches_from_features([], 100))


def opened(model: TinyModel) -> OrtEngine:
    return open_session(ir.to_proto(ort.lower_graph(model.graph)).SerializeToString(), threads=1)


@pytest.mark.parametrize("task", OUTPUTS)
def test_float_answers_do_not_depend_on_the_batching(
    task: str, tiny_of: TinyOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_of(task)
    head, features = model.checkpoint.head, model.features
    found = []
    with opened(model) as engine:
        for tokens in (1, 70, 100_000):
            monkeypatch.setattr(engine_module, "TOKENS_PER_BATCH", tokens)
            found.append(outputs_from_features(engine, features, head))
        turned = outputs_from_features(engine, features[::-1], head)
    for outputs in (*found, {name: rows[::-1] for name, rows in turned.items()}):
        assert outputs.keys() == NAMES[task]
        for name, rows in outputs.items():
            assert len(rows) == len(features)
            for row, expected, feature in zip(rows, found[0][name], features, strict=True):
                assert row.dtype == np.float32 and row.shape == expected.shape
                if name != "embedding" and task not in ("sequence-classification", "text-ranking", "fill-mask"):
                    assert len(row) == feature.length
                np.testing.assert_allclose(row, expected, atol=1e-5)
    rows = found[0][next(iter(NAMES[task]))]
    places = min(len(rows[0]), len(rows[1]))
    assert not np.allclose(rows[0][:places], rows[1][:places], atol=1e-3)  # another order would be seen


class Counting:
    """An engine that answers each text with its first id, and says how it was asked."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: Batch, outputs: list[str]) -> list[np.ndarray]:
        """Return the first ids."""
        self.shapes.append(batch.input_ids.shape)
        return [batch.input_ids[:, :1].astype(np.float32) for _ in outputs]

    def close(self) -> None:
        """Nothing to free."""


class Counted:
    """A progress sink that adds up."""

    def __init__(self) -> None:
        self.units = 0

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin."""

    def advance(self, units: int = 1) -> None:
        """Add."""
        self.units += units

    def note(self, text: str) -> None:
        """Ignore."""

    def end(self) -> None:
        """Ignore."""


def test_answers_come_back_in_the_caller_s_order_and_are_counted() -> None:
    features = random_features(300)
    engine, progress = Counting(), Counted()
    head = Head(task="sequence-classification", labels=("a", "b"))
    found = outputs_from_features(engine, features, head, progress=progress)
    assert [float(row[0]) for row in found["logits"]] == [float(feature.input_ids[0]) for feature in features]
    assert progress.units == 300 and len(engine.shapes) > 1
    assert all(rows * length <= engine_module.TOKENS_PER_BATCH for rows, length in engine.shapes)


class Overflowing(Counting):
    """An engine of vectors per token, with a number that is none at a place of the first batch."""

    def __init__(self, wrong: float, place: tuple[int, int]) -> None:
        super().__init__()
        self.wrong, self.place = wrong, place

    def run(self, batch: Batch, outputs: list[str]) -> list[np.ndarray]:
        """Return ids as scores of two tags."""
        scores = np.stack([batch.input_ids] * 2, axis=-1).astype(np.float32)
        scores[(*self.place, 1)] = self.wrong
        return [scores for _ in outputs]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_no_answer_and_padding_is_none(wrong: float) -> None:
    short, long = sorted(random_features(2), key=lambda feature: feature.length)
    assert short.length < long.length
    head = Head(task="token-classification", labels=("O", "B-a"))
    with pytest.raises(InputError, match=f"logits of a text of {short.length} tokens has numbers that are not finite"):
        outputs_from_features(Overflowing(wrong, (0, short.length - 1)), [short, long], head)
    found = outputs_from_features(Overflowing(wrong, (0, short.length)), [short, long], head)
    assert [len(scores) for scores in found["logits"]] == [short.length, long.length]


def test_no_features_give_empty_answers() -> None:
    assert outputs_from_features(Counting(), [], Head(task="question-answering")) == {
        "start_logits": [],
        "end_logits": [],
    }


def test_a_closed_engine_does_not_run(tiny_classifier: TinyModel) -> None:
    with opened(tiny_classifier) as engine:
        assert engine.run(tiny_classifier.batch, ["logits"])[0].shape == (48, 2)
    with pytest.raises(AttributeError):
        engine.run(tiny_classifier.batch, ["logits"])

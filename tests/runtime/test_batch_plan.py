"""Packed rows hold every text once; the plan is the cheaper one; answers are those of texts in rows of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.head import Head
from bertc.export.ort import lower as ort
from bertc.runtime import batch_plan as packing
from bertc.runtime.batch_plan import (
    cheapest_groups,
    cost,
    packed_groups,
    packed_rows,
    planned_batches,
    row_length_from_lengths,
    sorted_groups,
)
from bertc.runtime.engine import OrtEngine, outputs_from_features
from bertc.runtime.ort.inference_session import open_session
from tests.conftest import TinyOf
from tests.tiny import OUTPUTS, TinyModel, random_features


def lengths_of(count: int, *, seed: int = 0, shortest: int = 3, longest: int = 30) -> list[int]:
    return [feature.length for feature in random_features(count, seed=seed, shortest=shortest, longest=longest)]


def places(groups: list[packing.Group]) -> list[int]:
    return sorted(place for group in groups for row in group for place in row)


@pytest.mark.parametrize("row_length", [30, 31, 48, 64, 1000])
def test_every_text_is_in_one_row_that_it_fits_in(row_length: int) -> None:
    lengths = lengths_of(200, seed=row_length)
    rows = packed_rows(lengths, row_length)
    assert sorted(place for row in rows for place in row) == list(range(200))
    assert max(sum(lengths[place] for place in row) for row in rows) <= row_length


def test_few_tokens_are_left_free() -> None:
    lengths = lengths_of(400)
    rows = packed_rows(lengths, 64)
    assert len(rows) * 64 < 1.02 * sum(lengths)
    assert len(packed_rows([33] * 10, 64)) == 10  # two of them never fit


def test_a_text_goes_where_it_leaves_least_free() -> None:
    assert packed_rows([5, 6, 2, 3], 8) == [[1, 2], [0, 3]]
    assert packed_rows([], 8) == [] and packed_rows([8], 8) == [[0]]


def test_texts_with_tokens_that_nothing_sees_have_rows_of_their_own() -> None:
    features = [replace(feature, seen=2) if row == 3 else feature for row, feature in enumerate(random_features(9))]
    assert any(batch.starts for batch in planned_batches(random_features(9), 64, row_length=64))
    batches = list(planned_batches(features, 64, row_length=64))
    assert not any(batch.starts for batch in batches)
    (mask,) = [batch.mask[batch.order.index(3)] for batch in batches if 3 in batch.order]
    assert mask[: features[3].length].tolist() == [1, 1] + [-1] * (features[3].length - 2)
    with pytest.raises(AssertionError):
        packed_batch_from_features(features, [[3, 1]])


def test_a_graph_reads_such_tokens_as_padding() -> None:
    features = [replace(feature, seen=2) for feature in random_features(3, shortest=4)]
    batch = batch_from_features(features, range(3))
    assert batch.feeds(["attention_mask"])["attention_mask"].sum(axis=1).tolist() == [2, 2, 2]
    plain = random_features(3, shortest=4)
    assert [each.cache_key() for each in features] != [each.cache_key() for each in plain]


@pytest.mark.parametrize("tokens", [1, 64, 200, 100_000])
def test_a_batch_keeps_its_bound_and_long_texts_come_apart(tokens: int) -> None:
    lengths = [*lengths_of(60), 90, 300, 65, 64]
    groups = packed_groups(lengths, tokens, row_length=64)
    assert places(groups) == list(range(64))
    for group in groups:
        widest = max(sum(lengths[place] for place in row) for row in group)
        assert len(group) * widest <= tokens or len(group) == 1
        assert widest <= 64 or all(len(row) == 1 for row in group)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_text_are_not_packed(count: int) -> None:
    features = random_features(count)
    batches = list(planned_batches(features, 2048, row_length=64))
    assert len(batches) == count
    assert all(batch.starts == () and batch.mask.max() == 1 for batch in batches)


def test_a_text_longer_than_a_row_still_runs_among_short_ones() -> None:
    features = (*random_features(20), *random_features(1, shortest=100, longest=100))
    batches = list(planned_batches(features, 2048, row_length=64))
    assert sorted(place for batch in batches for place in batch.order) == list(range(21))
    assert [batch.order for batch in batches if batch.input_ids.shape[1] > 64] == [(20,)]


def test_the_cheaper_plan_is_taken() -> None:
    mixed, equal = lengths_of(32), [64] * 32
    assert cheapest_groups(mixed * 4, 2048, row_length=64) == packed_groups(mixed * 4, 2048, row_length=64)
    assert cheapest_groups(equal, 2048, row_length=512) == sorted_groups(equal, 2048)
    assert cheapest_groups(mixed, 2048, row_length=None) == sorted_groups(mixed, 2048)


def test_few_texts_are_packed_in_shorter_rows_where_that_leaves_less_free() -> None:
    lengths = [40, 20, 16, 4]
    assert packed_groups(lengths, 2048, row_length=64) == [[[0, 1, 3], [2]]]
    assert cheapest_groups(lengths, 2048, row_length=64) == [[[0], [1, 2, 3]]]
    many = lengths * 20
    assert cheapest_groups(many, 2048, row_length=64) == packed_groups(many, 2048, row_length=64)


def test_a_run_of_its_own_for_a_few_tokens_costs_more() -> None:
    assert cost([[[0], [1]]], [16, 16]) < cost([[[0]], [[1]]], [16, 16])


def test_longer_rows_cost_more_per_token() -> None:
    assert cost([[[0, 1], [2, 3]]], [16] * 4) < cost([[[0, 1, 2, 3]]], [16] * 4)
    assert cost([[[0], [1]]], [16, 2]) > cost([[[0, 1]]], [16, 2])


def test_the_row_length_follows_the_texts() -> None:
    short = row_length_from_lengths(lengths_of(256, longest=30), 512)
    long = row_length_from_lengths(lengths_of(256, shortest=100, longest=300), 512)
    assert 30 <= short <= 64 < 128 <= long <= 512
    assert row_length_from_lengths([], 512) == packing.USUAL_ROW_LENGTH
    assert row_length_from_lengths([], 100) == 100 == row_length_from_lengths([100] * 40, 100)
    assert row_length_from_lengths([3, 4], 16) == 16


def test_a_packed_batch_says_where_each_text_is() -> None:
    features = random_features(4)
    batch = packed_batch_from_features(features, [[2, 0], [1]])
    first, second, third = (features[place] for place in (2, 0, 1))
    assert batch.order == (2, 0, 1) and batch.starts == ((0, 0), (0, first.length), (1, 0)) and batch.size == 3
    numbers = [1] * first.length + [first.length + 1] * second.length
    width = max(len(numbers), third.length)
    assert batch.mask.tolist() == [row + [0] * (width - len(row)) for row in (numbers, [1] * third.length)]
    for number, feature in enumerate((first, second, third)):
        row, column = batch.start(number)
        np.testing.assert_array_equal(batch.input_ids[row, column : column + feature.length], feature.input_ids)
        np.testing.assert_array_equal(
            batch.token_type_ids[row, column : column + feature.length], feature.token_type_ids
        )


class Recorded(OrtEngine):
    """A session that keeps the batches it ran."""

    batches: list[Batch]

    def run(self, batch: Batch, outputs: list[str]) -> list[np.ndarray]:  # type: ignore[override]
        """Run and remember."""
        self.batches.append(batch)
        return super().run(batch, outputs)


def opened(model: TinyModel) -> Recorded:
    engine = open_session(ir.to_proto(ort.lower_graph(model.graph)).SerializeToString(), threads=1)
    recorded = Recorded(engine._session)
    recorded.batches = []
    return recorded


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make batches so small that a call takes several."""
    monkeypatch.setattr("bertc.runtime.engine.TOKENS_PER_BATCH", 200)
    yield


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("task", OUTPUTS)
def test_packed_answers_are_those_of_rows_of_their_own_in_order(task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    features = (*model.features, *random_features(2, seed=1, shortest=70, longest=90))
    with opened(model) as engine:
        apart = outputs_from_features(engine, features, model.checkpoint.head)
        assert not any(batch.starts for batch in engine.batches)
        engine.batches.clear()
        packed = outputs_from_features(engine, features, model.checkpoint.head, row_length=64)
        assert sum(bool(batch.starts) for batch in engine.batches) > 1
    assert packed.keys() == apart.keys()
    for name, values in apart.items():
        for found, expected in zip(packed[name], values, strict=True):
            assert found.shape == expected.shape and found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_no_features_give_empty_answers(tiny_classifier: TinyModel) -> None:
    with opened(tiny_classifier) as engine:
        head = Head(task="sequence-classification", labels=("a", "b"))
        assert outputs_from_features(engine, [], head, row_length=64) == {"logits": []}

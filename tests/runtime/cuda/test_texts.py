"""Batches without their padding: packed rows, gaps and empty texts; buckets are large enough and little larger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.errors import InputError
from bertc.runtime.cuda.texts import texts_from_batch, texts_of_lengths
from tests.tiny import random_features

FEATURES = random_features(9)
APART = batch_from_features(FEATURES, range(9))
PACKED = packed_batch_from_features(FEATURES, ((0, 3, 5), (2,), (6, 1, 8), (4, 7)))


@pytest.mark.parametrize("batch", [APART, PACKED], ids=["padded", "packed"])
def test_texts_lie_behind_each_other_in_the_batch_s_order(batch: Batch) -> None:
    texts = texts_from_batch(batch)
    assert texts.count == 9 and texts.tokens == sum(len(each.input_ids) for each in FEATURES)
    for number, place in enumerate(batch.order):
        tokens = slice(texts.ends[number], texts.ends[number + 1])
        np.testing.assert_array_equal(texts.ids[tokens], FEATURES[place].input_ids)
        np.testing.assert_array_equal(texts.types[tokens], FEATURES[place].token_type_ids)
        np.testing.assert_array_equal(texts.places[tokens], np.arange(texts.lengths[number]))
    np.testing.assert_array_equal(batch.input_ids.reshape(-1)[texts.cells], texts.ids)


def test_no_rows_are_no_texts() -> None:
    zeros = np.zeros((0, 7), np.int64)
    texts = texts_from_batch(Batch(input_ids=zeros, token_type_ids=zeros, mask=zeros, order=()))
    assert texts.count == texts.tokens == 0 and texts.blocks(16).shape == (0, 2)


def masked(*cells: tuple[int, int, int]) -> Batch:
    """Return the padded batch with other numbers in its mask."""
    mask = APART.mask.copy()
    for row, column, number in cells:
        mask[row, column] = number
    return replace(APART, mask=mask)


@pytest.mark.parametrize(
    "batch, told",
    [
        (masked((0, 1, 0)), "a mask with 9, or a text that does not start"),
        (masked((3, 0, 0)), "a mask with 8, or"),
        (replace(APART, mask=APART.mask[:, ::-1].copy()), "let padding stand on the right"),
        (replace(APART, mask=APART.mask * (np.arange(9) != 4)[:, None]), "a mask with 8, .*give every text a token"),
        (masked((2, 1, -1)), "tokens that nothing attends to"),
        (masked((2, 1, 2)), "does not start in the column"),
    ],
    ids=["hole", "late start", "left", "empty", "unseen", "two in one"],
)
def test_a_mask_with_gaps_is_refused(batch: Batch, told: str) -> None:
    with pytest.raises(InputError, match=told):
        texts_from_batch(batch)


@pytest.mark.parametrize("field", ["input_ids", "token_type_ids", "mask"])
def test_arrays_of_different_shapes_are_refused(field: str) -> None:
    with pytest.raises(InputError, match=r"give all of them one shape \[rows, length\]"):
        texts_from_batch(replace(APART, **{field: getattr(APART, field)[:, :-1]}))


@pytest.mark.parametrize("rows", [1, 16, 64])
@pytest.mark.parametrize("lengths", [[1], [64, 65, 1], [200, 3]])
def test_blocks_cover_every_query_once(lengths: Sequence[int], rows: int) -> None:
    found = [
        (text, query)
        for text, first in texts_of_lengths(list(lengths)).blocks(rows).tolist()
        for query in range(first, min(first + rows, lengths[text]))
    ]
    assert sorted(found) == [(text, query) for text, length in enumerate(lengths) for query in range(length)]


def test_a_text_s_mark_is_its_first_or_else_its_beginning() -> None:
    texts = texts_from_batch(APART)
    for number, place in enumerate(APART.order):
        ids = FEATURES[place].input_ids
        wanted = int(ids[-1])
        assert texts.marked(wanted)[number] == texts.ends[number] + int(np.argmax(ids == wanted))
    assert (texts.marked(1 << 20) == texts.ends[:-1]).all()

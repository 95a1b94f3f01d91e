"""Replaced tokens: which ones, how many, by what seed, and what becomes of labels."""

from __future__ import annotations

import numpy as np

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.train.batches import units_of_step
from bertc.train.replace import Replacement

VOCABULARY = np.arange(1000, 2000)
SEPARATORS = (101, 102)
LENGTH, TEXTS = 52, 400


def examples() -> list[Example]:
    ids = np.array([101, *range(1000, 1000 + LENGTH - 2), 102])
    feature = Feature(input_ids=ids, token_type_ids=np.zeros_like(ids), row=0)
    return [Example(feature=feature, gold=np.asarray(1), labelled=1) for _ in range(TEXTS)]


def replaced(share: float, *, seed: int = 0, number: int = 3) -> list[Example]:
    found = Replacement(share=share, vocabulary=VOCABULARY, seed=seed).step_examples(
        examples(), [tuple(range(200)), tuple(range(200, TEXTS))], number
    )
    return [found[place] for place in range(TEXTS)]


def changed(example: Example) -> int:
    return int((example.feature.input_ids != examples()[0].feature.input_ids).sum())


def test_a_quarter_stays_whole_and_the_share_is_even_below_the_largest() -> None:
    shares = np.array([changed(example) for example in replaced(0.4)]) / (LENGTH - 2)
    assert 0.2 < np.mean(shares == 0) < 0.35
    assert shares.max() < 0.65
    assert 0.17 < shares[shares > 0].mean() < 0.24
    assert not any(changed(example) for example in replaced(0.0))


def test_only_ordinary_tokens_change_and_only_to_ordinary_ones() -> None:
    for example in replaced(1.0):
        ids = example.feature.input_ids
        assert (ids[0], ids[-1]) == SEPARATORS
        assert np.isin(ids[1:-1], VOCABULARY).all()
        assert ids.dtype == np.int64


def test_what_is_replaced_has_no_label_and_counts_as_none() -> None:
    found = replaced(0.4)
    assert all((example.gold is None) == (changed(example) > 0) for example in found)
    units = units_of_step(dict(enumerate(found)), [tuple(range(TEXTS))])
    assert units.labelled == sum(changed(example) == 0 for example in found)
    assert units.rows == units.outputs == TEXTS


def test_it_depends_on_seed_step_and_place_alone() -> None:
    first = [example.feature.input_ids.tolist() for example in replaced(0.4)]
    assert first == [example.feature.input_ids.tolist() for example in replaced(0.4)]
    for other in (replaced(0.4, seed=1), replaced(0.4, number=4)):
        assert first != [example.feature.input_ids.tolist() for example in other]
    part = Replacement(share=0.4, vocabulary=VOCABULARY, seed=0).step_examples(examples(), [(7, 300)], 3)
    assert {place: example.feature.input_ids.tolist() for place, example in part.items()} == {
        7: first[7],
        300: first[300],
    }
    assert not np.array_equal(first[0], first[1]), "the same text is replaced differently at another place"

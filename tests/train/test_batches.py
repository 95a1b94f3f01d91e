"""The same steps for any number of processes, seeded, every example once an epoch."""

from __future__ import annotations

from itertools import chain, islice

import numpy as np
import pytest

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.train.batches import PART_TOKENS, parts_of_share, steps_from, steps_of_epoch, steps_per_epoch, units_of_step

LENGTHS = [int(length) for length in np.random.default_rng(0).integers(3, 60, 103)]


def epoch(number: int, seed: int = 0, rows: int = 8, accumulate: int = 2) -> list[tuple[tuple[int, ...], ...]]:
    return steps_of_epoch(LENGTHS, rows=rows, accumulate=accumulate, seed=seed, epoch=number)


def test_an_epoch_has_every_example_once() -> None:
    for number in (0, 1):
        steps = epoch(number)
        assert sorted(chain.from_iterable(chain.from_iterable(steps))) == list(range(len(LENGTHS)))
        assert len(steps) == steps_per_epoch(len(LENGTHS), rows=8, accumulate=2) == 7


def test_the_order_follows_from_seed_and_epoch() -> None:
    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1) and epoch(0) != epoch(0, seed=1)


def test_texts_of_a_batch_are_about_as_long() -> None:
    batches = list(chain.from_iterable(epoch(0)))
    padded = sum(max(LENGTHS[place] for place in batch) * len(batch) for batch in batches)
    assert padded < 1.2 * sum(LENGTHS)
    plain = [range(start, min(start + 8, len(LENGTHS))) for start in range(0, len(LENGTHS), 8)]
    assert sum(max(LENGTHS[place] for place in batch) * len(batch) for batch in plain) > 1.2 * sum(LENGTHS)


def test_a_run_goes_on_anywhere_as_if_it_had_never_stopped() -> None:
    def steps(first: int) -> list[tuple[tuple[int, ...], ...]]:
        return list(islice(steps_from(LENGTHS, rows=8, accumulate=2, seed=0, first=first), 20))

    for first in (1, 6, 7, 13):
        assert steps(0)[first:] == steps(first)[: 20 - first]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_processes_shares_are_the_step(world: int) -> None:
    for step in epoch(0):
        shares = [parts_of_share(step, LENGTHS, rank=rank, world=world) for rank in range(world)]
        assert sorted(chain.from_iterable(chain.from_iterable(shares))) == sorted(chain.from_iterable(step))


def test_parts_fit_in_memory_and_a_long_text_comes_alone() -> None:
    lengths = [500] * 20 + [2 * PART_TOKENS]
    parts = parts_of_share([tuple(range(21))], lengths, rank=0, world=1)
    assert [len(part) for part in parts] == [8, 8, 4, 1]
    assert parts_of_share([(0,)], lengths, rank=1, world=2) == []


def test_units_count_the_whole_step() -> None:
    ids = np.zeros(5, np.int64)
    feature = Feature(input_ids=ids, token_type_ids=ids, row=0)
    examples = [Example(feature=feature, outputs=3, labelled=2), Example(feature=feature)]
    units = units_of_step(examples, ((0, 1), (0,)))
    assert (units.rows, units.outputs, units.labelled, units.tokens) == (3, 7, 4, 15)

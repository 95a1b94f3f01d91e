"""Which rows calibrate, and by what a row is known."""

from __future__ import annotations

import random
from dataclasses import replace
from types import MappingProxyType

import pytest

from bertc.data.rows import Dataset, Row, row_from_texts, sample_rows
from bertc.errors import InputError


def dataset(rows: list[Row]) -> Dataset:
    return Dataset(rows=tuple(rows), name="toy", digest="", form="lines", columns=MappingProxyType({}))


ROWS = [row_from_texts(f"row {i} " + "x" * (1 if i % 10 else 99)) for i in range(1000)]


def test_long_rows_are_more_likely() -> None:
    chosen = sample_rows(dataset(ROWS), 100)
    long = sum(len(row.texts[0]) > 50 for row in chosen)
    # A tenth of the rows is long and holds more than half of the characters; uniform sampling would give about 10.
    assert len(chosen) == 100 and 35 <= long <= 80


def test_the_choice_depends_on_seed_and_not_on_order() -> None:
    shuffled = list(ROWS)
    random.Random(3).shuffle(shuffled)
    chosen = {row.hash for row in sample_rows(dataset(ROWS), 50, seed=5)}
    assert chosen == {row.hash for row in sample_rows(dataset(shuffled), 50, seed=5)}
    assert chosen != {row.hash for row in sample_rows(dataset(ROWS), 50, seed=6)}


def test_order_is_kept_and_duplicates_and_blanks_are_not() -> None:
    doubled = [*ROWS[:20], *ROWS[:20], row_from_texts("")]
    assert sample_rows(dataset(doubled), 100) == tuple(ROWS[:20])
    some = sample_rows(dataset(ROWS), 30)
    assert [ROWS.index(row) for row in some] == sorted(ROWS.index(row) for row in some)


def test_nothing_to_sample_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 row"):
        sample_rows(dataset(ROWS), 0)
    with pytest.raises(InputError, match="no row has any text"):
        sample_rows(dataset([row_from_texts("", "")]), 5)


def test_a_hash_is_of_the_texts_alone_and_of_each() -> None:
    assert replace(ROWS[0], label=3).hash == ROWS[0].hash != ROWS[1].hash
    assert row_from_texts("a", "b").hash != row_from_texts("ab").hash != row_from_texts("a b").hash

"""The rows that a search judges by: none that is used, about as many as were asked for, and whole queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from bertc.data.rows import Dataset, Row, row_from_texts
from bertc.errors import InputError
from bertc.search.held import held_out_rows
from bertc.tasks import task_from_name

PATH = "train.tsv"


def dataset_of(rows: list[Row]) -> Dataset:
    return Dataset(rows=tuple(rows), name=PATH, digest="", form="tsv", columns={})


def ranking(*, named: bool) -> list[Row]:
    """Forty queries of five rows each, by a column or by their text alone."""
    return [
        row_from_texts(f"query {number // 5}", f"text {number}", group=f"q{number // 5}" if named else "")
        for number in range(200)
    ]


def test_what_is_used_is_not_held_out() -> None:
    rows = [row_from_texts(f"text {number}") for number in range(50)]
    used = {row.hash for row in rows[:30]}
    found = held_out_rows(dataset_of(rows), PATH, used, rows=10, seed=0)
    assert len(found) == 10 and not used & {row.hash for row in found}
    assert found == held_out_rows(dataset_of(rows), PATH, used, rows=10, seed=0)
    with pytest.raises(InputError, match="every row calibrates or validates"):
        held_out_rows(dataset_of(rows), PATH, {row.hash for row in rows}, rows=10, seed=0)


@pytest.mark.parametrize("task", ["text-ranking", "late-interaction"])
@pytest.mark.parametrize("named", [True, False])
def test_queries_are_drawn_whole_until_there_are_as_many_rows(task: str, named: bool) -> None:
    unit: Callable[[Row], str] = task_from_name(task).split_unit
    found = held_out_rows(dataset_of(ranking(named=named)), PATH, (), rows=22, seed=0, unit=unit)
    assert len(found) == 25 and set(Counter(row.texts[0] for row in found).values()) == {5}
    apart = held_out_rows(dataset_of(ranking(named=named)), PATH, (), rows=22, seed=0)
    assert len(apart) == 22 and set(Counter(row.texts[0] for row in apart).values()) != {5}
